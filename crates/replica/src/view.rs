//! What a replica reads: one consistent view of its store.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{AddAssign, SubAssign};

use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, NodeId};

use crate::body::{Document, Version};
use crate::path::Path;

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The state of the path.
    pub document: Document,
    /// Its row in the change feed.
    pub sequence: u64,
    /// How many history rows the path has.
    pub history: u32,
}

/// The fingerprint and the number of documents with a value in a run of paths.
///
/// Fingerprints add up modulo 2^128, so a write changes a sum without reading its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Summary {
    /// Sum of the documents' fingerprints.
    pub fingerprint: u128,
    /// How many documents are in it.
    pub count: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        self.count = self.count.wrapping_add(other.count);
    }
}

impl SubAssign for Summary {
    fn sub_assign(&mut self, other: Summary) {
        self.fingerprint = self.fingerprint.wrapping_sub(other.fingerprint);
        self.count = self.count.wrapping_sub(other.count);
    }
}

impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:08x}", self.count, self.fingerprint >> 96)
    }
}

/// A version that left its document, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The version.
    pub version: Version,
    /// The write that replaced it, as far as this replica knows: the newest of those that came in with it.
    pub by: Option<Dot>,
    /// It was live beside others when it was replaced: it had taken part in a conflict.
    pub concurrent: bool,
    /// It was the one of them that readers saw on this replica, or the newest of those merged.
    pub shown: bool,
    /// Its time had come, and what replaced it is the delete that follows from that.
    pub expired: bool,
}

/// Sums over the whole store, kept with every commit so that nothing is counted at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records, bare tombstones included.
    pub records: u64,
    /// Records that hold nothing but tombstones.
    pub tombstones: u64,
    /// Documents with more than one live version.
    pub conflicts: u64,
    /// History rows.
    pub history: u64,
    /// The last position given out in the change feed.
    pub sequence: u64,
    /// The greatest feed position of a record that was removed: a reader below it has missed a removal.
    pub sequence_floor: u64,
    /// Fingerprint and count of all documents with a value.
    pub values: Summary,
    /// The greatest stamp given or seen.
    pub hlc: Hlc,
}

/// Reads of one consistent state. Ranges of paths are given as storage keys ([`Path::key`]).
pub trait View {
    /// Why a read failed: a disk error or a corrupt row. It ends the replica.
    type Error: core::error::Error + Send + Sync + 'static;

    /// The record of a path.
    fn record(&self, path: &Path) -> Result<Option<Record>, Self::Error>;

    /// The first `limit` records of `lower..upper`, in path order.
    fn records(
        &self,
        lower: &[u8],
        upper: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Path, Record)>, Self::Error>;

    /// The first `limit` log rows of one life with `first <= seq <= last`: which path a live version is at.
    fn log(
        &self,
        node: NodeId,
        epoch: Epoch,
        first: u64,
        last: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Path)>, Self::Error>;

    /// The first `limit` digest fences of `level` in `lower..upper`.
    fn fences(
        &self,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Summary)>, Self::Error>;

    /// The stamps and dots of the `limit` oldest history rows of a path, and whether each is of a conflict.
    fn oldest_history(&self, path: &Path, limit: usize) -> Result<Vec<(Hlc, Dot, bool)>, Self::Error>;

    /// How many history rows of a path are of a conflict, by the index of settled conflicts.
    fn settled(&self, path: &Path) -> Result<u32, Self::Error>;

    /// Up to `limit` bare tombstones older than `before`, oldest first, after `after` when given.
    fn tombstones(
        &self,
        before: Hlc,
        after: Option<&(Hlc, Path)>,
        limit: usize,
    ) -> Result<Vec<(Hlc, Path)>, Self::Error>;

    /// Up to `limit` documents with a value that ends at `from_ms` or later and before `until_ms`, those that end first
    /// before the others, each with the time of its first end; behind `after` of those at `from_ms` when given.
    fn expiries(
        &self,
        from_ms: u64,
        after: Option<&Path>,
        until_ms: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Path)>, Self::Error>;

    /// Every dot applied in this state.
    fn frontier(&self) -> Result<Frontier, Self::Error>;

    /// The collection floor of this state.
    fn floor(&self) -> Result<Floor, Self::Error>;

    /// The counters of this state.
    fn counters(&self) -> Result<Counters, Self::Error>;
}
