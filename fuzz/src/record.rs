//! Rows of a store: what was written is read back, and what is damaged is an error.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use rejoin_causal::codec::{Bounds, LifeIndex as _, LifeTable, Reader};
use rejoin_causal::{Dot, Epoch, Hlc, IntervalSet, NodeId, VersionVector};
use rejoin_replica::codec::{Source, take_document};
use rejoin_replica::config::EXPIRES_MS_MAX;
use rejoin_replica::digest::range_digest;
use rejoin_replica::history::OLDEST_MAX;
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{
    Audit, Batch, Body, CatchUp, CatchUpStep, Change, Commit, Condition, Config, Content, Counters, Document,
    Expiry, Field, Fields, Input, Kept, KeptRow, Message, Now, Observed, Once, Policy, Reason, Record,
    Replica, RequestId, Shown, Start, Strategy, Summary, Superseded, Unit, Version, View, Word, Write,
};
use rejoin_store::engine::{Keyspace, MemorySnapshot, RawBatch};
use rejoin_store::{Engine as _, MemoryEngine, Snapshot, Store, StoreError, SyncPolicy};

use crate::bytes::Bytes;
use crate::meter;

/// Rows of a store, as batches and as bytes.
pub fn record(data: &[u8]) {
    stored(data);
    let mut bytes = Bytes::new(data);
    match bytes.one_in(2) {
        true => written(&mut bytes),
        false => damaged(&mut bytes),
    }
}

/// A document of a row, whatever its bytes, takes no more memory than they may stand for.
fn stored(data: &[u8]) {
    /// An error, and what nothing counts.
    const BYTES_FIXED: usize = 2_048;
    let mut lives = LifeTable::default();
    for number in 1..=3 {
        lives.index_of(NodeId([number; 16]), Epoch(u64::from(number)));
    }
    let allowed = BYTES_FIXED + Bounds::of(data.len()).memory;
    let read = || take_document(&mut Reader::new(data), &lives, Source::Store);
    let (_, peak) = meter::peak_of(read);
    assert!(peak <= allowed, "a row of {} bytes took {peak} bytes, {allowed} are allowed", data.len());
}

/// Overwrites rows of a healthy store with anything, and reads all of it.
fn damaged(bytes: &mut Bytes<'_>) {
    let engine = healthy().fork();
    let mut rows = RawBatch::new();
    let mut touched = false;
    while !bytes.is_empty() {
        let keyspace = *bytes.pick(&Keyspace::ALL);
        let key = match bytes.below(4) {
            0 => bytes.run().to_vec(),
            choice => known_key(keyspace, bytes.byte(), choice == 3),
        };
        if key.is_empty() {
            continue;
        }
        touched = true;
        match bytes.one_in(8) {
            true => rows.delete(keyspace, key),
            false => rows.put(keyspace, key, bytes.run().to_vec()),
        }
    }
    engine.commit(rows).expect("an engine takes any bytes");
    let read = read_all(&engine);
    assert!(touched || read.is_ok(), "a healthy store is refused: {read:?}");
}

/// A key that the store has, or one beside it.
fn known_key(keyspace: Keyspace, choice: u8, beside: bool) -> Vec<u8> {
    static KEYS: OnceLock<[Vec<Vec<u8>>; Keyspace::ALL.len()]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        use rejoin_store::engine::RawSnapshot as _;
        use std::ops::Bound::Unbounded;
        let snapshot = healthy().snapshot();
        let keys = |keyspace| snapshot.range(keyspace, Unbounded, Unbounded).filter_map(Result::ok);
        Keyspace::ALL.map(|keyspace| keys(keyspace).map(|(key, _)| key.to_vec()).collect())
    });
    let keys = &keys[keyspace as usize];
    let mut key = keys[usize::from(choice) % keys.len()].clone();
    if beside && let Some(last) = key.last_mut() {
        *last = last.wrapping_add(1);
    }
    key
}

/// Everything that can be read, through every door. Errors are fine, panics are not.
fn read_all(engine: &MemoryEngine) -> Result<(), StoreError> {
    let mut store = Store::open(engine.clone(), SyncPolicy::Never)?;
    let snapshot = store.snapshot();
    let mut outcome = Ok(());
    let mut note = |read: Result<(), StoreError>| {
        if outcome.is_ok() {
            outcome = read;
        }
    };
    let policy = Policy::new(Strategy::MergeFields);
    let (lower, upper) = Prefix::parse("a").expect("a prefix").key_range();
    for row in snapshot.documents(&[], None).chain(snapshot.documents(&lower, upper.as_deref()).rev()) {
        note(row.map(|(path, record)| {
            let visible = policy.visible(&path, &record.document, record.sequence);
            assert_eq!(visible.is_none(), record.document.is_empty());
        }));
    }
    for path in paths() {
        note(snapshot.record(path).map(drop));
        note(snapshot.history(path).try_for_each(|row| row.map(drop)));
        note(snapshot.oldest_history(path, None, 9).map(drop));
        note(snapshot.settled(path).map(drop));
        note(snapshot.expiries(0, Some(path), u64::MAX, 9).map(drop));
    }
    note(snapshot.feed(0).try_for_each(|row| row.map(drop)));
    note(snapshot.tombstones(Hlc(u64::MAX), None, 9).map(drop));
    note(snapshot.open_conflicts(&lower, upper.as_deref()).try_for_each(|row| row.map(drop)));
    note(snapshot.settled_conflicts(&[], None).try_for_each(|row| row.map(drop)));
    for level in 0..=4 {
        note(snapshot.fences(level, &[], None, 99).map(drop));
    }
    note(range_digest(&snapshot, &lower, upper.as_deref()).map(drop));
    note(snapshot.counters().map(drop));
    note(snapshot.floor().map(drop));
    note(snapshot.frontier().and_then(|frontier| {
        frontier.rows().try_for_each(|(node, epoch, _)| snapshot.log(node, epoch, 0, u64::MAX, 9).map(drop))
    }));
    note(catch_up(snapshot.clone()));
    note(audit(snapshot.clone()));
    note(Replica::open(start(Epoch(9)), Now::default(), &snapshot).map(drop));
    note(store.note("key").map(drop));
    note(store.begin_epoch(7, 7).map(drop));
    outcome
}

fn catch_up(snapshot: Snapshot<MemorySnapshot>) -> Result<(), StoreError> {
    let mut reader = CatchUp::new(snapshot, &Default::default(), 1, 64, u64::MAX, usize::MAX)?;
    for _ in 0..200 {
        if let CatchUpStep::Done { .. } = reader.step()? {
            break;
        }
    }
    Ok(())
}

fn audit(snapshot: Snapshot<MemorySnapshot>) -> Result<(), StoreError> {
    let (mut opener, _) = Audit::open(snapshot.clone(), &rejoin::Prefix::default(), usize::MAX)?;
    let (mut other, _) = Audit::accept(snapshot, usize::MAX)?;
    let mut messages = opener.go_on()?;
    messages.push(Message::Compare(vec![rejoin_replica::message::Range {
        lower: vec![0],
        upper: Some(vec![255]),
        summary: Summary { fingerprint: 1, count: 1 },
    }]));
    for message in messages {
        for answer in other.compare(message)? {
            opener.compare(answer)?;
        }
    }
    other.reply(paths().to_vec()).map(drop)
}

fn paths() -> &'static [Path] {
    static PATHS: OnceLock<Vec<Path>> = OnceLock::new();
    let names = ["a", "a/b", "a/c", "b", "k7", "k376", "k22541", "k3629", "ü"];
    PATHS.get_or_init(|| names.iter().map(|name| Path::parse(name).expect("a path")).collect())
}

fn start(epoch: Epoch) -> Start {
    Start {
        node: NodeId([1; 16]),
        epoch,
        seed: 1,
        config: Config { versions_max: 2, ..Config::default() },
        policy: Arc::new(Policy::new(Strategy::MergeFields)),
        statements: Vec::new(),
    }
}

/// A store with rows of every kind.
fn healthy() -> &'static MemoryEngine {
    static ENGINE: OnceLock<MemoryEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let engine = MemoryEngine::new();
        let mut store = Store::open(engine.clone(), SyncPolicy::EveryCommit).expect("an empty store");
        store.set_note("key", b"value").expect("a note");
        for life in 0..2 {
            let epoch = store.begin_epoch(1 + life, 0).expect("an epoch");
            let snapshot = store.snapshot();
            let mut now = Now { wall_ms: 1_000, steady_ms: 0 };
            let mut replica = Replica::open(start(epoch), now, &snapshot).expect("a replica");
            for path in paths().iter().chain(&paths()[..4]) {
                write(&mut store, &mut replica, now, path, Change::Put(value("{\"a\":1,\"b\":[true]}")));
            }
            write(&mut store, &mut replica, now, &paths()[1], Change::Delete);
            // A sibling, for the index of conflicts.
            write_over(
                &mut store,
                &mut replica,
                now,
                &paths()[3],
                Change::Put(value("2")),
                Observed::These(Vec::new()),
            );
            // The floor, from a delete that is old enough.
            now = Now { wall_ms: 1 << 40, steady_ms: 1 << 40 };
            write(&mut store, &mut replica, now, &paths()[2], Change::Delete);
            let snapshot = store.snapshot();
            replica
                .handle([Input::Tick], now, &snapshot)
                .expect("a tick")
                .commit(&mut store)
                .expect("a commit");
        }
        engine
    })
}

fn write(store: &mut Store<MemoryEngine>, replica: &mut Replica, now: Now, path: &Path, change: Change) {
    write_over(store, replica, now, path, change, Observed::All);
}

fn write_over(
    store: &mut Store<MemoryEngine>,
    replica: &mut Replica,
    now: Now,
    path: &Path,
    change: Change,
    observed: Observed,
) {
    let write =
        Write { path: path.clone(), change, condition: Condition::Always, observed, ttl: None, once: None };
    let snapshot = store.snapshot();
    let effects = replica.handle([Input::Write(RequestId(0), write)], now, &snapshot).expect("a write");
    effects.commit(store).expect("a commit");
}

fn value(text: &str) -> Json {
    Json::parse(text.as_bytes(), &JsonLimits::default()).expect("JSON")
}

/// Commits a batch of anything that a replica could write, and reads it back from the store opened anew.
fn written(bytes: &mut Bytes<'_>) {
    let engine = MemoryEngine::new();
    let mut store = Store::open(engine.clone(), SyncPolicy::EveryCommit).expect("an empty store");
    let mut batch = Batch::default();
    let mut expected = Batch::default();
    while !bytes.is_empty() {
        row(bytes, &mut batch);
        if bytes.one_in(8) {
            lay_over(&mut expected, &batch);
            store.commit(std::mem::take(&mut batch)).expect("a commit");
        }
    }
    lay_over(&mut expected, &batch);
    store.commit(batch).expect("a commit");
    let before = reread(&store.snapshot(), &expected);
    drop(store);
    let store = Store::open(engine, SyncPolicy::EveryCommit).expect("the store opens again");
    assert_eq!(reread(&store.snapshot(), &expected), before);
    assert_eq!(before, expected, "rows do not survive");
}

fn lay_over(below: &mut Batch, batch: &Batch) {
    let batch = batch.clone();
    below.records.extend(batch.records);
    below.log.extend(batch.log);
    below.history.extend(batch.history);
    below.feed.extend(batch.feed);
    below.digest.extend(batch.digest);
    below.tombstones.extend(batch.tombstones);
    below.open_conflicts.extend(batch.open_conflicts);
    below.settled_conflicts.extend(batch.settled_conflicts);
    below.frontier.extend(batch.frontier);
    below.floor.extend(batch.floor);
    below.kept.extend(batch.kept);
    below.kept_ids.extend(batch.kept_ids);
    below.kept_times.extend(batch.kept_times);
    below.counters = batch.counters.or(below.counters);
}

/// The same keys, as the store has them.
fn reread(snapshot: &Snapshot<MemorySnapshot>, like: &Batch) -> Batch {
    let mut found = Batch::default();
    let floor: BTreeSet<Dot> = snapshot.floor().expect("the floor").rows().collect();
    // Only the last floor of a life is kept.
    found.floor = like.floor.clone();
    assert!(floor.is_subset(&like.floor), "the floor has other rows");
    for (node, epoch) in like.frontier.keys() {
        let frontier = snapshot.frontier().expect("the frontier");
        found.frontier.insert((*node, *epoch), frontier.row(*node, *epoch).cloned().unwrap_or_default());
    }
    for path in like.records.keys() {
        found.records.insert(path.clone(), snapshot.record(path).expect("a record"));
    }
    for dot in like.log.keys() {
        let rows = snapshot.log(dot.node, dot.epoch, dot.seq, dot.seq, 2).expect("a log row");
        assert!(rows.len() <= 1 && rows.iter().all(|(seq, _)| *seq == dot.seq));
        found.log.insert(*dot, rows.into_iter().next().map(|(_, path)| path));
    }
    for (path, hlc, dot) in like.history.keys() {
        let ranks = snapshot.oldest_history(path, None, usize::MAX).expect("history");
        assert!(ranks.is_sorted(), "history is not in order");
        let mut rows: Vec<Superseded> = snapshot.history(path).collect::<Result<_, _>>().expect("history");
        if let Some(at) = rows.iter().position(|row| row.word.is_some() && row.version.rank() == (*hlc, *dot))
        {
            found.history.insert((path.clone(), *hlc, *dot), Some(rows.swap_remove(at)));
            continue;
        }
        rows.retain(|row| row.word.is_none());
        rows.sort_by_key(|row| row.version.rank());
        let at = ranks.iter().position(|rank| (rank.0, rank.1) == (*hlc, *dot));
        let row = at.map(|at| (ranks[at].2, rows.swap_remove(at)));
        assert!(row.iter().all(|(concurrent, row)| *concurrent == row.concurrent));
        found.history.insert((path.clone(), *hlc, *dot), row.map(|(_, row)| row));
    }
    let feed: std::collections::BTreeMap<u64, Path> =
        snapshot.feed(0).collect::<Result<_, _>>().expect("the feed");
    for sequence in like.feed.keys() {
        found.feed.insert(*sequence, feed.get(sequence).cloned());
    }
    for (level, key) in like.digest.keys() {
        let fences = snapshot.fences(*level, key, None, 1).expect("a fence");
        let fence = fences.into_iter().find(|fence| fence.0 == *key).map(|fence| fence.1);
        found.digest.insert((*level, key.clone()), fence);
    }
    let graves: BTreeSet<(Hlc, Path)> =
        snapshot.tombstones(Hlc(u64::MAX), None, usize::MAX).expect("tombstones").into_iter().collect();
    for grave in like.tombstones.keys() {
        found.tombstones.insert(grave.clone(), graves.contains(grave));
    }
    let open: BTreeSet<Path> =
        snapshot.open_conflicts(&[], None).collect::<Result<_, _>>().expect("open conflicts");
    for path in like.open_conflicts.keys() {
        found.open_conflicts.insert(path.clone(), open.contains(path));
    }
    for path in like.settled_conflicts.keys() {
        found.settled_conflicts.insert(path.clone(), snapshot.settled(path).expect("settled conflicts"));
    }
    for dot in like.kept.keys() {
        found.kept.insert(*dot, snapshot.kept(*dot, dot.seq, 1).expect("a kept answer").pop());
    }
    for id in like.kept_ids.keys() {
        found.kept_ids.insert(*id, snapshot.kept_extent(id).expect("the name of a request"));
    }
    for (at_ms, dot) in like.kept_times.keys() {
        let times = snapshot.kept_times(*at_ms, at_ms + 1, usize::MAX).expect("times");
        found.kept_times.insert((*at_ms, *dot), times.contains(&(*at_ms, *dot)));
    }
    found.counters = like.counters.map(|_| snapshot.counters().expect("the counters"));
    found
}

fn row(bytes: &mut Bytes<'_>, batch: &mut Batch) {
    let present = !bytes.one_in(4);
    match bytes.below(11) {
        0 => {
            let (document, sequence, history) = (document(bytes), bytes.word(), bytes.word() as u32);
            // Of what there is already: the corpus keeps its meaning.
            let oldest = document.versions().iter().map(|one| (one.hlc, one.dot, one.dot.seq % 2 == 1));
            let mut oldest: Vec<_> = oldest.collect();
            oldest.sort_unstable();
            oldest.truncate(OLDEST_MAX.min(history as usize));
            let record = Record { document, sequence, history, oldest };
            batch.records.insert(bytes_path(bytes), present.then_some(record));
        }
        1 => {
            let dot = dot(bytes);
            // Of what there is already: the corpus keeps its meaning.
            if dot.seq % 3 == 2 && dot.seq < u64::MAX {
                let row = kept(dot);
                let id = row.kept.once.id;
                batch.kept_ids.insert(id, present.then(|| row.kept.extent()));
                batch.kept_times.insert((row.at_ms, dot), present);
                batch.kept.insert(dot, present.then_some(row));
            }
            batch.log.insert(dot, present.then(|| bytes_path(bytes)));
        }
        2 => {
            let version = version(bytes);
            let by = bytes.one_in(2).then(|| dot(bytes));
            let key = (bytes_path(bytes), version.hlc, version.dot);
            let (concurrent, shown) = (bytes.one_in(2), bytes.one_in(2));
            // Of what there is already: the corpus keeps its meaning.
            let expired = version.dot.seq % 3 == 1;
            let at_ms = version.dot.seq;
            let word = Word { peer: version.dot.node, reason: Reason::Digest, at_ms };
            let word = (version.dot.seq % 5 == 4).then_some(word);
            let row = Superseded { expired, version, by, concurrent, shown, word };
            batch.history.insert(key, present.then_some(row));
        }
        3 => {
            let sequence = bytes.word().max(1);
            batch.feed.insert(sequence, present.then(|| bytes_path(bytes)));
        }
        4 => {
            let key = (1 + bytes.below(3) as u8, bytes_path(bytes).key());
            batch.digest.insert(key, present.then(|| summary(bytes)));
        }
        5 => {
            // The greatest stamp of all is no row's: a range of stamps has no end above it.
            batch.tombstones.insert((Hlc(bytes.word().min(u64::MAX - 1)), bytes_path(bytes)), present);
        }
        6 => {
            let dot = dot(bytes);
            let mut set = IntervalSet::range(dot.seq, dot.seq.saturating_add(bytes.below(9)));
            set.insert_range(1, bytes.below(9));
            batch.frontier.insert((dot.node, dot.epoch), set);
        }
        7 => {
            batch.floor.insert(dot(bytes));
        }
        8 => {
            batch.open_conflicts.insert(bytes_path(bytes), present);
        }
        9 => {
            let count = if present { bytes.word() as u32 } else { 0 };
            batch.settled_conflicts.insert(bytes_path(bytes), count);
        }
        _ => {
            batch.counters = Some(Counters {
                records: bytes.word(),
                tombstones: bytes.word(),
                conflicts: bytes.word(),
                history: bytes.word(),
                sequence: bytes.word(),
                sequence_floor: bytes.word(),
                values: summary(bytes),
                hlc: Hlc(bytes.word()),
                // Of what there is already: the corpus keeps its meaning.
                kept: batch.kept.len() as u64,
            });
        }
    }
}

/// What was answered to a write, with every shape by its number.
fn kept(dot: Dot) -> KeptRow {
    let id = [dot.seq as u8; 16];
    let is = |bit: u64| dot.seq >> bit & 1 > 0;
    let shown = [Shown::Nothing, Shown::Sent, Shown::Written, Shown::Other][(dot.seq >> 2 & 3) as usize];
    let kept = Kept {
        dot,
        hlc: Hlc(dot.seq),
        once: Once { id, print: [7; 8] },
        unit: Unit { first: dot.seq - 1, last: dot.seq + u64::from(is(3)) },
        created: is(4),
        shown,
        etag: is(5).then_some(id),
        conflicts: dot.seq >> 3 & 3,
        expires_ms: is(6).then_some(dot.seq % 1_000),
        past: is(7).then(|| [dot].into_iter().collect()),
    };
    KeptRow { at_ms: dot.seq / 2, kept }
}

fn bytes_path(bytes: &mut Bytes<'_>) -> Path {
    if bytes.one_in(4)
        && let Ok(path) = Path::parse(&String::from_utf8_lossy(bytes.run()))
    {
        return path;
    }
    bytes.pick(paths()).clone()
}

fn dot(bytes: &mut Bytes<'_>) -> Dot {
    let seq = if bytes.one_in(4) { bytes.word() } else { u64::from(bytes.byte()) };
    Dot { node: NodeId([bytes.byte(); 16]), epoch: Epoch(bytes.below(3)), seq: seq.max(1) }
}

fn summary(bytes: &mut Bytes<'_>) -> Summary {
    Summary { fingerprint: u128::from(bytes.word()) << 64 | u128::from(bytes.word()), count: bytes.word() }
}

fn version(bytes: &mut Bytes<'_>) -> Version {
    let (dot, hlc) = (dot(bytes), Hlc(bytes.word()));
    const TEXTS: [&str; 6] = ["1", "{}", "{\"a\":[]}", "\"ü\"", "null", "[1.0,-0]"];
    let text = |bytes: &mut Bytes<'_>| value(bytes.pick::<&str>(&TEXTS));
    let body = match bytes.below(3) {
        0 => Body::Tombstone,
        1 => Body::Value(text(bytes)),
        _ => {
            let field = |bytes: &mut Bytes<'_>, name: u64| Field {
                name: format!("{name}").into(),
                hlc: Hlc(bytes.word().min(hlc.0)),
                dot: self::dot(bytes),
                value: bytes.one_in(2).then(|| text(bytes)),
            };
            Body::Fields(Fields((0..bytes.below(4)).map(|name| field(bytes, name)).collect()))
        }
    };
    // Of what there is already: the corpus keeps its meaning.
    let unit = (dot.seq > 1 && dot.seq % 5 == 0).then(|| Unit { first: dot.seq - 1, last: dot.seq });
    // Some values end, and some deletes are the ends of values.
    let expiry = (dot.seq % 3 == 0).then(|| match body {
        Body::Tombstone => Expiry::Of(Hlc(hlc.0 / 2), dot),
        _ => Expiry::At(hlc.unix_ms().saturating_add(dot.seq).min(EXPIRES_MS_MAX)),
    });
    let expiry = expiry.filter(|expiry| !matches!(expiry, Expiry::Of(of, _) if *of >= hlc));
    Version { dot, hlc, body: Content { body, unit, expiry } }
}

fn document(bytes: &mut Bytes<'_>) -> Document {
    let versions: Vec<Version> = (0..bytes.below(4)).map(|_| version(bytes)).collect();
    let mut vv: VersionVector = versions.iter().map(|version| version.dot).collect();
    for _ in 0..bytes.below(4) {
        vv.raise(dot(bytes));
    }
    Document::from_parts(vv, versions).unwrap_or_default()
}
