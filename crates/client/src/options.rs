//! Writes with everything that can be said about one: conditions, contexts and receipts.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::client::{Ask, Client};
use crate::config::ANSWER_TIMEOUT;
use crate::data::{Condition, Written, joined, with_condition};
use crate::error::Error;
use crate::key::IdempotencyKey;
use crate::path;

const REJOIN_CONTEXT: HeaderName = HeaderName::from_static("rejoin-context");
const REJOIN_WAIT: HeaderName = HeaderName::from_static("rejoin-wait");

/// How a write is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Only if.
    pub condition: Condition,
    /// Replace exactly what was read: the context of an [`crate::Entry`] of the path, from any node. Versions that it
    /// does not name stay as siblings. Without one, all that the node has is replaced.
    pub context: Option<String>,
    /// How long the node may wait until it has applied what the context names.
    pub wait: Option<Duration>,
    /// Answer when so many other nodes hold the write.
    pub ack: Option<Ack>,
    /// How long the value of a put or a patch is to live, 1 ms to 3,650 days; without an end when left out. Other writes have
    /// no use for it.
    pub ttl: Option<Duration>,
    /// Names the write: it is done once, however often it is sent with this key. A new one when left out.
    pub key: Option<IdempotencyKey>,
}

/// How many other nodes are to hold a write, and for how long to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Other nodes, 1 to 64.
    pub nodes: usize,
    /// Time, 30 s at most.
    pub timeout: Duration,
}

/// Which other nodes are known to hold a write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// How many were wanted.
    pub wanted: usize,
    /// Whether as many hold it. The write is done in any case.
    pub complete: bool,
    /// Their ids.
    pub holders: Vec<String>,
}

/// Where the current versions of a path are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Places {
    /// The path.
    pub path: String,
    /// Its live versions on the node that was asked.
    pub versions: Vec<String>,
    /// How many other nodes hold them.
    pub held_by: usize,
    /// The other nodes that it knows of.
    pub nodes: Vec<Place>,
}

/// One other node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Place {
    /// Its id.
    pub id: String,
    /// Its name, when it is linked.
    pub name: Option<String>,
    /// Whether it is linked to the node that was asked.
    pub linked: bool,
    /// Whether it has said that it holds these versions or newer ones.
    pub holds: bool,
}

impl Client {
    /// Writes JSON text as it is.
    ///
    /// # Errors
    /// Also what the condition refuses, and `invalid_context` for a context that is not of this path.
    pub async fn put_with(
        &self,
        path: &str,
        json: impl Into<String>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let target = format!("{}{}", path::document(path)?, options.query_of(options.ttl));
        self.write(options.on(Ask::new(Method::PUT, target).json(json.into()))?).await
    }

    /// Changes members of a value by a JSON merge patch (RFC 7396) given as text.
    ///
    /// # Errors
    /// As [`Client::put_with`].
    pub async fn patch_with(
        &self,
        path: &str,
        json: impl Into<String>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let target = format!("{}{}", path::document(path)?, options.query_of(options.ttl));
        let ask = Ask::new(Method::PATCH, target).body("application/merge-patch+json", json.into());
        self.write(options.on(ask)?).await
    }

    /// Deletes.
    ///
    /// # Errors
    /// As [`Client::put_with`], and that the path held no value.
    pub async fn delete_with(&self, path: &str, options: &WriteOptions) -> Result<Written, Error> {
        let target = format!("{}{}", path::document(path)?, options.query());
        self.write(options.on(Ask::new(Method::DELETE, target))?).await
    }

    /// Where the current versions of a path are, as far as that is known within this time.
    ///
    /// # Errors
    /// Also that nobody ever wrote the path.
    pub async fn places(&self, path: &str, within: Duration) -> Result<Places, Error> {
        let target = format!("{}?timeout={}ms", path::below("_where", path)?, within.as_millis());
        self.ask(Ask::new(Method::GET, target).within(ANSWER_TIMEOUT + within)).await?.decode()
    }
}

impl WriteOptions {
    /// The query of a write.
    pub(crate) fn query(&self) -> String {
        self.query_of(None)
    }

    /// The query of a write of a value, which may have an end.
    fn query_of(&self, ttl: Option<Duration>) -> String {
        let mut query: Vec<String> = ttl.map(|ttl| format!("ttl={}", span(ttl))).into_iter().collect();
        if let Some(ack) = self.ack {
            query.push(format!("ack={}", ack.nodes));
            query.push(format!("timeout={}ms", ack.timeout.as_millis()));
        }
        joined(&query)
    }

    /// The headers of a write, and how long it may take.
    pub(crate) fn on(&self, ask: Ask) -> Result<Ask, Error> {
        let mut ask = with_condition(ask, &self.condition)?.once(self.key.as_ref());
        if let Some(context) = &self.context {
            let value = HeaderValue::from_str(context).map_err(|_| path::bad_context())?;
            ask = ask.header(REJOIN_CONTEXT, value);
        }
        let wait = self.wait.unwrap_or_default();
        if !wait.is_zero() {
            ask = ask.header(REJOIN_WAIT, millis(wait));
        }
        Ok(ask.within(ANSWER_TIMEOUT + wait + self.ack.map_or(Duration::ZERO, |ack| ack.timeout)))
    }
}

/// A time to live as the server reads it.
pub(crate) fn span(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn millis(time: Duration) -> HeaderValue {
    HeaderValue::from_str(&format!("{}ms", time.as_millis())).unwrap_or(HeaderValue::from_static("0"))
}
