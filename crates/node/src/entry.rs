//! What a reader gets: a value with everything known about it.

use rejoin_causal::{Dot, Hex, Hlc, NodeId, VersionVector};
use rejoin_replica::json::Json;
use rejoin_replica::path::Path;
use rejoin_replica::{Document, Policy, Superseded, Visible, Word, as_of, etag, standing};
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
    /// When nothing of the value will be left, in Unix milliseconds, unless somebody writes; `None`: no such time is known.
    pub expires_ms: Option<u64>,
    /// It reads as deleted because its time has come.
    pub expired: bool,
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
    /// The stamp with which it competes: its own, or that of the version whose end it is.
    pub stands_at: Hlc,
    /// Its value; `None`: it is a delete, or its time has come.
    pub value: Option<Json>,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// It ended because its time had come.
    pub expired: bool,
    /// Whether it is the one that [`Entry::version`] names.
    pub wins: bool,
}

impl Entry {
    /// What a reader sees at `wall_ms`.
    pub(crate) fn of(policy: &Policy, path: Path, document: &Document, wall_ms: u64) -> Option<Entry> {
        let document = &*as_of(document, wall_ms);
        let strategy = policy.strategy(&path);
        let Visible { value, version, hlc, conflicts, expires_ms, expired, resolver_failed } =
            strategy.visible(&path, document, wall_ms)?;
        let sibling = |sibling: &rejoin_replica::Version| Sibling {
            version: sibling.dot,
            hlc: sibling.hlc,
            stands_at: standing(sibling).0,
            value: sibling.body.json(),
            expires_ms: sibling.body.expires_ms(),
            expired: sibling.body.is_end(),
            wins: sibling.dot == version,
        };
        let mut siblings: Vec<Sibling> = document.versions().iter().map(sibling).collect();
        siblings.sort_by_key(|sibling| std::cmp::Reverse((sibling.wins, sibling.stands_at, sibling.version)));
        Some(Entry {
            value,
            version,
            hlc,
            etag: Hex(&etag(document)).to_string(),
            expires_ms,
            expired,
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
    /// It was itself the end of a value whose time had come.
    pub end: bool,
    /// Its time had come: the delete that followed from that replaced it.
    pub expired: bool,
    /// The write that replaced it, as far as this node knows.
    pub superseded_by: Option<Dot>,
    /// Others were live beside it when it was replaced.
    pub concurrent: bool,
    /// It was the one of them that readers saw on this node, or the newest of those merged.
    pub shown: bool,
    /// It was removed by a peer's word, with nothing in its place.
    pub removed: Option<Word>,
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
    /// Its time had come.
    Expired,
    /// A peer said that it is gone, and nothing took its place.
    Removed,
}

impl Outcome {
    /// The name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Replaced => "replaced",
            Outcome::Won => "won",
            Outcome::Lost => "lost",
            Outcome::Expired => "expired",
            Outcome::Removed => "removed",
        }
    }
}

impl HistoryEntry {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match (self.concurrent, self.shown) {
            _ if self.removed.is_some() => Outcome::Removed,
            _ if self.expired => Outcome::Expired,
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
            end: row.version.body.is_end(),
            expired: row.expired,
            superseded_by: row.by,
            concurrent: row.concurrent,
            shown: row.shown,
            removed: row.word,
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
