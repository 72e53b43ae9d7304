//! One atomic commit in the making, and a view that reads through it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use rejoin_causal::{Dot, Epoch, Hlc, IntervalSet, NodeId, plant};

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
    /// Rows of the index of documents with a value that ends, by the time of the first end; false removes one.
    pub expiries: BTreeMap<(u64, Path), bool>,
    /// Rows of the index of documents with more than one live version; false removes one.
    pub open_conflicts: BTreeMap<Path, bool>,
    /// Rows of the index of settled conflicts: how many history rows of a path are of one; 0 removes it.
    pub settled_conflicts: BTreeMap<Path, u32>,
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
            Some(written) if !plant::is("group-reads-committed") => Ok(written.clone()),
            _ => self.base.record(path),
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
        // A fence is a path's key; what is not only starts further left.
        let from = Path::from_key(lower).map_or(Bound::Unbounded, Bound::Included);
        let written = self.batch.records.range((from, Bound::Unbounded));
        let written = written.skip_while(|(path, _)| path.is_below(lower));
        for (path, record) in written.take_while(|(path, _)| upper.is_none_or(|upper| path.is_below(upper))) {
            match record {
                Some(record) => records.insert(path.clone(), record.clone()),
                None => records.remove(path),
            };
        }
        Ok(records.into_iter().collect())
    }

    /// The paths of the live versions with `first <= seq <= last` of one life.
    pub(crate) fn log(
        &self,
        node: NodeId,
        epoch: Epoch,
        first: u64,
        last: u64,
    ) -> Result<BTreeSet<Path>, V::Error> {
        let mut rows: BTreeMap<u64, Path> =
            self.base.log(node, epoch, first, last, usize::MAX)?.into_iter().collect();
        let (first, last) = (Dot { node, epoch, seq: first }, Dot { node, epoch, seq: last });
        for (dot, path) in self.batch.log.range(first..=last) {
            match path {
                Some(path) => rows.insert(dot.seq, path.clone()),
                None => rows.remove(&dot.seq),
            };
        }
        Ok(rows.into_values().collect())
    }

    /// The oldest history rows of a path that the batch does not already remove, and whether each is of a conflict.
    pub(crate) fn oldest_history(
        &self,
        path: &Path,
        limit: usize,
    ) -> Result<Vec<(Hlc, Dot, bool)>, V::Error> {
        let written = self.batch.history.range((path.clone(), Hlc(0), LEAST_DOT)..);
        let written: Vec<_> = written.take_while(|((at, ..), _)| at == path).collect();
        let removed = written.iter().filter(|(_, row)| row.is_none()).count();
        let stored = self.base.oldest_history(path, limit.saturating_add(removed))?;
        let mut rows: BTreeMap<(Hlc, Dot), bool> =
            stored.into_iter().map(|(hlc, dot, concurrent)| ((hlc, dot), concurrent)).collect();
        for ((_, hlc, dot), row) in written {
            match row {
                Some(row) => rows.insert((*hlc, *dot), row.concurrent),
                None => rows.remove(&(*hlc, *dot)),
            };
        }
        Ok(rows.into_iter().take(limit).map(|((hlc, dot), concurrent)| (hlc, dot, concurrent)).collect())
    }

    /// How many history rows of a path are of a conflict.
    pub(crate) fn settled(&self, path: &Path) -> Result<u32, V::Error> {
        match self.batch.settled_conflicts.get(path) {
            Some(written) => Ok(*written),
            None => self.base.settled(path),
        }
    }
}

const LEAST_DOT: Dot = Dot { node: NodeId([0; 16]), epoch: Epoch(0), seq: 0 };
