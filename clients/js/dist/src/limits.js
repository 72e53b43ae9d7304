"use strict";
/** Every bound of the client, with its unit and reason. Times are milliseconds. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.LOAD_CHARS = exports.LOAD_OPERATIONS = exports.QUEUE_FILE_REWRITE_BYTES = exports.QUEUE_CHARS_MAX = exports.QUEUE_ITEMS_MAX = exports.SETTLED_MAX = exports.SEEN_MAX = exports.SOCKET_REFUSALS_MAX = exports.EVENTS_WAITING_CHARS_MAX = exports.EVENTS_WAITING_MAX = exports.SOCKET_SUBSCRIPTIONS_MAX = exports.SOCKET_LINGER = exports.SOCKET_ANSWER_TIMEOUT = exports.SOCKET_PING_AFTER = exports.SOCKET_OPEN_TIMEOUT = exports.SILENCE_MAX = exports.HEARTBEAT = exports.LINE_MAX = exports.ANSWER_BYTES_MAX = exports.SESSION_BYTES_MAX = exports.SESSION_TOKENS_MAX = exports.SESSION_WAIT = exports.RETRY_AFTER_MAX = exports.RECONNECT_MAX = exports.BACKOFF_MAX = exports.BACKOFF_LEAST = exports.ATTEMPTS_MAX = exports.ATTEMPT_TIMEOUT = void 0;
/** One attempt of a request, until its whole answer is there: longer than any ordinary wait of the server. */
exports.ATTEMPT_TIMEOUT = 30_000;
/** Attempts of a request that may be repeated, the first included: a restart of a node is survived, a dead one is told. */
exports.ATTEMPTS_MAX = 4;
/** Wait before the second attempt; doubled for each further one, and a random part of it is left out. */
exports.BACKOFF_LEAST = 100;
/** Longest wait between attempts of a request. */
exports.BACKOFF_MAX = 2_000;
/** Longest wait before a feed, a queue or a probe tries again: a person who waits for it does not give up. */
exports.RECONNECT_MAX = 5_000;
/** Longest `Retry-After` that is waited out: beyond it, the error is the answer. */
exports.RETRY_AFTER_MAX = 10_000;
/** How long a node may wait until it has applied what the session has seen. */
exports.SESSION_WAIT = 2_000;
/** Tokens of overlapping requests that a session keeps: then the oldest goes, and with it its promise. */
exports.SESSION_TOKENS_MAX = 16;
/** Longest session header, in bytes: the server reads heads of 32 KiB. */
exports.SESSION_BYTES_MAX = 16_384;
/** Greatest answer read into memory, in bytes: far above a full page (4 MiB), low enough that a wrong server cannot
 * exhaust memory. */
exports.ANSWER_BYTES_MAX = 64 << 20;
/** Greatest line of a stream, in characters: the largest value that a peer may send (16 MiB) and its envelope. */
exports.LINE_MAX = 24 << 20;
/** Asked of the server: time between two signs of life of a quiet feed. */
exports.HEARTBEAT = 15_000;
/** Silence after which a feed counts as dead: three heartbeats and some patience. */
exports.SILENCE_MAX = 50_000;
/** Time for a WebSocket to open. */
exports.SOCKET_OPEN_TIMEOUT = 10_000;
/** Silence after which a socket is asked for a sign of life: browsers hide the protocol's pings from pages. */
exports.SOCKET_PING_AFTER = 15_000;
/** Time for the answer to that, and to subscribing. */
exports.SOCKET_ANSWER_TIMEOUT = 10_000;
/** How long a socket without subscriptions stays open: a view that is replaced by another needs no new one. */
exports.SOCKET_LINGER = 1_000;
/** Subscriptions of one socket; the server allows 256. */
exports.SOCKET_SUBSCRIPTIONS_MAX = 250;
/** Events of one subscription that may wait for its reader. Beyond it, the subscription stops at the server and goes on
 * behind the last event that was read: sockets of browsers cannot be left unread. */
exports.EVENTS_WAITING_MAX = 1_000;
/** Characters of events of one subscription that may wait for its reader, likewise. */
exports.EVENTS_WAITING_CHARS_MAX = 8 << 20;
/** Failures of a WebSocket to open, while HTTP works, after which feeds come over HTTP. */
exports.SOCKET_REFUSALS_MAX = 2;
/** Paths whose last seen state is remembered for conditions of queued writes. */
exports.SEEN_MAX = 10_000;
/** Writes that have left a queue and are remembered for those made on top of them. */
exports.SETTLED_MAX = 1_000;
/** Writes in a queue. */
exports.QUEUE_ITEMS_MAX = 10_000;
/** Characters of all values in a queue. */
exports.QUEUE_CHARS_MAX = 64 << 20;
/** Size at which the file of an empty queue starts anew, in bytes. */
exports.QUEUE_FILE_REWRITE_BYTES = 256 << 10;
/** Operations in one request of `load`; the server takes 1,000. */
exports.LOAD_OPERATIONS = 500;
/** Characters at which a request of `load` is sent; the server takes 8 MiB. */
exports.LOAD_CHARS = 2 << 20;
