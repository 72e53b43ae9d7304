//! The storage engine that a node was opened with.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rejoin_store::engine::{
    DiskSpace, Engine, EngineError, FjallEngine, FjallRange, FjallSnapshot, Keyspace, MemoryEngine,
    MemoryRange, MemorySnapshot, RawBatch, RawSnapshot,
};

use crate::metrics::Metrics;

/// The engine, with a watch on what it takes to write.
pub(crate) struct NodeEngine {
    kind: Kind,
    metrics: Arc<Metrics>,
}

/// On disk or in memory, chosen at run time by [`crate::Durability`].
#[expect(clippy::large_enum_variant, reason = "there is one a node, and it is moved when the node opens")]
pub(crate) enum Kind {
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
    pub(crate) fn new(kind: Kind, metrics: Arc<Metrics>) -> NodeEngine {
        NodeEngine { kind, metrics }
    }

    pub(crate) fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Fjall(_) => "fjall",
            Kind::Memory(_) => "memory",
        }
    }
}

impl Engine for NodeEngine {
    type Snapshot = NodeSnapshot;

    fn snapshot(&self) -> NodeSnapshot {
        match &self.kind {
            Kind::Fjall(engine) => NodeSnapshot::Fjall(engine.snapshot()),
            Kind::Memory(engine) => NodeSnapshot::Memory(engine.snapshot()),
        }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        self.metrics.commit.time(|| match &self.kind {
            Kind::Fjall(engine) => engine.commit(batch),
            Kind::Memory(engine) => engine.commit(batch),
        })
    }

    fn wants_housekeeping(&self) -> bool {
        match &self.kind {
            Kind::Fjall(engine) => engine.wants_housekeeping(),
            Kind::Memory(engine) => engine.wants_housekeeping(),
        }
    }

    fn keep_house(&self) -> Result<(), EngineError> {
        match &self.kind {
            Kind::Fjall(engine) => engine.keep_house(),
            Kind::Memory(engine) => engine.keep_house(),
        }
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.metrics.fsync.time(|| match &self.kind {
            Kind::Fjall(engine) => engine.sync(),
            Kind::Memory(engine) => engine.sync(),
        })
    }

    fn disk_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Fjall(engine) => engine.disk_bytes(),
            Kind::Memory(engine) => engine.disk_bytes(),
        }
    }

    fn disk_space(&self) -> Option<DiskSpace> {
        match &self.kind {
            Kind::Fjall(engine) => engine.disk_space(),
            Kind::Memory(engine) => engine.disk_space(),
        }
    }

    fn close(self) -> Result<(), EngineError> {
        match self.kind {
            Kind::Fjall(engine) => engine.close(),
            Kind::Memory(engine) => engine.close(),
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
