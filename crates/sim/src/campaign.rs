//! Many worlds: run on all cores, summed up in memory that does not grow with their number.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::scenario::{self, Fault, Options, Outcome};
use crate::violation::{Promise, Violation};

/// Failing seeds that are kept by name, at most: whoever has a thousand knows enough.
const FAILURES_MAX: usize = 1_000;

/// Worlds from which on every mark of [`MUST_OCCUR`] is expected.
pub const MARKS_WORLDS: u64 = 1_000;

/// Situations that [`MARKS_WORLDS`] worlds must have met; without them a green run would say little.
pub const MUST_OCCUR: &[&str] = &[
    "a claim removed a record",
    "a commit failed and was kept",
    "a commit failed and was lost",
    "a core heals, the rest stays broken",
    "a document in doubt was written",
    "a dot with two meanings",
    "a doubt reached a node",
    "a digest session removed a record",
    "a life was doubted",
    "a lie had a value removed",
    "a link is ahead",
    "a newer link replaced an older one",
    "a node ended a value of another",
    "a node joined later",
    "a document too large to travel",
    "a frame in parts",
    "a read failed",
    "a sync failed",
    "a value ended",
    "a write over a value that had ended",
    "atomic batch",
    "atomic batch on a peer",
    "audit-open",
    "backup restored",
    "batch refused",
    "catch-up waits for credit",
    "clock stepped",
    "clone alarm",
    "crash after commit",
    "crash amid effects",
    "crash before commit",
    "differ",
    "digest sessions crossed",
    "exchange",
    "flapping link went away again",
    "floor rose",
    "frames lost in a cut",
    "graft",
    "have",
    "identity renewed",
    "more than 16 nodes",
    "no rounds of anti-entropy",
    "prune",
    "part of the unsynced tail lost",
    "quarantined",
    "receipt",
    "released from quarantine",
    "removals stopped",
    "session catching up",
    "session fenced",
    "session greeting",
    "several inputs in a group",
    "superseded dots claimed with a push",
    "three siblings at the end",
    "three siblings on their way",
    "tombstone collected",
    "topology: line",
    "topology: mesh",
    "topology: random",
    "topology: random regular",
    "topology: ring",
    "topology: star",
    "topology: two clusters and a bridge",
    "two nodes parted for good",
    "two processes of one life met",
    "unsynced tail lost",
    "withheld in a digest session",
    "write refused",
];

/// A world that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The promise that it broke.
    pub violation: Violation,
}

/// Sums over many worlds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Worlds run.
    pub worlds: u64,
    /// Worlds that failed.
    pub failed: u64,
    /// Some of them, by seed.
    pub failures: Vec<Failure>,
    /// Writes minted.
    pub writes: u64,
    /// Frames sent.
    pub frames: u64,
    /// Virtual time, in milliseconds, summed over worlds.
    pub cluster_ms: u64,
    /// The same, summed over nodes.
    pub node_ms: u64,
    /// The longest that healed nodes took to become equal, in virtual milliseconds.
    pub settled_ms_max: u64,
    /// The seed of that world.
    pub settled_seed: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Situations, by name.
    pub marks: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.worlds += 1;
        self.writes += outcome.writes;
        self.frames += outcome.frames;
        self.cluster_ms += outcome.virtual_ms;
        self.node_ms += outcome.virtual_ms * outcome.nodes;
        if outcome.settled_ms > self.settled_ms_max {
            (self.settled_ms_max, self.settled_seed) = (outcome.settled_ms, seed);
        }
        for (kind, times) in outcome.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (mark, times) in outcome.marks {
            *self.marks.entry(mark).or_default() += times;
        }
        if let Some(violation) = outcome.violation {
            self.failed += 1;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(Failure { seed, violation });
            }
        }
    }

    fn join(&mut self, other: Totals) {
        self.worlds += other.worlds;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.sort_by_key(|failure| failure.seed);
        self.failures.truncate(FAILURES_MAX);
        self.writes += other.writes;
        self.frames += other.frames;
        self.cluster_ms += other.cluster_ms;
        self.node_ms += other.node_ms;
        let (ours, theirs) =
            ((self.settled_ms_max, self.settled_seed), (other.settled_ms_max, other.settled_seed));
        (self.settled_ms_max, self.settled_seed) = ours.max(theirs);
        for (kind, times) in other.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (mark, times) in other.marks {
            *self.marks.entry(mark).or_default() += times;
        }
    }

    /// Marks and faults that should have occurred in that many worlds and did not.
    pub fn missing_marks(&self) -> Vec<&'static str> {
        if self.worlds < MARKS_WORLDS {
            return Vec::new();
        }
        let marks = MUST_OCCUR.iter().copied().filter(|mark| !self.marks.contains_key(*mark));
        let faults =
            Fault::ALL.map(Fault::name).into_iter().filter(|fault| !self.faults.contains_key(*fault));
        marks.chain(faults).collect()
    }

    /// Whether every promise was kept and every situation met.
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.missing_marks().is_empty()
    }
}

/// Runs one world; a panic in it is a broken promise like any other.
pub fn run_one(seed: u64, options: Options) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| scenario::run(seed, options))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        let violation = Some(Violation::new(Promise::NoPanic, text));
        Outcome { violation, ..Outcome::default() }
    })
}

/// Runs the worlds of these seeds on `threads` threads. `done` hears of each: how many there have been, and its failure.
///
/// A world is one thread's. Sums do not depend on the order in which worlds end.
pub fn run(
    seeds: Range<u64>,
    options: Options,
    threads: usize,
    done: impl Fn(u64, Option<Failure>) + Sync,
) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let ended = AtomicU64::new(0);
    let sum = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut totals = Totals::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = run_one(seed, options);
                    let failure = outcome.violation.clone().map(|violation| Failure { seed, violation });
                    totals.add(seed, outcome);
                    done(ended.fetch_add(1, Ordering::Relaxed) + 1, failure);
                }
                sum.lock().unwrap_or_else(PoisonError::into_inner).join(totals);
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
