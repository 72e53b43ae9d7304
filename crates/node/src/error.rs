//! What can go wrong with a node, by who must act.

use rejoin_causal::Dot;
use rejoin_replica::json::JsonError;
use rejoin_replica::path::PathError;
use rejoin_replica::{ContextError, Current, KeyError, Refusal, TtlError};
use rejoin_store::{EngineError, StoreError};

/// An operation was not done. Nothing is half-done after any of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path is not one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The value is not acceptable JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The time to live is out of bounds.
    #[error(transparent)]
    Ttl(#[from] TtlError),
    /// Nothing is there.
    #[error("{}", if *deleted { "the value was deleted" } else { "there is no value at this path" })]
    NotFound {
        /// It was there and was deleted.
        deleted: bool,
    },
    /// The condition of the write does not hold.
    #[error("the condition does not hold: the value has changed, or is there, or is not")]
    Precondition(Box<Current>),
    /// The path's strategy refuses the write.
    #[error("first-write-wins: the path has a value already")]
    RejectedByStrategy(Box<Current>),
    /// There is no conflict to settle.
    #[error("the path has no conflict: at most one version is live")]
    NoConflict(Box<Current>),
    /// The version to keep is not live.
    #[error("the version to keep is not one of the live ones")]
    NotLive(Box<Current>),
    /// A conflict to settle has versions that the caller has not read.
    #[error("the conflict has versions that were not read")]
    Unseen(Box<Current>),
    /// The path has too many live versions, or bytes of them, for a write that leaves them as they are.
    #[error("the path would have {size} {of} live beside each other, and the limit is {limit}")]
    TooManySiblings {
        /// How many there would be.
        size: usize,
        /// The limit.
        limit: usize,
        /// `versions` or `bytes`.
        of: &'static str,
        /// What is there.
        current: Box<Current>,
    },
    /// The text is not a context of this path.
    #[error("{0}")]
    BadContext(#[from] ContextError),
    /// The context names versions that this node has not applied yet.
    #[error("this node has not applied {} of the versions that the context names", .0.len())]
    ContextAhead(Vec<Dot>),
    /// The path's history has no such version, or no longer.
    #[error("neither the history of this path nor its live versions have that version")]
    NoSuchVersion,
    /// The text is no key for a request.
    #[error("{0}")]
    BadKey(#[from] KeyError),
    /// A write that is to be done once came with the key of another one.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The value is too large.
    #[error("the value would be {bytes} bytes, and the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The atomic batch is too large.
    #[error("the atomic batch has {size} {of}, and the limit is {limit}")]
    BatchTooLarge {
        /// How many writes or bytes it has.
        size: usize,
        /// How many it may have.
        limit: usize,
        /// `writes` or `bytes`.
        of: &'static str,
    },
    /// The cursor is not one of ours.
    #[error("the cursor is not valid")]
    BadCursor,
    /// The token is not one that a node gave.
    #[error("the token is not valid")]
    BadToken,
    /// The node has not applied in time what a token names.
    #[error("the node has not applied {} of the writes that the token names", missing.len())]
    NotCaughtUp {
        /// What it lacks; nothing when only the oldest writes, which a long token names as a whole, differ.
        missing: Box<rejoin_causal::Frontier>,
        /// What of it is here and waits in quarantine, because its stamps are from the future.
        held: Option<Box<HeldBack>>,
    },
    /// A listing of directories was asked to filter.
    #[error("a listing of directories takes no filter")]
    FilterOfListing,
    /// The feed token is not one.
    #[error("the token is not one of a change feed")]
    BadFeedToken,
    /// The peer URL is not acceptable.
    #[error("{0}")]
    BadPeer(String),
    /// The replica has more to do than it can.
    #[error("the node is overloaded")]
    Overloaded,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The node is closing or closed.
    #[error("the node is closed")]
    Closed,
    /// The store has failed; the process should end and start again.
    #[error("the store has failed: {0}")]
    Storage(String),
    /// Another process has the data directory.
    #[error("{0}")]
    Locked(String),
    /// The store is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The store was written by a newer version.
    #[error("{0}")]
    Format(String),
    /// No space is left.
    #[error("{0}")]
    DiskFull(String),
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// The address cannot be listened on.
    #[error("{0}")]
    Listen(String),
}

/// Writes that a token names and that wait in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// How many.
    pub count: u64,
    /// When the last of them comes out by itself, in Unix milliseconds of this node's clock.
    pub until_ms: u64,
}

impl Error {
    /// The code that programs compare, in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Path(error) => error.code(),
            Error::Json(error) => error.code(),
            Error::Ttl(_) => "invalid_ttl",
            Error::NotFound { .. } => "not_found",
            Error::Precondition(_) => "precondition_failed",
            Error::RejectedByStrategy(_) => "rejected_by_strategy",
            Error::NoConflict(_) => "no_conflict",
            Error::NotLive(_) => "version_not_live",
            Error::Unseen(_) => "conflict_changed",
            Error::TooManySiblings { .. } => "too_many_siblings",
            Error::BadContext(_) => "invalid_context",
            Error::ContextAhead(_) => "not_caught_up",
            Error::NoSuchVersion => "no_such_version",
            Error::BadKey(_) => "invalid_idempotency_key",
            Error::KeyReused => "idempotency_key_reused",
            Error::TooLarge { .. } | Error::BatchTooLarge { .. } => "too_large",
            Error::BadCursor => "invalid_cursor",
            Error::BadToken => "invalid_token",
            Error::NotCaughtUp { .. } => "not_caught_up",
            Error::FilterOfListing => "invalid_parameter",
            Error::BadFeedToken => "invalid_token",
            Error::BadPeer(_) => "invalid_peer",
            Error::Overloaded => "overloaded",
            Error::TimedOut => "timed_out",
            Error::Closed => "closed",
            Error::Storage(_) => "storage_failed",
            Error::Locked(_) => "locked",
            Error::Corrupt(_) => "corrupt_store",
            Error::Format(_) => "newer_format",
            Error::DiskFull(_) => "disk_full",
            Error::Config(_) => "invalid_config",
            Error::Listen(_) => "listen_failed",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Error::Path(error) => return error.hint().to_string(),
            Error::Json(error) => return error.hint().to_string(),
            Error::Ttl(_) => "give a time within these bounds, or none for a value without an end",
            Error::NotFound { deleted: true } => "its history tells what it was",
            Error::NotFound { deleted: false } => "scan a prefix to see what there is",
            Error::Precondition(_) => "read the current value, decide again, and retry with its etag",
            Error::RejectedByStrategy(_) => "read the current value; to replace it, delete it first",
            Error::NoConflict(_) => "nothing is left to settle; write the value if it is not the one you want",
            Error::NotLive(_) => "list the conflict again and keep one of the versions it has now",
            Error::Unseen(_) => "list the conflict again, decide over all of its versions, and retry",
            Error::TooManySiblings { .. } => {
                "read the path and merge what it has: settle the conflict, or write or delete over all that was read"
            }
            Error::BadContext(_) => "use the context of a read of this path as it was given, or write without one",
            Error::ContextAhead(_) => "wait longer, or write on the node that the context comes from",
            Error::NoSuchVersion => "list the history of the path: it keeps the newest versions only",
            Error::BadKey(_) => "use a new random key for each request, such as a UUID",
            Error::KeyReused => {
                "give each request a key of its own, and use it again only to send exactly the same request again"
            }
            Error::TooLarge { .. } => "split the value over several paths, or raise the limit on this node",
            Error::BatchTooLarge { .. } => {
                "make several batches of it, or leave out that it is atomic: then each write stands for itself"
            }
            Error::BadCursor => "use the cursor of the last page as it was given, or start without one",
            Error::BadToken => "use the token of an earlier answer as it was given",
            Error::NotCaughtUp { held: Some(_), .. } => {
                "correct the clock of the node that wrote it: it then mints the writes again; or let an operator of this node \
                 release them from quarantine"
            }
            Error::NotCaughtUp { .. } => "wait longer, or ask the node that gave the token",
            Error::FilterOfListing => "leave the depth out to filter values, or the filter out to list directories",
            Error::BadFeedToken => "give the token of a change or of the end of a snapshot as it was, or start over",
            Error::BadPeer(_) => "give the peer's base URL, such as http://127.0.0.1:3001",
            Error::Overloaded => "retry after a moment",
            Error::TimedOut => "retry; status shows which peers are slow",
            Error::Closed => "open the node again",
            Error::Storage(_) => "end the process and start it again: it recovers every answered write",
            Error::Locked(_) => "close it there, stop that process, or choose another data directory",
            Error::Corrupt(_) => {
                "restore a backup, or move the data directory away and start empty: peers send what they have"
            }
            Error::Format(_) => "start the version that wrote it, or a newer one",
            Error::DiskFull(_) => {
                "free some space where the node keeps its data, then retry: it notices by itself; reads go on, and deletes \
                 while the store has any room for them"
            }
            Error::Config(_) => "correct the setting",
            Error::Listen(_) => "choose another address or port, or stop what uses it",
        }
        .to_string()
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Error::ContextAhead(_)
                | Error::Overloaded
                | Error::TimedOut
                | Error::NotCaughtUp { .. }
                | Error::Closed
                | Error::DiskFull(_)
        )
    }

    pub(crate) fn open(error: &StoreError) -> Error {
        let text = chain(error);
        match error {
            StoreError::Engine(EngineError::Locked { .. }) => Error::Locked(text),
            StoreError::Engine(EngineError::Corrupt { .. }) | StoreError::Row { .. } => Error::Corrupt(text),
            StoreError::Engine(EngineError::DiskFull { .. }) => Error::DiskFull(text),
            StoreError::NewerFormat { .. } => Error::Format(text),
            _ => Error::Storage(text),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        match &error {
            StoreError::Engine(EngineError::DiskFull { .. }) => Error::DiskFull(chain(&error)),
            _ => Error::Storage(chain(&error)),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::NotFound { deleted } => Error::NotFound { deleted },
            Refusal::Precondition(current) => Error::Precondition(Box::new(current)),
            Refusal::RejectedByStrategy(current) => Error::RejectedByStrategy(Box::new(current)),
            Refusal::NoConflict(current) => Error::NoConflict(Box::new(current)),
            Refusal::NotLive(current) => Error::NotLive(Box::new(current)),
            Refusal::Unseen(current) => Error::Unseen(Box::new(current)),
            Refusal::TooManySiblings { size, limit, of, current } => {
                Error::TooManySiblings { size, limit, of, current: Box::new(current) }
            }
            Refusal::KeyReused => Error::KeyReused,
            Refusal::TooLarge { bytes, limit } => Error::TooLarge { bytes, limit },
            Refusal::BatchTooLarge { size, limit, of } => Error::BatchTooLarge { size, limit, of },
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
