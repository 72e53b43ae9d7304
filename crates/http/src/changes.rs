//! `/api/_changes`: what happens below a prefix, as lines or server-sent events.
//!
//! A slow client costs nothing: events are read from the node's feed when the last one is written, so changes that
//! came meanwhile are told once, as the newest value.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream as _;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use rejoin::{Entry, Event, From, Scope, Subscription, Token};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::answer::{self, EVENT_STREAM, NDJSON, Stream};
use crate::api::{Api, millis};
use crate::config::{HEARTBEAT, HEARTBEAT_MAX, HEARTBEAT_MIN, STREAM_PIECES_MAX};
use crate::problem::Problem;
use crate::query::{Query, excerpt};
use crate::server::is_true;
use crate::shapes::Raw;

/// Answers a request for changes.
pub(crate) fn answer(api: &Arc<Api>, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let known = ["prefix", "snapshot", "since", "feed", "limit", "heartbeat"];
    let query = Query::parse(request.uri().query(), &known)?;
    let framing = framing(&query, request)?;
    let from = beginning(&query, request)?;
    if query.text("limit").is_some() {
        return Err(not_yet("limit", "End the request when you have enough."));
    }
    let (least, most) = (millis(HEARTBEAT_MIN), millis(HEARTBEAT_MAX));
    let heartbeat = query.number("heartbeat", least, most)?.map_or(HEARTBEAT, Duration::from_millis);
    let prefix = query.text("prefix").unwrap_or_default();
    let scope = Scope::parse(prefix).map_err(|error| Problem::from(error).path(Some(&excerpt(prefix))))?;
    // Taken before the subscription begins: what it misses of the snapshot, a later reader is told again.
    let token = api.node.token();
    let subscription = api.node.subscribe_scope(scope, from)?;
    let (sender, pieces) = mpsc::channel(STREAM_PIECES_MAX);
    let feed = Feed { subscription, framing, token, heartbeat, sender };
    tokio::spawn(feed.run(api.stopped.clone()));
    let kind = match framing {
        Framing::Lines => NDJSON,
        Framing::Events => EVENT_STREAM,
    };
    Ok(answer::stream(kind, pieces))
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// One JSON object a line, its kind in `event`; an empty line is a sign of life.
    Lines,
    /// Server-sent events; a comment is a sign of life.
    Events,
}

fn framing(query: &Query, request: &Request<Incoming>) -> Result<Framing, Problem> {
    match query.text("feed") {
        None | Some("normal") if !answer::accepts(request.headers(), &EVENT_STREAM) => Ok(Framing::Lines),
        None | Some("normal" | "eventsource") => Ok(Framing::Events),
        Some("longpoll") => {
            Err(not_yet("feed=longpoll", "Read the stream: `feed=normal` sends each change as a line."))
        }
        Some(other) => Err(Problem::parameter(format!("The parameter `feed` is `{}`.", excerpt(other)))
            .hint("Write `feed=normal` or `feed=eventsource`.")),
    }
}

fn beginning(query: &Query, request: &Request<Incoming>) -> Result<From, Problem> {
    let resume =
        "Begin with `snapshot=true`: the current values come first, without a hole before the changes.";
    if request.headers().contains_key("last-event-id") {
        return Err(not_yet("Last-Event-ID", resume));
    }
    let snapshot = query.switch("snapshot")?;
    match query.text("since") {
        None | Some("now") => Ok(if snapshot { From::Snapshot } else { From::Now }),
        Some("0") => Ok(From::Snapshot),
        Some(_) => Err(not_yet("since=<token>", resume)),
    }
}

fn not_yet(what: &str, hint: &str) -> Problem {
    Problem::parameter(format!("`{what}` is not available yet.")).hint(hint)
}

struct Feed {
    subscription: Subscription,
    framing: Framing,
    token: Token,
    heartbeat: Duration,
    sender: mpsc::Sender<Bytes>,
}

impl Feed {
    /// Writes events until the client, the server or the node ends.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let subscription = &mut self.subscription;
            let next = poll_fn(|context| Pin::new(&mut *subscription).poll_next(context));
            let piece = tokio::select! {
                biased;
                () = is_true(&mut stopped) => break,
                () = self.sender.closed() => return,
                next = timeout(self.heartbeat, next) => match next {
                    Err(_) => self.sign_of_life(),
                    Ok(Some(Ok(event))) => self.event(&event),
                    Ok(Some(Err(error))) => {
                        tracing::warn!(%error, "a change stream ends");
                        break;
                    }
                    Ok(None) => break,
                },
            };
            if !self.send(piece).await {
                return;
            }
        }
        let closing = self.framed("closing", &Closing { reason: "The server or the node is stopping." });
        self.send(closing).await;
    }

    async fn send(&mut self, piece: Bytes) -> bool {
        self.sender.send(piece).await.is_ok()
    }

    fn sign_of_life(&self) -> Bytes {
        match self.framing {
            Framing::Lines => Bytes::from_static(b"\n"),
            Framing::Events => Bytes::from_static(b":\n\n"),
        }
    }

    fn event(&self, event: &Event) -> Bytes {
        match event {
            Event::Change { entry, .. } => self.framed("change", &Change::of(entry)),
            Event::SnapshotEnd { count, .. } => {
                self.framed("snapshot-end", &SnapshotEnd { token: self.token.as_str(), count: *count })
            }
            Event::Resync => self.framed("resync", &Resync {
                reason: "Removals were forgotten before they were sent. Forget what you hold: the current values follow.",
                oldest: None,
            }),
        }
    }

    fn framed(&self, event: &'static str, data: &impl Serialize) -> Bytes {
        match self.framing {
            Framing::Lines => {
                let mut text = answer::json_text(&Line { event, data });
                text.push('\n');
                text.into()
            }
            // JSON text has no line breaks of its own.
            Framing::Events => format!("event: {event}\ndata: {}\n\n", answer::json_text(data)).into(),
        }
    }
}

#[derive(Serialize)]
struct Line<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    data: &'a T,
}

#[derive(Serialize)]
struct Change<'a> {
    path: &'a str,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    version: String,
    origin: String,
    timestamp: u64,
    conflicts: usize,
}

impl<'a> Change<'a> {
    fn of(entry: &'a Entry) -> Change<'a> {
        Change {
            path: entry.path.as_str(),
            op: if entry.value.is_some() { "put" } else { "delete" },
            value: entry.value.as_ref().map(Raw),
            version: entry.version.to_string(),
            origin: entry.origin().to_string(),
            timestamp: entry.timestamp_ms(),
            conflicts: entry.conflicts,
        }
    }
}

#[derive(Serialize)]
struct SnapshotEnd<'a> {
    token: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Resync {
    reason: &'static str,
    oldest: Option<&'static str>,
}

#[derive(Serialize)]
struct Closing {
    reason: &'static str,
}
