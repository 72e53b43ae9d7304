//! The index of expiries in a store on disk: it survives the end of the process, and follows every change of a value.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use std::path::Path as Directory;
use std::sync::Arc;

use rejoin_causal::NodeId;
use rejoin_replica::json::Json;
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Config, Input, Now, Observed, Policy, Replica, RequestId, Start, Strategy, Ttl, View,
    Write, body::is_bare_tombstone,
};
use rejoin_store::{FjallEngine, FjallOptions, Store, SyncPolicy};

const START_MS: u64 = 1_700_000_000_000;

struct Process {
    store: Store<FjallEngine>,
    replica: Replica,
}

fn at(ms: u64) -> Now {
    Now { wall_ms: START_MS + ms, steady_ms: ms }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

impl Process {
    fn start(directory: &Directory, now_ms: u64) -> Process {
        let engine = FjallEngine::open(directory, FjallOptions::default()).unwrap();
        let mut store = Store::open(engine, SyncPolicy::EveryCommit).unwrap();
        let epoch = store.begin_epoch(at(now_ms).wall_ms, 1).unwrap();
        let policy = Arc::new(Policy::new(Strategy::LastWriteWins));
        let config = Config { anti_entropy_interval_ms: None, ..Config::default() };
        let start = Start { node: NodeId([1; 16]), epoch, seed: 1, config, policy, statements: Vec::new() };
        let replica = Replica::open(start, at(now_ms), &store.snapshot()).unwrap();
        Process { store, replica }
    }

    fn handle(&mut self, input: Input, now_ms: u64) {
        let effects = self.replica.handle([input], at(now_ms), &self.store.snapshot()).unwrap();
        effects.commit(&mut self.store).unwrap();
    }

    fn write(&mut self, at_path: &str, change: Change, ttl_ms: Option<u64>, now_ms: u64) {
        let ttl = ttl_ms.map(|ms| Ttl::of_ms(ms).unwrap());
        let (path, condition, observed) = (path(at_path), Condition::Always, Observed::All);
        self.handle(
            Input::Write(RequestId(1), Write { path, change, condition, observed, ttl, once: None }),
            now_ms,
        );
    }

    fn put(&mut self, at_path: &str, ttl_ms: Option<u64>, now_ms: u64) {
        self.write(at_path, Change::Put(Json::null()), ttl_ms, now_ms);
    }

    fn index(&self) -> Vec<(u64, String)> {
        let rows = self.store.snapshot().expiries(0, None, u64::MAX, usize::MAX).unwrap();
        rows.into_iter().map(|(ms, path)| (ms - START_MS, path.to_string())).collect()
    }

    fn is_deleted(&self, at: &str) -> bool {
        let record = self.store.snapshot().record(&path(at)).unwrap().unwrap();
        is_bare_tombstone(&record.document)
    }

    /// Lets time pass as the shell does: a tick when the replica asks for one.
    fn run_to(&mut self, mut now_ms: u64, until_ms: u64) {
        loop {
            now_ms = self.replica.deadline(at(now_ms)).max(now_ms);
            if now_ms > until_ms {
                return;
            }
            self.handle(Input::Tick, now_ms);
        }
    }
}

fn row(ms: u64, path: &str) -> (u64, String) {
    (ms, path.to_owned())
}

#[test]
fn the_index_follows_every_change_of_a_value() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), 0);
    process.put("a", Some(5_000), 1);
    process.put("b", Some(1_000), 2);
    process.put("c", None, 3);
    assert_eq!(process.index(), [row(1_002, "b"), row(5_001, "a")], "what ends first is first");
    process.put("a", Some(500), 4);
    assert_eq!(process.index(), [row(504, "a"), row(1_002, "b")], "a new time replaces the old one");
    process.put("a", None, 5);
    process.write("b", Change::Delete, None, 6);
    assert_eq!(process.index(), [], "neither a lasting value nor a delete ends");
}

#[test]
fn a_value_ends_in_the_process_after_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), 0);
    process.put("a", Some(10_000), 1);
    process.put("b", Some(20_000), 2);
    drop(process);
    // Killed, not closed: the store is as the last commit left it.
    let mut process = Process::start(directory.path(), 5_000);
    assert_eq!(process.index(), [row(10_001, "a"), row(20_002, "b")]);
    process.run_to(5_000, 10_300);
    assert!(process.is_deleted("a") && !process.is_deleted("b"), "as soon as its time has come");
    drop(process);
    // Down when the time of the other came: this is taken for a delete that somebody else may have written.
    let mut process = Process::start(directory.path(), 30_000);
    process.run_to(30_000, 80_000);
    assert!(!process.is_deleted("b"));
    process.run_to(80_000, 30_000 + 60_000 + 30_000 + 1_000);
    assert!(process.is_deleted("b"));
    assert_eq!(process.index(), []);
}

#[test]
fn without_values_that_end_nothing_wakes_a_node_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), 0);
    process.put("a", None, 1);
    let collects = process.replica.deadline(at(2));
    process.put("a", Some(1_000), 2);
    assert_eq!(process.replica.deadline(at(2)), 1_002);
    process.put("a", None, 3);
    // The time that was is looked at once more, and then forgotten.
    process.handle(Input::Tick, 1_002);
    assert_eq!(process.replica.deadline(at(1_002)), collects);
}
