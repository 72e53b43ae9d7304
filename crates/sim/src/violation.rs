//! How a run fails.

use std::fmt;

/// A promise that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// Where and how.
    pub detail: String,
}

/// What a world checks. docs/testing.md says which promise to users each of them stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A version that a known write replaced is live.
    NoZombie,
    /// A write that nothing replaced is gone.
    NothingLost,
    /// An acknowledged write did not survive a crash that it must survive.
    Durable,
    /// A dot names one write for ever, and is minted in order.
    DotsAreUnique,
    /// The frontier holds only dots that were minted, and only grows.
    FrontierIsTrue,
    /// Replicas with the same writes are the same.
    Converges,
    /// Healed replicas become equal, and fall silent, in bounded time.
    Liveness,
    /// Siblings become the value that the strategy says.
    Strategy,
    /// Rows that repeat each other agree: log, feed, history, digest, counters, indexes.
    RowsAgree,
    /// Honest replicas understand each other.
    Protocol,
    /// A write is done or refused as its condition says.
    Admission,
    /// A reader sees an atomic batch whole or not at all.
    Atomic,
    /// A value is deleted for its time only when that has come, and is deleted then.
    Expiry,
    /// A write crosses a link at most once in each direction.
    NoEcho,
    /// A write's stamp is newer than every stamp at its path.
    StampsGrow,
    /// Only old tombstones are forgotten.
    Collection,
    /// Queues, credit and quarantine stay within their bounds.
    Bounded,
    /// No two running nodes have one identity in the end.
    NoClones,
    /// Nothing panics.
    NoPanic,
    /// A node that is said to hold a write has committed it.
    Receipts,
    /// A node that has a write knows its request, and answers it as the first time.
    Once,
    /// A life that was proved to be two is doubted everywhere, is not written in any more, and nothing that rests on it goes.
    NeverSilent,
}

impl Violation {
    /// A broken promise.
    pub fn new(promise: Promise, detail: impl Into<String>) -> Violation {
        Violation { promise, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Fails a check.
pub(crate) fn ensure(
    holds: bool,
    promise: Promise,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(promise, detail())) }
}
