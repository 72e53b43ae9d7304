//! What the recorded process does, and what a store must look like after each of its batches.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path as File;
use std::sync::Arc;

use rejoin_causal::{Dot, NodeId};
use rejoin_replica::json::Json;
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Config, Input, Now, Observed, Policy, Replica, RequestId, Start, Strategy, Ttl,
    View as _, Write, first_end,
};
use rejoin_store::{FjallEngine, FjallOptions, Store, StoreError, SyncPolicy};

/// A way to work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    sync: SyncPolicy,
    /// Batches before each restart; true where the store is closed in order.
    sessions: &'static [(usize, bool)],
}

/// Batches between two syncs, where not every commit syncs.
const SYNC_EVERY: usize = 7;

const NODE: NodeId = NodeId([7; 16]);

/// The document that counts batches.
const COUNT: &str = "count";

impl Workload {
    pub(crate) fn named(name: &str) -> Workload {
        match name {
            "disk" => Workload {
                name: "disk",
                sync: SyncPolicy::EveryCommit,
                sessions: &[(25, false), (60, true), (40, false), (3, true), (30, false)],
            },
            "os" => Workload {
                name: "os",
                sync: SyncPolicy::Never,
                sessions: &[(30, false), (70, true), (50, false)],
            },
            other => panic!("no workload '{other}'"),
        }
    }

    fn batches(self) -> usize {
        self.sessions.iter().map(|(batches, _)| batches).sum()
    }
}

/// Buffers so small that a workload passes through flushes and merges, and workers enough to get in each other's way.
fn options() -> FjallOptions {
    FjallOptions { memtable_bytes: 12 << 10, workers: 4, ..FjallOptions::default() }
}

pub(crate) type Documents = BTreeMap<String, String>;

/// Writes of a batch: new paths, old paths, deletes, and values of a few bytes up to several pages.
fn batch(number: usize) -> Vec<(String, Option<String>)> {
    let mut writes = vec![(COUNT.to_owned(), Some(number.to_string()))];
    for write in 0..=number % 4 {
        let mixed = (number * 31 + write * 7) % 97;
        let path = match write % 2 {
            0 => format!("again/{}", mixed % 13),
            _ => format!("new/{number:04}/{write}"),
        };
        let bytes = match mixed % 11 {
            0 => 20_000,
            1 | 2 => 5_000,
            _ => 10 + mixed,
        };
        // Text that does not compress to nothing.
        let mut state = (number * 1_000 + write) as u64 + 1;
        let letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (state >> 59) as u8 % 26)
        };
        let text: String = std::iter::repeat_with(letter).take(bytes).collect();
        writes.push((path, (mixed % 5 != 3).then(|| format!("\"{text}\""))));
    }
    writes
}

/// The documents after no batch, after the first, and so on.
pub(crate) fn states(workload: Workload) -> Vec<Documents> {
    let mut states = vec![Documents::new()];
    for number in 1..=workload.batches() {
        let mut documents = states[number - 1].clone();
        for (path, value) in batch(number) {
            match value {
                Some(value) => documents.insert(path, value),
                None => documents.remove(&path),
            };
        }
        states.push(documents);
    }
    states
}

/// Says one line, in one write: the record of calls has it at its place.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

struct Writer {
    store: Store<FjallEngine>,
    replica: Replica,
    now: u64,
}

impl Writer {
    fn open(directory: &File, sync: SyncPolicy, now: u64) -> Result<Writer, StoreError> {
        let mut store = Store::open(FjallEngine::open(directory, options())?, sync)?;
        let epoch = store.begin_epoch(1_000_000 + now, 7)?;
        let policy = Arc::new(Policy::new(Strategy::LastWriteWins));
        let start =
            Start { node: NODE, epoch, seed: 1, config: Config::default(), policy, statements: Vec::new() };
        let replica = Replica::open(start, at(now), &store.snapshot())?;
        Ok(Writer { store, replica, now })
    }

    fn commit(&mut self, writes: Vec<(String, Option<String>)>) {
        self.now += 10;
        let inputs = writes.into_iter().map(|(path, value)| {
            // Every other path has values with an end, far away: their index has to agree after a crash.
            let ttl = path.ends_with(['0', '2', '4', '6', '8']).then(|| Ttl::of_ms(3_600_000).unwrap());
            let change = value.map_or(Change::Delete, |value| Change::Put(Json::trusted(value)));
            let path = Path::parse(&path).unwrap();
            let (condition, observed) = (Condition::Always, Observed::All);
            Input::Write(RequestId(1), Write { path, change, condition, observed, ttl, once: None })
        });
        let inputs: Vec<Input> = inputs.collect();
        let effects = self.replica.handle(inputs, at(self.now), &self.store.snapshot()).unwrap();
        effects.commit(&mut self.store).unwrap();
    }
}

fn at(now: u64) -> Now {
    Now { wall_ms: 1_000_000 + now, steady_ms: now }
}

/// Does the workload in this process.
pub(crate) fn run(workload: Workload, directory: &File) {
    let mut number = 0;
    for (session, (batches, close)) in workload.sessions.iter().enumerate() {
        let mut writer = Writer::open(directory, workload.sync, session as u64 * 1_000_000).unwrap();
        for _ in 0..*batches {
            number += 1;
            say(&format!("begin {number}"));
            writer.commit(batch(number));
            if workload.sync == SyncPolicy::EveryCommit {
                say(&format!("synced {number}"));
            } else if number % SYNC_EVERY == 0 {
                writer.store.set_note("sync", &[1]).unwrap();
                say(&format!("synced {number}"));
            }
        }
        if *close {
            writer.store.close().unwrap();
            say(&format!("synced {number}"));
        }
    }
}

/// What a store turned out to hold.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) batches: usize,
    pub(crate) documents: Documents,
    pub(crate) torn_bytes: u64,
}

/// Opens a store and reads all of it; rows that contradict each other fail the test.
pub(crate) fn examine(directory: &File, story: &str) -> Result<Found, StoreError> {
    let engine = FjallEngine::open(directory, options())?;
    let torn_bytes = engine.torn_bytes();
    let store = Store::open(engine, SyncPolicy::EveryCommit)?;
    let snapshot = store.snapshot();
    let policy = Policy::new(Strategy::LastWriteWins);
    let (mut documents, mut versions, mut history, mut records) = (Documents::new(), 0, 0, 0);
    let (frontier, counters) = (snapshot.frontier()?, snapshot.counters()?);
    let mut ends = Vec::new();
    for row in snapshot.documents(b"", None) {
        let (path, record) = row?;
        records += 1;
        for version in record.document.versions() {
            versions += 1;
            let Dot { node, epoch, seq } = version.dot;
            assert!(frontier.contains(version.dot), "{story}: {} is not in the frontier", version.dot);
            let log = snapshot.log(node, epoch, seq, seq, 2)?;
            assert_eq!(log, [(seq, path.clone())], "{story}: the log has what is live");
        }
        ends.extend(first_end(&record.document).map(|ms| (ms, path.clone())));
        let superseded = snapshot.history(&path).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(superseded.len(), record.history as usize, "{story}: history of {}", path.as_str());
        history += superseded.len() as u64;
        let visible = policy.strategy(&path).clone().visible(&path, &record.document, at(0).wall_ms);
        if let Some(value) = visible.and_then(|visible| visible.value) {
            documents.insert(path.as_str().to_owned(), value.as_str().to_owned());
        }
    }
    ends.sort();
    assert_eq!(snapshot.expiries(0, None, u64::MAX, usize::MAX)?, ends, "{story}: the index of expiries");
    let feed = snapshot.feed(0).collect::<Result<Vec<_>, _>>()?;
    assert_eq!(
        (feed.len() as u64, versions),
        (records, records),
        "{story}: one row of the feed and one version a record"
    );
    let counted = (counters.records, counters.values.count, counters.history);
    assert_eq!(counted, (records, documents.len() as u64, history), "{story}: the sums are right");
    let batches = documents.get(COUNT).map_or(0, |count| count.parse().unwrap());
    Ok(Found { batches, documents, torn_bytes })
}

/// Writes to a recovered store, and finds it there.
pub(crate) fn go_on(directory: &File, story: &str) {
    let before = examine(directory, story).unwrap().documents;
    let mut writer = Writer::open(directory, SyncPolicy::EveryCommit, 1_000_000_000).unwrap();
    writer.commit(vec![("after/the/cut".to_owned(), Some("true".to_owned()))]);
    drop(writer);
    let mut after = examine(directory, story).unwrap().documents;
    assert_eq!(after.remove("after/the/cut").as_deref(), Some("true"), "{story}");
    assert_eq!(after, before, "{story}");
}
