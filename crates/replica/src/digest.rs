//! Fingerprints of runs of paths, kept up to date with every write.
//!
//! The digest of a range is the sum modulo 2^128 of the fingerprints of its documents, with their count. Sums are
//! stored at *fences*: paths whose hash ends in enough zero bits. A fence of level 1 starts a run of about 64
//! records, one of level 2 a run of about 64 such runs, one of level 3 again. So a write updates one row a level,
//! and the digest of any range is read from about 64 rows a level: O(log n). Which paths are fences depends on the
//! paths alone, so replicas with the same paths have the same fences.
//!
//! The replica keeps its fences in memory as well (`Fences`): one row in 64 records, about 2 MB for a million. Every
//! write changes the same few rows, and a log-structured engine would step over all their old versions in each seek.
//!
//! The digest counts documents that have a value. A bare tombstone is not in it: replicas collect tombstones at
//! different times, and that alone must not make their digests differ. What a tombstone *removed* does show.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use rejoin_causal::plant;

use crate::batch::{Batch, Overlay};
use crate::body::{Body, Document, is_bare_tombstone};
use crate::expiry::Expiry;
use crate::path::Path;
use crate::policy::first_16;
use crate::view::{Record, Summary, View};

/// Levels of fences; a run of the highest level is 64^3 = 262,144 records.
pub(crate) const LEVELS: u8 = 3;

/// Zero bits of a path's hash that one level takes: runs of 2^6 = 64.
const LEVEL_BITS: u32 = 6;

/// The part of a document in a digest: nothing for a bare tombstone.
pub fn fingerprint(path: &Path, document: &Document) -> Summary {
    if is_bare_tombstone(document) {
        return Summary::default();
    }
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(path.as_str().as_bytes());
    for version in document.versions() {
        part(&version.dot.node.0);
        part(&version.dot.epoch.0.to_le_bytes());
        part(&version.dot.seq.to_le_bytes());
        if !plant::is("fingerprint-without-stamp") {
            part(&version.hlc.0.to_le_bytes());
        }
        match &version.body.body {
            Body::Value(json) => {
                part(b"value");
                part(json.as_str().as_bytes());
            }
            Body::Fields(fields) => {
                part(b"fields");
                for field in &fields.0 {
                    part(field.name.as_bytes());
                    part(&field.hlc.0.to_le_bytes());
                    part(&field.dot.node.0);
                    part(&field.dot.epoch.0.to_le_bytes());
                    part(&field.dot.seq.to_le_bytes());
                    if plant::is("fingerprint-without-field") {
                        continue;
                    }
                    part(field.value.as_ref().map_or(b"removed", |value| value.as_str().as_bytes()));
                }
            }
            Body::Tombstone => part(b"tombstone"),
        }
        if let Some(unit) = version.body.unit {
            part(b"unit");
            part(&unit.first.to_le_bytes());
            part(&unit.last.to_le_bytes());
        }
        match version.body.expiry {
            Some(Expiry::At(ms)) if !plant::is("fingerprint-without-expiry") => {
                part(b"expires");
                part(&ms.to_le_bytes());
            }
            Some(Expiry::Of(hlc, dot)) => {
                part(b"end");
                part(&hlc.0.to_le_bytes());
                part(&dot.node.0);
                part(&dot.epoch.0.to_le_bytes());
                part(&dot.seq.to_le_bytes());
            }
            _ => {}
        }
    }
    Summary { fingerprint: u128::from_le_bytes(first_16(&hasher.finalize())), count: 1 }
}

/// At how many levels a path is a fence.
fn fence_levels(key: &[u8]) -> u8 {
    let hash = blake3::hash(key);
    let mut low = [0; 8];
    low.copy_from_slice(&hash.as_bytes()[..8]);
    let zeros = u64::from_le_bytes(low).trailing_zeros();
    (1..=LEVELS).rev().find(|&level| zeros >= u32::from(level) * LEVEL_BITS).unwrap_or(0)
}

/// Where a digest is read from: a committed view, or a batch laid over one.
pub(crate) trait Sums {
    type Error;
    fn run(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Vec<(Path, Record)>, Self::Error>;
    fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Summary)>, Self::Error>;
    fn fence_after(&self, level: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The digest of `lower..upper`.
    fn sum(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Summary, Self::Error> {
        self.sum_at(LEVELS, lower, upper)
    }

    /// The same, read from fences of `level` and below.
    fn sum_at(&self, level: u8, lower: &[u8], upper: Option<&[u8]>) -> Result<Summary, Self::Error> {
        let mut total = Summary::default();
        if level == 0 {
            for (path, record) in self.run(lower, upper)? {
                total += fingerprint(&path, &record.document);
            }
            return Ok(total);
        }
        let fences = self.fences(level, lower, upper)?;
        let (Some(first), Some(last)) = (fences.first(), fences.last()) else {
            return self.sum_at(level - 1, lower, upper);
        };
        if first.0.as_slice() > lower {
            total += self.sum_at(level - 1, lower, Some(&first.0))?;
        }
        for (_, summary) in &fences[..fences.len() - 1] {
            total += *summary;
        }
        // The last run may reach beyond the range.
        if self.fence_after(level, &last.0)?.as_deref() == upper {
            total += last.1;
        } else {
            total += self.sum_at(level - 1, &last.0, upper)?;
        }
        Ok(total)
    }
}

/// The fences of all levels, as committed or about to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fences {
    levels: [BTreeMap<Vec<u8>, Fence>; LEVELS as usize],
    /// What the group at hand has changed or removed, in no order: however often, it is written once, at the end.
    unwritten: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fence {
    summary: Summary,
    /// Whether it is in `unwritten`.
    unwritten: bool,
}

impl Fences {
    /// The fences in a committed view: one row in 64 records.
    pub(crate) fn load<V: View>(view: &V) -> Result<Fences, V::Error> {
        let mut fences = Fences::default();
        for (number, level) in (1..).zip(&mut fences.levels) {
            let stored = view.fences(number, &[], None, usize::MAX)?.into_iter();
            *level = stored.map(|(at, summary)| (at, Fence { summary, unwritten: false })).collect();
        }
        Ok(fences)
    }

    /// Writes what the group has changed.
    pub(crate) fn write(&mut self, batch: &mut Batch) {
        for (level, key) in self.unwritten.drain(..) {
            let fence = self.levels[usize::from(level) - 1].get_mut(&key);
            let summary = fence.map(|fence| {
                fence.unwritten = false;
                fence.summary
            });
            batch.digest.insert((level, key), summary);
        }
    }

    fn level(&self, level: u8) -> &BTreeMap<Vec<u8>, Fence> {
        &self.levels[usize::from(level) - 1]
    }

    /// The fence at or below `key`, or strictly below. The start of all paths is one, with or without a row.
    fn below(&self, level: u8, key: &[u8], inclusive: bool) -> (Vec<u8>, Summary) {
        let end = if inclusive { Bound::Included(key) } else { Bound::Excluded(key) };
        let below = self.level(level).range::<[u8], _>((Bound::Unbounded, end)).next_back();
        below.map(|(at, fence)| (at.clone(), fence.summary)).unwrap_or_default()
    }

    fn above(&self, level: u8, key: &[u8]) -> Option<&Vec<u8>> {
        let above = self.level(level).range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded)).next();
        above.map(|(at, _)| at)
    }

    /// Changes the sum of the run that holds `key`.
    fn shift(&mut self, level: u8, key: &[u8], minus: Summary, plus: Summary) {
        let fences = &mut self.levels[usize::from(level) - 1];
        let run = fences.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        match run {
            Some((at, fence)) => {
                fence.summary -= minus;
                fence.summary += plus;
                if !core::mem::replace(&mut fence.unwritten, true) {
                    self.unwritten.push((level, at.clone()));
                }
            }
            // The start of all paths is a fence, with or without a row.
            None => {
                let mut summary = Summary::default();
                summary -= minus;
                summary += plus;
                self.set(level, Vec::new(), Some(summary));
            }
        }
    }

    fn set(&mut self, level: u8, key: Vec<u8>, summary: Option<Summary>) {
        let fences = &mut self.levels[usize::from(level) - 1];
        let before = match summary {
            Some(summary) => fences.insert(key.clone(), Fence { summary, unwritten: true }),
            None => fences.remove(&key),
        };
        if !before.is_some_and(|fence| fence.unwritten) {
            self.unwritten.push((level, key));
        }
    }
}

/// Sums over the fences in memory and the records of a batch laid over a view.
struct Pending<'a, 'v, V> {
    fences: &'a Fences,
    rows: &'a Overlay<'v, V>,
}

impl<V: View> Sums for Pending<'_, '_, V> {
    type Error = V::Error;

    fn run(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Vec<(Path, Record)>, V::Error> {
        self.rows.records(lower, upper)
    }

    fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Summary)>, V::Error> {
        let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
        let fences = self.fences.level(level).range::<[u8], _>((Bound::Included(lower), upper));
        Ok(fences.map(|(at, fence)| (at.clone(), fence.summary)).collect())
    }

    fn fence_after(&self, level: u8, key: &[u8]) -> Result<Option<Vec<u8>>, V::Error> {
        Ok(self.fences.above(level, key).cloned())
    }
}

/// Sums read from a committed view.
pub(crate) struct Committed<'a, V>(pub(crate) &'a V);

impl<V: View> Sums for Committed<'_, V> {
    type Error = V::Error;

    fn run(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Vec<(Path, Record)>, V::Error> {
        self.0.records(lower, upper, usize::MAX)
    }

    fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Summary)>, V::Error> {
        self.0.fences(level, lower, upper, usize::MAX)
    }

    fn fence_after(&self, level: u8, key: &[u8]) -> Result<Option<Vec<u8>>, V::Error> {
        let mut above = key.to_vec();
        above.push(0);
        Ok(self.0.fences(level, &above, None, 1)?.into_iter().next().map(|fence| fence.0))
    }
}

/// The digest of `lower..upper` in a committed view.
pub fn range_digest<V: View>(view: &V, lower: &[u8], upper: Option<&[u8]>) -> Result<Summary, V::Error> {
    Committed(view).sum(lower, upper)
}

/// What a digest knows of one record before or after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) stored: bool,
    pub(crate) summary: Summary,
}

impl Share {
    pub(crate) fn of(path: &Path, record: Option<&Record>) -> Share {
        match record {
            Some(record) => Share { stored: true, summary: fingerprint(path, &record.document) },
            None => Share { stored: false, summary: Summary::default() },
        }
    }
}

/// Brings the fences up to date with a record that the batch already holds in its new state.
pub(crate) fn update<V: View>(
    rows: &Overlay<'_, V>,
    fences: &mut Fences,
    path: &Path,
    before: Share,
    after: Share,
) -> Result<(), V::Error> {
    if before == after {
        return Ok(());
    }
    let key = path.key();
    let fence_levels = if before.stored == after.stored { 0 } else { fence_levels(&key) };
    for level in 1..=LEVELS {
        let splits = level <= fence_levels;
        if !splits {
            // Nearly every change of nearly every document.
            fences.shift(level, &key, before.summary, after.summary);
            continue;
        }
        // A path that becomes a fence takes its run from the fence below it; one that ceases to be gives it back.
        let (at, mut summary) = fences.below(level, &key, false);
        if after.stored {
            let end = fences.above(level, &key).cloned();
            let run = Pending { fences, rows }.sum_at(level - 1, &key, end.as_deref())?;
            summary -= run;
            summary += after.summary;
            fences.set(level, key.clone(), Some(run));
        } else {
            summary += fences.below(level, &key, true).1;
            summary -= before.summary;
            fences.set(level, key.clone(), None);
        }
        fences.set(level, at, Some(summary));
    }
    Ok(())
}
