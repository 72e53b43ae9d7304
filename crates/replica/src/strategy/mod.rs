//! Values from siblings: each strategy is a pure function of the versions of a document.
//!
//! A strategy never writes. Replicas with the same versions and policy show the same value, in whatever order the
//! versions arrived; losing versions stay in the document until a write that saw them supersedes them.

pub mod custom;
pub mod first_write_wins;
pub mod last_write_wins;
pub mod merge_fields;

use rejoin_causal::{Dot, Hlc};

use crate::body::{Document, Version};
use crate::expiry::as_of;
use crate::json::Json;
use crate::path::Path;

pub use custom::{Candidate, Custom, Resolver, ResolverError};

/// How the siblings of a path become one value.
#[derive(Clone, Debug, Default)]
pub enum Strategy {
    /// The greatest (stamp, dot) wins. The default.
    #[default]
    LastWriteWins,
    /// The least (stamp, dot) wins, and a put on an existing path is refused where it is made.
    FirstWriteWins,
    /// Objects merge field by field; everything else is last-write-wins.
    MergeFields,
    /// A function of the application decides.
    Custom(Custom),
}

impl Strategy {
    /// The name that configuration files use.
    pub fn name(&self) -> &'static str {
        match self {
            Strategy::LastWriteWins => "last-write-wins",
            Strategy::FirstWriteWins => "first-write-wins",
            Strategy::MergeFields => "merge-fields",
            Strategy::Custom(_) => "custom",
        }
    }

    /// The strategy of that name; `None` for `custom`, which needs a resolver, and for unknown names.
    pub fn of_name(name: &str) -> Option<Strategy> {
        match name {
            "last-write-wins" => Some(Strategy::LastWriteWins),
            "first-write-wins" => Some(Strategy::FirstWriteWins),
            "merge-fields" => Some(Strategy::MergeFields),
            _ => None,
        }
    }

    /// What a reader of `document` sees at `wall_ms`; `None` for a document without versions.
    pub fn visible(&self, path: &Path, document: &Document, wall_ms: u64) -> Option<Visible> {
        let document = &*as_of(document, wall_ms);
        let newest = last_write_wins::winner(document.versions())?;
        // One version, and nothing to decide: nearly every read.
        if document.versions().len() == 1 {
            return Some(Visible::of(newest, document));
        }
        Some(match self {
            Strategy::LastWriteWins => Visible::of(newest, document),
            Strategy::FirstWriteWins => {
                first_write_wins::visible(document).unwrap_or(Visible::of(newest, document))
            }
            Strategy::MergeFields => merge_fields::visible(document).unwrap_or(Visible::of(newest, document)),
            Strategy::Custom(custom) => custom
                .visible(path, document)
                .unwrap_or_else(|_| Visible { resolver_failed: true, ..Visible::of(newest, document) }),
        })
    }
}

/// What a strategy makes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// The value; `None` when the document reads as deleted.
    pub value: Option<Json>,
    /// The version that won, or the newest of those that were merged.
    pub version: Dot,
    /// That version's stamp.
    pub hlc: Hlc,
    /// How many other versions are live.
    pub conflicts: usize,
    /// When nothing of the value will be left, in Unix milliseconds, unless somebody writes. `None`: no such time is known.
    pub expires_ms: Option<u64>,
    /// It reads as deleted because its time has come.
    pub expired: bool,
    /// The resolver failed, and this is the last-write-wins view instead.
    pub resolver_failed: bool,
}

impl Visible {
    fn of(winner: &Version, document: &Document) -> Visible {
        Visible {
            value: winner.body.json(),
            version: winner.dot,
            hlc: winner.hlc,
            conflicts: document.versions().len().saturating_sub(1),
            expires_ms: winner.body.expires_ms(),
            expired: winner.body.is_end(),
            resolver_failed: false,
        }
    }
}

/// When the last of these values ends; `None` when one of them does not.
fn last_end<'a>(versions: impl IntoIterator<Item = &'a Version>) -> Option<u64> {
    let values = versions.into_iter().filter(|version| !version.body.is_tombstone());
    let ends: Option<alloc::vec::Vec<u64>> = values.map(|version| version.body.expires_ms()).collect();
    ends?.into_iter().max()
}
