//! An engine in memory, for simulations and for `durability = "memory"`.
//!
//! It keeps two states of every keyspace: what was committed, and what of it was synced. Both are persistent
//! red-black trees, so a snapshot, a sync and a fork copy one pointer per keyspace.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use super::{Engine, EngineError, Keyspace, RawBatch, RawSnapshot, is_empty_range};

type Map = RedBlackTreeMapSync<Bytes, Bytes>;

/// An [`Engine`] in memory.
///
/// Clones are handles on the same disk: keep one to bring a replica that died back to its disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    committed: Maps,
    synced: Maps,
}

/// One state of all keyspaces.
#[derive(Clone, Debug, Default)]
struct Maps {
    keyspaces: [Map; Keyspace::ALL.len()],
    bytes: u64,
}

impl MemoryEngine {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent disk with the same contents, synced and not: a backup of the directory at this moment.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { disk: Arc::new(Mutex::new(self.disk().clone())) }
    }

    /// A power cut: forgets everything committed since the last sync. Snapshots taken before keep what they saw.
    pub fn crash(&self) {
        let mut disk = self.disk();
        disk.committed = disk.synced.clone();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Invariant: the disk is replaced whole or not at all, so it is sound even if a holder of the lock panicked.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    type Snapshot = MemorySnapshot;

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot { maps: self.disk().committed.clone() }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        batch
            .check_bounds()
            .map_err(|reason| EngineError::Refused { operation: "commit a batch", reason })?;
        let mut disk = self.disk();
        let mut maps = disk.committed.clone();
        for (keyspace, key, value) in batch.into_operations() {
            // Rows come out of one allocation for many: one that stays must not keep the others.
            let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
            maps.apply(keyspace, own(key), value.map(own));
        }
        disk.committed = maps;
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut disk = self.disk();
        disk.synced = disk.committed.clone();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.disk().committed.bytes
    }

    fn close(self) -> Result<(), EngineError> {
        self.sync()
    }
}

impl Maps {
    fn apply(&mut self, keyspace: Keyspace, key: Bytes, value: Option<Bytes>) {
        let map = &mut self.keyspaces[keyspace as usize];
        if let Some(old) = map.get(&key) {
            self.bytes -= entry_bytes(&key, old);
        }
        match value {
            Some(value) => {
                self.bytes += entry_bytes(&key, &value);
                map.insert_mut(key, value);
            }
            None => {
                map.remove_mut(&key);
            }
        }
    }
}

fn entry_bytes(key: &Bytes, value: &Bytes) -> u64 {
    (key.len() + value.len()) as u64
}

/// A state of a [`MemoryEngine`].
#[derive(Clone, Debug)]
pub struct MemorySnapshot {
    maps: Maps,
}

impl RawSnapshot for MemorySnapshot {
    type Range<'a> = MemoryRange<'a>;

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.maps.keyspaces[keyspace as usize].get(key).cloned())
    }

    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> MemoryRange<'_> {
        if is_empty_range(lower, upper) {
            return MemoryRange { entries: None };
        }
        let bounds = (lower.map(Bytes::copy_from_slice), upper.map(Bytes::copy_from_slice));
        MemoryRange { entries: Some(Box::new(self.maps.keyspaces[keyspace as usize].range(bounds))) }
    }
}

/// Entries of a [`MemorySnapshot`].
pub struct MemoryRange<'a> {
    entries: Option<Box<dyn DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + 'a>>,
}

impl Iterator for MemoryRange<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.as_mut()?.next().map(|(key, value)| Ok((key.clone(), value.clone())))
    }
}

impl DoubleEndedIterator for MemoryRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.entries.as_mut()?.next_back().map(|(key, value)| Ok((key.clone(), value.clone())))
    }
}
