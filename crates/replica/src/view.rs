//! What a replica reads: one consistent view of its store.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{AddAssign, SubAssign};

use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, NodeId};

use crate::body::{Document, Version};
use crate::doubt::Doubted;
use crate::history;
use crate::once::{Extent, KeptRow};
use crate::path::Path;
use crate::statement::{Life, Proof};
use crate::wall::Place;

/// A document as stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// The state of the path.
    pub document: Document,
    /// Its row in the change feed.
    pub sequence: u64,
    /// How many history rows the path has, without those that are there by a peer's word.
    pub history: u32,
    /// The oldest of them, the oldest first, without a gap; see [`crate::history`].
    pub oldest: Vec<history::Row>,
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
    /// It was removed by a peer's word, with nothing in its place. Such rows are kept for as long as a tombstone would be,
    /// and are not among those that [`Record::history`] counts.
    pub word: Option<Word>,
}

/// By whose word a version was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The peer.
    pub peer: NodeId,
    /// How it said so.
    pub reason: Reason,
    /// When it was removed, in Unix milliseconds by the clock of this node.
    pub at_ms: u64,
}

/// How a peer says that a version is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// By a claim at the end of a catch-up.
    Claim,
    /// In a digest session, which a floor or a difference led to.
    Digest,
}

impl Reason {
    /// The name in answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Claim => "claim",
            Reason::Digest => "digest",
        }
    }
}

/// A row of the index of removals: which history row is there by a peer's word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Where.
    pub path: Path,
    /// The version's stamp.
    pub hlc: Hlc,
    /// The version.
    pub dot: Dot,
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
    /// Answers that are kept for requests that may come again.
    pub kept: u64,
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

    /// The `limit` oldest history rows of a path, the oldest first, by stamp and dot; of those behind `behind`, when given.
    /// Without those that are there by a peer's word.
    fn oldest_history(
        &self,
        path: &Path,
        behind: Option<(Hlc, Dot)>,
        limit: usize,
    ) -> Result<Vec<history::Row>, Self::Error>;

    /// The history row of that version of a path.
    fn superseded(&self, path: &Path, hlc: Hlc, dot: Dot) -> Result<Option<Superseded>, Self::Error>;

    /// Where the walk that mints own versions with stamps from the future again goes on; `None` when there is none.
    fn restamp(&self) -> Result<Option<Place>, Self::Error>;

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

    /// Up to `limit` removals by a peer's word at `from_ms` or later and before `until_ms`, the oldest first.
    fn removals(&self, from_ms: u64, until_ms: u64, limit: usize) -> Result<Vec<Removal>, Self::Error>;

    /// Which writes the request of that name was, when its answer is kept.
    fn kept_extent(&self, id: &[u8; 16]) -> Result<Option<Extent>, Self::Error>;

    /// The first `limit` answers that are kept of the writes from `first` to the one of its life with the number `last`.
    fn kept(&self, first: Dot, last: u64, limit: usize) -> Result<Vec<KeptRow>, Self::Error>;

    /// Up to `limit` answers that are kept from `from_ms` or later on and from before `until_ms`, the oldest first.
    fn kept_times(&self, from_ms: u64, until_ms: u64, limit: usize) -> Result<Vec<(u64, Dot)>, Self::Error>;

    /// Every dot applied in this state.
    fn frontier(&self) -> Result<Frontier, Self::Error>;

    /// The collection floor of this state.
    fn floor(&self) -> Result<Floor, Self::Error>;

    /// Of each node, the newest life that it has signed to be alive.
    fn alive(&self) -> Result<Vec<(NodeId, Epoch, Proof)>, Self::Error>;

    /// The doubted lives.
    fn doubted(&self) -> Result<Vec<(Life, Doubted)>, Self::Error>;

    /// The counters of this state.
    fn counters(&self) -> Result<Counters, Self::Error>;
}
