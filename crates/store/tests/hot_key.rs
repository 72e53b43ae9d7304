//! One path that is written all the time: what a write, a read and a walk over it cost the engine.
//!
//! Counted, not timed: [`Lsm`] keeps what a log-structured engine keeps of rows that were replaced or removed until it
//! merges tables, here for ever, and counts whatever a read steps over.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rejoin_causal::NodeId;
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Config, Input, Now, Observed, Policy, Replica, RequestId, Start, Strategy, Ttl,
    View as _, Write,
};
use rejoin_store::engine::{Engine, EngineError, Keyspace, RawBatch, RawSnapshot};
use rejoin_store::{FjallEngine, FjallOptions, Store, SyncPolicy};
use rpds::RedBlackTreeMapSync;

const START_MS: u64 = 1_700_000_000_000;

/// What one read of a path of any past may step over: a few rows of each of the maps that it looks into.
const FEW: u64 = 40;

/// A key of a keyspace: its value, if it is there, and how many older ones lie under it.
#[derive(Clone, Debug)]
struct Slot {
    value: Option<Bytes>,
    under: u64,
}

type Slots = RedBlackTreeMapSync<Bytes, Slot>;

/// An engine that never forgets.
#[derive(Clone, Debug, Default)]
struct Lsm {
    keyspaces: Arc<Mutex<[Slots; Keyspace::ALL.len()]>>,
    passed: Arc<AtomicU64>,
}

impl Lsm {
    /// Rows that reads have stepped over since the last time.
    fn passed(&self) -> u64 {
        self.passed.swap(0, Ordering::SeqCst)
    }
}

impl Engine for Lsm {
    type Snapshot = LsmSnapshot;

    fn snapshot(&self) -> LsmSnapshot {
        LsmSnapshot { keyspaces: self.keyspaces.lock().unwrap().clone(), passed: Arc::clone(&self.passed) }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        let mut keyspaces = self.keyspaces.lock().unwrap();
        for (keyspace, key, value) in batch.iter() {
            let slots = &mut keyspaces[keyspace as usize];
            let under = slots.get(key).map_or(0, |slot| slot.under + 1);
            let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
            slots.insert_mut(own(key), Slot { value: value.map(own), under });
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn close(self) -> Result<(), EngineError> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct LsmSnapshot {
    keyspaces: [Slots; Keyspace::ALL.len()],
    passed: Arc<AtomicU64>,
}

impl LsmSnapshot {
    fn pass(&self, rows: u64) {
        self.passed.fetch_add(rows, Ordering::SeqCst);
    }

    fn yielded(&self, (key, slot): (&Bytes, &Slot)) -> Option<Result<(Bytes, Bytes), EngineError>> {
        self.pass(1 + slot.under);
        Some(Ok((key.clone(), slot.value.clone()?)))
    }
}

impl RawSnapshot for LsmSnapshot {
    type Range<'a> = Box<dyn DoubleEndedIterator<Item = Result<(Bytes, Bytes), EngineError>> + 'a>;

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        // The newest of a key is found without a look at the others.
        self.pass(1);
        Ok(self.keyspaces[keyspace as usize].get(key).and_then(|slot| slot.value.clone()))
    }

    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self::Range<'_> {
        if let (
            Bound::Included(lower) | Bound::Excluded(lower),
            Bound::Included(upper) | Bound::Excluded(upper),
        ) = (lower, upper)
            && lower >= upper
        {
            return Box::new(std::iter::empty());
        }
        let bounds = (lower.map(Bytes::copy_from_slice), upper.map(Bytes::copy_from_slice));
        Box::new(self.keyspaces[keyspace as usize].range(bounds).filter_map(|row| self.yielded(row)))
    }
}

struct Process<E: Engine> {
    store: Store<E>,
    replica: Replica,
    now_ms: u64,
}

impl<E: Engine> Process<E> {
    fn start(engine: E, versions_max: u32) -> Process<E> {
        let mut store = Store::open(engine, SyncPolicy::Never).unwrap();
        let epoch = store.begin_epoch(START_MS, 1).unwrap();
        let policy = Arc::new(Policy::new(Strategy::LastWriteWins));
        let config = Config { versions_max, anti_entropy_interval_ms: None, ..Config::default() };
        let start = Start { node: NodeId([1; 16]), epoch, seed: 1, config, policy, statements: Vec::new() };
        let now = Now { wall_ms: START_MS, steady_ms: 0 };
        let replica = Replica::open(start, now, &store.snapshot()).unwrap();
        Process { store, replica, now_ms: 0 }
    }

    fn handle(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let now = Now { wall_ms: START_MS + self.now_ms, steady_ms: self.now_ms };
        let effects = self.replica.handle(inputs, now, &self.store.snapshot()).unwrap();
        effects.commit(&mut self.store).unwrap();
    }

    /// Writes, each in a commit of its own and a millisecond after the one before.
    fn write(&mut self, change: &Change, ttl: Option<Ttl>, times: u64) {
        for _ in 0..times {
            self.now_ms += 1;
            self.handle([Input::Write(RequestId(1), write("hot/key", change, ttl))]);
        }
    }

    /// Ticks when they are due.
    fn tick(&mut self) {
        let now = Now { wall_ms: START_MS + self.now_ms, steady_ms: self.now_ms };
        if self.replica.deadline(now) <= self.now_ms {
            self.handle([Input::Tick]);
        }
    }
}

fn write(at: &str, change: &Change, ttl: Option<Ttl>) -> Write {
    let (condition, observed) = (Condition::Always, Observed::All);
    Write { path: Path::parse(at).unwrap(), change: change.clone(), condition, observed, ttl, once: None }
}

fn put() -> Change {
    Change::Put(Json::parse(br#"{"some":"value"}"#, &JsonLimits::default()).unwrap())
}

/// Neighbours, so that walks have something to find on both sides.
fn with_neighbours(engine: &Lsm, versions_max: u32) -> Process<Lsm> {
    let mut process = Process::start(engine.clone(), versions_max);
    for n in 0..50 {
        let paths = [format!("cold/{n}"), format!("hot/{n}"), format!("warm/{n}")];
        process.handle(paths.iter().map(|at| Input::Write(RequestId(1), write(at, &put(), None))));
    }
    process
}

/// The work of the next hundred writes, of one.
fn work_of_a_write(process: &mut Process<Lsm>, engine: &Lsm, change: &Change, ttl: Option<Ttl>) -> u64 {
    engine.passed();
    process.write(change, ttl, 100);
    engine.passed().div_ceil(100)
}

#[test]
fn a_write_costs_the_same_after_a_hundred_thousand_others_on_its_path() {
    for (versions_max, many) in [(0, 100_000), (10, 100_000), (1, 5_000), (100, 5_000)] {
        let engine = Lsm::default();
        let mut process = with_neighbours(&engine, versions_max);
        process.write(&put(), None, 1_000);
        let early = work_of_a_write(&mut process, &engine, &put(), None);
        process.write(&put(), None, many);
        let late = work_of_a_write(&mut process, &engine, &put(), None);
        println!("max_versions {versions_max}: {early} rows a write after 1,000 writes, {late} after {many}");
        assert!(late <= early + 1 && late <= FEW, "max_versions {versions_max}: {early}, then {late} rows");
        let history = process.store.snapshot().history(&Path::parse("hot/key").unwrap()).count();
        assert_eq!(history, versions_max as usize);
    }
}

#[test]
fn deleting_and_writing_again_costs_the_same_however_often() {
    let engine = Lsm::default();
    let mut process = with_neighbours(&engine, 10);
    let mut again = |times: u64| {
        for _ in 0..times {
            process.write(&put(), None, 1);
            process.write(&Change::Delete, None, 1);
        }
        engine.passed()
    };
    again(500);
    let early = again(100);
    again(20_000);
    let late = again(100);
    println!("put and delete: {early} rows for a hundred pairs after 500, {late} after 20,000");
    assert!(late <= early + 100, "{early}, then {late}");
}

#[test]
fn a_value_that_is_kept_alive_costs_the_same_however_often() {
    let engine = Lsm::default();
    let mut process = with_neighbours(&engine, 0);
    let ttl = Ttl::of_ms(5_000).ok();
    // A node of values that end: the walk over them is part of what they cost.
    let mut again = |times: u64| {
        for _ in 0..times {
            process.write(&put(), ttl, 1);
            process.tick();
        }
        engine.passed()
    };
    again(10_000);
    let early = again(5_000);
    again(90_000);
    let late = again(5_000);
    println!("kept alive: {early} rows for 5,000 writes after 10,000, {late} after 105,000");
    // A row that is gone is stepped over once by each look at the index, of which the later ones come after a minute.
    assert!(late <= early + 3 * 5_000, "{early}, then {late}");
}

#[test]
fn writes_of_one_group_leave_what_one_of_them_would() {
    let engine = Lsm::default();
    let mut process = with_neighbours(&engine, 10);
    process.write(&put(), None, 1_000);
    let rows = || {
        let count = |slots: &Slots| slots.values().map(|slot| 1 + slot.under).sum::<u64>();
        count(&engine.keyspaces.lock().unwrap()[Keyspace::History as usize])
    };
    let before = rows();
    process.now_ms += 1;
    process.handle((0..512).map(|_| Input::Write(RequestId(1), write("hot/key", &put(), None))));
    let written = rows() - before;
    println!("512 writes of one path in one commit: {written} history rows written or removed");
    assert_eq!(written, 20, "ten old ones go and ten new ones come");
    assert_eq!(process.store.snapshot().history(&Path::parse("hot/key").unwrap()).count(), 10);
}

#[test]
fn reading_the_path_takes_one_row() {
    let engine = Lsm::default();
    let mut process = with_neighbours(&engine, 10);
    process.write(&put(), None, 10_000);
    engine.passed();
    assert!(process.store.snapshot().record(&Path::parse("hot/key").unwrap()).unwrap().is_some());
    assert_eq!(engine.passed(), 1);
}

/// The time that writes take on a real engine, for docs and reports: `cargo test -p rejoin-store --test hot_key -- --ignored
/// --nocapture`.
#[test]
#[ignore = "measures; see a_write_costs_the_same_after_a_hundred_thousand_others_on_its_path"]
fn the_time_of_a_write_of_a_hot_key() {
    for versions_max in [10, 0] {
        let directory = tempfile::tempdir().unwrap();
        let engine = FjallEngine::open(directory.path(), FjallOptions::default()).unwrap();
        let mut process = Process::start(engine, versions_max);
        let mut written = 0;
        for at in MEASURED_AT {
            process.write(&put(), None, at - written);
            let before = on_cpu();
            process.write(&put(), None, 200);
            let micros = (on_cpu() - before).as_micros() / 200;
            written = at + 200;
            println!("max_versions {versions_max}: {micros} us of CPU a write after {at}");
            let snapshot = process.store.snapshot();
            let before = on_cpu();
            let history = snapshot.history(&Path::parse("hot/key").unwrap()).count();
            let listed = (on_cpu() - before).as_micros();
            let before = on_cpu();
            let walked = snapshot.documents(b"hot", None).count();
            let scan = (on_cpu() - before).as_micros();
            let before = on_cpu();
            let told = snapshot.feed(1).count();
            let feed = (on_cpu() - before).as_micros();
            println!(
                "    {listed} us to list {history} versions, {scan} us to walk over {walked} document, {feed} us to read {told} \
                 row of the feed from its start"
            );
        }
    }
}

const MEASURED_AT: [u64; 4] = [1_000, 7_000, 30_000, 100_000];

/// The time this thread has run.
fn on_cpu() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
    std::time::Duration::from_nanos(nanos)
}
