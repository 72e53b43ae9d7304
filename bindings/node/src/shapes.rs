//! The JSON texts that JavaScript gets. Values go in as the text that is stored.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use rejoin::{Entry, Error, HistoryEntry, Json, PeerStatus, RoundReport, VersionVector, Visible};
use serde_json::{Value, json};

/// An operation's answer.
pub(crate) fn done(id: u64, result: &str) -> String {
    format!("[0,{id},{result}]")
}

/// An operation's failure.
pub(crate) fn failed(id: u64, error: &Error) -> String {
    let error = json!({
        "code": error.code(),
        "message": error.to_string(),
        "hint": error.hint(),
        "retryable": error.retryable(),
    });
    format!("[1,{id},{error}]")
}

/// A piece of an operation's answer: more of them, then the answer, follow.
pub(crate) fn piece(id: u64, items: &str) -> String {
    format!("[2,{id},[{items}]]")
}

/// A change for a subscriber.
pub(crate) fn change(subscription: u64, entry: &Entry) -> String {
    format!("[3,{subscription},{},{}]", quoted(entry.path.as_str()), value(entry.value.as_ref()))
}

/// A call of a resolver.
pub(crate) fn call(call: u64, resolver: u32, path: &str, local: &str, remote: &str) -> String {
    format!("[4,{call},{resolver},{},{local},{remote}]", quoted(path))
}

/// Something that a person should know.
pub(crate) fn warning(code: &str, message: &str) -> String {
    format!("[5,{},{}]", quoted(code), quoted(message))
}

/// What a write led to; nothing is visible where nobody ever wrote.
pub(crate) fn written(path: &str, visible: Option<&Visible>, clock: &VersionVector) -> String {
    let shown = visible.and_then(|visible| visible.value.as_ref());
    state(path, shown, visible.map_or(0, |visible| visible.hlc.unix_ms()), clock)
}

/// What is there after a delete that found nothing to delete.
pub(crate) fn absent(path: &str, last: Option<&Entry>) -> String {
    match last {
        Some(entry) => state(path, None, entry.timestamp_ms(), &entry.vector_clock),
        None => state(path, None, 0, &VersionVector::new()),
    }
}

fn state(path: &str, shown: Option<&Json>, timestamp: u64, clock: &VersionVector) -> String {
    format!(
        "{{\"path\":{},\"value\":{},\"timestamp\":{timestamp},\"vectorClock\":{}}}",
        quoted(path),
        value(shown),
        vector_clock(clock)
    )
}

/// A value with what is known of it.
pub(crate) fn entry(entry: &Entry) -> String {
    format!(
        "{{\"path\":{},\"value\":{},\"timestamp\":{},\"origin\":\"{}\",\"vectorClock\":{}}}",
        quoted(entry.path.as_str()),
        value(entry.value.as_ref()),
        entry.timestamp_ms(),
        entry.origin(),
        vector_clock(&entry.vector_clock)
    )
}

/// Superseded versions, newest first.
pub(crate) fn history(versions: &[HistoryEntry]) -> String {
    let mut text = String::from("[");
    for (index, version) in versions.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let by = version.superseded_by.map_or_else(|| "null".to_owned(), |dot| quoted(&dot.to_string()));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{comma}{{\"value\":{},\"timestamp\":{},\"origin\":\"{}\",\"vectorClock\":{{\"{}\":{}}},\
             \"deleted\":{},\"version\":\"{}\",\"supersededBy\":{by},\"outcome\":\"{}\"}}",
            value(version.value.as_ref()),
            version.hlc.unix_ms(),
            version.version.node,
            version.version.node,
            version.version.ordinal(),
            version.value.is_none(),
            version.version,
            version.outcome().name(),
        );
    }
    text + "]"
}

/// A causal past: node to number.
pub(crate) fn vector_clock(clock: &VersionVector) -> String {
    let mut text = String::with_capacity(2 + clock.len() * 54);
    text.push('{');
    for (index, (node, ordinal)) in clock.ordinals().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}\"{node}\":{ordinal}");
    }
    text.push('}');
    text
}

/// What an anti-entropy round did.
pub(crate) fn round(report: &RoundReport) -> String {
    json!({
        "peers": report.links,
        "equal": report.equal,
        "unequal": report.unequal,
        "documentsSent": report.documents_sent,
        "documentsReceived": report.documents_received,
        "repaired": report.repaired,
    })
    .to_string()
}

/// How the links to peers are.
pub(crate) fn connections(peers: &[PeerStatus]) -> String {
    let peers: Vec<Value> = peers
        .iter()
        .map(|peer| {
            json!({
                "id": peer.id.map(|id| id.to_string()),
                "name": peer.name,
                "url": peer.url,
                "direction": peer.direction.to_string(),
                "state": peer.state.to_string(),
                "since": unix_ms(peer.since),
                "rttMs": peer.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
                "bytesIn": peer.bytes_in,
                "bytesOut": peer.bytes_out,
                "policyDiffers": peer.policy_differs,
                "lastError": peer.last_error,
                "nextRetryAt": peer.next_retry_at.map(unix_ms),
            })
        })
        .collect();
    Value::from(peers).to_string()
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn value(value: Option<&Json>) -> &str {
    value.map_or("null", Json::as_str)
}

fn unix_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
