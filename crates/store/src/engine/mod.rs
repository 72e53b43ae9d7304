//! Ordered key-value engines of raw bytes behind one small trait.
//!
//! An engine owns eight ordered maps, writes to all of them in one atomic batch, and hands out consistent
//! snapshots of all of them at once. It never interprets a key or a value: documents, logs and digests are the
//! business of the schema above it.
//!
//! Two engines: [`FjallEngine`] keeps a directory on disk, [`MemoryEngine`] keeps persistent maps in memory and can
//! lose its unsynced half on demand, which is what the simulator needs of a disk.

mod batch;
mod error;
mod fjall;
mod journal;
mod layout;
mod lock;
mod memory;
mod space;

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;

pub use batch::{KEY_BYTES_MAX, RawBatch, RefusedBatch, VALUE_BYTES_MAX};
pub use error::EngineError;
pub use fjall::{FjallEngine, FjallOptions, FjallRange, FjallSnapshot};
pub use memory::{MemoryEngine, MemoryRange, MemorySnapshot};
pub use space::DiskSpace;

/// An ordered store of raw bytes with atomic batches and snapshots.
///
/// Invariant: a batch is visible and durable as a whole or not at all, and batches become visible in the order in
/// which their commits return to a single writer.
pub trait Engine: Send + Sync + 'static {
    /// A consistent view over all keyspaces.
    type Snapshot: RawSnapshot;

    /// The state after the last commit, over all keyspaces. Cheap; later commits do not change it.
    fn snapshot(&self) -> Self::Snapshot;

    /// Applies `batch` atomically. When it returns, the batch has reached the operating system: it survives the death
    /// of this process, not necessarily a power cut.
    ///
    /// # Errors
    /// [`EngineError::Refused`] leaves everything as it was. After any other error the outcome of this batch is
    /// unknown until the store is opened again, and the engine takes no further write.
    fn commit(&self, batch: RawBatch) -> Result<(), EngineError>;

    /// Whether there is housekeeping to do that waits for the device; see [`Engine::keep_house`].
    fn wants_housekeeping(&self) -> bool {
        false
    }

    /// Does the housekeeping that commits leave undone where they must not wait for the device.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    fn keep_house(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Returns once everything committed before is on the device.
    ///
    /// # Errors
    /// A failed sync is final: what reached the device is unknown, and the engine takes no further write.
    fn sync(&self) -> Result<(), EngineError>;

    /// Bytes the store occupies: for metrics, not for accounting.
    fn disk_bytes(&self) -> u64;

    /// What the disk below has left; `None` where there is no disk, or the system does not say.
    fn disk_space(&self) -> Option<DiskSpace> {
        None
    }

    /// Syncs and arranges the store so that the next open is fast. Dropping the engine instead loses nothing that was
    /// committed; the next open takes longer.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    fn close(self) -> Result<(), EngineError>
    where
        Self: Sized;
}

/// A consistent, unchanging view over all keyspaces of an [`Engine`].
pub trait RawSnapshot: Clone + Send + Sync + 'static {
    /// Entries of a range in key order, read lazily from either end. It ends after its first error.
    type Range<'a>: DoubleEndedIterator<Item = Result<(Bytes, Bytes), EngineError>> + 'a
    where
        Self: 'a;

    /// The value stored under `key`.
    ///
    /// # Errors
    /// When the device fails or the store proves to be damaged.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// The entries between two bounds. Bounds that cross name an empty range.
    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Self::Range<'_>;
}

/// One of the ordered maps of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keyspace {
    /// Document states by path.
    Documents,
    /// Paths by dot, for catch-up.
    Log,
    /// Superseded versions.
    History,
    /// Paths by local sequence, for the change feed.
    Feed,
    /// Fingerprints of runs of paths.
    Digest,
    /// Deletions waiting for collection.
    Tombstones,
    /// Identity, frontier, floors and format version.
    Meta,
    /// Paths with open and with settled conflicts, and paths by the time at which a value of theirs ends.
    Conflicts,
}

impl Keyspace {
    /// Every keyspace, each at the position `keyspace as usize`.
    pub const ALL: [Self; 8] = [
        Self::Documents,
        Self::Log,
        Self::History,
        Self::Feed,
        Self::Digest,
        Self::Tombstones,
        Self::Meta,
        Self::Conflicts,
    ];

    /// The name on disk. Part of the storage format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Documents => "docs",
            Self::Log => "log",
            Self::History => "history",
            Self::Feed => "feed",
            Self::Digest => "digest",
            Self::Tombstones => "tombstones",
            Self::Meta => "meta",
            Self::Conflicts => "conflicts",
        }
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether no key can lie between the bounds. Asked by both engines, because the maps below them panic or differ
/// when bounds cross.
fn is_empty_range(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    use Bound::{Excluded, Included};
    match (lower, upper) {
        (Included(lower), Included(upper)) => lower > upper,
        (Included(lower) | Excluded(lower), Included(upper) | Excluded(upper)) => lower >= upper,
        _ => false,
    }
}
