//! From a merged document to rows: the only place that decides what a change of a document writes.

use rejoin_causal::{Dot, Hlc, Lost, Merged};

use crate::batch::Overlay;
use crate::body::{Content, Document, is_bare_tombstone};
use crate::digest::{self, Fences, Share};
use crate::expiry::{first_end, is_contested};
use crate::path::Path;
use crate::view::{Counters, Record, Superseded, View};

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
    let mut record = before.unwrap_or(Record { document: Document::new(), sequence: 0, history: 0 });

    for dot in &added {
        rows.batch.log.insert(*dot, Some(path.clone()));
    }
    for gone in &removed {
        rows.batch.log.insert(gone.version.dot, None);
    }

    let by = added.iter().max().copied();
    let mut settled = 0;
    for gone in removed.into_iter().filter(|gone| gone.why == Lost::Superseded) {
        let concurrent = was_open;
        let shown = keep.shown == Some(gone.version.dot);
        let successor = by.and_then(|by| document.version(by));
        let expired =
            gone.version.body.expires_ms().is_some() && successor.is_some_and(|by| by.body.is_end());
        let row = Superseded { by, concurrent, shown, expired, version: gone.version };
        settled += u32::from(concurrent);
        let key = (path.clone(), row.version.hlc, row.version.dot);
        rows.batch.history.insert(key, Some(row));
        record.history += 1;
        counters.history += 1;
    }
    let forgotten = trim_history(rows, counters, path, &mut record, keep.history_max)?;
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
        rows.batch.feed.insert(record.sequence, None);
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

/// Removes a record with all its rows: its last version went in a digest session, or its tombstone is collected.
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
        rows.batch.log.insert(version.dot, None);
    }
    for (hlc, dot, concurrent) in rows.oldest_history(path, usize::MAX)? {
        rows.batch.history.insert((path.clone(), hlc, dot), None);
        counters.history -= 1;
        if concurrent {
            rows.batch.settled_conflicts.insert(path.clone(), 0);
        }
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
    rows.batch.feed.insert(record.sequence, None);
    counters.sequence_floor = counters.sequence_floor.max(record.sequence);
    rows.batch.records.insert(path.clone(), None);
    let share_after = Share::of(path, None);
    count_values(counters, share_before, share_after);
    digest::update(rows, fences, path, share_before, share_after)
}

fn count_values(counters: &mut Counters, before: Share, after: Share) {
    counters.values -= before.summary;
    counters.values += after.summary;
}

/// Keeps the newest `versions_max` history rows of a path; tells how many of those that go are of a conflict.
fn trim_history<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    path: &Path,
    record: &mut Record,
    versions_max: u32,
) -> Result<u32, V::Error> {
    let surplus = record.history.saturating_sub(versions_max);
    let mut forgotten = 0;
    if surplus == 0 {
        return Ok(forgotten);
    }
    for (hlc, dot, concurrent) in rows.oldest_history(path, surplus as usize)? {
        rows.batch.history.insert((path.clone(), hlc, dot), None);
        record.history -= 1;
        counters.history -= 1;
        forgotten += u32::from(concurrent);
    }
    Ok(forgotten)
}
