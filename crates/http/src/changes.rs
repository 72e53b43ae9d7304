//! `/api/_changes`: what happens below some prefixes, as one answer, as lines or as server-sent events.
//!
//! A slow client costs nothing: events are read from the node's feed when the last one is written, so changes that
//! came meanwhile are told once, as the newest value.

pub(crate) mod events;
mod poll;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::incoming::Incoming;
use bytes::Bytes;
use futures_util::Stream as _;
use hyper::{HeaderMap, Request, Response};
use rejoin::{Error, Event, FeedToken, From, Scope, Subscription};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::answer::{self, EVENT_STREAM, NDJSON, Stream};
use crate::api::{Api, millis};
use crate::config::{CHANGE_PIECES_MAX, HEARTBEAT, HEARTBEAT_MAX, HEARTBEAT_MIN, PREFIXES_MAX};
use crate::problem::Problem;
use crate::query::{Query, excerpt};
use crate::server::is_true;
use crate::ticket;

/// Answers a request for changes.
pub(crate) async fn answer(api: &Arc<Api>, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    // The guard has seen to the ticket.
    let known = ["prefix", "snapshot", "since", "feed", "limit", "heartbeat", ticket::PARAMETER];
    let query = Query::parse_repeating(request.uri().query(), &known, &["prefix"])?;
    let kind = Kind::of(&query, request.headers())?;
    let from = beginning(&query, request.headers())?;
    let (least, most) = (millis(HEARTBEAT_MIN), millis(HEARTBEAT_MAX));
    let heartbeat = query.number("heartbeat", least, most)?.map_or(HEARTBEAT, Duration::from_millis);
    let scopes = scopes(query.texts("prefix"))?;
    let framing = match kind {
        Kind::Once { wait } => {
            let limit = poll::limit(api, &query)?;
            let subscription = api.node.subscribe_scopes(scopes, from)?;
            return poll::answer(api, subscription, limit, wait.then_some(heartbeat)).await;
        }
        Kind::Stream(framing) => framing,
    };
    let left = query.number("limit", 1, u64::MAX)?.unwrap_or(u64::MAX);
    let subscription = api.node.subscribe_scopes(scopes, from)?;
    let (sender, pieces) = mpsc::channel(CHANGE_PIECES_MAX);
    let shown = subscription.token();
    let feed = Feed { subscription, framing, heartbeat, left, shown, sender };
    tokio::spawn(feed.run(api.stopped.clone()));
    let kind = match framing {
        Framing::Lines => NDJSON,
        Framing::Events => EVENT_STREAM,
    };
    Ok(answer::stream(kind, pieces))
}

/// The scopes that these prefixes mean.
pub(crate) fn scopes<'a>(prefixes: impl Iterator<Item = &'a str>) -> Result<Vec<Scope>, Problem> {
    let parse =
        |prefix| Scope::parse(prefix).map_err(|error| Problem::from(error).path(Some(&excerpt(prefix))));
    let scopes = prefixes.map(parse).collect::<Result<Vec<_>, _>>()?;
    if scopes.len() > PREFIXES_MAX {
        return Err(Problem::parameter(format!("There are more than {PREFIXES_MAX} prefixes."))
            .hint("Listen to a common prefix, or open several feeds."));
    }
    Ok(scopes)
}

/// Where a feed begins that was asked for with these words.
pub(crate) fn from(since: Option<&str>, snapshot: bool) -> Result<From, Problem> {
    match since {
        None | Some("now") => Ok(if snapshot { From::Snapshot } else { From::Now }),
        Some("0") => Ok(From::Snapshot),
        Some(token) => Ok(From::Token(parse_token(token)?)),
    }
}

fn parse_token(text: &str) -> Result<FeedToken, Problem> {
    text.parse().map_err(|error: Error| {
        let problem = Problem::from(error);
        problem.hint("Send a token of this feed as it was given, `since=now`, or `since=0` for the current values first.")
    })
}

fn beginning(query: &Query, headers: &HeaderMap) -> Result<From, Problem> {
    let snapshot = query.switch("snapshot")?;
    match headers.get("last-event-id") {
        // A browser sends it empty when no event had an id.
        Some(id) if !id.is_empty() => Ok(From::Token(parse_token(id.to_str().unwrap_or_default())?)),
        _ => from(query.text("since"), snapshot),
    }
}

/// How a client wants the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As one answer with what there is; perhaps after waiting for something.
    Once { wait: bool },
    /// As a stream without an end.
    Stream(Framing),
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// One JSON object a line, its kind in `event`; an empty line is a sign of life.
    Lines,
    /// Server-sent events; a comment is a sign of life.
    Events,
}

impl Kind {
    fn of(query: &Query, headers: &HeaderMap) -> Result<Kind, Problem> {
        let events = answer::accepts(headers, &EVENT_STREAM);
        match query.text("feed") {
            Some("eventsource") => Ok(Kind::Stream(Framing::Events)),
            Some("longpoll") => Ok(Kind::Once { wait: true }),
            None | Some("normal") if events => Ok(Kind::Stream(Framing::Events)),
            None if answer::accepts(headers, &NDJSON) => Ok(Kind::Stream(Framing::Lines)),
            None | Some("normal") => Ok(Kind::Once { wait: false }),
            Some(other) => Err(Problem::parameter(format!("The parameter `feed` is `{}`.", excerpt(other)))
                .hint("Write `feed=normal`, `feed=longpoll` or `feed=eventsource`.")),
        }
    }
}

struct Feed {
    subscription: Subscription,
    framing: Framing,
    heartbeat: Duration,
    /// Changes that may still be told.
    left: u64,
    /// The last token that the client was given.
    shown: FeedToken,
    sender: mpsc::Sender<Bytes>,
}

impl Feed {
    /// Writes events until the client, the server or the node ends, or as many were written as the client wants.
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let reason = loop {
            let subscription = &mut self.subscription;
            let next = poll_fn(|context| Pin::new(&mut *subscription).poll_next(context));
            let event = tokio::select! {
                biased;
                () = is_true(&mut stopped) => break STOPPING,
                () = self.sender.closed() => return,
                next = timeout(self.heartbeat, next) => match next {
                    Err(_) => {
                        let sign = self.sign_of_life();
                        if !self.send(sign).await {
                            return;
                        }
                        continue;
                    }
                    Ok(Some(Ok(event))) => event,
                    Ok(Some(Err(error))) => {
                        tracing::warn!(%error, "a change stream ends");
                        break STOPPING;
                    }
                    Ok(None) => break STOPPING,
                },
            };
            if !self.tell(&event).await {
                return;
            }
            if self.left == 0 {
                // The end of a snapshot is told whenever the snapshot is.
                if let Ok(Some(end @ Event::SnapshotEnd { .. })) = self.subscription.try_next()
                    && !self.tell(&end).await
                {
                    return;
                }
                break "As many changes were sent as `limit` says.";
            }
        };
        let closing = match self.framing {
            Framing::Lines => events::closing_object(None, reason) + "\n",
            Framing::Events => events::closing_sent(reason),
        };
        self.send(closing).await;
    }

    async fn tell(&mut self, event: &Event) -> bool {
        match event {
            Event::Change { token, .. } => {
                self.left -= 1;
                self.shown.clone_from(token);
            }
            Event::SnapshotEnd { token, .. } => self.shown.clone_from(token),
            Event::Resync { .. } => {}
        }
        let text = match self.framing {
            Framing::Lines => events::object(None, event) + "\n",
            Framing::Events => events::server_sent(event),
        };
        self.send(text).await
    }

    async fn send(&mut self, text: String) -> bool {
        self.sender.send(Bytes::from(text)).await.is_ok()
    }

    /// Nothing that anybody would take for an event. Of an event stream it moves the place to resume from past what
    /// concerned others.
    fn sign_of_life(&mut self) -> String {
        let token = self.subscription.token();
        match self.framing {
            Framing::Lines => "\n".to_owned(),
            Framing::Events if token == self.shown => ":\n\n".to_owned(),
            Framing::Events => {
                let text = format!(":\nid: {token}\n\n");
                self.shown = token;
                text
            }
        }
    }
}

/// Why feeds end that the client did not end.
pub(crate) const STOPPING: &str = "The server or the node is stopping.";
