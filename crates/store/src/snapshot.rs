//! Reading documents from a consistent snapshot: what the replica, its readers and the APIs see.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_causal::codec::{DecodeError, LifeLookup, LifeTable, Reader, take_epoch, take_interval_set};
use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, NodeId};
use rejoin_replica::history::Row;
use rejoin_replica::path::Path;
use rejoin_replica::{
    Counters, Doubted, Extent, KeptRow, Life, Place, Proof, Record, Removal, Summary, Superseded, View,
};

use crate::engine::{Keyspace, RawSnapshot};
use crate::error::StoreError;
use crate::schema;

/// A consistent state of the whole store. Cheap to take and to clone; later commits do not change it.
#[derive(Clone, Debug)]
pub struct Snapshot<S> {
    raw: S,
    lives: Arc<LifeTable>,
}

impl<S: RawSnapshot> Snapshot<S> {
    pub(crate) fn new(raw: S, lives: Arc<LifeTable>) -> Snapshot<S> {
        Snapshot { raw, lives }
    }

    /// The records of `lower..upper` in path order, read lazily from either end.
    pub fn documents<'a>(
        &'a self,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Path, Record), StoreError>> + use<'a, S> {
        self.range(Keyspace::Documents, lower, upper).map(|row| {
            let (key, value) = row?;
            let path = Path::from_key(&key).map_err(|_| StoreError::row(Keyspace::Documents, &key))?;
            let record = schema::take_record(&*self.lives, &value)
                .map_err(|_| StoreError::row(Keyspace::Documents, &key))?;
            Ok((path, record))
        })
    }

    /// The superseded versions of a path, newest first.
    pub fn history<'a>(
        &'a self,
        path: &Path,
    ) -> impl DoubleEndedIterator<Item = Result<Superseded, StoreError>> + use<'a, S> {
        let prefix = schema::history_prefix(path);
        let upper = schema::after_prefix(&prefix);
        self.range(Keyspace::History, &prefix, Some(&upper)).map(|row| {
            let (key, value) = row?;
            schema::take_superseded(&*self.lives, &value)
                .map_err(|_| StoreError::row(Keyspace::History, &key))
        })
    }

    /// The feed rows after `sequence`, oldest first: each path once, at its newest change.
    pub fn feed(&self, sequence: u64) -> impl Iterator<Item = Result<(u64, Path), StoreError>> + use<'_, S> {
        let lower = sequence.saturating_add(1).to_be_bytes();
        self.range(Keyspace::Feed, &lower, None).map(|row| {
            let (key, value) = row?;
            let refuse = || StoreError::row(Keyspace::Feed, &key);
            let at = key.first_chunk::<8>().ok_or_else(refuse)?;
            Ok((u64::from_be_bytes(*at), schema::path_value(&value).map_err(|_| refuse())?))
        })
    }

    /// The paths in `lower..upper` whose documents have more than one live version, in path order.
    pub fn open_conflicts<'a>(
        &'a self,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Path, StoreError>> + use<'a, S> {
        self.conflicts(schema::CONFLICT_OPEN, lower, upper).map(|row| Ok(row?.0))
    }

    /// The paths in `lower..upper` with conflicts in their history, and how many history rows are of one, in path order.
    pub fn settled_conflicts<'a>(
        &'a self,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Path, u32), StoreError>> + use<'a, S> {
        self.conflicts(schema::CONFLICT_SETTLED, lower, upper).map(|row| {
            let (path, value) = row?;
            let refuse = |_| StoreError::row(Keyspace::Conflicts, &path.key());
            Ok((path.clone(), schema::take_settled(&value).map_err(refuse)?))
        })
    }

    fn conflicts<'a>(
        &'a self,
        kind: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Path, Bytes), StoreError>> + use<'a, S> {
        let lower = schema::conflict_key(kind, lower);
        let upper = upper.map_or_else(|| vec![kind + 1], |upper| schema::conflict_key(kind, upper));
        self.range(Keyspace::Conflicts, &lower, Some(&upper)).map(|row| {
            let (key, value) = row?;
            let path = schema::conflict_path(&key);
            Ok((path.map_err(|_| StoreError::row(Keyspace::Conflicts, &key))?, value))
        })
    }

    fn range(
        &self,
        keyspace: Keyspace,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), StoreError>> + use<'_, S> {
        let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
        self.raw.range(keyspace, Bound::Included(lower), upper).map(|row| row.map_err(StoreError::from))
    }

    fn meta_rows(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(u32, Bytes), StoreError>> + use<'_, S> {
        let len = prefix.len();
        self.range(Keyspace::Meta, prefix, Some(&schema::after_prefix(prefix))).map(move |row| {
            let (key, value) = row?;
            let index = key[len..].first_chunk::<4>().ok_or_else(|| StoreError::row(Keyspace::Meta, &key))?;
            Ok((u32::from_be_bytes(*index), value))
        })
    }

    /// What `read` makes of the rest of each key behind `prefix`, and of its value.
    fn rows_of_meta<T>(
        &self,
        prefix: &[u8],
        read: impl Fn(&[u8], &[u8]) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.range(Keyspace::Meta, prefix, Some(&schema::after_prefix(prefix)));
        rows.map(|row| {
            let (key, value) = row?;
            read(&key[prefix.len()..], &value).map_err(|_| StoreError::row(Keyspace::Meta, &key))
        })
        .collect()
    }

    fn life(&self, index: u32, prefix: &[u8]) -> Result<(NodeId, Epoch), StoreError> {
        self.lives.life_at(index).ok_or_else(|| StoreError::row(Keyspace::Meta, prefix))
    }

    fn life_index(&self, node: NodeId, epoch: Epoch) -> Option<u32> {
        self.lives.find(node, epoch)
    }
}

impl<S: RawSnapshot> View for Snapshot<S> {
    type Error = StoreError;

    fn record(&self, path: &Path) -> Result<Option<Record>, StoreError> {
        let key = path.key();
        let Some(value) = self.raw.get(Keyspace::Documents, &key)? else { return Ok(None) };
        let record = schema::take_record(&*self.lives, &value);
        record.map(Some).map_err(|_| StoreError::row(Keyspace::Documents, &key))
    }

    fn records(
        &self,
        lower: &[u8],
        upper: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Path, Record)>, StoreError> {
        self.documents(lower, upper).take(limit).collect()
    }

    fn log(
        &self,
        node: NodeId,
        epoch: Epoch,
        first: u64,
        last: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Path)>, StoreError> {
        let Some(life) = self.life_index(node, epoch) else { return Ok(Vec::new()) };
        let (lower, upper) = (schema::log_key(life, first), schema::log_key(life, last));
        let rows = self.raw.range(Keyspace::Log, Bound::Included(&lower), Bound::Included(&upper));
        rows.take(limit)
            .map(|row| {
                let (key, value) = row?;
                let refuse = |_| StoreError::row(Keyspace::Log, &key);
                Ok((schema::log_seq(&key).map_err(refuse)?, schema::path_value(&value).map_err(refuse)?))
            })
            .collect()
    }

    fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Summary)>, StoreError> {
        let lower = schema::digest_key(level, lower);
        let upper = upper.map_or_else(|| vec![level + 1], |upper| schema::digest_key(level, upper));
        self.range(Keyspace::Digest, &lower, Some(&upper)).take(limit).map(|row| fence(row?)).collect()
    }

    fn oldest_history(
        &self,
        path: &Path,
        behind: Option<(Hlc, Dot)>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let prefix = schema::history_prefix(path);
        // Rows are newest first by stamp, and those of one stamp in the order of lives, which is another than that of dots.
        let upper = match behind {
            Some((hlc, _)) => schema::history_stamp_end(path, hlc),
            None => schema::after_prefix(&prefix),
        };
        let mut rows: Vec<Row> = Vec::new();
        for row in self.range(Keyspace::History, &prefix, Some(&upper)).rev() {
            let (key, value) = row?;
            let refuse = |_| StoreError::row(Keyspace::History, &key);
            let (hlc, dot) = schema::history_rank(&*self.lives, prefix.len(), &key).map_err(refuse)?;
            if behind.is_some_and(|behind| (hlc, dot) <= behind)
                || schema::is_removed(&value).map_err(refuse)?
            {
                continue;
            }
            if rows.len() >= limit && rows.last().is_some_and(|last| last.0 < hlc) {
                break;
            }
            rows.push((hlc, dot, schema::is_concurrent(&value).map_err(refuse)?));
        }
        rows.sort_unstable();
        rows.truncate(limit);
        Ok(rows)
    }

    fn removals(&self, from_ms: u64, until_ms: u64, limit: usize) -> Result<Vec<Removal>, StoreError> {
        let bound = |ms: u64| schema::prefixed(&[schema::REMOVAL], &ms.to_be_bytes());
        let rows = self.range(Keyspace::Conflicts, &bound(from_ms), Some(&bound(until_ms)));
        rows.take(limit)
            .map(|row| {
                let (key, _) = row?;
                schema::removal_parts(&*self.lives, &key)
                    .map_err(|_| StoreError::row(Keyspace::Conflicts, &key))
            })
            .collect()
    }

    fn kept_extent(&self, id: &[u8; 16]) -> Result<Option<Extent>, StoreError> {
        let key = schema::prefixed(&[schema::KEPT_ID], id);
        let Some(value) = self.raw.get(Keyspace::Conflicts, &key)? else { return Ok(None) };
        let extent = schema::take_extent(&*self.lives, &value);
        extent.map(Some).map_err(|_| StoreError::row(Keyspace::Conflicts, &key))
    }

    fn kept(&self, first: Dot, last: u64, limit: usize) -> Result<Vec<KeptRow>, StoreError> {
        let Some(life) = self.life_index(first.node, first.epoch) else { return Ok(Vec::new()) };
        let row = |key: &[u8], value: &[u8]| {
            let row = schema::take_kept_row(&*self.lives, value);
            row.map_err(|_| StoreError::row(Keyspace::Conflicts, key))
        };
        let lower = schema::kept_key(life, first.seq);
        if first.seq == last {
            // Found or not without looking at its neighbours, which is most of what is asked.
            let value = self.raw.get(Keyspace::Conflicts, &lower)?;
            return value.iter().take(limit).map(|value| row(&lower, value)).collect();
        }
        let upper = schema::kept_key(life, last);
        let rows = self.raw.range(Keyspace::Conflicts, Bound::Included(&lower), Bound::Included(&upper));
        rows.take(limit)
            .map(|found| {
                let (key, value) = found?;
                row(&key, &value)
            })
            .collect()
    }

    fn kept_times(&self, from_ms: u64, until_ms: u64, limit: usize) -> Result<Vec<(u64, Dot)>, StoreError> {
        let bound = |ms: u64| schema::prefixed(&[schema::KEPT_TIME], &ms.to_be_bytes());
        let rows = self.range(Keyspace::Conflicts, &bound(from_ms), Some(&bound(until_ms)));
        rows.take(limit)
            .map(|row| {
                let (key, _) = row?;
                schema::kept_time_parts(&*self.lives, &key)
                    .map_err(|_| StoreError::row(Keyspace::Conflicts, &key))
            })
            .collect()
    }

    fn superseded(&self, path: &Path, hlc: Hlc, dot: Dot) -> Result<Option<Superseded>, StoreError> {
        let Some(life) = self.life_index(dot.node, dot.epoch) else { return Ok(None) };
        let mut key = schema::history_prefix(path);
        schema::put_history_rank(&mut key, hlc, life, dot.seq);
        let Some(value) = self.raw.get(Keyspace::History, &key)? else { return Ok(None) };
        let row = schema::take_superseded(&*self.lives, &value);
        row.map(Some).map_err(|_| StoreError::row(Keyspace::History, &key))
    }

    fn restamp(&self) -> Result<Option<Place>, StoreError> {
        let Some(value) = self.raw.get(Keyspace::Meta, schema::META_RESTAMP)? else { return Ok(None) };
        let place = schema::take_place(&value);
        place.map(Some).map_err(|_| StoreError::row(Keyspace::Meta, schema::META_RESTAMP))
    }

    fn settled(&self, path: &Path) -> Result<u32, StoreError> {
        let key = schema::conflict_key(schema::CONFLICT_SETTLED, &path.key());
        let Some(value) = self.raw.get(Keyspace::Conflicts, &key)? else { return Ok(0) };
        schema::take_settled(&value).map_err(|_| StoreError::row(Keyspace::Conflicts, &key))
    }

    fn tombstones(
        &self,
        before: Hlc,
        after: Option<&(Hlc, Path)>,
        limit: usize,
    ) -> Result<Vec<(Hlc, Path)>, StoreError> {
        let lower = after.map(|(hlc, path)| schema::tombstone_key(*hlc, path));
        let lower = lower.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let upper = before.0.to_be_bytes();
        let rows = self.raw.range(Keyspace::Tombstones, lower, Bound::Excluded(&upper));
        rows.take(limit)
            .map(|row| {
                let (key, _) = row?;
                schema::tombstone_parts(&key).map_err(|_| StoreError::row(Keyspace::Tombstones, &key))
            })
            .collect()
    }

    fn expiries(
        &self,
        from_ms: u64,
        after: Option<&Path>,
        until_ms: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Path)>, StoreError> {
        let lower = schema::expiry_key(from_ms, &after.map(Path::key).unwrap_or_default());
        let lower = if after.is_some() { Bound::Excluded(&*lower) } else { Bound::Included(&*lower) };
        let upper = schema::expiry_key(until_ms, &[]);
        let rows = self.raw.range(Keyspace::Conflicts, lower, Bound::Excluded(&upper));
        rows.take(limit)
            .map(|row| {
                let (key, _) = row?;
                schema::expiry_parts(&key).map_err(|_| StoreError::row(Keyspace::Conflicts, &key))
            })
            .collect()
    }

    fn frontier(&self) -> Result<Frontier, StoreError> {
        let mut frontier = Frontier::new();
        for row in self.meta_rows(schema::META_FRONTIER) {
            let (index, value) = row?;
            let (node, epoch) = self.life(index, schema::META_FRONTIER)?;
            let mut from = Reader::new(&value);
            let set = take_interval_set(&mut from)
                .map_err(|_| StoreError::row(Keyspace::Meta, schema::META_FRONTIER))?;
            frontier.insert_row(node, epoch, &set);
        }
        Ok(frontier)
    }

    fn floor(&self) -> Result<Floor, StoreError> {
        let mut floor = Floor::new();
        for row in self.meta_rows(schema::META_FLOOR) {
            let (index, value) = row?;
            let (node, epoch) = self.life(index, schema::META_FLOOR)?;
            let seq = value
                .first_chunk::<8>()
                .ok_or_else(|| StoreError::row(Keyspace::Meta, schema::META_FLOOR))?;
            floor.raise(Dot { node, epoch, seq: u64::from_be_bytes(*seq) });
        }
        Ok(floor)
    }

    fn alive(&self) -> Result<Vec<(NodeId, Epoch, Proof)>, StoreError> {
        let read = |key: &[u8], value: &[u8]| {
            let mut from = Reader::new(key);
            let node = NodeId(from.array("key of a living node")?);
            from.finish("key of a living node")?;
            schema::take_alive(value).map(|(epoch, proof)| (node, epoch, proof))
        };
        self.rows_of_meta(schema::META_ALIVE, read)
    }

    fn doubted(&self) -> Result<Vec<(Life, Doubted)>, StoreError> {
        let read = |key: &[u8], value: &[u8]| {
            let mut from = Reader::new(key);
            let life = (NodeId(from.array("key of a doubted life")?), take_epoch(&mut from)?);
            from.finish("key of a doubted life")?;
            schema::take_doubted(value).map(|doubted| (life, doubted))
        };
        self.rows_of_meta(schema::META_DOUBT, read)
    }

    fn counters(&self) -> Result<Counters, StoreError> {
        let Some(value) = self.raw.get(Keyspace::Meta, schema::META_COUNTERS)? else {
            return Ok(Counters::default());
        };
        schema::take_counters(&value).map_err(|_| StoreError::row(Keyspace::Meta, schema::META_COUNTERS))
    }
}

/// A digest row; the level in front of its key is known.
fn fence((key, value): (Bytes, Bytes)) -> Result<(Vec<u8>, Summary), StoreError> {
    let summary = schema::take_summary(&value).map_err(|_| StoreError::row(Keyspace::Digest, &key))?;
    Ok((key[1..].to_vec(), summary))
}
