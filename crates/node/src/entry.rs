//! What a reader gets: a value with everything known about it.

use std::fmt::Write as _;

use rejoin_causal::{Dot, Hlc, NodeId, VersionVector};
use rejoin_replica::json::Json;
use rejoin_replica::path::Path;
use rejoin_replica::{Document, Policy, Superseded, Visible, etag};
use serde::de::DeserializeOwned;

use crate::Error;

/// A value at a path, as its strategy shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: Path,
    /// The value; `None`: deleted.
    pub value: Option<Json>,
    /// The write it comes from: the winner, or the newest of those merged.
    pub version: Dot,
    /// That write's stamp.
    pub hlc: Hlc,
    /// Names the live versions: 32 hex digits, the same on every node that has them.
    pub etag: String,
    /// How many other versions are live.
    pub conflicts: usize,
    /// The document's causal past.
    pub vector_clock: VersionVector,
    /// The path's resolver failed, and this is the last-write-wins view.
    pub resolver_failed: bool,
    /// The name of the strategy that chose.
    pub strategy: &'static str,
    /// Every live version, the winner first, then from the newest to the oldest.
    pub siblings: Vec<Sibling>,
}

/// One live version of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    /// The write.
    pub version: Dot,
    /// Its stamp.
    pub hlc: Hlc,
    /// Its value; `None`: it is a delete.
    pub value: Option<Json>,
    /// Whether it is the one that [`Entry::version`] names.
    pub wins: bool,
}

impl Entry {
    pub(crate) fn of(policy: &Policy, path: Path, document: &Document) -> Option<Entry> {
        let strategy = policy.strategy(&path);
        let Visible { value, version, hlc, conflicts, resolver_failed } =
            strategy.visible(&path, document)?;
        let sibling = |sibling: &rejoin_replica::Version| Sibling {
            version: sibling.dot,
            hlc: sibling.hlc,
            value: sibling.body.json(),
            wins: sibling.dot == version,
        };
        let mut siblings: Vec<Sibling> = document.versions().iter().map(sibling).collect();
        siblings.sort_by_key(|sibling| std::cmp::Reverse((sibling.wins, sibling.hlc, sibling.version)));
        Some(Entry {
            value,
            version,
            hlc,
            etag: hex(&etag(document)),
            conflicts,
            vector_clock: document.vv().clone(),
            resolver_failed,
            strategy: strategy.name(),
            siblings,
            path,
        })
    }

    /// When it was written, in Unix milliseconds of the writer's hybrid clock.
    pub fn timestamp_ms(&self) -> u64 {
        self.hlc.unix_ms()
    }

    /// The node it was written on.
    pub fn origin(&self) -> NodeId {
        self.version.node
    }

    /// The value as a type of yours; a deleted value reads as `null`.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(self.value.clone().unwrap_or_else(Json::null).get()?)
    }
}

/// A superseded version of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The write.
    pub version: Dot,
    /// Its stamp.
    pub hlc: Hlc,
    /// Its value; `None`: it was a delete.
    pub value: Option<Json>,
    /// The write that replaced it, as far as this node knows.
    pub superseded_by: Option<Dot>,
    /// Others were live beside it when it was replaced.
    pub concurrent: bool,
    /// It was the one of them that readers saw on this node, or the newest of those merged.
    pub shown: bool,
}

/// How a superseded version ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the only live version, and a write that saw it replaced it.
    Replaced,
    /// It was shown of several live versions, until they were replaced.
    Won,
    /// Another was shown while it was live, until they were replaced.
    Lost,
}

impl Outcome {
    /// The name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Replaced => "replaced",
            Outcome::Won => "won",
            Outcome::Lost => "lost",
        }
    }
}

impl HistoryEntry {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match (self.concurrent, self.shown) {
            (false, _) => Outcome::Replaced,
            (true, true) => Outcome::Won,
            (true, false) => Outcome::Lost,
        }
    }
}

impl From<Superseded> for HistoryEntry {
    fn from(row: Superseded) -> HistoryEntry {
        HistoryEntry {
            version: row.version.dot,
            hlc: row.version.hlc,
            value: row.version.body.json(),
            superseded_by: row.by,
            concurrent: row.concurrent,
            shown: row.shown,
        }
    }
}

/// A page of the superseded versions of a path, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The versions.
    pub items: Vec<HistoryEntry>,
    /// Where the next page begins.
    pub cursor: Option<String>,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
