//! The JSON of the feed's events, the same on every way to the feed.

use rejoin::{Entry, Event, FeedToken, ResyncReason};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer;
use crate::shapes::Raw;

/// An event as one JSON object; over a socket with the subscription that it belongs to.
pub(crate) fn object(subscription: Option<&RawValue>, event: &Event) -> String {
    match event {
        Event::Change { entry, token } => {
            named(subscription, "change", &Change::of(entry, Some(token.to_string())))
        }
        Event::SnapshotEnd { count, token } => {
            named(subscription, "snapshot-end", &SnapshotEnd { token: token.to_string(), count: *count })
        }
        Event::Resync { reason, oldest } => named(subscription, "resync", &Resync::of(*reason, oldest)),
    }
}

/// The end of a feed as one JSON object.
pub(crate) fn closing_object(subscription: Option<&RawValue>, reason: &str) -> String {
    named(subscription, "closing", &Closing { reason })
}

/// An event as the lines of a server-sent event; its token is the event's id.
pub(crate) fn server_sent(event: &Event) -> String {
    match event {
        Event::Change { entry, token } => {
            format!("id: {token}\n{}", sent("change", &Change::of(entry, None)))
        }
        Event::SnapshotEnd { count, token } => {
            let data = SnapshotEnd { token: token.to_string(), count: *count };
            format!("id: {token}\n{}", sent("snapshot-end", &data))
        }
        // Without an id: a client that is cut off during what follows is told so again.
        Event::Resync { reason, oldest } => sent("resync", &Resync::of(*reason, oldest)),
    }
}

/// The end of a feed as a server-sent event.
pub(crate) fn closing_sent(reason: &str) -> String {
    sent("closing", &Closing { reason })
}

fn named(subscription: Option<&RawValue>, event: &'static str, data: &impl Serialize) -> String {
    answer::json_text(&Named { subscription, event, data })
}

fn sent(event: &'static str, data: &impl Serialize) -> String {
    // JSON text has no line breaks of its own.
    format!("event: {event}\ndata: {}\n\n", answer::json_text(data))
}

#[derive(Serialize)]
struct Named<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<&'a RawValue>,
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
    etag: &'a str,
    origin: String,
    timestamp: u64,
    conflicts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl<'a> Change<'a> {
    fn of(entry: &'a Entry, token: Option<String>) -> Change<'a> {
        Change {
            path: entry.path.as_str(),
            op: match &entry.value {
                Some(_) => "put",
                None if entry.expired => "expire",
                None => "delete",
            },
            value: entry.value.as_ref().map(Raw),
            version: entry.version.to_string(),
            etag: &entry.etag,
            origin: entry.origin().to_string(),
            timestamp: entry.timestamp_ms(),
            conflicts: entry.conflicts,
            token,
        }
    }
}

#[derive(Serialize)]
struct SnapshotEnd {
    token: String,
    count: u64,
}

#[derive(Serialize)]
struct Resync {
    reason: String,
    oldest: String,
}

impl Resync {
    fn of(reason: ResyncReason, oldest: &FeedToken) -> Resync {
        let reason = format!("{reason} Forget what you hold: the current values follow.");
        Resync { reason, oldest: oldest.to_string() }
    }
}

#[derive(Serialize)]
struct Closing<'a> {
    reason: &'a str,
}
