//! The change feed as a stream of events.
//!
//! One JSON object a line. The feed ends with an error when the connection does: a consumer that wants to go on opens
//! another with the last token ([`Watch::since`]), or lets [`Watch::follow`] do that.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::{Ask, Client, innermost};
use crate::config::{EVENT_BYTES_MAX, HEARTBEAT, WATCH_SILENCE_MAX};
use crate::data::present;
use crate::error::Error;
use crate::path;

/// A watch to be opened.
#[derive(Clone, Debug)]
#[must_use = "a watch does nothing until it is opened"]
pub struct Watch {
    client: Client,
    prefixes: Vec<String>,
    begin: Begin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Begin {
    Now,
    Snapshot,
    Token(String),
}

impl Client {
    /// A watch of a path, everything below it and changes of its ancestors; of everything when empty.
    pub fn watch(&self, prefix: &str) -> Watch {
        Watch { client: self.clone(), prefixes: vec![prefix.to_owned()], begin: Begin::Snapshot }
    }
}

impl Watch {
    /// Whether the current values come first; they do unless told otherwise.
    pub fn snapshot(mut self, snapshot: bool) -> Watch {
        self.begin = if snapshot { Begin::Snapshot } else { Begin::Now };
        self
    }

    /// Another path to watch in the same feed. A change is told once, however many of them it concerns.
    pub fn and(mut self, prefix: &str) -> Watch {
        self.prefixes.push(prefix.to_owned());
        self
    }

    /// Goes on behind the event that carried this token, instead of beginning anew. Where the node cannot, it says
    /// [`Event::Resync`] and tells the current values.
    pub fn since(mut self, token: impl Into<String>) -> Watch {
        self.begin = Begin::Token(token.into());
        self
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn begins_now(&self) -> bool {
        self.begin == Begin::Now
    }

    pub(crate) fn prefixes_query(&self) -> String {
        self.prefixes.iter().map(|prefix| format!("&prefix={}", path::encode(prefix))).collect()
    }

    /// Opens the feed. When this returns, the node is listening on the caller's behalf.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn open(&self) -> Result<Changes, Error> {
        let start = match &self.begin {
            Begin::Snapshot => "snapshot=true".to_owned(),
            Begin::Now => "since=now".to_owned(),
            Begin::Token(token) => format!("since={}", path::encode(token)),
        };
        let (heartbeat, prefixes) = (HEARTBEAT.as_millis(), self.prefixes_query());
        let target = format!("/api/_changes?{start}&heartbeat={heartbeat}{prefixes}");
        let ask = Ask::new(Method::GET, target).header(ACCEPT, HeaderValue::from_static(NDJSON));
        let response = self.client.open(ask).await?;
        let lines = Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
            url: self.client.url().to_owned(),
            ended: false,
        };
        let token = match &self.begin {
            Begin::Token(token) => Some(token.clone()),
            Begin::Now | Begin::Snapshot => None,
        };
        Ok(Changes { events: stream::unfold(lines, Lines::next).boxed(), token })
    }
}

/// An open change feed. Ends after its first error.
pub struct Changes {
    events: BoxStream<'static, Result<Event, Error>>,
    token: Option<String>,
}

impl Changes {
    /// From where to go on behind the last event that was told; see [`Watch::since`]. None before the first one that
    /// carries a token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }
}

impl Stream for Changes {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = self.events.poll_next_unpin(context);
        match &event {
            Poll::Ready(Some(Ok(Event::Change(Changed { token: Some(token), .. })))) => {
                self.token = Some(token.clone());
            }
            Poll::Ready(Some(Ok(Event::SnapshotEnd { token, .. }))) => self.token = Some(token.clone()),
            _ => {}
        }
        event
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// One event of a change feed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A path shows another value than before, or is part of the snapshot.
    Change(Changed),
    /// The snapshot is complete; what follows happens now.
    SnapshotEnd {
        /// How many values it had.
        count: u64,
        /// From where to go on behind this event; see [`Watch::since`].
        token: String,
    },
    /// The node cannot go on without leaving something out: forget what you hold. The current values follow, then
    /// [`Event::SnapshotEnd`].
    Resync {
        /// Why.
        reason: String,
        /// The oldest place from which the node could have gone on.
        oldest: Option<String>,
    },
    /// The connection ended, and the feed goes on over another. Only [`Watch::follow`] tells it.
    Interrupted {
        /// Why it ended.
        reason: String,
    },
    /// The node closes the feed.
    Closing,
    /// An event that this version of the client does not know.
    Other(Box<RawValue>),
}

/// A change of a path.
#[derive(Clone, Debug, Deserialize)]
pub struct Changed {
    /// The path.
    pub path: String,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    /// `put`, `delete` or `expire`.
    op: String,
    /// The version that is shown.
    #[serde(default)]
    pub version: Option<String>,
    /// The node that wrote it.
    #[serde(default)]
    pub origin: Option<String>,
    /// Its time, in Unix milliseconds.
    #[serde(default)]
    pub timestamp: u64,
    /// How many other versions compete with it.
    #[serde(default)]
    pub conflicts: u64,
    /// From where to go on behind this event; see [`Watch::since`].
    #[serde(default)]
    pub token: Option<String>,
    /// The event as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

impl Changed {
    /// The value as JSON text; none when the path was deleted.
    pub fn value(&self) -> Option<&RawValue> {
        match self.is_delete() {
            true => None,
            false => self.value.as_deref(),
        }
    }

    /// Whether the path was deleted, by somebody or because its time had come.
    pub fn is_delete(&self) -> bool {
        self.op == "delete" || self.is_expiry()
    }

    /// Whether the time of its value had come.
    pub fn is_expiry(&self) -> bool {
        self.op == "expire"
    }

    /// The value as a Rust type; none when the path was deleted.
    ///
    /// # Errors
    /// [`Error::Decode`] when it does not fit.
    pub fn get<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.value().map(|value| serde_json::from_str(value.get()).map_err(Error::Decode)).transpose()
    }
}

/// The body of the feed, cut into lines.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    url: String,
    ended: bool,
}

impl Lines {
    async fn next(mut self) -> Option<(Result<Event, Error>, Lines)> {
        if self.ended {
            return None;
        }
        let event = self.event().await;
        self.ended = event.is_err();
        Some((event, self))
    }

    async fn event(&mut self) -> Result<Event, Error> {
        loop {
            while let Some(line) = self.line() {
                let line = line.trim_ascii();
                // An empty line is a heartbeat.
                if !line.is_empty() {
                    return event(line).map_err(|reason| self.unexpected(reason));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(self.unexpected(format!("an event is larger than {EVENT_BYTES_MAX} bytes")));
            }
            let more = self.more().await?;
            self.buffer.extend_from_slice(&more);
        }
    }

    /// The next whole line of the buffer.
    fn line(&mut self) -> Option<Bytes> {
        match self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    async fn more(&mut self) -> Result<Bytes, Error> {
        loop {
            let frame = match tokio::time::timeout(WATCH_SILENCE_MAX, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(self.broken(innermost(&error))),
                Ok(None) => return Err(self.broken("the node closed the feed".into())),
                Err(_) => return Err(Error::TimedOut { url: self.url.clone(), waited: WATCH_SILENCE_MAX }),
            };
            if let Ok(data) = frame.into_data() {
                return Ok(data);
            }
        }
    }

    fn broken(&self, reason: String) -> Error {
        Error::Broken { url: self.url.clone(), reason }
    }

    fn unexpected(&self, reason: String) -> Error {
        Error::Unexpected { url: self.url.clone(), reason }
    }
}

/// What every event may have; which one it is follows from its name.
#[derive(Deserialize)]
struct Head {
    #[serde(alias = "type")]
    event: String,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    token: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    oldest: Option<String>,
}

fn event(line: &[u8]) -> Result<Event, String> {
    let unreadable = |error: serde_json::Error| format!("an event of its feed is not as expected: {error}");
    let head: Head = serde_json::from_slice(line).map_err(unreadable)?;
    let raw: Box<RawValue> = serde_json::from_slice(line).map_err(unreadable)?;
    Ok(match head.event.as_str() {
        "change" => {
            let changed: Changed = serde_json::from_slice(line).map_err(unreadable)?;
            Event::Change(Changed { raw: Some(raw), ..changed })
        }
        "snapshot-end" => Event::SnapshotEnd { count: head.count, token: head.token },
        "resync" => Event::Resync { reason: head.reason, oldest: head.oldest },
        "closing" => Event::Closing,
        _ => Event::Other(raw),
    })
}

const NDJSON: &str = "application/x-ndjson";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_value_and_a_delete_is_not() {
        let Ok(Event::Change(put)) = event(br#"{"event":"change","path":"a","op":"put","value":null}"#)
        else {
            panic!("not a change");
        };
        assert_eq!(put.value().map(RawValue::get), Some("null"));
        let Ok(Event::Change(delete)) = event(br#"{"event":"change","path":"a","op":"delete"}"#) else {
            panic!("not a change");
        };
        assert!(delete.is_delete() && delete.value().is_none() && !delete.is_expiry());
        let Ok(Event::Change(expiry)) = event(br#"{"event":"change","path":"a","op":"expire"}"#) else {
            panic!("not a change");
        };
        assert!(expiry.is_expiry() && expiry.is_delete() && expiry.value().is_none());
    }

    #[test]
    fn events_are_told_apart_by_name_and_unknown_ones_kept() {
        assert!(matches!(
            event(br#"{"event":"snapshot-end","count":3}"#),
            Ok(Event::SnapshotEnd { count: 3, .. })
        ));
        assert!(matches!(event(br#"{"event":"resync","reason":"x"}"#), Ok(Event::Resync { .. })));
        assert!(matches!(event(br#"{"event":"revoked"}"#), Ok(Event::Other(_))));
        assert!(event(b"{}").is_err());
        assert!(event(b"<html>").is_err());
    }
}
