//! A random world from a seed: topology, limits, faults and workload, then healing and every check.
//!
//! Everything is drawn from the seed, each aspect from a stream of its own, so that [`Options`] can make a world smaller
//! without making it another one.

mod faults;
mod topology;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use rejoin_replica::config::PART_BYTES;
use rejoin_replica::path::Prefix;
use rejoin_replica::{Change, Condition, Config, Strategy};
use rejoin_store::SyncPolicy;

pub use faults::{Fault, FaultSet};

use crate::clock::Clock;
use crate::plant::{Plant, Planted};
use crate::rng::Rng;
use crate::violation::Violation;
use crate::world::{Settings, World};
use faults::Faults;
use topology::Shape;
use workload::Workload;

/// How long healed nodes take to become equal and quiet, at most, in virtual milliseconds.
///
/// Rounds come every 5 s at most in these worlds, a frame takes 10 ms at most once the network has healed, and a digest
/// session, the catch-up after it and the round that finds both ends equal may each wait for a round, once for every hop
/// of a line.
pub const LIVENESS_BOUND_MS: u64 = 240_000;

/// How a run is to be done: what makes it smaller, and what is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep a readable trace.
    pub trace: bool,
    /// A defect to plant.
    pub plant: Option<Plant>,
    /// Plan the world for that defect, and do not plant it.
    pub control: bool,
    /// Nodes at the start, at most.
    pub nodes_max: Option<usize>,
    /// Steps of the schedule, at most. Each step is a write or a burst of them, and a try of every fault.
    pub steps_max: Option<u64>,
    /// Paths that are written, at most.
    pub paths_max: Option<usize>,
    /// Faults that do not happen.
    pub without: FaultSet,
}

impl Options {
    /// The command that replays a seed with these options.
    pub fn replay(&self, seed: u64) -> String {
        format!("cargo xtask sim {}", self.arguments(seed))
    }

    /// A seed and what makes its world smaller, as arguments.
    pub fn arguments(&self, seed: u64) -> String {
        let mut text = format!("--seed {seed}");
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!(" --{name} {value}"));
            }
        };
        add("nodes", self.nodes_max.map(|nodes| nodes.to_string()));
        add("steps", self.steps_max.map(|steps| steps.to_string()));
        add("paths", self.paths_max.map(|paths| paths.to_string()));
        let without: Vec<&str> = self.without.iter().map(Fault::name).collect();
        add("without", (!without.is_empty()).then(|| without.join(",")));
        add("plant", self.plant.map(|plant| plant.name().to_string()));
        if self.control {
            text.push_str(" --control");
        }
        text
    }
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How often each situation occurred.
    pub marks: BTreeMap<&'static str, u64>,
    /// How often each fault was injected.
    pub faults: BTreeMap<&'static str, u64>,
    /// The trace, when it was asked for.
    pub lines: Vec<String>,
    /// Writes minted.
    pub writes: u64,
    /// Nodes at the end.
    pub nodes: u64,
    /// Steps of its schedule.
    pub steps: u64,
    /// Frames sent.
    pub frames: u64,
    /// Virtual time it took, in milliseconds.
    pub virtual_ms: u64,
    /// Virtual time that healed nodes took to become equal, in milliseconds: the longest.
    pub settled_ms: u64,
}

/// Runs the world of a seed to its end.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut rng = Rng::of_seed(seed ^ 0x5eed_0000_0000_0000);
    let mut settings = settings(&mut rng, options);
    let mut ttl = Rng::of_seed(seed ^ 0x7717_0000_0000_0000);
    let ttls = *ttl.pick(&[0, 0, 100, 400]);
    settings.ttl = ttls > 0;
    settings.config = Config {
        expire_grace_ms: *ttl.pick(&[0, 500, 2_000]),
        expire_stagger_ms: *ttl.pick(&[0, 300, 2_000]),
        expire_batch_max: *ttl.pick(&[1, 3, 256]),
        expire_interval_ms: *ttl.pick(&[1, 50, 250]),
        ..settings.config
    };
    let calm = match options.plant {
        Some(plant) => plant.row().calm,
        None => rng.chance(50),
    };
    if calm {
        settings.config = calm_config(settings.config);
    }
    let mut sizes = Rng::of_seed(seed ^ 0x512e_0000_0000_0000);
    settings.part_bytes = *sizes.pick(&[PART_BYTES, PART_BYTES, 200, 40]);
    settings.config.siblings_max = *sizes.pick(&[64, 64, 3, 2]);
    // Rounds look again for what was too large to travel, once it is not.
    if !calm {
        let most = settings.config.document_bytes_max;
        settings.config.document_bytes_max = *sizes.pick(&[most, most, most, 700, 400]);
    }
    let mut world = World::new(seed, settings);
    let mut steps = 0;
    let _planted = options.plant.filter(|_| !options.control).map(Planted::new);
    let violation = play(&mut world, seed, &mut rng, options, calm, (ttls, ttl), &mut steps).err();
    Outcome {
        violation,
        hash: world.trace.hash(),
        marks: world.trace.marks().clone(),
        faults: world.trace.faults().clone(),
        lines: world.trace.lines().to_vec(),
        writes: world.oracle.writes().len() as u64,
        nodes: world.nodes.len() as u64,
        steps,
        frames: world.sent.values().sum(),
        virtual_ms: world.now_ms(),
        settled_ms: world.settled_ms,
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
        redundant_links_max: *rng.pick(&[0, 1, 3]),
        ..Config::default()
    };
    let slowest = *rng.pick(&[2, 20, 200]);
    Settings {
        config,
        delay_ms: (1, slowest),
        commits_per_scan: 100,
        group_max: *rng.pick(&[1, 3, 12]),
        part_bytes: PART_BYTES,
        ttl: false,
        signs: false,
        plant: options.plant.filter(|_| !options.control),
        trace: options.trace,
    }
}

/// Without rounds of anti-entropy, what is pushed and what lags has to suffice, as long as nothing else goes wrong than
/// links that are slow or cut. Rounds would mend in silence what these two forget.
fn calm_config(config: Config) -> Config {
    Config {
        anti_entropy_interval_ms: None,
        tombstone_retention_ms: 3_600_000,
        clock_skew_max_ms: 60_000,
        ..config
    }
}

/// Nodes at the start: mostly few, because few nodes meet in more ways; at times up to 25.
fn node_count(rng: &mut Rng) -> usize {
    let count = match rng.below(100) {
        0 | 1 => rng.between(17, 25),
        2..=6 => rng.between(9, 16),
        _ => *rng.pick(&[2, 3, 3, 3, 4, 4, 5, 6, 8]),
    };
    usize::try_from(count).unwrap_or(2)
}

fn play(
    world: &mut World,
    seed: u64,
    rng: &mut Rng,
    options: Options,
    calm: bool,
    (ttls, ttl): (u64, Rng),
    done: &mut u64,
) -> Result<(), Violation> {
    let forced = options.plant.map(|plant| plant.row().needs).unwrap_or_default();
    let mut faults = Faults::new(seed, options.without, forced, calm);
    // What is signed tells copies from lies; elsewhere nothing is to be told.
    world.settings.signs = faults.copies();
    if faults.denies() {
        let mut budget = Rng::of_seed(seed ^ 0x11e5_0000_0000_0000);
        world.settings.config.removals_max = *budget.pick(&[1_000, 8, 3]);
        world.settings.config.removals_share_percent = 0;
    }
    let count = node_count(rng).min(options.nodes_max.unwrap_or(usize::MAX)).max(1);
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
    let mut rng = Rng::of_seed(seed ^ 0x70b0_0000_0000_0000);
    let shape = *rng.pick(&Shape::ALL);
    shape.connect(world, &mut rng, count);
    world.trace.mark(shape.mark());
    if calm {
        world.trace.mark("no rounds of anti-entropy");
    }
    if count > 16 {
        world.trace.mark("more than 16 nodes");
    }

    let mut rng = Rng::of_seed(seed ^ 0x3031_0000_0000_0000);
    let mut workload = Workload::new(&mut rng, options.paths_max, ttls, ttl);
    let steps = if count > 8 { rng.between(40, 80) } else { rng.between(60, 220) };
    let steps = steps.min(options.steps_max.unwrap_or(u64::MAX));
    let pause_ms = *rng.pick(&[5, 40, 300]);
    if rng.chance(500) {
        world.run_until(500)?;
    }
    // The others are what they were before there was such a thing.
    let sends_again = seed % 5 == 3;
    let by_part = seed % 5 == 1;
    for _ in 0..steps {
        *done += 1;
        let pause = rng.below(pause_ms * 2);
        world.run_until(world.now_ms() + pause)?;
        let node = rng.index(world.nodes.len());
        let burst = if rng.chance(100) { rng.between(2, 12) } else { 1 };
        let mut together = Vec::new();
        for _ in 0..burst {
            if let Some(write) = workload.write(world, &mut rng, node) {
                let path = write.path.clone();
                // What can be refused would refuse the whole batch, nearly always.
                let always = write.condition == Condition::Always && is_always_done(&write.change);
                match burst % 2 == 0 && always {
                    true => together.push(write),
                    false if sends_again && *done % 3 == 1 => drop(world.submit_once(node, write)),
                    false => drop(world.submit(node, write)),
                }
                if rng.chance(100) {
                    // Another client writes to the same path at the same moment.
                    let other = rng.index(world.nodes.len());
                    if let Some(write) = workload.write_to(path, world, &mut rng, other) {
                        world.submit(other, write);
                    }
                }
            }
        }
        if !together.is_empty() {
            world.submit_all(node, together);
        }
        if sends_again && *done % 7 == 2 {
            world.submit_again(usize::try_from(*done).unwrap_or(0));
        }
        if rng.chance(10) {
            world.sync_disk(node);
        }
        if rng.chance(50) {
            world.ask_for_holders_of_newest(node, rng.between(10, 5_000));
        }
        if rng.chance(10) {
            world.ask_for_status(node);
            if !calm {
                world.ask_for_round(node, if by_part { workload::a_part(*done) } else { Prefix::default() });
            }
        }
        faults.happen(world)?;
    }
    if rng.chance(200) {
        let core = core(world, &mut rng);
        if core.len() < world.nodes.len() {
            world.trace.mark("a core heals, the rest stays broken");
            world.converge_core(&core, LIVENESS_BOUND_MS)?;
        }
    }
    if world.trace.faults().contains_key(Fault::ClockWrong.name()) {
        world.converge_at_the_right_time(LIVENESS_BOUND_MS)?;
    }
    world.converge(LIVENESS_BOUND_MS)?;
    world.check_ended(LIVENESS_BOUND_MS)?;
    // Clients that still wait for receipts hear of them, or give up.
    world.run_until(world.now_ms() + 10_000)?;
    world.check_silence(12_000)?;
    world.check_all()
}

/// Whether a change is done whatever is there, unless the strategy of its path refuses it.
fn is_always_done(change: &Change) -> bool {
    matches!(change, Change::Put(_) | Change::Replace(_) | Change::Patch(_))
}

/// Some nodes that are connected among each other, without the others.
fn core(world: &World, rng: &mut Rng) -> BTreeSet<usize> {
    let size = 2 + rng.index(world.nodes.len().saturating_sub(1));
    let mut core = BTreeSet::from([rng.index(world.nodes.len())]);
    while core.len() < size {
        let edges = world.edges.iter().filter(|edge| !edge.removed);
        let next = edges.filter_map(|edge| match edge.nodes.map(|node| core.contains(&node)) {
            [true, false] => Some(edge.nodes[1]),
            [false, true] => Some(edge.nodes[0]),
            _ => None,
        });
        let next: BTreeSet<usize> = next.collect();
        let Some(&node) = next.iter().nth(rng.index(next.len())) else { break };
        core.insert(node);
    }
    core
}

/// The name of a strategy, for coverage: every one must be met.
pub fn strategies() -> Vec<&'static str> {
    let policy = crate::strategies::policy();
    policy.rules().map(|(_, strategy)| Strategy::name(strategy)).collect()
}
