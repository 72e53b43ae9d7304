//! From a merged document to rows: the only place that decides what a change of a document writes.

use alloc::collections::BTreeMap;

use rejoin_causal::{Dot, Hlc, Lost, Merged, Removed, plant};

use crate::batch::Overlay;
use crate::body::{Content, Document, is_bare_tombstone};
use crate::digest::{self, Fences, Share};
use crate::expiry::{first_end, is_contested};
use crate::history;
use crate::path::Path;
use crate::view::{Counters, Record, Removal, Superseded, View, Word};

/// The stamp under which a bare tombstone is indexed: its newest, or the least when only its past is left.
fn grave(document: &Document) -> Option<Hlc> {
    is_bare_tombstone(document)
        .then(|| document.versions().iter().map(|version| version.hlc).max().unwrap_or_default())
}

/// What a path keeps beside its live versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// The past of a document without versions.
    pub(crate) past: bool,
    /// History rows.
    pub(crate) history_max: u32,
    /// The version that readers saw of several before the merge.
    pub(crate) shown: Option<Dot>,
    /// By whose word versions leave with nothing in their place.
    pub(crate) word: Option<Word>,
    /// The greatest stamp that is not from the future.
    pub(crate) reach: Hlc,
}

/// Writes the outcome of a merge at `path`, where `before` stood.
///
/// A digest session may take the last version out of a document. What is left of it is its past, and while this replica
/// has not applied all of that, only the past keeps older values out that others may still bring. So `keep` has the
/// record stay, without versions, until it can be collected.
pub(crate) fn write<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    fences: &mut Fences,
    path: &Path,
    before: Option<Record>,
    merged: Merged<Content>,
    keep: Keep,
) -> Result<(), V::Error> {
    let Merged { document, added, removed, changed } = merged;
    if !changed {
        return Ok(());
    }
    if document.is_empty() && before.is_none() {
        return Ok(());
    }
    if !plant::is("forget-removed") {
        keep_removed(rows, counters, path, &removed, keep.word);
    }
    if document.is_empty() && !keep.past {
        remove(rows, counters, fences, path, before)?;
        // Nobody can read this change from a feed of what is there: every reader has to start over.
        counters.sequence += 1;
        counters.sequence_floor = counters.sequence;
        return Ok(());
    }
    if added.is_empty() && removed.is_empty() {
        // Only the past grew: nobody sees a difference, so there is nothing to index or to tell.
        if let Some(record) = before {
            rows.batch.records.insert(path.clone(), Some(Record { document, ..record }));
        }
        return Ok(());
    }
    let share_before = Share::of(path, before.as_ref());
    let was_open = before.as_ref().is_some_and(|record| is_contested(&record.document));
    let end_before = before.as_ref().and_then(|record| first_end(&record.document));
    let end_after = first_end(&document);
    let grave_before = before.as_ref().and_then(|record| grave(&record.document));
    let grave_after = grave(&document);
    let mut record = before.unwrap_or_default();

    for dot in &added {
        rows.batch.log.insert(*dot, Some(path.clone()));
    }
    for gone in &removed {
        forget(&mut rows.batch.log, gone.version.dot);
    }

    let by = added.iter().max().copied();
    let mut settled = 0;
    for gone in removed.into_iter().filter(|gone| gone.why == Lost::Superseded) {
        let concurrent = was_open;
        let shown = keep.shown == Some(gone.version.dot);
        let successor = by.and_then(|by| document.version(by));
        let expired =
            gone.version.body.expires_ms().is_some() && successor.is_some_and(|by| by.body.is_end());
        let row = Superseded { by, concurrent, shown, expired, version: gone.version, word: None };
        settled += u32::from(concurrent);
        // By a stamp from the future it would stay the newest for ever, and push out all that was replaced after it.
        let stamp = row.version.hlc.min(keep.reach);
        history::add(rows, counters, path, &mut record, stamp, row);
    }
    let forgotten = history::trim(rows, counters, path, &mut record, keep.history_max)?;
    if settled != forgotten {
        let count = rows.settled(path)?.saturating_add(settled).saturating_sub(forgotten);
        rows.batch.settled_conflicts.insert(path.clone(), count);
    }

    if grave_before != grave_after {
        if let Some(hlc) = grave_before {
            rows.batch.tombstones.insert((hlc, path.clone()), false);
        }
        if let Some(hlc) = grave_after {
            rows.batch.tombstones.insert((hlc, path.clone()), true);
        }
    }
    if end_before != end_after {
        if let Some(ms) = end_before {
            rows.batch.expiries.insert((ms, path.clone()), false);
        }
        if let Some(ms) = end_after {
            rows.batch.expiries.insert((ms, path.clone()), true);
        }
    }
    counters.tombstones =
        counters.tombstones + u64::from(grave_after.is_some()) - u64::from(grave_before.is_some());
    counters.records += u64::from(!share_before.stored);
    let open = is_contested(&document);
    counters.conflicts = counters.conflicts + u64::from(open) - u64::from(was_open);
    if open != was_open {
        rows.batch.open_conflicts.insert(path.clone(), open);
    }

    if record.sequence != 0 {
        forget(&mut rows.batch.feed, record.sequence);
    }
    counters.sequence += 1;
    record.sequence = counters.sequence;
    if document.is_empty() {
        // As above: a reader of the feed finds nothing that it could tell.
        counters.sequence_floor = counters.sequence;
    }
    rows.batch.feed.insert(record.sequence, Some(path.clone()));

    record.document = document;
    let share_after = Share::of(path, Some(&record));
    rows.batch.records.insert(path.clone(), Some(record));
    count_values(counters, share_before, share_after);
    digest::update(rows, fences, path, share_before, share_after)
}

/// Puts values that leave by a peer's word into history, apart from what a write replaced: no number of versions pushes
/// them out, and they outlive the record.
fn keep_removed<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    path: &Path,
    removed: &[Removed<Content>],
    word: Option<Word>,
) {
    let by_word = |gone: &&Removed<Content>| gone.why == Lost::Fenced && !gone.version.body.is_tombstone();
    let Some(word) = word else { return };
    for gone in removed.iter().filter(by_word) {
        let version = gone.version.clone();
        let (hlc, dot, path) = (version.hlc, version.dot, path.clone());
        rows.batch.removals.insert(Removal { at_ms: word.at_ms, path: path.clone(), hlc, dot }, true);
        let (by, concurrent, shown, expired) = (None, false, false, false);
        let row = Superseded { version, by, concurrent, shown, expired, word: Some(word) };
        rows.batch.history.insert((path, hlc, dot), Some(row));
        counters.history += 1;
    }
}

/// Removes a record with all its rows: its last version went in a digest session, or its tombstone is collected. What was
/// removed by a peer's word stays in history.
pub(crate) fn remove<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    fences: &mut Fences,
    path: &Path,
    before: Option<Record>,
) -> Result<(), V::Error> {
    let Some(record) = before else { return Ok(()) };
    let share_before = Share::of(path, Some(&record));
    for version in record.document.versions() {
        forget(&mut rows.batch.log, version.dot);
    }
    if history::clear(rows, counters, path, &record)? {
        rows.batch.settled_conflicts.insert(path.clone(), 0);
    }
    if let Some(hlc) = grave(&record.document) {
        rows.batch.tombstones.insert((hlc, path.clone()), false);
        counters.tombstones -= 1;
    }
    if let Some(ms) = first_end(&record.document) {
        rows.batch.expiries.insert((ms, path.clone()), false);
    }
    counters.records -= 1;
    if is_contested(&record.document) {
        counters.conflicts -= 1;
        rows.batch.open_conflicts.insert(path.clone(), false);
    }
    forget(&mut rows.batch.feed, record.sequence);
    counters.sequence_floor = counters.sequence_floor.max(record.sequence);
    rows.batch.records.insert(path.clone(), None);
    let share_after = Share::of(path, None);
    count_values(counters, share_before, share_after);
    digest::update(rows, fences, path, share_before, share_after)
}

/// Removes a row whose key is used once: one that this group has written is in no store yet, and need not get there.
fn forget<K: Ord, V>(rows: &mut BTreeMap<K, Option<V>>, key: K) {
    match rows.get(&key) {
        Some(Some(_)) => rows.remove(&key),
        _ => rows.insert(key, None),
    };
}

fn count_values(counters: &mut Counters, before: Share, after: Share) {
    counters.values -= before.summary;
    counters.values += after.summary;
}
