//! One atomic commit in the making, and a view that reads through it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Hlc, IntervalSet, NodeId};

use crate::path::Path;
use crate::view::{Counters, Record, Summary, Superseded, View};

/// Everything that one group of inputs changes, to be written all or not at all.
///
/// It is in terms of documents; the store translates it to rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// New records; `None` removes one.
    pub records: BTreeMap<Path, Option<Record>>,
    /// Log rows: the path of a live version, `None` when it is no longer live.
    pub log: BTreeMap<Dot, Option<Path>>,
    /// History rows to write, or `None` to remove.
    pub history: BTreeMap<(Path, Hlc, Dot), Option<Superseded>>,
    /// Feed rows to write, or `None` to remove.
    pub feed: BTreeMap<u64, Option<Path>>,
    /// Digest fences by (level, key); `None` removes one.
    pub digest: BTreeMap<(u8, Vec<u8>), Option<Summary>>,
    /// Rows of the index of bare tombstones; false removes one.
    pub tombstones: BTreeMap<(Hlc, Path), bool>,
    /// Frontier rows that changed.
    pub frontier: BTreeMap<(NodeId, Epoch), IntervalSet>,
    /// Floor rows that rose.
    pub floor: BTreeSet<Dot>,
    /// The counters after this commit.
    pub counters: Option<Counters>,
}

impl Batch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Batch::default()
    }
}

/// Group commit reads its own writes: a committed view with the uncommitted batch laid over it.
pub(crate) struct Overlay<'a, V> {
    pub(crate) base: &'a V,
    pub(crate) batch: Batch,
}

impl<'a, V: View> Overlay<'a, V> {
    pub(crate) fn new(base: &'a V) -> Overlay<'a, V> {
        Overlay { base, batch: Batch::default() }
    }

    pub(crate) fn record(&self, path: &Path) -> Result<Option<Record>, V::Error> {
        match self.batch.records.get(path) {
            Some(written) => Ok(written.clone()),
            None => self.base.record(path),
        }
    }

    /// The records of `lower..upper`. Only for runs between two digest fences, which are short.
    pub(crate) fn records(
        &self,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Vec<(Path, Record)>, V::Error> {
        let mut records: BTreeMap<Path, Record> =
            self.base.records(lower, upper, usize::MAX)?.into_iter().collect();
        for (path, record) in &self.batch.records {
            let key = path.key();
            if key.as_slice() < lower || upper.is_some_and(|upper| key.as_slice() >= upper) {
                continue;
            }
            match record {
                Some(record) => records.insert(path.clone(), record.clone()),
                None => records.remove(path),
            };
        }
        Ok(records.into_iter().collect())
    }

    pub(crate) fn fence_below(
        &self,
        level: u8,
        key: &[u8],
        inclusive: bool,
    ) -> Result<Option<(Vec<u8>, Summary)>, V::Error> {
        // Walk down past fences that the batch has removed.
        let mut below = (key.to_vec(), inclusive);
        loop {
            let stored = self.base.fence_below(level, &below.0, below.1)?;
            let written = match below.1 {
                true => self.batch.digest.range((level, Vec::new())..=(level, below.0.clone())).next_back(),
                false => self.batch.digest.range((level, Vec::new())..(level, below.0.clone())).next_back(),
            };
            match (stored, written) {
                (Some(stored), Some(((_, at), _))) if stored.0 > *at => return Ok(Some(stored)),
                (_, Some(((_, at), Some(summary)))) => return Ok(Some((at.clone(), *summary))),
                (_, Some(((_, at), None))) => below = (at.clone(), false),
                (stored, None) => return Ok(stored),
            }
        }
    }

    pub(crate) fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Summary)>, V::Error> {
        let mut fences: BTreeMap<Vec<u8>, Summary> =
            self.base.fences(level, lower, upper, usize::MAX)?.into_iter().collect();
        for ((_, key), fence) in self.batch.digest.range((level, lower.to_vec())..(level + 1, Vec::new())) {
            if upper.is_some_and(|upper| key.as_slice() >= upper) {
                break;
            }
            match fence {
                Some(summary) => fences.insert(key.clone(), *summary),
                None => fences.remove(key),
            };
        }
        Ok(fences.into_iter().collect())
    }

    /// The first fence of `level` above `key`.
    pub(crate) fn fence_above(&self, level: u8, key: &[u8]) -> Result<Option<Vec<u8>>, V::Error> {
        let mut above = key.to_vec();
        above.push(0);
        loop {
            let stored = self.base.fences(level, &above, None, 1)?.into_iter().next();
            let written = self.batch.digest.range((level, above.clone())..(level + 1, Vec::new())).next();
            match (stored, written) {
                (Some(stored), Some(((_, at), _))) if stored.0 < *at => return Ok(Some(stored.0)),
                (_, Some(((_, at), Some(_)))) => return Ok(Some(at.clone())),
                (_, Some(((_, at), None))) => {
                    above = at.clone();
                    above.push(0);
                }
                (stored, None) => return Ok(stored.map(|fence| fence.0)),
            }
        }
    }

    /// The oldest history rows of a path that the batch does not already remove.
    pub(crate) fn oldest_history(&self, path: &Path, limit: usize) -> Result<Vec<(Hlc, Dot)>, V::Error> {
        let written = self.batch.history.range((path.clone(), Hlc(0), LEAST_DOT)..);
        let written: Vec<_> = written.take_while(|((at, ..), _)| at == path).collect();
        let removed = written.iter().filter(|(_, row)| row.is_none()).count();
        let mut rows: BTreeSet<(Hlc, Dot)> =
            self.base.oldest_history(path, limit.saturating_add(removed))?.into_iter().collect();
        for ((_, hlc, dot), row) in written {
            match row {
                Some(_) => rows.insert((*hlc, *dot)),
                None => rows.remove(&(*hlc, *dot)),
            };
        }
        Ok(rows.into_iter().take(limit).collect())
    }
}

const LEAST_DOT: Dot = Dot { node: NodeId([0; 16]), epoch: Epoch(0), seq: 0 };
