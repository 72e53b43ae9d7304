//! The storage engine that a node was opened with.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use rejoin_store::engine::{
    DiskSpace, Engine, EngineError, FjallEngine, FjallRange, FjallSnapshot, Keyspace, MemoryEngine,
    MemoryRange, MemorySnapshot, RawBatch, RawSnapshot,
};

/// On disk or in memory, chosen at run time by [`crate::Durability`].
pub(crate) enum NodeEngine {
    Fjall(FjallEngine),
    Memory(MemoryEngine),
}

/// A snapshot of either.
#[derive(Clone)]
pub(crate) enum NodeSnapshot {
    Fjall(FjallSnapshot),
    Memory(MemorySnapshot),
}

/// Rows of either.
pub(crate) enum NodeRange<'a> {
    Fjall(FjallRange),
    Memory(MemoryRange<'a>),
}

impl fmt::Debug for NodeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for NodeSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeSnapshot")
    }
}

impl NodeEngine {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            NodeEngine::Fjall(_) => "fjall",
            NodeEngine::Memory(_) => "memory",
        }
    }
}

impl Engine for NodeEngine {
    type Snapshot = NodeSnapshot;

    fn snapshot(&self) -> NodeSnapshot {
        match self {
            NodeEngine::Fjall(engine) => NodeSnapshot::Fjall(engine.snapshot()),
            NodeEngine::Memory(engine) => NodeSnapshot::Memory(engine.snapshot()),
        }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        match self {
            NodeEngine::Fjall(engine) => engine.commit(batch),
            NodeEngine::Memory(engine) => engine.commit(batch),
        }
    }

    fn sync(&self) -> Result<(), EngineError> {
        match self {
            NodeEngine::Fjall(engine) => engine.sync(),
            NodeEngine::Memory(engine) => engine.sync(),
        }
    }

    fn disk_bytes(&self) -> u64 {
        match self {
            NodeEngine::Fjall(engine) => engine.disk_bytes(),
            NodeEngine::Memory(engine) => engine.disk_bytes(),
        }
    }

    fn disk_space(&self) -> Option<DiskSpace> {
        match self {
            NodeEngine::Fjall(engine) => engine.disk_space(),
            NodeEngine::Memory(engine) => engine.disk_space(),
        }
    }

    fn close(self) -> Result<(), EngineError> {
        match self {
            NodeEngine::Fjall(engine) => engine.close(),
            NodeEngine::Memory(engine) => engine.close(),
        }
    }
}

impl RawSnapshot for NodeSnapshot {
    type Range<'a> = NodeRange<'a>;

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self {
            NodeSnapshot::Fjall(snapshot) => snapshot.get(keyspace, key),
            NodeSnapshot::Memory(snapshot) => snapshot.get(keyspace, key),
        }
    }

    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> NodeRange<'_> {
        match self {
            NodeSnapshot::Fjall(snapshot) => NodeRange::Fjall(snapshot.range(keyspace, lower, upper)),
            NodeSnapshot::Memory(snapshot) => NodeRange::Memory(snapshot.range(keyspace, lower, upper)),
        }
    }
}

impl Iterator for NodeRange<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            NodeRange::Fjall(range) => range.next(),
            NodeRange::Memory(range) => range.next(),
        }
    }
}

impl DoubleEndedIterator for NodeRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            NodeRange::Fjall(range) => range.next_back(),
            NodeRange::Memory(range) => range.next_back(),
        }
    }
}
