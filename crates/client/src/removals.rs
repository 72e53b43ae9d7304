//! What peers had removed on a node by their word, and bringing it back.

use hyper::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::data::{joined, present};
use crate::error::Error;
use crate::path;

/// Which removals.
#[derive(Clone, Debug, Default)]
pub struct RemovalFilter {
    /// Only by the word of this node, by its id.
    pub peer: Option<String>,
    /// Only at or after this time, in Unix milliseconds.
    pub since_ms: u64,
}

/// A version that was removed because a peer said that it is gone.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Removed {
    /// Where it was.
    pub path: String,
    /// Its value.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// The write.
    pub version: String,
    /// Whose word it was.
    pub peer: String,
    /// `claim` or `digest`.
    pub reason: String,
    /// When, in Unix milliseconds.
    pub removed_at: u64,
}

/// The first of the removals asked for.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Removals {
    /// The oldest first.
    pub items: Vec<Removed>,
    /// There are more.
    pub more: bool,
}

/// What undoing removals did.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Undone {
    /// How many paths have their value again.
    pub restored_count: u64,
    /// How many were left as they are.
    pub left_count: u64,
    /// Their names, of the first thousand.
    pub restored: Vec<String>,
    /// Their names and why, of the first thousand.
    pub left: Vec<Left>,
    /// The answer as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

/// A path that was left as it is.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The path.
    pub path: String,
    /// Why.
    pub why: String,
}

impl RemovalFilter {
    fn query(&self) -> Vec<String> {
        let peer = self.peer.as_deref().map(|peer| format!("peer={}", path::encode(peer)));
        peer.into_iter().chain([format!("since={}", self.since_ms)]).collect()
    }
}

impl Client {
    /// What was removed on the node by peers' words and is still kept.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn removals(&self, filter: &RemovalFilter) -> Result<Removals, Error> {
        let target = format!("/api/_removals{}", joined(&filter.query()));
        self.ask(Ask::new(Method::GET, target)).await?.decode()
    }

    /// Brings it back where nothing has been written since.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn undo_removals(&self, filter: &RemovalFilter) -> Result<Undone, Error> {
        let target = format!("/api/_removals/undo{}", joined(&filter.query()));
        let answer = self.ask(Ask::new(Method::POST, target)).await?;
        let undone: Undone = answer.decode()?;
        Ok(Undone { raw: Some(answer.raw()?), ..undone })
    }
}
