//! A disk that fails: writes, syncs and reads that return errors, and a tail that a power cut takes a part of.
//!
//! What it holds is a [`MemoryEngine`]'s business. As a real engine, it takes no further write after a failure, until it is
//! opened again.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rejoin_store::engine::{
    Engine, EngineError, Keyspace, MemoryEngine, MemoryRange, MemorySnapshot, RawBatch, RawSnapshot,
};

/// How the next operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The next commit fails, and nothing of it is there.
    CommitLost,
    /// The next commit fails, and all of it is there.
    CommitKept,
    /// The next sync fails; what was committed is there until power is cut.
    Sync,
    /// That many reads from now, one fails.
    Read(u64),
}

#[derive(Debug, Default)]
struct Health {
    fault: Option<DiskFault>,
    poisoned: bool,
    /// The states after each commit since the last sync.
    unsynced: Vec<MemoryEngine>,
}

/// An [`Engine`] in memory that fails on demand. Clones are handles on the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    memory: MemoryEngine,
    health: Arc<Mutex<Health>>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// An independent disk with the same contents.
    #[must_use]
    pub fn fork(&self) -> Disk {
        Disk { memory: self.memory.fork(), health: Arc::default() }
    }

    /// Makes the next operation fail that way.
    pub fn break_next(&self, fault: DiskFault) {
        self.health().fault = Some(fault);
    }

    /// Nothing fails any more; as after a restart.
    pub fn mend(&self) {
        let mut health = self.health();
        health.fault = None;
        health.poisoned = false;
    }

    /// Commits since the last sync.
    pub fn unsynced(&self) -> usize {
        self.health().unsynced.len()
    }

    /// The disk after a power cut that leaves the first `kept` of the commits since the last sync.
    #[must_use]
    pub fn after_power_cut(&self, kept: usize) -> Disk {
        let memory = match kept.checked_sub(1).and_then(|last| self.health().unsynced.get(last).cloned()) {
            Some(state) => state.fork(),
            None => {
                let state = self.memory.fork();
                state.crash();
                state
            }
        };
        // What survived is on the device.
        let synced = memory.sync();
        debug_assert!(synced.is_ok(), "memory syncs");
        Disk { memory, health: Arc::default() }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(operation: &'static str) -> EngineError {
    EngineError::Io { operation, cause: Box::new(io::Error::other("a fault of the simulated disk")) }
}

impl Health {
    fn check(&self, operation: &'static str) -> Result<(), EngineError> {
        match self.poisoned {
            true => Err(EngineError::Poisoned { operation, first_failure: "a simulated fault".into() }),
            false => Ok(()),
        }
    }

    fn strikes(&mut self, fault: DiskFault) -> bool {
        let strikes = self.fault == Some(fault);
        if strikes {
            self.fault = None;
            self.poisoned = true;
        }
        strikes
    }

    fn read(&mut self) -> Result<(), EngineError> {
        match self.fault {
            Some(DiskFault::Read(0)) => {
                self.fault = None;
                Err(failure("read"))
            }
            Some(DiskFault::Read(left)) => {
                self.fault = Some(DiskFault::Read(left - 1));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Engine for Disk {
    type Snapshot = DiskSnapshot;

    fn snapshot(&self) -> DiskSnapshot {
        DiskSnapshot { memory: self.memory.snapshot(), health: Arc::clone(&self.health) }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        let mut health = self.health();
        health.check("commit a batch")?;
        if health.strikes(DiskFault::CommitLost) {
            return Err(failure("commit a batch"));
        }
        self.memory.commit(batch)?;
        health.unsynced.push(self.memory.fork());
        if health.strikes(DiskFault::CommitKept) {
            return Err(failure("commit a batch"));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut health = self.health();
        health.check("sync")?;
        if health.strikes(DiskFault::Sync) {
            return Err(failure("sync"));
        }
        health.unsynced.clear();
        self.memory.sync()
    }

    fn disk_bytes(&self) -> u64 {
        self.memory.disk_bytes()
    }

    fn close(self) -> Result<(), EngineError> {
        self.sync()
    }
}

/// A state of a [`Disk`]; its reads fail with the disk's.
#[derive(Clone, Debug)]
pub struct DiskSnapshot {
    memory: MemorySnapshot,
    health: Arc<Mutex<Health>>,
}

impl DiskSnapshot {
    fn read(&self) -> Result<(), EngineError> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).read()
    }
}

impl RawSnapshot for DiskSnapshot {
    type Range<'a> = DiskRange<'a>;

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.read()?;
        self.memory.get(keyspace, key)
    }

    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> DiskRange<'_> {
        DiskRange { failed: self.read().err(), entries: self.memory.range(keyspace, lower, upper) }
    }
}

/// Entries of a [`DiskSnapshot`].
pub struct DiskRange<'a> {
    failed: Option<EngineError>,
    entries: MemoryRange<'a>,
}

impl Iterator for DiskRange<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.failed.take().map(Err).or_else(|| self.entries.next())
    }
}

impl DoubleEndedIterator for DiskRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.failed.take().map(Err).or_else(|| self.entries.next_back())
    }
}
