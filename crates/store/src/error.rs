//! What can go wrong with a store, by who must act.

use crate::engine::{EngineError, Keyspace};

/// A store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A row cannot be read: the store is damaged, or was written by something else.
    #[error("a row of '{keyspace}' is damaged (key {key})")]
    Row {
        /// Where.
        keyspace: Keyspace,
        /// Its key, escaped.
        key: String,
    },
    /// The store was written by a newer version.
    #[error("the store has format {found}, and this version reads formats {oldest} to {newest}")]
    NewerFormat {
        /// The store's format.
        found: u32,
        /// The oldest format this code reads.
        oldest: u32,
        /// The newest format this code reads.
        newest: u32,
    },
}

impl StoreError {
    pub(crate) fn row(keyspace: Keyspace, key: &[u8]) -> StoreError {
        StoreError::Row { keyspace, key: key.escape_ascii().to_string() }
    }

    /// What the operator should do.
    pub fn hint(&self) -> &'static str {
        const START_EMPTY: &str = "restore a backup, or move the data directory away and start with an empty one: \
                                   the node fetches everything its peers have";
        match self {
            StoreError::Engine(EngineError::Locked { .. }) => {
                "close it there, stop that process, or choose another data directory"
            }
            StoreError::Engine(EngineError::Corrupt { .. }) | StoreError::Row { .. } => START_EMPTY,
            StoreError::Engine(EngineError::DiskFull { .. }) => "free some space and start again",
            StoreError::Engine(EngineError::Poisoned { .. }) => "start again to recover what was committed",
            StoreError::Engine(_) => "check the disk and the system log, then start again",
            StoreError::NewerFormat { .. } => "start the version that wrote it, or a newer one",
        }
    }
}
