//! One atomic commit in the making, and a view that reads through it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use rejoin_causal::{Dot, Epoch, Hlc, IntervalSet, NodeId, plant};

use crate::config::BATCH_WRITES_MAX;
use crate::doubt::Doubted;
use crate::history::Row;
use crate::json::Json;
use crate::once::{Extent, KeptRow};
use crate::path::Path;
use crate::statement::{Life, Proof};
use crate::view::{Counters, Record, Removal, Summary, Superseded, View};
use crate::wall::Place;

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
    /// Rows of the index of removals by a peer's word; false removes one.
    pub removals: BTreeMap<Removal, bool>,
    /// Answers to writes that are to be done once; `None` forgets one.
    pub kept: BTreeMap<Dot, Option<KeptRow>>,
    /// Which writes a request was, by its name; `None` removes the row.
    pub kept_ids: BTreeMap<[u8; 16], Option<Extent>>,
    /// Rows of the index of answers by time; false removes one.
    pub kept_times: BTreeMap<(u64, Dot), bool>,
    /// Frontier rows that changed.
    pub frontier: BTreeMap<(NodeId, Epoch), IntervalSet>,
    /// Floor rows that rose.
    pub floor: BTreeSet<Dot>,
    /// The newest life that a node has signed to be alive; `None` removes the row.
    pub alive: BTreeMap<NodeId, Option<(Epoch, Proof)>>,
    /// Doubted lives; `None` removes one.
    pub doubted: BTreeMap<Life, Option<Doubted>>,
    /// Where the walk that mints own versions again goes on, if that changed; `None` inside when there is none.
    pub restamp: Option<Option<Place>>,
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

    /// The first `limit` numbers of live versions with `first <= seq <= last` of one life.
    pub(crate) fn log_dots(
        &self,
        node: NodeId,
        epoch: Epoch,
        first: u64,
        last: u64,
        limit: usize,
    ) -> Result<BTreeSet<u64>, V::Error> {
        let stored = self.base.log(node, epoch, first, last, limit)?;
        let mut live: BTreeSet<u64> = stored.into_iter().map(|(seq, _)| seq).collect();
        let (first, last) = (Dot { node, epoch, seq: first }, Dot { node, epoch, seq: last });
        for (dot, path) in self.batch.log.range(first..=last) {
            match path {
                Some(_) => live.insert(dot.seq),
                None => live.remove(&dot.seq),
            };
        }
        Ok(live)
    }

    /// The oldest history rows of a path behind `behind` that the batch does not already remove. As in
    /// [`View::oldest_history`], without those that are there by a peer's word.
    pub(crate) fn oldest_history(
        &self,
        path: &Path,
        behind: Option<(Hlc, Dot)>,
        limit: usize,
    ) -> Result<Vec<Row>, V::Error> {
        let from = match behind {
            Some((hlc, dot)) => Bound::Excluded((path.clone(), hlc, dot)),
            None => Bound::Included((path.clone(), Hlc(0), LEAST_DOT)),
        };
        let written = self.batch.history.range((from, Bound::Unbounded));
        let written = written.take_while(|((at, ..), _)| at == path);
        let by_word = |row: &Option<Superseded>| row.as_ref().is_some_and(|row| row.word.is_some());
        let written: Vec<_> = written.filter(|(_, row)| !by_word(row)).collect();
        let removed = written.iter().filter(|(_, row)| row.is_none()).count();
        let stored = self.base.oldest_history(path, behind, limit.saturating_add(removed))?;
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

    /// Which writes a request was.
    pub(crate) fn kept_extent(&self, id: &[u8; 16]) -> Result<Option<Extent>, V::Error> {
        match self.batch.kept_ids.get(id) {
            Some(written) => Ok(*written),
            None => self.base.kept_extent(id),
        }
    }

    /// What was answered to these writes, as far as that is kept.
    pub(crate) fn kept(&self, first: Dot, last: u64) -> Result<Vec<KeptRow>, V::Error> {
        let stored = self.base.kept(first, last, BATCH_WRITES_MAX)?;
        let mut rows: BTreeMap<u64, KeptRow> =
            stored.into_iter().map(|row| (row.kept.dot.seq, row)).collect();
        for (dot, row) in self.batch.kept.range(first..=Dot { seq: last, ..first }) {
            match row {
                Some(row) => rows.insert(dot.seq, row.clone()),
                None => rows.remove(&dot.seq),
            };
        }
        Ok(rows.into_values().collect())
    }

    /// The value that a write has written, while it is live or in history.
    pub(crate) fn value_of(&self, path: &Path, hlc: Hlc, dot: Dot) -> Result<Option<Json>, V::Error> {
        let record = self.record(path)?;
        if let Some(live) = record.as_ref().and_then(|record| record.document.version(dot)) {
            return Ok(live.body.json());
        }
        let row = match self.batch.history.get(&(path.clone(), hlc, dot)) {
            Some(written) => written.clone(),
            None => self.base.superseded(path, hlc, dot)?,
        };
        Ok(row.and_then(|row| row.version.body.json()))
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
