//! A random world from a seed: topology, limits, faults and workload, then healing and every check.

use std::collections::BTreeMap;

use rejoin_causal::Dot;
use rejoin_replica::path::Path;
use rejoin_replica::{Change, Condition, Config, Observed, Strategy, View, Write};
use rejoin_store::SyncPolicy;

use crate::clock::Clock;
use crate::node::{Backup, CrashPoint};
use crate::oracle::Object;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::strategies::json;
use crate::violation::Violation;
use crate::world::{Settings, World};

/// How a run is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep a readable trace.
    pub trace: bool,
    /// A defect to plant.
    pub plant: Option<Plant>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How often each situation occurred.
    pub marks: BTreeMap<&'static str, u64>,
    /// The trace, when it was asked for.
    pub lines: Vec<String>,
    /// Writes minted.
    pub writes: u64,
    /// Virtual time it took, in milliseconds.
    pub virtual_ms: u64,
}

/// How often each fault is tried, per thousand steps.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    cut: u64,
    stall: u64,
    partition: u64,
    kill: u64,
    power_cut: u64,
    backup: u64,
    restore: u64,
    clone: u64,
    clock: u64,
    slow: u64,
    round: u64,
}

/// Paths whose hashes make them digest fences of two and three levels, so that small stores have them too.
const HIGH_FENCES: [&str; 11] = [
    "f/x4786", "l/x4877", "f/x6014", "l/x6403", "l/x8698", "f/x9671", "l/x11761", "l/x11797", "f/x55621",
    "c/x91514", "l/x96710",
];

/// Runs the world of a seed to its end.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut rng = Rng::of_seed(seed ^ 0x5eed_0000_0000_0000);
    let settings = settings(&mut rng, options);
    let mut world = World::new(seed, settings);
    let violation = play(&mut world, &mut rng, options).err();
    Outcome {
        violation,
        hash: world.trace.hash(),
        marks: world.trace.marks().clone(),
        lines: world.trace.lines().to_vec(),
        writes: world.oracle.writes().len() as u64,
        virtual_ms: world.now_ms(),
    }
}

fn settings(rng: &mut Rng, options: Options) -> Settings {
    let config = Config {
        versions_max: *rng.pick(&[0, 1, 2, 10]),
        anti_entropy_interval_ms: Some(*rng.pick(&[700, 2_000, 5_000])),
        tombstone_retention_ms: *rng.pick(&[0, 1_000, 5_000, 3_600_000]),
        clock_skew_max_ms: *rng.pick(&[500, 2_000, 60_000]),
        quarantine_entries_max: *rng.pick(&[1, 3, 10_000, 10_000]),
        push_queue_bytes_max: *rng.pick(&[1, 200, 1_000, 4 << 20]),
        chunk_bytes_max: *rng.pick(&[1, 100, 1_000, 256 << 10]),
        credit_bytes: *rng.pick(&[1, 300, 1 << 20]),
        collect_batch_max: *rng.pick(&[1, 3, 256]),
        collect_interval_ms: *rng.pick(&[300, 1_500]),
        ..Config::default()
    };
    let slowest = *rng.pick(&[2, 20, 200]);
    Settings {
        config,
        delay_ms: (1, slowest),
        commits_per_scan: 100,
        group_max: *rng.pick(&[1, 3, 12]),
        plant: options.plant,
        trace: options.trace,
    }
}

fn faults(rng: &mut Rng, plant: Option<Plant>) -> Faults {
    let mut faults = Faults { round: 10, ..Faults::default() };
    let often = |rng: &mut Rng, per_mille: u64| if rng.chance(500) { per_mille } else { 0 };
    faults.cut = often(rng, 60);
    faults.stall = often(rng, 20);
    faults.partition = often(rng, 30);
    faults.kill = often(rng, 40);
    faults.power_cut = often(rng, 25);
    faults.slow = often(rng, 20);
    faults.clock = if rng.chance(300) { 30 } else { 0 };
    if rng.chance(300) {
        (faults.backup, faults.restore) = (30, 15);
    }
    if rng.chance(120) {
        faults.clone = 8;
    }
    match plant {
        Some(Plant::ReuseEpoch) => (faults.backup, faults.restore) = (50, 40),
        Some(Plant::ReleaseBeforeCommit) => faults.kill = 60,
        Some(Plant::NoSync) => faults.power_cut = 60,
        Some(_) => faults.cut = 60,
        None => {}
    }
    faults
}

fn topology(world: &mut World, rng: &mut Rng, nodes: usize) {
    let shape = rng.below(6);
    for node in 1..nodes {
        match shape {
            0 | 1 => world.connect(node - 1, node),
            2 => world.connect(0, node),
            3 => (0..node).for_each(|other| world.connect(other, node)),
            4 => {
                let half = nodes / 2;
                let first = if node < half { 0 } else { half };
                (first..node).for_each(|other| world.connect(other, node));
            }
            _ => {
                let other = rng.index(node);
                world.connect(other, node);
                if rng.chance(400) {
                    let other = rng.index(node);
                    world.connect(other, node);
                }
            }
        }
    }
    if shape == 1 && nodes > 2 {
        world.connect(nodes - 1, 0);
    }
    if shape == 4 && nodes / 2 > 0 {
        world.connect(0, nodes / 2);
    }
}

/// What a workload draws from.
struct Workload {
    paths: Vec<Path>,
    deletes: u64,
    contexts: u64,
    conditions: u64,
    /// Versions that clients read at some time, by path.
    read: BTreeMap<Path, Vec<Dot>>,
}

impl Workload {
    fn new(rng: &mut Rng) -> Workload {
        let many = rng.chance(150);
        let count = if many { rng.between(150, 300) } else { rng.between(1, 8) };
        let prefixes = ["l", "f", "m", "c"];
        let only = rng.chance(600).then(|| *rng.pick(&["l", "l", "m", "c", "f"]));
        let mut names: Vec<String> = (0..count)
            .map(|number| {
                let prefix = only.unwrap_or(prefixes[rng.index(prefixes.len())]);
                format!("{prefix}/{number}")
            })
            .collect();
        if many || rng.chance(300) {
            names.extend(HIGH_FENCES.iter().map(|name| (*name).to_string()));
        }
        Workload {
            paths: names.iter().filter_map(|name| Path::parse(name).ok()).collect(),
            deletes: *rng.pick(&[100, 300, 450]),
            contexts: *rng.pick(&[0, 150, 400]),
            conditions: *rng.pick(&[0, 100]),
            read: BTreeMap::new(),
        }
    }

    fn object(rng: &mut Rng) -> Object {
        let mut object = Object::new();
        for name in ["a", "b", "c", "d"] {
            if rng.chance(500) {
                object.insert(name.into(), i64::try_from(rng.below(50)).unwrap_or(0));
            }
        }
        object
    }

    fn write(&mut self, world: &World, rng: &mut Rng, node: usize) -> Option<Write> {
        let path = rng.pick(&self.paths).clone();
        let document = world.snapshot(node)?.record(&path).ok()?.map(|record| record.document);
        let live: Vec<Dot> =
            document.iter().flat_map(|document| document.versions()).map(|version| version.dot).collect();
        let change = if rng.chance(self.deletes) {
            Change::Delete
        } else {
            match rng.below(10) {
                0 | 1 => Change::Replace(json(&Workload::object(rng))),
                2 | 3 => {
                    let mut members: Vec<String> = Vec::new();
                    for name in ["a", "b", "c"] {
                        match rng.below(4) {
                            0 => members.push(format!("\"{name}\":null")),
                            1 => members.push(format!("\"{name}\":{}", rng.below(50))),
                            _ => {}
                        }
                    }
                    Change::Patch(rejoin_replica::json::Json::trusted(format!("{{{}}}", members.join(","))))
                }
                _ => Change::Put(json(&Workload::object(rng))),
            }
        };
        let observed = if rng.chance(self.contexts) {
            match rng.below(3) {
                0 => Observed::These(Vec::new()),
                1 => Observed::These(live.iter().copied().filter(|_| rng.chance(500)).collect()),
                _ => Observed::These(self.read.get(&path).cloned().unwrap_or_default()),
            }
        } else {
            Observed::All
        };
        let condition = if rng.chance(self.conditions) {
            match (rng.below(4), &document) {
                (0, _) => Condition::Absent,
                (1, _) => Condition::Present,
                (2, Some(document)) => Condition::Matches(vec![rejoin_replica::etag(document)]),
                _ => Condition::NoneOf(vec![[7; 16]]),
            }
        } else {
            Condition::Always
        };
        if rng.chance(300) {
            self.read.insert(path.clone(), live);
        }
        Some(Write { path, change, condition, observed })
    }
}

fn play(world: &mut World, rng: &mut Rng, options: Options) -> Result<(), Violation> {
    let count = usize::try_from(*rng.pick(&[2, 3, 3, 3, 4, 4, 5, 6, 8])).unwrap_or(3);
    let careless = rng.chance(300);
    for node in 0..count {
        let sync = if careless && rng.chance(500) { SyncPolicy::Never } else { SyncPolicy::EveryCommit };
        let name = char::from(b'a' + u8::try_from(node).unwrap_or(0)).to_string();
        world.add_node(&name, sync);
        if rng.chance(200) {
            let offset_ms = i64::try_from(rng.below(400)).unwrap_or(0) - 200;
            let drift_ppm = i64::try_from(rng.below(2_000)).unwrap_or(0) - 1_000;
            world.set_clock(node, Clock { offset_ms, drift_ppm });
        }
    }
    topology(world, rng, count);
    let faults = faults(rng, options.plant);
    let mut workload = Workload::new(rng);
    let mut backups: Vec<(usize, Backup)> = Vec::new();
    let steps = rng.between(60, 220);
    let pause_ms = *rng.pick(&[5, 40, 300]);
    let quiet_start = rng.chance(500);
    if quiet_start {
        world.run_until(500)?;
    }
    for _ in 0..steps {
        let pause = rng.below(pause_ms * 2);
        world.run_until(world.now_ms() + pause)?;
        let node = rng.index(world.nodes.len());
        if world.is_up(node) {
            let burst = if rng.chance(100) { rng.between(2, 12) } else { 1 };
            for _ in 0..burst {
                if let Some(write) = workload.write(world, rng, node) {
                    world.submit(node, write);
                }
            }
        }
        happen(world, rng, &faults, &mut backups)?;
    }
    world.converge(240_000)?;
    world.check_silence(12_000)?;
    world.check_all()
}

/// Tries each fault.
fn happen(
    world: &mut World,
    rng: &mut Rng,
    faults: &Faults,
    backups: &mut Vec<(usize, Backup)>,
) -> Result<(), Violation> {
    let edges = world.edge_count();
    let edge = rng.index(edges);
    let node = rng.index(world.nodes.len());
    // What was broken mends after a while.
    for other in 0..world.nodes.len() {
        if !world.is_up(other) && rng.chance(100) {
            world.start(other);
        }
    }
    for other in 0..edges {
        if rng.chance(40) {
            world.open_edge(other);
        }
    }
    if edges > 0 && rng.chance(faults.cut) {
        world.cut_edge(edge);
    }
    if edges > 0 && rng.chance(faults.stall) {
        world.stall_edge(edge, rng.index(2));
    }
    if edges > 0 && rng.chance(100) {
        // A stalled link is found dead in the end.
        if world.edges[edge].connection.is_some() && rng.chance(100) {
            world.cut_edge(edge);
        }
    }
    if rng.chance(faults.partition) {
        world.trace.mark("partition");
        let side: Vec<bool> = (0..world.nodes.len()).map(|_| rng.chance(500)).collect();
        for other in 0..edges {
            let [one, two] = world.edges[other].nodes;
            if side[one] != side[two] {
                world.block_edge(other);
            }
        }
        if rng.chance(300) {
            // Longer than deletes are remembered.
            let away = rng.between(1_000, 15_000);
            world.run_until(world.now_ms() + away)?;
            world.trace.mark("long absence");
        }
    }
    if rng.chance(faults.kill) {
        let point = *rng.pick(&[CrashPoint::BeforeCommit, CrashPoint::AfterCommit, CrashPoint::AmidEffects]);
        world.kill_at(node, point);
    }
    if rng.chance(faults.power_cut) {
        world.power_cut(node);
    }
    if rng.chance(20) {
        world.sync_disk(node);
    }
    if rng.chance(faults.backup) {
        backups.push((node, world.backup(node)));
    }
    if rng.chance(faults.restore) && !backups.is_empty() {
        let (node, backup) = backups.swap_remove(rng.index(backups.len()));
        world.restore(node, &backup);
    }
    if rng.chance(faults.clone) && world.nodes.len() < 9 && world.is_up(node) {
        let name = format!("{}2", world.nodes[node].name);
        let twin = world.clone_node(node, &name);
        let other = rng.index(twin);
        world.connect(other, twin);
        if rng.chance(500) {
            world.connect(node, twin);
        }
    }
    if rng.chance(faults.clock) {
        let far = *rng.pick(&[300, 3_000, 90_000, 3_600_000]);
        let sign = if rng.chance(600) { 1 } else { -1 };
        let offset_ms = if rng.chance(300) { 0 } else { far * sign };
        world.trace.mark("clock stepped");
        world.set_clock(node, Clock { offset_ms, drift_ppm: 0 });
    }
    if edges > 0 && rng.chance(faults.slow) {
        let delay = *rng.pick(&[5, 500, 3_000]);
        world.set_delay(edge, (1, delay));
    }
    if rng.chance(faults.round) {
        world.ask_for_round(node);
        world.ask_for_status(node);
    }
    Ok(())
}

/// The name of a strategy, for coverage: every one must be met.
pub fn strategies() -> Vec<&'static str> {
    let policy = crate::strategies::policy();
    policy.rules().map(|(_, strategy)| Strategy::name(strategy)).collect()
}
