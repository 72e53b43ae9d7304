//! Every operation. A route that is missing here fails a test; so does one that is here and nowhere else.

use super::{Answer, Body, Kind, Operation, Parameter};
use crate::endpoint::Endpoint;

/// Routes that answer `GET` and not `HEAD`.
pub(crate) const WITHOUT_HEAD: [Endpoint; 3] = [Endpoint::Changes, Endpoint::Socket, Endpoint::Link];

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";

const fn parameter(name: &'static str, kind: Kind, what: &'static str) -> Parameter {
    Parameter { name, kind, what }
}

const fn answer(status: u16, what: &'static str, schema: &'static str) -> Answer {
    Answer { status, what, body: Some((JSON, schema)), others: &[] }
}

/// An answer that comes in another media type to those who ask for it.
const fn varied(
    what: &'static str,
    schema: &'static str,
    others: &'static [(&'static str, &'static str)],
) -> Answer {
    Answer { status: 200, what, body: Some((JSON, schema)), others }
}

const fn bare(status: u16, what: &'static str) -> Answer {
    Answer { status, what, body: None, others: &[] }
}

const fn json(schema: &'static str) -> Option<Body> {
    Some(Body { kinds: &[JSON], schema, required: true })
}

// Parameters that several operations have.

const CURSOR: Parameter = parameter("cursor", Kind::Text, "The cursor of the last page, as given.");
const META: Parameter =
    parameter("meta", Kind::Switch, "Wrap the value in an envelope with all that is known of it.");
const ACK: Parameter =
    parameter("ack", Kind::Number(1, 64), "Wait until that many other nodes hold the write.");
const TIMEOUT: Parameter = parameter("timeout", Kind::Time, "How long to wait for them.");

const TOKEN: Parameter =
    parameter("Rejoin-Token", Kind::Text, "What this node must have applied: a token of another answer.");
const WAIT: Parameter = parameter("Rejoin-Wait", Kind::Time, "How long to wait for that, 30 s at most.");
const CONTEXT: Parameter =
    parameter("Rejoin-Context", Kind::Text, "What the client has read: the write replaces exactly that.");
const IF_MATCH: Parameter =
    parameter("If-Match", Kind::Text, "Only if the value has this tag; `*`: if there is one.");
const IF_NONE_MATCH: Parameter =
    parameter("If-None-Match", Kind::Text, "Only if the value has no such tag; `*`: if there is none.");

const TTL: Parameter =
    parameter("ttl", Kind::Span, "How long the value is to live; without an end when left out.");
const TTL_HEADER: Parameter = parameter("Rejoin-TTL", Kind::Span, "The same as the parameter `ttl`.");

const IDEMPOTENCY_KEY: Parameter = parameter(
    "Idempotency-Key",
    Kind::Key,
    "Names the request: sent again with the same key within a day, it is not done again and gets the first answer.",
);

const IN_SESSION: &[Parameter] = &[TOKEN, WAIT];
const READING: &[Parameter] = &[TOKEN, WAIT, IF_MATCH, IF_NONE_MATCH];
const WRITING: &[Parameter] = &[TOKEN, WAIT, CONTEXT, IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY];
const RECEIPT: &[Parameter] = &[ACK, TIMEOUT];
const LIFE: &[Parameter] = &[ACK, TIMEOUT, TTL];
const LIVING: &[Parameter] = &[TOKEN, WAIT, CONTEXT, IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY, TTL_HEADER];
const BATCHING: &[Parameter] = &[TOKEN, WAIT, IDEMPOTENCY_KEY];

const WRITTEN: &[Answer] = &[
    answer(200, "Replaced.", "WriteResult"),
    answer(201, "Created.", "WriteResult"),
    answer(202, "Done, and held by fewer nodes than were asked for.", "WriteResult"),
    answer(409, "The strategy of the path refuses the write.", "Problem"),
    answer(412, "A condition does not hold.", "Problem"),
    REUSED,
];

const REUSED: Answer = answer(422, "The idempotency key was used for another request.", "Problem");

/// A read without a body to bring.
const fn get(
    endpoint: Endpoint,
    id: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    headers: &'static [Parameter],
    answers: &'static [Answer],
) -> Operation {
    Operation { endpoint, method: "get", id, summary, query, headers, body: None, answers }
}

/// A change.
const fn change(
    endpoint: Endpoint,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Option<Body>,
    answers: &'static [Answer],
) -> Operation {
    Operation { endpoint, method, id, summary, query: RECEIPT, headers: WRITING, body, answers }
}

pub(crate) const OPERATIONS: &[Operation] = &[
    get(
        Endpoint::Data,
        "getValue",
        "Read a value.",
        &[META],
        READING,
        &[
            answer(200, "The value itself, or its envelope.", "Value"),
            bare(304, "The value has the tag that the client has."),
            answer(404, "There is none: never written, or deleted.", "Problem"),
        ],
    ),
    Operation {
        query: LIFE,
        headers: LIVING,
        ..change(Endpoint::Data, "put", "putValue", "Write a value.", json("Value"), WRITTEN)
    },
    Operation {
        query: LIFE,
        headers: LIVING,
        ..change(
            Endpoint::Data,
            "patch",
            "patchValue",
            "Apply a JSON merge patch (RFC 7396).",
            Some(Body { kinds: &["application/merge-patch+json", JSON], schema: "Value", required: true }),
            WRITTEN,
        )
    },
    change(
        Endpoint::Data,
        "delete",
        "deleteValue",
        "Delete a value.",
        None,
        &[
            answer(200, "Deleted.", "WriteResult"),
            answer(202, "Done, and held by fewer nodes than were asked for.", "WriteResult"),
            answer(404, "There is none.", "Problem"),
            answer(412, "A condition does not hold.", "Problem"),
            REUSED,
        ],
    ),
    get(
        Endpoint::Scan,
        "scan",
        "List the documents whose paths begin with a prefix.",
        &[
            parameter("limit", Kind::Number(1, 1000), "Items of a page."),
            CURSOR,
            parameter("reverse", Kind::Switch, "From the last path to the first."),
            parameter("keys_only", Kind::Switch, "Without values."),
            parameter("start", Kind::Text, "Only paths at or after this one."),
            parameter("end", Kind::Text, "Only paths before this one."),
            META,
            parameter("depth", Kind::Number(1, 64), "List what is deeper as directories."),
            parameter("where", Kind::Text, "Only values that match, as in `age>=18,status==open`."),
            parameter("fields", Kind::Text, "Only these members of values, as in `name,address.city`."),
        ],
        IN_SESSION,
        &[varied(
            "A page; all of it as lines with `Accept: application/x-ndjson`.",
            "Page",
            &[(LINES, "Line")],
        )],
    ),
    get(
        Endpoint::History,
        "history",
        "List the superseded versions of a document, newest first.",
        &[
            parameter("limit", Kind::Number(1, 1000), "Items of a page."),
            CURSOR,
            parameter("values", Kind::Switch, "Whether to send values; yes, unless refused."),
        ],
        IN_SESSION,
        &[answer(200, "A page.", "History")],
    ),
    change(
        Endpoint::History,
        "post",
        "revert",
        "Write a superseded version again.",
        json("Reversion"),
        WRITTEN,
    ),
    get(
        Endpoint::Removals,
        "removals",
        "List what was removed on this node by peers' words and is still kept, the oldest first.",
        &[
            parameter("peer", Kind::Text, "Only by the word of this node."),
            parameter("since", Kind::Number(0, 1 << 53), "Only at or after this time, in Unix milliseconds."),
            parameter("limit", Kind::Number(1, 1000), "At most so many."),
        ],
        IN_SESSION,
        &[answer(200, "The removals.", "Removals")],
    ),
    Operation {
        endpoint: Endpoint::UndoRemovals,
        method: "post",
        id: "undoRemovals",
        summary: "Bring back what was removed by peers' words, where nothing was written since.",
        query: &[
            parameter("peer", Kind::Text, "Only by the word of this node."),
            parameter("since", Kind::Number(0, 1 << 53), "Only at or after this time, in Unix milliseconds."),
        ],
        headers: IN_SESSION,
        body: None,
        answers: &[answer(200, "What was brought back, and what was left.", "Undone")],
    },
    get(
        Endpoint::Status,
        "status",
        "How the node is doing.",
        &[],
        IN_SESSION,
        &[answer(200, "The status.", "Status")],
    ),
    Operation {
        endpoint: Endpoint::AntiEntropy,
        method: "post",
        id: "antiEntropy",
        summary: "Compare with every peer now, and exchange what differs.",
        query: &[parameter("prefix", Kind::Text, "Only the paths that begin with this.")],
        headers: IN_SESSION,
        body: None,
        answers: &[answer(200, "The round is done.", "Round")],
    },
    get(
        Endpoint::Quarantine,
        "listQuarantine",
        "List the documents that wait because their stamps are ahead of this node's clock.",
        &[],
        IN_SESSION,
        &[answer(200, "What waits, by path.", "Quarantine")],
    ),
    Operation {
        endpoint: Endpoint::Release,
        method: "post",
        id: "releaseQuarantine",
        summary: "Take documents out of quarantine now, although their stamps are ahead.",
        query: &[],
        headers: IN_SESSION,
        body: json("Release"),
        answers: &[answer(200, "They are merged.", "Released")],
    },
    Operation {
        endpoint: Endpoint::Batch,
        method: "post",
        id: "batch",
        summary: "Do several writes: each on its own, all or nothing, or as a stream of lines.",
        query: &[parameter(
            "results",
            Kind::OneOf(&["all", "refused"]),
            "Of a stream: which results to send.",
        )],
        headers: BATCHING,
        body: Some(Body { kinds: &[JSON, LINES], schema: "Batch", required: true }),
        answers: &[
            varied(
                "One result per operation; of a stream, one a line.",
                "BatchResults",
                &[(LINES, "BatchResult")],
            ),
            answer(404, "An atomic batch deletes what is not there.", "Problem"),
            answer(409, "The strategy of a path refuses an atomic batch.", "Problem"),
            answer(412, "A condition of an atomic batch does not hold.", "Problem"),
            REUSED,
        ],
    },
    get(
        Endpoint::Peers,
        "listPeers",
        "List the peers.",
        &[],
        IN_SESSION,
        &[answer(200, "The peers.", "Peers")],
    ),
    Operation {
        endpoint: Endpoint::Peers,
        method: "post",
        id: "addPeer",
        summary: "Keep a link to a peer, until it is removed or the node restarts.",
        query: &[],
        headers: IN_SESSION,
        body: json("PeerUrl"),
        answers: &[
            answer(200, "It is dialed already.", "PeerAdded"),
            answer(201, "It is dialed from now on.", "PeerAdded"),
        ],
    },
    Operation {
        endpoint: Endpoint::Peers,
        method: "delete",
        id: "removePeer",
        summary: "Stop dialing a peer. Its URL comes as `url`, or in a body as for adding.",
        query: &[parameter("url", Kind::Text, "The peer's URL.")],
        headers: IN_SESSION,
        body: Some(Body { kinds: &[JSON], schema: "PeerUrl", required: false }),
        answers: &[
            answer(200, "It is dialed no more.", "PeerRemoved"),
            answer(404, "This node does not dial it.", "Problem"),
        ],
    },
    get(
        Endpoint::Conflicts,
        "listConflicts",
        "List open and resolved conflicts below a prefix, with every losing value.",
        &[
            parameter("limit", Kind::Number(1, 1000), "Items of a page."),
            CURSOR,
            parameter("state", Kind::OneOf(&["open", "resolved", "all"]), "Which conflicts."),
        ],
        IN_SESSION,
        &[varied(
            "A page; all of it as lines with `Accept: application/x-ndjson`.",
            "ConflictPage",
            &[(LINES, "Conflict")],
        )],
    ),
    change(
        Endpoint::Conflicts,
        "post",
        "resolveConflict",
        "Settle a conflict: one write that supersedes all versions.",
        json("Resolution"),
        WRITTEN,
    ),
    get(
        Endpoint::Where,
        "whereabouts",
        "Which nodes hold the current versions of a document.",
        &[TIMEOUT],
        IN_SESSION,
        &[answer(200, "The nodes.", "Whereabouts"), answer(404, "There is no document.", "Problem")],
    ),
    get(
        Endpoint::Explain,
        "explain",
        "Which versions compete, and why one wins.",
        &[],
        IN_SESSION,
        &[
            answer(200, "The explanation.", "Explanation"),
            answer(404, "There never was a document.", "Problem"),
        ],
    ),
    get(
        Endpoint::Changes,
        "changes",
        "The change feed: what there is as one answer, or without an end as lines or server-sent events.",
        &[
            parameter(
                "prefix",
                Kind::Text,
                "Only this path, what is below it, and its ancestors; may be repeated.",
            ),
            parameter("snapshot", Kind::Switch, "Begin with the current values."),
            parameter("since", Kind::Text, "Where to begin: `now`, `0`, or a token of an event."),
            parameter("feed", Kind::OneOf(&["normal", "longpoll", "eventsource"]), "How it is sent."),
            parameter("limit", Kind::Number(1, 1000), "End after that many changes."),
            parameter("heartbeat", Kind::Number(1_000, 300_000), "Milliseconds between signs of life."),
            parameter("ticket", Kind::Text, "In place of the token: a ticket, for who can send no header."),
        ],
        &[parameter("Last-Event-ID", Kind::Text, "Wins over `since`.")],
        &[
            varied(
                "What there is, and where to go on; events without an end with `Accept: application/x-ndjson` or \
                 `text/event-stream`.",
                "ChangePage",
                &[(LINES, "Event"), (EVENTS, "Text")],
            ),
            answer(410, "The token is older than what is kept.", "Problem"),
        ],
    ),
    Operation {
        endpoint: Endpoint::Ticket,
        method: "post",
        id: "ticket",
        summary: "A ticket that opens one change stream, for an `EventSource`, which cannot send the token.",
        query: &[],
        headers: &[],
        body: None,
        answers: &[answer(201, "Good once, and soon.", "Ticket")],
    },
    get(
        Endpoint::Socket,
        "socket",
        "The change feed and writes over a WebSocket; see docs/http-api.md.",
        &[],
        &[],
        &[
            bare(101, "The connection is a WebSocket from here on."),
            answer(426, "The request does not ask for a WebSocket.", "Problem"),
        ],
    ),
    get(
        Endpoint::Link,
        "link",
        "The WebSocket of a peer link; see docs/protocol.md.",
        &[],
        &[],
        &[
            bare(101, "The connection is a WebSocket from here on."),
            answer(426, "The request does not ask for a WebSocket.", "Problem"),
        ],
    ),
    get(
        Endpoint::OpenApi,
        "openapi",
        "This document.",
        &[],
        &[],
        &[answer(200, "OpenAPI 3.1.", "AnyObject")],
    ),
    get(
        Endpoint::Live,
        "live",
        "Whether the process answers. Asks for no token.",
        &[parameter("verbose", Kind::Switch, "Changes nothing.")],
        &[],
        &[answer(200, "It does.", "AnyObject")],
    ),
    get(
        Endpoint::Ready,
        "ready",
        "Whether the node can serve.",
        &[parameter("verbose", Kind::Switch, "List the checks.")],
        &[],
        &[answer(200, "It can.", "Ready"), answer(503, "It cannot.", "Problem")],
    ),
    get(
        Endpoint::Version,
        "version",
        "Which software this is.",
        &[],
        &[],
        &[answer(200, "Name and version.", "Version")],
    ),
    get(
        Endpoint::Metrics,
        "metrics",
        "What was counted, for Prometheus; see docs/metrics.md.",
        &[],
        &[],
        &[Answer {
            status: 200,
            what: "OpenMetrics text.",
            body: Some(("application/openmetrics-text", "Text")),
            others: &[],
        }],
    ),
];
