//! A full scan of one store: everything that is kept twice must agree.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Hlc};
use rejoin_replica::body::is_bare_tombstone;
use rejoin_replica::digest::range_digest;
use rejoin_replica::path::Path;
use rejoin_replica::{Body, Document, Expiry, Summary, View};
use rejoin_store::engine::{Keyspace, RawSnapshot};
use rejoin_store::{Engine, Snapshot};

use crate::disk::Disk;
use crate::rng::Rng;
use crate::violation::{Promise, Violation, ensure};

/// Levels of digest fences.
const LEVELS: u8 = 3;

/// Checks every row of a store against every other.
pub fn store<S: RawSnapshot>(
    name: &str,
    snapshot: &Snapshot<S>,
    engine: &Disk,
    versions_max: u32,
    rng: &mut Rng,
) -> Result<(), Violation> {
    scan(snapshot, engine, versions_max, rng)
        .map_err(|error| Violation::new(Promise::RowsAgree, format!("{name}: a read failed: {error}")))?
        .map_err(|why| Violation::new(Promise::RowsAgree, format!("{name}: {why}")))
}

type Checked = Result<(), String>;

fn scan<S: RawSnapshot>(
    snapshot: &Snapshot<S>,
    engine: &Disk,
    versions_max: u32,
    rng: &mut Rng,
) -> Result<Checked, rejoin_store::StoreError> {
    let documents = snapshot.documents(&[], None).collect::<Result<Vec<_>, _>>()?;
    let counters = snapshot.counters()?;
    let frontier = snapshot.frontier()?;
    let mut wrong = Vec::new();
    let mut same = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found != expected {
            wrong.push(format!("{what}: found {found}, expected {expected}"));
        }
    };

    let raw = engine.snapshot();
    let rows =
        |keyspace| raw.range(keyspace, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).count() as u64;

    // The log is the live versions.
    let mut live: BTreeMap<Dot, Path> = BTreeMap::new();
    for (path, record) in &documents {
        let past = record.document.vv().tops().count();
        same("a record without a past", &(past == 0), &false);
        for version in record.document.versions() {
            live.insert(version.dot, path.clone());
            if !frontier.contains(version.dot) {
                same("a live version outside the frontier", path, &version.dot);
            }
        }
    }
    let mut log = BTreeMap::new();
    for (node, epoch, _) in frontier.rows() {
        for (seq, path) in snapshot.log(node, epoch, 1, u64::MAX, usize::MAX)? {
            log.insert(Dot { node, epoch, seq }, path);
        }
    }
    same("log", &log, &live);
    same("log rows", &rows(Keyspace::Log), &(live.len() as u64));

    // The feed has each record once, at its sequence.
    let feed = snapshot.feed(0).collect::<Result<BTreeMap<_, _>, _>>()?;
    let sequences: BTreeMap<u64, Path> =
        documents.iter().map(|(path, record)| (record.sequence, path.clone())).collect();
    same("feed", &feed, &sequences);
    let last = sequences.keys().next_back().copied().unwrap_or(0);
    if last > counters.sequence {
        same("a sequence beyond the last", &last, &counters.sequence);
    }

    // History.
    let mut history = 0u64;
    let mut settled: Vec<(Path, u32)> = Vec::new();
    for (path, record) in &documents {
        let mut rows = snapshot.history(path).collect::<Result<Vec<_>, _>>()?;
        rows.retain(|row| row.word.is_none());
        same("history rows of a path", &(path, rows.len()), &(path, record.history as usize));
        if record.history > versions_max {
            same("history of a path beyond its limit", &(path, record.history), &versions_max);
        }
        let ranks: BTreeSet<_> = rows.iter().map(|row| row.version.rank()).collect();
        same("a version stands in history twice", &ranks.len(), &rows.len());
        // By where they stand: a row of a stamp from the future stands at the time at which it was replaced.
        let by_age = snapshot.oldest_history(path, None, record.oldest.len())?;
        let stands = |(hlc, dot, _): &(Hlc, Dot, bool)| {
            rows.iter().any(|row| row.version.dot == *dot && row.version.hlc >= *hlc)
        };
        if !by_age.iter().all(stands) {
            same("where history rows of a path stand", path, &());
        }
        same("the oldest history rows of a path", &(path, &record.oldest), &(path, &by_age));
        if record.history > 0 && record.oldest.is_empty() {
            same("a path that does not know its oldest history row", path, &());
        }
        if rows.iter().any(|row| record.document.version(row.version.dot).is_some()) {
            same("a live version in history", path, &());
        }
        history += rows.len() as u64;
        let concurrent = rows.iter().filter(|row| row.concurrent).count();
        if concurrent > 0 {
            settled.push((path.clone(), u32::try_from(concurrent).unwrap_or(u32::MAX)));
        }
        if rows.iter().any(|row| row.shown && !row.concurrent) {
            same("a history row was shown of several and had no rival", path, &());
        }
    }
    // What was removed by a peer's word has a row of its own in history, whether the path has a record or not.
    let removals = snapshot.removals(0, u64::MAX, usize::MAX)?;
    for row in &removals {
        let found = snapshot.history(&row.path).collect::<Result<Vec<_>, _>>()?;
        let found = found.into_iter().find(|found| found.version.rank() == (row.hlc, row.dot));
        let at_ms = found.and_then(|found| found.word).map(|word| word.at_ms);
        same("a removal in history", &at_ms, &Some(row.at_ms));
    }
    history += removals.len() as u64;
    same("counters.history", &counters.history, &history);
    same("history rows", &rows(Keyspace::History), &history);

    // Counters and the index of tombstones.
    same("counters.records", &counters.records, &(documents.len() as u64));
    let graves: BTreeSet<_> = documents
        .iter()
        .filter(|(_, record)| is_bare_tombstone(&record.document))
        .map(|(path, record)| {
            (
                record.document.versions().iter().map(|version| version.hlc).max().unwrap_or_default(),
                path.clone(),
            )
        })
        .collect();
    same("counters.tombstones", &counters.tombstones, &(graves.len() as u64));
    let indexed: BTreeSet<_> =
        snapshot.tombstones(rejoin_causal::Hlc(u64::MAX), None, usize::MAX)?.into_iter().collect();
    same("tombstone index", &indexed, &graves);
    // Ends of values that several nodes wrote are no conflict: nobody wrote them.
    let is_conflict = |document: &Document| {
        let ends = document.versions().iter().filter(|version| version.body.is_end()).count();
        document.versions().len() > 1 && ends < document.versions().len()
    };
    let conflicts = documents.iter().filter(|(_, record)| is_conflict(&record.document)).count();
    same("counters.conflicts", &counters.conflicts, &(conflicts as u64));

    // The index of conflicts.
    let open = documents.iter().filter(|(_, record)| is_conflict(&record.document));
    let open: Vec<Path> = open.map(|(path, _)| path.clone()).collect();
    let indexed = snapshot.open_conflicts(&[], None).collect::<Result<Vec<_>, _>>()?;
    same("index of open conflicts", &indexed, &open);
    let indexed = snapshot.settled_conflicts(&[], None).collect::<Result<Vec<_>, _>>()?;
    same("index of settled conflicts", &indexed, &settled);

    // The index of expiries.
    let mut ends: Vec<(u64, Path)> = Vec::new();
    for (path, record) in &documents {
        let first = record.document.versions().iter().filter_map(|version| version.body.expires_ms()).min();
        ends.extend(first.map(|first| (first, path.clone())));
    }
    ends.sort();
    same("index of expiries", &snapshot.expiries(0, None, u64::MAX, usize::MAX)?, &ends);
    // Answers to requests that may come again, their names, and their times.
    let times = snapshot.kept_times(0, u64::MAX, usize::MAX)?;
    let mut names = BTreeSet::new();
    for (at_ms, dot) in &times {
        let found = snapshot.kept(*dot, dot.seq, 1)?.pop();
        same("the time of a kept answer", &found.as_ref().map(|row| row.at_ms), &Some(*at_ms));
        let Some(row) = found else { continue };
        same("the write of a kept answer", &row.kept.dot, dot);
        let id = row.kept.once.id;
        if snapshot.kept_extent(&id)?.is_some_and(|extent| extent.covers(*dot)) {
            names.insert(id);
        }
    }
    same("counters.kept", &counters.kept, &(times.len() as u64));
    let indexes = open.len() + settled.len() + ends.len() + removals.len() + 2 * times.len() + names.len();
    same("rows of indexes", &rows(Keyspace::Conflicts), &(indexes as u64));

    // Digests: each fence is the sum of its run, and any range is the sum of its documents.
    let sums: Vec<(Vec<u8>, Summary)> =
        documents.iter().map(|(path, record)| (path.key(), fingerprint(path, &record.document))).collect();
    let scan = |lower: &[u8], upper: Option<&[u8]>| {
        let mut total = Summary::default();
        for (key, summary) in &sums {
            if key.as_slice() >= lower && upper.is_none_or(|upper| key.as_slice() < upper) {
                total += *summary;
            }
        }
        total
    };
    same("counters.values", &counters.values, &scan(&[], None));
    for level in 1..=LEVELS {
        let fences = snapshot.fences(level, &[], None, usize::MAX)?;
        if !documents.is_empty() {
            same("the first fence", &fences.first().map(|fence| fence.0.clone()), &Some(Vec::<u8>::new()));
        }
        for (at, (key, summary)) in fences.iter().enumerate() {
            let next = fences.get(at + 1).map(|fence| fence.0.as_slice());
            same(
                "a fence",
                &(level, key.escape_ascii().to_string(), summary),
                &(level, key.escape_ascii().to_string(), scan(key, next)),
            );
        }
    }
    for _ in 0..4 {
        let edge = |rng: &mut Rng| match documents.is_empty() || rng.chance(200) {
            true => None,
            false => Some(sums[rng.index(sums.len())].0.clone()),
        };
        let (lower, upper) = (edge(rng).unwrap_or_default(), edge(rng));
        if upper.as_ref().is_some_and(|upper| *upper <= lower) {
            continue;
        }
        let found = range_digest(snapshot, &lower, upper.as_deref())?;
        same("the digest of a range", &found, &scan(&lower, upper.as_deref()));
    }
    Ok(if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) })
}

/// The fingerprint of a document, from its description in docs/storage.md and not from the code that makes it.
fn fingerprint(path: &Path, document: &Document) -> Summary {
    if document.versions().iter().all(|version| matches!(*version.body, Body::Tombstone)) {
        return Summary::default();
    }
    let mut parts: Vec<Vec<u8>> = vec![path.as_str().into()];
    let number = |number: u64| number.to_le_bytes().to_vec();
    for version in document.versions() {
        let dot = version.dot;
        parts.extend([dot.node.0.to_vec(), number(dot.epoch.0), number(dot.seq), number(version.hlc.0)]);
        match &*version.body {
            Body::Tombstone => parts.push("tombstone".into()),
            Body::Value(json) => parts.extend(["value".into(), json.as_str().into()]),
            Body::Fields(fields) => {
                parts.push("fields".into());
                for field in &fields.0 {
                    let dot = field.dot;
                    parts.extend([field.name.as_bytes().to_vec(), number(field.hlc.0), dot.node.0.to_vec()]);
                    parts.extend([number(dot.epoch.0), number(dot.seq)]);
                    parts.push(field.value.as_ref().map_or("removed".into(), |value| value.as_str().into()));
                }
            }
        }
        if let Some(unit) = version.body.unit {
            parts.extend(["unit".into(), number(unit.first), number(unit.last)]);
        }
        match version.body.expiry {
            Some(Expiry::At(ms)) => parts.extend(["expires".into(), number(ms)]),
            Some(Expiry::Of(hlc, dot)) => {
                parts.extend(["end".into(), number(hlc.0), dot.node.0.to_vec()]);
                parts.extend([number(dot.epoch.0), number(dot.seq)]);
            }
            None => {}
        }
    }
    let mut text = Vec::new();
    for part in parts {
        text.extend((part.len() as u64).to_le_bytes());
        text.extend(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(&text).as_bytes()[..16]);
    Summary { fingerprint: u128::from_le_bytes(half), count: 1 }
}

/// Checks that two stores hold the same values; bare tombstones may differ by collection.
pub fn same_values<S: RawSnapshot>(
    names: (&str, &str),
    one: &Snapshot<S>,
    other: &Snapshot<S>,
    left_out: &BTreeSet<Path>,
) -> Result<(), Violation> {
    let values = |snapshot: &Snapshot<S>| -> Result<BTreeMap<Path, _>, rejoin_store::StoreError> {
        let mut values = BTreeMap::new();
        for row in snapshot.documents(&[], None) {
            let (path, record) = row?;
            if !is_bare_tombstone(&record.document) && !left_out.contains(&path) {
                values.insert(path, record.document.versions().to_vec());
            }
        }
        Ok(values)
    };
    let failed = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
    let (ours, theirs) = (values(one).map_err(failed)?, values(other).map_err(failed)?);
    let paths: BTreeSet<&Path> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        ensure(ours.get(path) == theirs.get(path), Promise::Converges, || {
            format!(
                "{path:?} differs: {} has {:?}, {} has {:?}",
                names.0,
                ours.get(path),
                names.1,
                theirs.get(path)
            )
        })?;
    }
    if !left_out.is_empty() {
        return Ok(());
    }
    let digest = |snapshot: &Snapshot<S>| snapshot.counters().map(|counters| counters.values);
    let (one, other) = (digest(one).map_err(failed)?, digest(other).map_err(failed)?);
    ensure(one == other, Promise::Converges, || {
        format!("digests differ between {names:?}: {one:?} {other:?}")
    })
}
