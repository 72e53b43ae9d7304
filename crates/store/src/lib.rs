//! Durable storage for a replica: the schema over an ordered key-value engine.
//!
//! [`Store`] turns a replica's [`rejoin_replica::Batch`] into rows and commits them atomically; [`Snapshot`] reads
//! them back as documents. Engines of raw bytes lie behind one small trait in [`engine`]. docs/storage.md has every
//! key and value byte by byte.

pub mod engine;

mod error;
mod rows;
mod schema;
mod snapshot;
mod store;

pub use engine::{DiskSpace, Engine, EngineError, FjallEngine, FjallOptions, MemoryEngine};
pub use error::StoreError;
pub use snapshot::Snapshot;
pub use store::{Store, StoreReader, SyncPolicy};
