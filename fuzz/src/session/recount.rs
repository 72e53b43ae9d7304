//! Counting everything in a store again: what is kept twice must agree.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Hlc};
use rejoin_replica::body::is_bare_tombstone;
use rejoin_replica::digest::{fingerprint, range_digest};
use rejoin_replica::path::Path;
use rejoin_replica::{Counters, Replica, Summary, View, first_end, is_contested};
use rejoin_store::engine::{Keyspace, MemorySnapshot, RawSnapshot as _};
use rejoin_store::{Engine as _, MemoryEngine, Snapshot};

/// Compares the rows of a store with each other, and with what the replica holds in memory.
pub(super) fn recount(
    replica: &Replica,
    snapshot: &Snapshot<MemorySnapshot>,
    engine: &MemoryEngine,
    versions_max: u32,
) {
    let documents: Vec<_> = snapshot.documents(&[], None).collect::<Result<_, _>>().expect("documents");
    let frontier = snapshot.frontier().expect("the frontier");
    let counters = snapshot.counters().expect("the counters");
    assert_eq!(replica.frontier(), &frontier, "the frontier in memory");
    assert_eq!(replica.counters(), &counters, "the counters in memory");
    assert_eq!(replica.floor(), &snapshot.floor().expect("the floor"), "the floor in memory");

    let mut expected = Counters {
        sequence: counters.sequence,
        sequence_floor: counters.sequence_floor,
        hlc: counters.hlc,
        kept: snapshot.kept_times(0, u64::MAX, usize::MAX).expect("times of kept answers").len() as u64,
        ..Counters::default()
    };
    let mut live: BTreeMap<Dot, Path> = BTreeMap::new();
    let mut feed: BTreeMap<u64, Path> = BTreeMap::new();
    let mut graves: BTreeSet<(Hlc, Path)> = BTreeSet::new();
    let (mut open, mut settled): (Vec<Path>, Vec<(Path, u32)>) = (Vec::new(), Vec::new());
    let mut ends: Vec<(u64, Path)> = Vec::new();
    let mut summaries: Vec<(Vec<u8>, Summary)> = Vec::new();
    let removed = snapshot.removals(0, u64::MAX, usize::MAX).expect("removals");
    expected.history += removed.len() as u64;
    for (path, record) in &documents {
        let document = &record.document;
        assert!(document.vv().tops().next().is_some(), "{path} has no past");
        for version in document.versions() {
            assert!(frontier.contains(version.dot), "{path}: {} is live and not applied", version.dot);
            assert!(document.vv().covers(version.dot), "{path}: {} is not covered", version.dot);
            let elsewhere = live.insert(version.dot, path.clone());
            assert!(elsewhere.is_none(), "{} is live at {path} and {elsewhere:?}", version.dot);
        }
        let mut history: Vec<_> = snapshot.history(path).collect::<Result<_, _>>().expect("history");
        // What a peer's word removed is counted below, and may outlive its record.
        history.retain(|row| row.word.is_none());
        assert_eq!(history.len(), record.history as usize, "{path}: history rows");
        assert!(record.history <= versions_max, "{path}: more history than allowed");
        // By where they stand: a row of a stamp from the future stands at the time at which it was replaced.
        let oldest = snapshot.oldest_history(path, None, record.oldest.len()).expect("the oldest rows");
        assert_eq!(record.oldest, oldest, "{path}: the oldest history rows");
        for (hlc, dot, concurrent) in &oldest {
            let row = history.iter().find(|row| row.version.dot == *dot && row.version.hlc >= *hlc);
            assert_eq!(row.map(|row| row.concurrent), Some(*concurrent), "{path}: the history row of {dot}");
        }
        for row in &history {
            assert!(document.version(row.version.dot).is_none(), "{path}: a live version in history");
        }
        let concurrent = history.iter().filter(|row| row.concurrent).count();
        if concurrent > 0 {
            settled.push((path.clone(), u32::try_from(concurrent).expect("few rows")));
        }
        if is_contested(document) {
            open.push(path.clone());
        }
        expected.records += 1;
        expected.conflicts += u64::from(is_contested(document));
        ends.extend(first_end(document).map(|ms| (ms, path.clone())));
        expected.history += u64::from(record.history);
        if is_bare_tombstone(document) {
            expected.tombstones += 1;
            let newest = document.versions().iter().map(|version| version.hlc).max().unwrap_or_default();
            graves.insert((newest, path.clone()));
        }
        let twice = feed.insert(record.sequence, path.clone());
        assert!(twice.is_none(), "{path} and {twice:?} have one place in the feed");
        assert!(
            (1..=counters.sequence).contains(&record.sequence),
            "{path}: place {} in the feed",
            record.sequence
        );
        let summary = fingerprint(path, document);
        expected.values += summary;
        summaries.push((path.key(), summary));
    }
    assert!(counters.sequence_floor <= counters.sequence);
    assert_eq!(counters, expected, "counters and recount");

    let raw = engine.snapshot();
    let rows = |keyspace| raw.range(keyspace, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).count();
    assert_eq!(rows(Keyspace::Log), live.len(), "log rows");
    for (dot, path) in &live {
        let row = snapshot.log(dot.node, dot.epoch, dot.seq, dot.seq, 1).expect("a log row");
        assert_eq!(row, [(dot.seq, path.clone())], "the log row of {dot}");
    }
    let found: BTreeMap<u64, Path> = snapshot.feed(0).collect::<Result<_, _>>().expect("the feed");
    assert_eq!(found, feed, "feed");
    assert_eq!(rows(Keyspace::History) as u64, expected.history, "history rows");
    assert_eq!(rows(Keyspace::Tombstones), graves.len(), "tombstone rows");
    let kept = kept(snapshot);
    assert_eq!(
        rows(Keyspace::Conflicts),
        open.len() + settled.len() + ends.len() + removed.len() + kept,
        "rows of indexes"
    );
    ends.sort();
    let found = snapshot.expiries(0, None, u64::MAX, usize::MAX).expect("expiries");
    assert_eq!(found, ends, "expiries");
    let found: Vec<Path> = snapshot.open_conflicts(&[], None).collect::<Result<_, _>>().expect("conflicts");
    assert_eq!(found, open, "open conflicts");
    let found: Vec<_> = snapshot.settled_conflicts(&[], None).collect::<Result<_, _>>().expect("conflicts");
    assert_eq!(found, settled, "settled conflicts");
    let found = snapshot.tombstones(Hlc(u64::MAX), None, usize::MAX).expect("tombstones");
    // A stamp that is the greatest of all is above every range.
    assert!(found.iter().all(|grave| graves.contains(grave)), "tombstones {found:?}, expected {graves:?}");
    digests(snapshot, &summaries, counters.values);
}

/// The rows of answers that are kept: each is there under its write and its time, and its request under its name.
fn kept(snapshot: &Snapshot<MemorySnapshot>) -> usize {
    let times = snapshot.kept_times(0, u64::MAX, usize::MAX).expect("times of kept answers");
    let mut names = BTreeSet::new();
    for (at_ms, dot) in &times {
        let row = snapshot.kept(*dot, dot.seq, 1).expect("a kept answer").pop();
        let row = row.unwrap_or_else(|| panic!("{dot} has a time and no answer"));
        assert_eq!((row.at_ms, row.kept.dot), (*at_ms, *dot), "a kept answer");
        let id = row.kept.once.id;
        if snapshot.kept_extent(&id).expect("a name").is_some_and(|extent| extent.covers(*dot)) {
            names.insert(id);
        }
    }
    2 * times.len() + names.len()
}

/// The fences of each level sum up to the whole, and each to its run.
fn digests(snapshot: &Snapshot<MemorySnapshot>, summaries: &[(Vec<u8>, Summary)], values: Summary) {
    let count = |lower: &[u8], upper: Option<&[u8]>| {
        let inside = |key: &[u8]| key >= lower && upper.is_none_or(|upper| key < upper);
        let mut total = Summary::default();
        summaries.iter().filter(|(key, _)| inside(key)).for_each(|(_, summary)| total += *summary);
        total
    };
    for level in 1..=3 {
        let fences = snapshot.fences(level, &[], None, usize::MAX).expect("fences");
        let mut total = Summary::default();
        for (at, (key, summary)) in fences.iter().enumerate() {
            let upper = fences.get(at + 1).map(|next| next.0.as_slice());
            assert_eq!(*summary, count(key, upper), "the fence of level {level} at {}", key.escape_ascii());
            let digest = range_digest(snapshot, key, upper).expect("a digest");
            assert_eq!(digest, *summary, "the range of a fence");
            total += *summary;
        }
        assert!(total == values || fences.is_empty() && summaries.is_empty(), "the fences of level {level}");
    }
    // A range between two documents, for good measure.
    if let [(lower, _), .., (upper, _)] = summaries {
        let digest = range_digest(snapshot, lower, Some(upper)).expect("a digest");
        assert_eq!(digest, count(lower, Some(upper)), "the range of all but the last");
    }
}
