//! A replica's durable state: batches of documents in, rows of an engine out.

use std::sync::{Arc, PoisonError, RwLock};

use rejoin_causal::codec::{LifeIndex, LifeTable, put_interval_set};
use rejoin_causal::{Epoch, NodeId};
use rejoin_replica::path::Path;
use rejoin_replica::{Batch, Commit};

use crate::engine::{DiskSpace, Engine, Keyspace, RawBatch, RawSnapshot};
use crate::error::StoreError;
use crate::rows::Rows;
use crate::schema;
use crate::snapshot::Snapshot;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Until the device has it: survives a power cut. The default.
    #[default]
    EveryCommit,
    /// Until the operating system has it: survives `kill -9`, not a power cut.
    Never,
}

/// The writing side. There is one; it belongs to the replica's thread.
#[derive(Debug)]
pub struct Store<E: Engine> {
    engine: Arc<E>,
    lives: LifeTable,
    published: Arc<RwLock<Arc<LifeTable>>>,
    sync: SyncPolicy,
    /// The store has an older format than what is written from now on: the next commit says so.
    is_older: bool,
}

/// The reading side: takes snapshots, from any thread, without waiting for the writer.
#[derive(Debug)]
pub struct StoreReader<E: Engine> {
    engine: Arc<E>,
    lives: Arc<RwLock<Arc<LifeTable>>>,
}

impl<E: Engine> Clone for StoreReader<E> {
    fn clone(&self) -> StoreReader<E> {
        StoreReader { engine: Arc::clone(&self.engine), lives: Arc::clone(&self.lives) }
    }
}

impl<E: Engine> StoreReader<E> {
    /// The state after the last commit.
    pub fn snapshot(&self) -> Snapshot<E::Snapshot> {
        // The engine first: lives are published before the rows that use them are committed.
        let raw = self.engine.snapshot();
        let lives = Arc::clone(&self.lives.read().unwrap_or_else(PoisonError::into_inner));
        Snapshot::new(raw, lives)
    }

    /// Bytes the store occupies.
    pub fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }

    /// What the disk has left; `None` where there is no disk, or the system does not say.
    pub fn disk_space(&self) -> Option<DiskSpace> {
        self.engine.disk_space()
    }
}

impl<E: Engine> Store<E> {
    /// Opens the store in `engine`, or makes a new one in an empty engine. Reads a handful of rows, whatever the
    /// number of documents.
    pub fn open(engine: E, sync: SyncPolicy) -> Result<Store<E>, StoreError> {
        let raw = engine.snapshot();
        let is_older = match raw.get(Keyspace::Meta, schema::META_FORMAT)? {
            Some(found) => check_format(&found, schema::FORMAT)? < schema::FORMAT,
            None => {
                // Only a store that was never written to has no format.
                for keyspace in [Keyspace::Meta, Keyspace::Documents, Keyspace::Log] {
                    if raw
                        .range(keyspace, std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)
                        .next()
                        .is_some()
                    {
                        return Err(StoreError::row(Keyspace::Meta, schema::META_FORMAT));
                    }
                }
                let mut batch = RawBatch::new();
                put_format(&mut batch);
                engine.commit(batch)?;
                engine.sync()?;
                false
            }
        };
        let mut lives = LifeTable::default();
        let prefix = schema::META_LIFE;
        let upper = schema::after_prefix(prefix);
        let bounds = (std::ops::Bound::Included(prefix), std::ops::Bound::Excluded(&*upper));
        for (at, row) in raw.range(Keyspace::Meta, bounds.0, bounds.1).enumerate() {
            let (key, value) = row?;
            let refuse = || StoreError::row(Keyspace::Meta, &key);
            let (node, epoch) = schema::take_life(&value).map_err(|_| refuse())?;
            if lives.index_of(node, epoch) as usize != at || key[prefix.len()..] != index_bytes(at) {
                return Err(refuse());
            }
        }
        drop(raw);
        let published = Arc::new(RwLock::new(Arc::new(lives.clone())));
        Ok(Store { engine: Arc::new(engine), lives, published, sync, is_older })
    }

    /// A reading side.
    pub fn reader(&self) -> StoreReader<E> {
        StoreReader { engine: Arc::clone(&self.engine), lives: Arc::clone(&self.published) }
    }

    /// The state after the last commit.
    pub fn snapshot(&self) -> Snapshot<E::Snapshot> {
        self.reader().snapshot()
    }

    /// What the disk has left; `None` where there is no disk, or the system does not say.
    pub fn disk_space(&self) -> Option<DiskSpace> {
        self.engine.disk_space()
    }

    /// Mints the epoch of this start and makes it durable, whatever the sync policy: before any write of it.
    pub fn begin_epoch(&mut self, unix_ms: u64, random: u16) -> Result<Epoch, StoreError> {
        self.begin_epoch_with(unix_ms, random, |_| Vec::new())
    }

    /// The same, with notes that belong to that epoch: all of it or nothing.
    pub fn begin_epoch_with<'a>(
        &mut self,
        unix_ms: u64,
        random: u16,
        notes: impl FnOnce(Epoch) -> Vec<(&'a str, Vec<u8>)>,
    ) -> Result<Epoch, StoreError> {
        let stored = self.engine.snapshot().get(Keyspace::Meta, schema::META_EPOCH)?;
        let last = match stored {
            Some(bytes) => {
                let bytes = bytes.first_chunk::<8>();
                let bytes = bytes.ok_or_else(|| StoreError::row(Keyspace::Meta, schema::META_EPOCH))?;
                Epoch(u64::from_be_bytes(*bytes))
            }
            None => Epoch::default(),
        };
        let epoch = Epoch::after(last, unix_ms, random);
        let mut batch = RawBatch::new();
        batch.put(Keyspace::Meta, schema::META_EPOCH, epoch.0.to_be_bytes().to_vec());
        for (name, value) in notes(epoch) {
            batch.put(Keyspace::Meta, schema::prefixed(schema::META_NOTE, name.as_bytes()), value);
        }
        self.write(batch)?;
        self.engine.sync()?;
        Ok(epoch)
    }

    /// A small value that another layer keeps here, such as the node's key.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = schema::prefixed(schema::META_NOTE, name.as_bytes());
        Ok(self.engine.snapshot().get(Keyspace::Meta, &key)?.map(|value| value.to_vec()))
    }

    /// Keeps a small value durably, whatever the sync policy.
    pub fn set_note(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = RawBatch::new();
        let key = schema::prefixed(schema::META_NOTE, name.as_bytes());
        batch.put(Keyspace::Meta, key, value.to_vec());
        self.write(batch)?;
        Ok(self.engine.sync()?)
    }

    /// Commits rows, and with the first of them what they are written in: nothing is changed before, so that whoever wrote
    /// the store can still open it when this start comes to nothing.
    fn write(&mut self, mut batch: RawBatch) -> Result<(), StoreError> {
        if self.is_older {
            put_format(&mut batch);
        }
        self.engine.commit(batch)?;
        self.is_older = false;
        Ok(())
    }

    /// Whether there is housekeeping to do; see [`Engine::wants_housekeeping`].
    pub fn wants_housekeeping(&self) -> bool {
        self.engine.wants_housekeeping()
    }

    /// Does it, and waits for the device; see [`Engine::keep_house`].
    pub fn keep_house(&mut self) -> Result<(), StoreError> {
        Ok(self.engine.keep_house()?)
    }

    /// Ends the store so that the next open is fast. Readers that are left keep it open; then this only syncs.
    pub fn close(self) -> Result<(), StoreError> {
        match Arc::try_unwrap(self.engine) {
            Ok(engine) => Ok(engine.close()?),
            Err(shared) => Ok(shared.sync()?),
        }
    }

    /// The rows of a batch.
    fn rows(&mut self, batch: Batch) -> RawBatch {
        let known = self.lives.lives().len();
        let lives = &mut self.lives;
        let mut rows = Rows::default();
        let put_path = |out: &mut Vec<u8>, path: &Path| out.extend_from_slice(path.as_str().as_bytes());
        let put_nothing = |_: &mut Vec<u8>, ()| {};
        for (path, record) in &batch.records {
            let put_record = |out: &mut Vec<u8>, record| schema::put_record(out, lives, record);
            rows.set(Keyspace::Documents, |out| path.put_key(out), record.as_ref(), put_record);
        }
        for (dot, path) in &batch.log {
            let key = schema::log_key(lives.index_of(dot.node, dot.epoch), dot.seq);
            rows.set(Keyspace::Log, verbatim(&key), path.as_ref(), put_path);
        }
        for ((path, hlc, dot), row) in &batch.history {
            let key = schema::history_key(lives, path, *hlc, *dot);
            let put_row = |out: &mut Vec<u8>, row| schema::put_superseded(out, lives, row);
            rows.set(Keyspace::History, verbatim(&key), row.as_ref(), put_row);
        }
        for (sequence, path) in &batch.feed {
            let key = sequence.to_be_bytes();
            rows.set(Keyspace::Feed, verbatim(&key), path.as_ref(), put_path);
        }
        for ((level, key), summary) in &batch.digest {
            let key = schema::digest_key(*level, key);
            rows.set(Keyspace::Digest, verbatim(&key), summary.as_ref(), schema::put_summary);
        }
        for ((hlc, path), present) in &batch.tombstones {
            let key = schema::tombstone_key(*hlc, path);
            rows.set(Keyspace::Tombstones, verbatim(&key), present.then_some(()), put_nothing);
        }
        for ((expires_ms, path), present) in &batch.expiries {
            let key = schema::expiry_key(*expires_ms, &path.key());
            rows.set(Keyspace::Conflicts, verbatim(&key), present.then_some(()), put_nothing);
        }
        for (row, present) in &batch.removals {
            let key = schema::removal_key(lives, row);
            rows.set(Keyspace::Conflicts, verbatim(&key), present.then_some(()), put_nothing);
        }
        for (dot, row) in &batch.kept {
            let key = schema::kept_key(lives.index_of(dot.node, dot.epoch), dot.seq);
            let put_row = |out: &mut Vec<u8>, row| schema::put_kept_row(out, lives, row);
            rows.set(Keyspace::Conflicts, verbatim(&key), row.as_ref(), put_row);
        }
        for (id, extent) in &batch.kept_ids {
            let key = schema::prefixed(&[schema::KEPT_ID], id);
            let put_extent = |out: &mut Vec<u8>, extent| schema::put_extent(out, lives, extent);
            rows.set(Keyspace::Conflicts, verbatim(&key), extent.as_ref(), put_extent);
        }
        for ((at_ms, dot), present) in &batch.kept_times {
            let key = schema::kept_time_key(*at_ms, lives.index_of(dot.node, dot.epoch), dot.seq);
            rows.set(Keyspace::Conflicts, verbatim(&key), present.then_some(()), put_nothing);
        }
        for (path, open) in &batch.open_conflicts {
            let key = schema::conflict_key(schema::CONFLICT_OPEN, &path.key());
            rows.set(Keyspace::Conflicts, verbatim(&key), open.then_some(()), put_nothing);
        }
        for (path, count) in &batch.settled_conflicts {
            let key = schema::conflict_key(schema::CONFLICT_SETTLED, &path.key());
            let count = (*count > 0).then_some(*count);
            rows.set(Keyspace::Conflicts, verbatim(&key), count, schema::put_settled);
        }
        for ((node, epoch), intervals) in &batch.frontier {
            let key = life_key(schema::META_FRONTIER, lives, *node, *epoch);
            rows.set(Keyspace::Meta, verbatim(&key), Some(intervals), put_interval_set);
        }
        for dot in &batch.floor {
            let key = life_key(schema::META_FLOOR, lives, dot.node, dot.epoch);
            let put_seq = |out: &mut Vec<u8>, seq: u64| out.extend_from_slice(&seq.to_be_bytes());
            rows.set(Keyspace::Meta, verbatim(&key), Some(dot.seq), put_seq);
        }
        for (node, alive) in &batch.alive {
            let key = schema::prefixed(schema::META_ALIVE, &node.0);
            rows.set(Keyspace::Meta, verbatim(&key), *alive, schema::put_alive);
        }
        for (life, doubted) in &batch.doubted {
            let key = schema::prefixed(schema::META_DOUBT, &schema::life_bytes(*life));
            rows.set(Keyspace::Meta, verbatim(&key), doubted.as_ref(), schema::put_doubted);
        }
        if let Some(place) = batch.restamp {
            rows.set(Keyspace::Meta, verbatim(schema::META_RESTAMP), place, schema::put_place);
        }
        if let Some(counters) = &batch.counters {
            let key = verbatim(schema::META_COUNTERS);
            rows.set(Keyspace::Meta, key, Some(counters), schema::put_counters);
        }
        for (at, life) in self.lives.lives().iter().enumerate().skip(known) {
            let key = schema::prefixed(schema::META_LIFE, &index_bytes(at));
            rows.set(Keyspace::Meta, verbatim(&key), Some(*life), schema::put_life);
        }
        if self.lives.lives().len() > known {
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            *published = Arc::new(self.lives.clone());
        }
        rows.finish()
    }
}

impl<E: Engine> Commit for Store<E> {
    type Error = StoreError;

    fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let rows = self.rows(batch);
        self.write(rows)?;
        if self.sync == SyncPolicy::EveryCommit {
            self.engine.sync()?;
        }
        Ok(())
    }
}

/// Appends these bytes.
fn verbatim(bytes: &[u8]) -> impl FnOnce(&mut Vec<u8>) + '_ {
    |out| out.extend_from_slice(bytes)
}

fn life_key(prefix: &[u8], lives: &mut LifeTable, node: NodeId, epoch: Epoch) -> Vec<u8> {
    schema::prefixed(prefix, &lives.index_of(node, epoch).to_be_bytes())
}

fn index_bytes(at: usize) -> [u8; 4] {
    u32::try_from(at).unwrap_or(u32::MAX).to_be_bytes()
}

fn put_format(batch: &mut RawBatch) {
    batch.put(Keyspace::Meta, schema::META_FORMAT, schema::FORMAT.to_be_bytes().to_vec());
}

/// The format of a store, if it is one that a program reads whose newest is `newest`.
fn check_format(found: &[u8], newest: u32) -> Result<u32, StoreError> {
    let oldest = schema::FORMAT_MIN;
    match found.try_into().map(u32::from_be_bytes) {
        Ok(found) if (oldest..=newest).contains(&found) => Ok(found),
        Ok(found) if found > newest => Err(StoreError::NewerFormat { found, oldest, newest }),
        _ => Err(StoreError::row(Keyspace::Meta, schema::META_FORMAT)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_program_reads_its_own_format_and_those_before() {
        let check = |format: u32, newest| check_format(&format.to_be_bytes(), newest);
        assert_eq!(check(1, schema::FORMAT).unwrap(), 1);
        assert_eq!(check(2, schema::FORMAT).unwrap(), 2);
        let error = check(3, schema::FORMAT).unwrap_err();
        assert_eq!(error.to_string(), "the store has format 3, and this version reads formats 1 to 2");
        // What the program that knew format 1 only says of a store that has been written to since.
        let error = check(2, 1).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 2, .. }), "{error}");
        assert!(matches!(check(0, schema::FORMAT), Err(StoreError::Row { .. })));
        assert!(matches!(check_format(b"more than a number", schema::FORMAT), Err(StoreError::Row { .. })));
    }
}
