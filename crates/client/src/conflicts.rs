//! Conflicts: listing, explaining and resolving them, and going back to an old version.

use std::collections::BTreeMap;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::data::{PastVersion, Written, joined, present};
use crate::error::Error;
use crate::options::WriteOptions;
use crate::path;

/// A path whose writers did not see each other, now or before. Members of an open conflict have their defaults when
/// it is resolved.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Conflict {
    /// The path.
    pub path: String,
    /// `open` or `resolved`; empty in an explanation.
    #[serde(default)]
    pub state: String,
    /// The strategy that chose.
    #[serde(default)]
    pub strategy: String,
    /// The version that is shown, or the newest of those merged.
    #[serde(default)]
    pub winner: String,
    /// Why, for a person.
    #[serde(default)]
    pub why: String,
    /// What is shown; none when the document reads as deleted.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// Entity tag without quotes.
    #[serde(default)]
    pub etag: String,
    /// Causal past of the document: node to a number that grows with that node's writes. Only in an explanation.
    #[serde(default, rename = "vectorClock")]
    pub vector_clock: BTreeMap<String, u64>,
    /// What a reader of this has read: [`Client::resolve`] takes it.
    #[serde(default)]
    pub context: String,
    /// How many versions are live besides the winner.
    #[serde(default)]
    pub conflicts: u64,
    /// Every live version, the winner first.
    #[serde(default)]
    pub versions: Vec<LiveVersion>,
    /// Conflicts that were resolved and are in history, newest first.
    #[serde(default)]
    pub resolved: Vec<Resolved>,
    /// The item as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

/// One live version.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct LiveVersion {
    /// The version.
    pub version: String,
    /// The node that wrote it.
    pub origin: String,
    /// Its time, in Unix milliseconds.
    pub timestamp: u64,
    /// `put` or `delete`.
    pub op: String,
    /// Its value; none when it is a delete.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// Whether it is the winner.
    pub wins: bool,
}

/// A conflict that was resolved.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Resolved {
    /// The write that replaced its versions.
    pub by: Option<String>,
    /// The versions, newest first.
    pub versions: Vec<PastVersion>,
}

/// What resolves a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This JSON text.
    Value(String),
    /// What this live version says, a delete included.
    Keep(String),
}

/// Which conflicts to list.
#[derive(Clone, Debug)]
pub struct Conflicts {
    client: Client,
    prefix: String,
    state: &'static str,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of conflicts, in path order.
#[derive(Clone, Debug)]
pub struct ConflictPage {
    /// The conflicts.
    pub items: Vec<Conflict>,
    /// Where the next page begins; none on the last.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

impl Client {
    /// The open and resolved conflicts of the paths that begin with `prefix`.
    pub fn conflicts(&self, prefix: &str) -> Conflicts {
        let (client, prefix) = (self.clone(), prefix.to_owned());
        Conflicts { client, prefix, state: "all", limit: None, cursor: None }
    }

    /// Which versions of a path compete, and why one of them wins.
    ///
    /// # Errors
    /// Also that nobody ever wrote the path.
    pub async fn explain(&self, path: &str) -> Result<Conflict, Error> {
        let answer = self.ask(Ask::new(Method::GET, path::below("_explain", path)?)).await?;
        Ok(Conflict { raw: Some(answer.raw()?), ..answer.decode()? })
    }

    /// Resolves a conflict by one write that replaces all its versions, whatever the strategy.
    ///
    /// # Errors
    /// `no_conflict` without one; `version_not_live` when the version to keep is not there; with a context in the
    /// options, `conflict_changed` when other versions are there as well.
    pub async fn resolve(
        &self,
        path: &str,
        resolution: &Resolution,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let body = match resolution {
            Resolution::Value(text) => format!("{{\"value\":{text}}}"),
            Resolution::Keep(version) => json!({ "keep": version }).to_string(),
        };
        let target = format!("{}{}", path::below("_conflicts", path)?, options.query());
        self.write(options.on(Ask::new(Method::POST, target).json(body))?).await
    }

    /// Writes what an old version of a path said: a new write, which replaces what the node has.
    ///
    /// # Errors
    /// `no_such_version` when neither the history nor the live versions have it.
    pub async fn revert(&self, path: &str, version: &str, options: &WriteOptions) -> Result<Written, Error> {
        let target = format!("{}{}", path::history(path)?, options.query());
        let body = json!({ "version": version }).to_string();
        self.write(options.on(Ask::new(Method::POST, target).json(body))?).await
    }
}

impl Conflicts {
    /// Only those that are open.
    pub fn open(mut self) -> Conflicts {
        self.state = "open";
        self
    }

    /// Only those that were resolved.
    pub fn resolved(mut self) -> Conflicts {
        self.state = "resolved";
        self
    }

    /// At most this many a page; the server has a default and a maximum.
    pub fn limit(mut self, limit: usize) -> Conflicts {
        self.limit = Some(limit);
        self
    }

    /// From where an earlier page ended.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Conflicts {
        self.cursor = Some(cursor.into());
        self
    }

    /// One page.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn page(&self) -> Result<ConflictPage, Error> {
        let mut query = vec![format!("state={}", self.state)];
        query.extend(self.limit.map(|limit| format!("limit={limit}")));
        query.extend(self.cursor.as_deref().map(|cursor| format!("cursor={}", path::encode(cursor))));
        let target = format!("/api/_conflicts/{}{}", path::encode(&self.prefix), joined(&query));
        let answer = self.client.ask(Ask::new(Method::GET, target)).await?;
        let page: RawPage = answer.decode()?;
        let conflict = |raw: Box<RawValue>| match serde_json::from_str::<Conflict>(raw.get()) {
            Ok(conflict) => Ok(Conflict { raw: Some(raw), ..conflict }),
            Err(error) => Err(answer.unexpected(&error.to_string())),
        };
        let items = page.items.into_iter().map(conflict).collect::<Result<_, _>>()?;
        Ok(ConflictPage { items, cursor: page.cursor })
    }
}
