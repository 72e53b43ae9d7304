//! Scans: pages, and a stream over all of them.

use std::collections::{BTreeMap, VecDeque};

use futures_util::stream::{self, Stream};
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::data::{joined, present};
use crate::error::Error;
use crate::path;

/// A scan to be made: which paths, in which order, how many at a time.
#[derive(Clone, Debug)]
#[must_use = "a scan does nothing until a page or the items are asked for"]
pub struct Scan {
    client: Client,
    prefix: String,
    limit: Option<usize>,
    cursor: Option<String>,
    reverse: bool,
    keys_only: bool,
    meta: bool,
    start: Option<String>,
    end: Option<String>,
    filter: Option<String>,
    fields: Option<String>,
    depth: Option<usize>,
}

/// One page of a scan, in path order.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// What was found.
    pub items: Vec<Item>,
    /// Where the next page begins; none on the last. Valid on any node. A page may be short, or empty, and still have
    /// one: the server looks at a bounded number of documents for each.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A path that a scan found.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// The path; of a directory, with a slash at its end.
    pub path: String,
    /// Its value; none when only keys were asked for, and for a directory.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// Values lie below this path; only in a listing ([`Scan::depth`]).
    #[serde(default)]
    pub directory: bool,
    /// What the server knows of it; none unless [`Scan::meta`] asked for that.
    #[serde(flatten, default)]
    pub meta: Option<Meta>,
}

/// What a server knows of a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The version that is shown.
    pub version: String,
    /// Entity tag without quotes: the same on every node for the same versions.
    pub etag: String,
    /// Causal past of the document: node to a number that grows with that node's writes.
    pub vector_clock: BTreeMap<String, u64>,
    /// When the version was written, in Unix milliseconds.
    pub timestamp: u64,
    /// How many other versions compete with it.
    pub conflicts: u64,
}

impl Item {
    /// The value as a Rust type; none when only keys were asked for.
    ///
    /// # Errors
    /// [`Error::Decode`] when it does not fit.
    pub fn get<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let value = self.value.as_ref();
        value.map(|value| serde_json::from_str(value.get()).map_err(Error::Decode)).transpose()
    }
}

impl Client {
    /// A scan of the paths that begin with `prefix`: `users/` for a subtree, empty for everything.
    pub fn scan(&self, prefix: &str) -> Scan {
        Scan {
            client: self.clone(),
            prefix: prefix.to_owned(),
            limit: None,
            cursor: None,
            reverse: false,
            keys_only: false,
            meta: false,
            start: None,
            end: None,
            filter: None,
            fields: None,
            depth: None,
        }
    }
}

impl Scan {
    /// At most this many items a page; the server has a default and a maximum.
    pub fn limit(mut self, limit: usize) -> Scan {
        self.limit = Some(limit);
        self
    }

    /// From where an earlier page ended.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Scan {
        self.cursor = Some(cursor.into());
        self
    }

    /// Last path first.
    pub fn reverse(mut self, reverse: bool) -> Scan {
        self.reverse = reverse;
        self
    }

    /// Without values.
    pub fn keys_only(mut self, keys_only: bool) -> Scan {
        self.keys_only = keys_only;
        self
    }

    /// With what the server knows of each value.
    pub fn meta(mut self, meta: bool) -> Scan {
        self.meta = meta;
        self
    }

    /// Only paths at or after this one, in path order.
    pub fn start(mut self, path: impl Into<String>) -> Scan {
        self.start = Some(path.into());
        self
    }

    /// Only paths before this one, in path order.
    pub fn end(mut self, path: impl Into<String>) -> Scan {
        self.end = Some(path.into());
        self
    }

    /// Only values that match, such as `age>=18,address.city==Berlin`; the server has the syntax in docs/queries.md.
    pub fn matching(mut self, filter: impl Into<String>) -> Scan {
        self.filter = Some(filter.into());
        self
    }

    /// Only these members of values, such as `name,address.city`.
    pub fn fields(mut self, fields: impl Into<String>) -> Scan {
        self.fields = Some(fields.into());
        self
    }

    /// What is deeper below the prefix's directory than this many segments is listed as directories.
    pub fn depth(mut self, segments: usize) -> Scan {
        self.depth = Some(segments);
        self
    }

    /// One page.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn page(&self) -> Result<Page, Error> {
        self.client.ask(Ask::new(Method::GET, self.target())).await?.decode()
    }

    /// How many paths there are.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn count(&self) -> Result<u64, Error> {
        let answer = self.client.ask(Ask::new(Method::HEAD, self.target())).await?;
        let count = answer.header("rejoin-count").and_then(|count| count.parse().ok());
        count.ok_or_else(|| answer.unexpected("it has no Rejoin-Count"))
    }

    /// Everything, page by page: a write made meanwhile may or may not be seen. Ends after the first error.
    pub fn items(self) -> impl Stream<Item = Result<Item, Error>> + Send + Unpin {
        let walk = Walk { scan: self, buffered: VecDeque::new(), last: false };
        Box::pin(stream::unfold(walk, Walk::next))
    }

    fn target(&self) -> String {
        let mut query = Vec::new();
        query.extend(self.limit.map(|limit| format!("limit={limit}")));
        query.extend(self.cursor.as_deref().map(|cursor| format!("cursor={}", path::encode(cursor))));
        query.extend(self.reverse.then(|| "reverse=true".to_owned()));
        query.extend(self.keys_only.then(|| "keys_only=true".to_owned()));
        query.extend(self.meta.then(|| "meta=true".to_owned()));
        let texts =
            [("start", &self.start), ("end", &self.end), ("where", &self.filter), ("fields", &self.fields)];
        for (name, text) in texts {
            query.extend(text.as_deref().map(|text| format!("{name}={}", path::encode(text))));
        }
        query.extend(self.depth.map(|depth| format!("depth={depth}")));
        format!("{}{}", path::scan(&self.prefix), joined(&query))
    }
}

/// A walk over all pages.
struct Walk {
    scan: Scan,
    buffered: VecDeque<Item>,
    /// No page follows those that were read.
    last: bool,
}

impl Walk {
    async fn next(mut self) -> Option<(Result<Item, Error>, Walk)> {
        loop {
            if let Some(item) = self.buffered.pop_front() {
                return Some((Ok(item), self));
            }
            if self.last {
                return None;
            }
            match self.scan.page().await {
                Ok(page) => {
                    // A cursor that does not move on would ask for ever.
                    self.last = page.cursor.is_none() || page.cursor == self.scan.cursor;
                    self.scan.cursor = page.cursor;
                    self.buffered.extend(page.items);
                }
                Err(error) => {
                    self.last = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}
