/** Every bound of the client, with its unit and reason. Times are milliseconds. */

/** One attempt of a request, until its whole answer is there: longer than any ordinary wait of the server. */
export const ATTEMPT_TIMEOUT = 30_000;

/** Attempts of a request that may be repeated, the first included: a restart of a node is survived, a dead one is told. */
export const ATTEMPTS_MAX = 4;

/** Wait before the second attempt; doubled for each further one, and a random part of it is left out. */
export const BACKOFF_LEAST = 100;

/** Longest wait between attempts of a request. */
export const BACKOFF_MAX = 2_000;

/** Longest wait before a feed, a queue or a probe tries again: a person who waits for it does not give up. */
export const RECONNECT_MAX = 5_000;

/** Longest `Retry-After` that is waited out: beyond it, the error is the answer. */
export const RETRY_AFTER_MAX = 10_000;

/** Time for the answer to a question that only finds out whether a node answers. */
export const PROBE_TIMEOUT = 5_000;

/** How long a node may wait until it has applied what the session has seen. */
export const SESSION_WAIT = 2_000;

/** Tokens of overlapping requests that a session keeps: then the oldest goes, and with it its promise. */
export const SESSION_TOKENS_MAX = 16;

/** Longest session header, in bytes: the server reads heads of 32 KiB. */
export const SESSION_BYTES_MAX = 16_384;

/** Greatest answer read into memory, in bytes: far above a full page (4 MiB), low enough that a wrong server cannot
 * exhaust memory. */
export const ANSWER_BYTES_MAX = 64 << 20;

/** Greatest line of a stream, in characters: the largest value that a peer may send (16 MiB) and its envelope. */
export const LINE_MAX = 24 << 20;

/** Asked of the server: time between two signs of life of a quiet feed. */
export const HEARTBEAT = 15_000;

/** Silence after which a feed counts as dead: three heartbeats and some patience. */
export const SILENCE_MAX = 50_000;

/** The same, until it is known that streams pass: the least that the server takes. */
export const HEARTBEAT_FIRST = 1_000;

/** Silence after which, until that is known, a stream counts as held up: five heartbeats, so that a busy node has time. */
export const STREAM_PROOF_MAX = 6_000;

/** Asked of the server: how long it waits for a change before it answers a poll. Proxies give up after 60 s. */
export const POLL_WAIT = 25_000;

/** Events in one answer to a poll; the server allows 1,000. */
export const POLL_EVENTS_MAX = 1_000;

/** Time after which streams are tried again where they were held up: the network may be another one by then. */
export const STREAM_RETRY = 600_000;

/** Time for a WebSocket to open. */
export const SOCKET_OPEN_TIMEOUT = 10_000;

/** Silence after which a socket is asked for a sign of life: browsers hide the protocol's pings from pages. */
export const SOCKET_PING_AFTER = 15_000;

/** Time for the answer to that, and to subscribing. */
export const SOCKET_ANSWER_TIMEOUT = 10_000;

/** How long a socket without subscriptions stays open: a view that is replaced by another needs no new one. */
export const SOCKET_LINGER = 1_000;

/** Subscriptions of one socket; the server allows 256. */
export const SOCKET_SUBSCRIPTIONS_MAX = 250;

/** Events of one subscription that may wait for its reader. Beyond it, the subscription stops at the server and goes on
 * behind the last event that was read: sockets of browsers cannot be left unread. */
export const EVENTS_WAITING_MAX = 1_000;

/** Characters of events of one subscription that may wait for its reader, likewise. */
export const EVENTS_WAITING_CHARS_MAX = 8 << 20;

/** Failures of a WebSocket to open, while HTTP works, after which feeds come over HTTP. */
export const SOCKET_REFUSALS_MAX = 2;

/** Paths whose last seen state is remembered for conditions of queued writes. */
export const SEEN_MAX = 10_000;

/** Writes that have left a queue and are remembered for those made on top of them. */
export const SETTLED_MAX = 1_000;

/** Writes in a queue. */
export const QUEUE_ITEMS_MAX = 10_000;

/** Characters of all values in a queue. */
export const QUEUE_CHARS_MAX = 64 << 20;

/** Attempts at one queued write that end without an answer, while the node answers other requests; then it is set aside, so
 * that those behind it go on. Six, with growing pauses: a restart of a node or a proxy is over by then. */
export const QUEUE_TRIES_MAX = 6;

/** Longest `Retry-After` that a queue waits out before it tries again: nobody watches, but the device may move on. */
export const QUEUE_RETRY_AFTER_MAX = 60_000;

/** Size at which the file of an empty queue starts anew, in bytes. */
export const QUEUE_FILE_REWRITE_BYTES = 256 << 10;

/** Operations in one request of `load`; the server takes 1,000. */
export const LOAD_OPERATIONS = 500;

/** Characters at which a request of `load` is sent; the server takes 8 MiB. */
export const LOAD_CHARS = 2 << 20;
