//! The shapes. Members that are not listed may come with later versions, so nothing forbids them in answers.

use serde_json::{Map, Value, json};

/// The objects of answers: name and members. A member is its name, `!` when it is always there, and its kind:
/// a word of [`kind`], another shape, `[Shape]` for a list of it, or words joined by `|`.
const ANSWERS: &[(&str, &str)] = &[
    ("AnyObject", ""),
    (
        "Problem",
        "error! text, message! text, hint! text, path! text?, retryable! truth, reason text, limit whole, size whole, \
         applied truth, value any, etag text?, version text, timestamp whole, missing AnyObject, operation whole",
    ),
    (
        "WriteResult",
        "path! text, deleted truth, value any, vectorClock! clock, timestamp! whole, version! text, etag! text, \
         expires whole, applied! truth, durable disk|os|memory",
    ),
    ("BatchResults", "atomic! truth, applied! whole, refused! whole, results! [BatchResult]"),
    (
        "BatchResult",
        "status! whole, path text, deleted truth, vectorClock clock, timestamp whole, version text, etag text?, \
         expires whole, applied truth, durable disk|os|memory, error text, message text, hint text, retryable truth, reason text",
    ),
    ("Page", "items! [Item], cursor! text?"),
    (
        "Item",
        "path! text, value any, directory truth, vectorClock clock, timestamp whole, version text, origin text, etag text, \
         expires whole, conflicts whole, strategy text, resolverFailed truth, context text",
    ),
    ("Line", "path text, value any, directory truth, cursor text?"),
    (
        "PastVersion",
        "op! put|delete|expire, value any, version! text, origin! text, timestamp! whole, supersededBy text?, \
         concurrent! truth, outcome text, removedBy text",
    ),
    ("History", "path! text, items! [PastVersion], cursor! text?"),
    (
        "LiveVersion",
        "version! text, origin! text, timestamp! whole, counter! whole, op! put|delete|expire, value any, \
         expires whole, wins! truth",
    ),
    (
        "Explanation",
        "path! text, strategy! text, winner! text, why! text, resolverFailed! truth, deleted! truth, value any, \
         etag text, vectorClock clock, conflicts whole, versions! [LiveVersion]",
    ),
    ("ConflictPage", "items! [Conflict], cursor! text?"),
    (
        "Conflict",
        "path! text, state! open|resolved, strategy text, winner text, why text, resolverFailed truth, deleted truth, \
         value any, etag text, context text, conflicts whole, versions [LiveVersion], resolved! [AnyObject]",
    ),
    ("Removals", "items! [Removed], more! truth"),
    ("Removed", "path! text, value any, version! text, peer! text, reason! claim|digest, removedAt! whole"),
    ("Undone", "restoredCount! whole, leftCount! whole, restored! texts, left! [Left]"),
    ("Left", "path! text, why! text"),
    ("RemovalBudget", "window! whole, count! whole, limit! whole?, held! whole, stopped! [StoppedPeer]"),
    ("StoppedPeer", "peer! text, reason! claim|digest, since! whole, removed! whole"),
    ("Whereabouts", "path! text, versions! texts, heldBy! whole, nodes! [Place]"),
    ("Place", "id! text, name text?, linked! truth, holds! truth"),
    (
        "Event",
        "event! change|snapshot-end|resync|closing, path text, op put|delete|expire, value any, version text, etag text, \
         origin text, \
         timestamp whole, conflicts whole, token text, count whole, reason text, oldest text?",
    ),
    ("ChangePage", "items! [Event], token! text, more! truth"),
    ("Ticket", "ticket! text, expiresInMs! whole"),
    ("PeerAdded", "url! text, added! truth"),
    ("PeerRemoved", "url! text, removed! truth"),
    ("Peers", "peers! [Peer]"),
    (
        "Peer",
        "id! text?, name text?, url! text?, direction! in|out, state! connected|backoff|rejected, session text, \
         since! whole, rttMs number?, behind! whole, ahead! whole, queue! whole, lastError text?, nextRetryAt whole?",
    ),
    (
        "Round",
        "links! whole, equal! whole, unequal! whole, documentsSent! whole, documentsReceived! whole, repaired! whole, \
         tookMs! whole",
    ),
    ("Quarantine", "documents! [HeldDocument], count! whole, bytes! whole"),
    ("HeldDocument", "path! text, version! text, author! text, peer! text, stampAt! whole, bytes! whole"),
    ("Released", "released! whole"),
    (
        "Status",
        "removals! RemovalBudget, serverID! text, name text, epoch text, port! whole, version! text, uptime! number, ready! truth, asOf! whole, \
         vectorClock! clock, peers! [Peer], peerCount! whole, storage! Storage, clock! Clock, token! text, \
         conflicts! Conflicts, policy! Policy, convergence! Convergence, subscriptions! whole, \
         alarms! [Alarm], doubts! [Doubt], heldRemovals! whole, limits! clock",
    ),
    (
        "Storage",
        "engine! text, durability text, entries! whole, tombstones! whole, historyEntries! whole, bytes! whole, \
         diskFull truth, freeBytes whole?, keptBytes whole?",
    ),
    (
        "Alarm",
        "kind! text, subject! text, message! text, hint! text, since! whole, last! whole, count! whole",
    ),
    ("Doubt", "node! text, epoch! text, reason! text, since! whole"),
    ("Clock", "hlc! text, maxSkewMs! whole, quarantined whole"),
    ("Conflicts", "open! whole, resolved24h whole?"),
    ("Policy", "hash! text, mismatchedPeers! texts"),
    ("Convergence", "digest! text, lastRoundAt whole?, lastRoundMs whole?"),
    ("Ready", "ready! truth, asOf! whole, checks [Check]"),
    ("Check", "name! text, ok! truth, note text"),
    ("Version", "name! text, version! text"),
];

/// The objects of requests, where unknown members are refused.
const BODIES: &[(&str, &str)] = &[
    ("Reversion", "version! text"),
    ("Batch", "operations! [BatchOperation], atomic truth"),
    (
        "BatchOperation",
        "op put|replace|patch|delete, path! text, value any, ifMatch text, ifNoneMatch text, \
         ttl text",
    ),
    ("PeerUrl", "url! text"),
    ("Release", "path text, all truth, peer text"),
    ("Resolution", "value any, keep text, context text"),
];

/// Every shape by name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    all.insert("Value".to_owned(), json!({ "description": "Any JSON value." }));
    all.insert("Text".to_owned(), kind("text"));
    for (name, members) in ANSWERS {
        all.insert((*name).to_owned(), object(members));
    }
    for (name, members) in BODIES {
        let mut shape = object(members);
        shape["additionalProperties"] = Value::Bool(false);
        all.insert((*name).to_owned(), shape);
    }
    // A value to write, or the version that stays.
    all["Resolution"]["oneOf"] = json!([{ "required": ["value"] }, { "required": ["keep"] }]);
    Value::Object(all)
}

fn object(members: &str) -> Value {
    let (mut required, mut properties) = (Vec::new(), Map::new());
    for member in members.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (name, what) = member.split_once(' ').unwrap_or((member, "any"));
        let always = name.ends_with('!');
        let name = name.trim_end_matches('!');
        if always {
            required.push(name);
        }
        properties.insert(name.to_owned(), kind(what));
    }
    match (required.is_empty(), properties.is_empty()) {
        (true, true) => json!({ "type": "object" }),
        (true, false) => json!({ "type": "object", "properties": properties }),
        _ => json!({ "type": "object", "required": required, "properties": properties }),
    }
}

/// What a member can be. A `?` behind it: or `null`.
fn kind(name: &str) -> Value {
    let of_shape = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match name {
        "any" => json!({}),
        "text" => json!({ "type": "string" }),
        "text?" => json!({ "type": ["string", "null"] }),
        "texts" => json!({ "type": "array", "items": { "type": "string" } }),
        "whole" => json!({ "type": "integer", "minimum": 0 }),
        "whole?" => json!({ "type": ["integer", "null"], "minimum": 0 }),
        "number" => json!({ "type": "number" }),
        "number?" => json!({ "type": ["number", "null"] }),
        "truth" => json!({ "type": "boolean" }),
        "clock" => json!({ "type": "object", "additionalProperties": kind("whole") }),
        words if words.contains('|') => json!({ "enum": words.split('|').collect::<Vec<_>>() }),
        name => match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(name) => json!({ "type": "array", "items": of_shape(name) }),
            None => of_shape(name),
        },
    }
}
