//! What goes wrong, each kind by chance of its own, so that switching one off leaves the others as they are.

use rejoin_store::SyncPolicy;

use crate::clock::Clock;
use crate::disk::DiskFault;
use crate::node::{Backup, CrashPoint};
use crate::rng::Rng;
use crate::violation::Violation;
use crate::world::{Image, Tells, World};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A link is cut, with frames on their way and in the middle of one.
    LinkCut,
    /// One direction of a link stops carrying frames, and nobody notices for a while.
    OneWayStall,
    /// A link that comes and goes every few moments.
    FlappingLink,
    /// Nodes fall into two halves that cannot reach each other.
    Partition,
    /// A node is away for longer than deletes are remembered: unreachable, or not running.
    LongAbsence,
    /// A process dies before, after or amid a commit's effects.
    ProcessCrash,
    /// A machine loses power, and the disk what was not synced, or a part of it.
    PowerCut,
    /// An old backup takes the place of a disk.
    Restore,
    /// A copy of a running node's disk is started beside it.
    Clone,
    /// A wall clock steps ahead or back.
    ClockStep,
    /// A wall clock reads ten years ahead.
    ClockFarAhead,
    /// A wall clock gains or loses up to a twentieth.
    ClockDrift,
    /// A link becomes slow.
    SlowLink,
    /// Only one of two nodes can reach the other.
    OneWayDial,
    /// A commit fails: nothing of it is there, or all of it.
    CommitError,
    /// A sync fails.
    SyncError,
    /// A read fails, of a group of inputs, a catch-up or a digest session.
    ReadError,
    /// A disk is lost with all it held, and the machine starts over with an empty one.
    DiskLoss,
    /// Links are added and taken away, and nodes join.
    Rewiring,
    /// A member says what is not so: claims, receipts, floors and pasts that it made up.
    Liar,
    /// A running machine is copied with its memory, and both go on.
    MemoryClone,
    /// A machine is set back to what it was a while ago, memory and disk.
    MemoryRevert,
    /// A wall clock is wrong for long, by minutes or years, and then right again.
    ClockWrong,
    /// A member answers what it was asked, and says that values are gone which are there.
    Denial,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 24] = [
        Fault::LinkCut,
        Fault::OneWayStall,
        Fault::FlappingLink,
        Fault::Partition,
        Fault::LongAbsence,
        Fault::ProcessCrash,
        Fault::PowerCut,
        Fault::Restore,
        Fault::Clone,
        Fault::ClockStep,
        Fault::ClockFarAhead,
        Fault::ClockDrift,
        Fault::SlowLink,
        Fault::OneWayDial,
        Fault::CommitError,
        Fault::SyncError,
        Fault::ReadError,
        Fault::DiskLoss,
        Fault::Rewiring,
        Fault::MemoryClone,
        Fault::MemoryRevert,
        Fault::Liar,
        Fault::ClockWrong,
        Fault::Denial,
    ];

    /// Its name in commands and figures.
    pub fn name(self) -> &'static str {
        match self {
            Fault::LinkCut => "link-cut",
            Fault::OneWayStall => "one-way-stall",
            Fault::FlappingLink => "flapping-link",
            Fault::Partition => "partition",
            Fault::LongAbsence => "long-absence",
            Fault::ProcessCrash => "process-crash",
            Fault::PowerCut => "power-cut",
            Fault::Restore => "restore",
            Fault::Clone => "clone",
            Fault::ClockStep => "clock-step",
            Fault::ClockFarAhead => "clock-far-ahead",
            Fault::ClockDrift => "clock-drift",
            Fault::SlowLink => "slow-link",
            Fault::OneWayDial => "one-way-dial",
            Fault::CommitError => "commit-error",
            Fault::SyncError => "sync-error",
            Fault::ReadError => "read-error",
            Fault::DiskLoss => "disk-loss",
            Fault::Rewiring => "rewiring",
            Fault::Liar => "liar",
            Fault::MemoryClone => "memory-clone",
            Fault::MemoryRevert => "memory-revert",
            Fault::ClockWrong => "clock-wrong",
            Fault::Denial => "denial",
        }
    }

    /// The fault of that name.
    pub fn of_name(name: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// How often it is tried in a world that has it, per thousand steps, and in how many worlds of a thousand it is.
    fn rate(self) -> (u64, u64) {
        match self {
            Fault::LinkCut => (60, 500),
            Fault::OneWayStall => (20, 500),
            Fault::FlappingLink => (15, 200),
            Fault::Partition => (30, 500),
            Fault::LongAbsence => (8, 400),
            Fault::ProcessCrash => (40, 500),
            Fault::PowerCut => (25, 500),
            Fault::Restore => (15, 300),
            Fault::Clone => (8, 120),
            Fault::ClockStep => (30, 300),
            Fault::ClockFarAhead => (10, 60),
            Fault::ClockDrift => (20, 200),
            Fault::SlowLink => (20, 500),
            Fault::OneWayDial => (10, 200),
            Fault::CommitError => (15, 250),
            Fault::SyncError => (15, 200),
            Fault::ReadError => (15, 250),
            Fault::DiskLoss => (5, 150),
            Fault::Rewiring => (25, 250),
            Fault::Liar => (40, 150),
            Fault::MemoryClone => (8, 80),
            Fault::MemoryRevert => (15, 80),
            Fault::ClockWrong => (15, 200),
            Fault::Denial => (40, 100),
        }
    }
}

/// Some kinds of fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(u32);

impl FaultSet {
    /// None.
    pub const NONE: FaultSet = FaultSet(0);

    /// With this one as well.
    #[must_use]
    pub fn with(self, fault: Fault) -> FaultSet {
        FaultSet(self.0 | 1 << fault as u32)
    }

    /// Whether it is among them.
    pub fn contains(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }
}

/// One kind of fault in one world.
struct Source {
    fault: Fault,
    per_mille: u64,
    chance: Rng,
}

/// All that goes wrong in one world, and what of it is going on.
pub(super) struct Faults {
    sources: Vec<Source>,
    mending: Rng,
    backups: Vec<(usize, Backup)>,
    images: Vec<(usize, Image)>,
    flapping: Vec<usize>,
    /// Nodes whose clocks are wrong.
    wrong: Vec<usize>,
    righting: Rng,
}

impl Faults {
    /// The faults of a world: each kind is in it or not, by chance, unless it is switched off or forced. A calm world
    /// has slow links and cut ones.
    pub(super) fn new(seed: u64, without: FaultSet, forced: &[Fault], calm: bool) -> Faults {
        let sources = Fault::ALL.into_iter().map(|fault| {
            let mut chance = Rng::of_seed(seed ^ (0xfa17 + fault as u64) << 40);
            let (per_mille, worlds) = fault.rate();
            let there = chance.chance(worlds) && (!calm || matches!(fault, Fault::LinkCut | Fault::SlowLink));
            let forced = forced.contains(&fault);
            let per_mille = match (without.contains(fault), forced, there) {
                (true, ..) | (false, false, false) => 0,
                (false, true, _) => per_mille.max(50),
                (false, false, true) => per_mille,
            };
            Source { fault, per_mille, chance }
        });
        let mending = Rng::of_seed(seed ^ 0x3e4d << 44);
        let righting = Rng::of_seed(seed ^ 0xc10c << 44);
        Faults {
            sources: sources.collect(),
            mending,
            backups: Vec::new(),
            images: Vec::new(),
            flapping: Vec::new(),
            wrong: Vec::new(),
            righting,
        }
    }

    /// Whether some process may run twice in this world, or go on from what it was.
    pub(super) fn copies(&self) -> bool {
        let kinds = [Fault::Restore, Fault::Clone, Fault::MemoryClone, Fault::MemoryRevert];
        self.sources.iter().any(|source| source.per_mille > 0 && kinds.contains(&source.fault))
    }

    /// Whether somebody lies in this world and is believed.
    pub(super) fn denies(&self) -> bool {
        self.sources.iter().any(|source| source.per_mille > 0 && source.fault == Fault::Denial)
    }

    /// One step: what was broken may mend, and each fault may strike.
    pub(super) fn happen(&mut self, world: &mut World) -> Result<(), Violation> {
        self.mend(world);
        self.set_clocks_right(world);
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            if !source.chance.chance(source.per_mille) {
                continue;
            }
            let (fault, mut chance) = (source.fault, source.chance.clone());
            // A stream of its own for what follows, so that how much it draws does not matter later.
            source.chance.bits();
            self.strike(world, fault, &mut chance)?;
        }
        Ok(())
    }

    fn mend(&mut self, world: &mut World) {
        let now_ms = world.now_ms();
        for node in 0..world.nodes.len() {
            let back = world.nodes[node].away_until_ms <= now_ms;
            if !world.is_up(node) && back && self.mending.chance(100) {
                world.start(node);
            }
        }
        for edge in 0..world.edge_count() {
            let back = world.edges[edge].away_until_ms <= now_ms;
            let flapping = self.flapping.contains(&edge);
            if back && self.mending.chance(if flapping { 500 } else { 40 }) {
                world.open_edge(edge);
            }
            if flapping && self.mending.chance(300) {
                world.block_edge(edge);
                world.trace.mark("flapping link went away again");
            }
            // A stalled link is found dead in the end.
            if self.mending.chance(10) {
                world.end_stall(edge);
            }
        }
    }

    /// Clocks that are wrong come right, now and then.
    fn set_clocks_right(&mut self, world: &mut World) {
        let righting = &mut self.righting;
        self.wrong.retain(|node| {
            let right = righting.chance(40);
            if right {
                world.set_clock(*node, Clock::default());
                world.trace.mark("a wrong clock came right");
            }
            !right
        });
    }

    fn rewire(&mut self, world: &mut World, chance: &mut Rng, node: usize, edge: usize) -> bool {
        match chance.below(10) {
            0 if world.nodes.len() < NODES_MAX => {
                let name = format!("new{}", world.nodes.len());
                let joined = world.add_node(&name, SyncPolicy::EveryCommit);
                world.connect(node, joined);
                world.trace.mark("a node joined later");
                true
            }
            1..=4 => {
                let removed = world.edge_count() > 0 && world.disconnect(edge);
                if removed {
                    world.trace.mark("two nodes parted for good");
                }
                removed
            }
            _ => {
                let other = chance.index(world.nodes.len());
                world.connect(node, other);
                node != other
            }
        }
    }

    fn strike(&mut self, world: &mut World, fault: Fault, chance: &mut Rng) -> Result<(), Violation> {
        let edges = world.edge_count();
        let edge = chance.index(edges);
        let node = chance.index(world.nodes.len());
        let done = match fault {
            Fault::LinkCut => edges > 0 && world.cut_edge(edge),
            Fault::OneWayStall => edges > 0 && world.stall_edge(edge, chance.index(2)),
            Fault::FlappingLink => {
                let more = edges > 0 && !self.flapping.contains(&edge);
                if more {
                    self.flapping.push(edge);
                }
                more
            }
            Fault::Partition => {
                let side: Vec<bool> = world.nodes.iter().map(|_| chance.chance(500)).collect();
                for other in 0..edges {
                    let [one, two] = world.edges[other].nodes;
                    if side[one] != side[two] {
                        world.block_edge(other);
                    }
                }
                true
            }
            Fault::LongAbsence => {
                // Deletes are remembered for 0 to 5 s in most worlds.
                let until_ms = world.now_ms() + chance.between(2_000, 20_000);
                if chance.chance(400) {
                    world.kill(node);
                    world.nodes[node].away_until_ms = until_ms;
                } else {
                    for other in 0..edges {
                        if world.edges[other].nodes.contains(&node) {
                            world.block_edge(other);
                            world.edges[other].away_until_ms = until_ms;
                        }
                    }
                }
                if chance.chance(300) {
                    let idle_ms = chance.between(1_000, 15_000);
                    world.run_until(world.now_ms() + idle_ms)?;
                }
                true
            }
            Fault::ProcessCrash => {
                let points = [CrashPoint::BeforeCommit, CrashPoint::AfterCommit, CrashPoint::AmidEffects];
                world.kill_at(node, *chance.pick(&points))
            }
            Fault::PowerCut => world.power_cut(node),
            Fault::Restore => {
                if chance.chance(600) || self.backups.is_empty() {
                    self.backups.push((node, world.backup(node)));
                    false
                } else {
                    let (node, backup) = self.backups.swap_remove(chance.index(self.backups.len()));
                    world.restore(node, &backup);
                    true
                }
            }
            Fault::Clone => {
                let possible = world.is_up(node) && world.nodes.len() < NODES_MAX;
                if possible {
                    let name = format!("{}{}", world.nodes[node].name, world.nodes.len());
                    let twin = world.clone_node(node, &name);
                    let other = chance.index(twin);
                    world.connect(other, twin);
                    if chance.chance(500) {
                        world.connect(node, twin);
                    }
                }
                possible
            }
            Fault::ClockStep => {
                let far = *chance.pick(&[300, 3_000, 90_000, 3_600_000]);
                let sign = if chance.chance(600) { 1 } else { -1 };
                let offset_ms = if chance.chance(300) { 0 } else { far * sign };
                world.trace.mark("clock stepped");
                let drift_ppm = world.clock(node).drift_ppm;
                world.set_clock(node, Clock { offset_ms, drift_ppm });
                true
            }
            Fault::ClockFarAhead => {
                let drift_ppm = world.clock(node).drift_ppm;
                world.set_clock(node, Clock { offset_ms: TEN_YEARS_MS, drift_ppm });
                true
            }
            Fault::ClockDrift => {
                let clock = world.clock(node);
                let drift_ppm = i64::try_from(chance.below(100_000)).unwrap_or(0) - 50_000;
                // It goes on from what it reads now.
                let elapsed = i64::try_from(world.now_ms()).unwrap_or(0);
                let offset_ms = clock.offset_ms + elapsed * (clock.drift_ppm - drift_ppm) / 1_000_000;
                world.set_clock(node, Clock { offset_ms, drift_ppm });
                true
            }
            Fault::OneWayDial => {
                if edges > 0 {
                    world.set_dialer(edge, chance.index(2));
                }
                edges > 0
            }
            Fault::CommitError => {
                let kinds = [DiskFault::CommitLost, DiskFault::CommitKept];
                world.break_disk(node, *chance.pick(&kinds))
            }
            Fault::SyncError => world.break_disk(node, DiskFault::Sync),
            Fault::ReadError => world.break_disk(node, DiskFault::Read(chance.below(12))),
            Fault::DiskLoss => {
                self.backups.retain(|(of, _)| *of != node);
                self.images.retain(|(of, _)| *of != node);
                world.lose_disk(node);
                true
            }
            Fault::ClockWrong => {
                let far =
                    [600_000, 600_000, 3_600_000, TEN_YEARS_MS, TEN_YEARS_MS, -600_000, -TEN_YEARS_MS / 5];
                let offset_ms = *chance.pick(&far);
                world.set_clock(node, Clock { offset_ms, drift_ppm: 0 });
                if !self.wrong.contains(&node) {
                    self.wrong.push(node);
                }
                true
            }
            Fault::Rewiring => self.rewire(world, chance, node, edge),
            Fault::MemoryClone => {
                let name = format!("{}{}", world.nodes[node].name, world.nodes.len());
                let tells = tells(chance);
                let room = world.nodes.len() < NODES_MAX;
                let twin = if room { world.copy_machine(node, &name, tells) } else { None };
                if let Some(twin) = twin {
                    world.connect(chance.index(twin), twin);
                    if chance.chance(300) {
                        world.connect(node, twin);
                    }
                }
                twin.is_some()
            }
            Fault::MemoryRevert => {
                if chance.chance(500) || self.images.is_empty() {
                    self.images.extend(world.image(node).map(|image| (node, image)));
                    false
                } else {
                    let (node, image) = self.images.swap_remove(chance.index(self.images.len()));
                    let tells = tells(chance);
                    world.set_back(node, &image, tells);
                    true
                }
            }
            Fault::Liar => world.lie(chance),
            Fault::Denial => world.deny(chance),
            Fault::SlowLink => {
                let delay = *chance.pick(&[5, 500, 3_000]);
                if edges > 0 {
                    world.set_delay(edge, (1, delay));
                }
                edges > 0
            }
        };
        if done {
            world.count_fault(fault.name());
        }
        Ok(())
    }
}

/// How a copied machine hears of it: mostly by itself, within a second or so.
fn tells(chance: &mut Rng) -> Tells {
    match chance.below(5) {
        0 => Tells::Nothing,
        1 => Tells::ClockJump(chance.between(0, 2_000)),
        _ => Tells::Generation(chance.between(0, 1_000)),
    }
}

/// Far beyond every clock that is merely wrong.
const TEN_YEARS_MS: i64 = 315_360_000_000;

/// Nodes of one world, clones included: 25 and a little room for those.
const NODES_MAX: usize = 28;
