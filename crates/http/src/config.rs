//! Every bound of the HTTP server: name, unit, default and reason.

use std::time::Duration;

/// Time for a request head to arrive once its first byte has, or the connection was opened: long for a person with
/// telnet, short for a thousand idle sockets.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a connection may stay open between two requests: longer than most client pools keep theirs, so that
/// the client closes first.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Greatest size of a request head, in bytes: a path (6 KiB encoded), a token (8 KiB) and a browser's headers fit.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Time that a body may take before its rate is looked at: one slow start of a phone's radio.
pub const BODY_GRACE: Duration = Duration::from_secs(10);

/// Least average rate of a body after [`BODY_GRACE`], in bytes a second: below it, a connection is an attack or dead.
pub const BODY_RATE_MIN: u32 = 1024;

/// Time that a whole body may take, whatever its rate: a value of 1 MiB passes at 18 KiB a second.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of request bodies held in memory at a time, over all connections: 64 of the largest default values.
pub const BODIES_BYTES_MAX: usize = 64 << 20;

/// Open connections, peer links and change streams included, unless whoever serves says otherwise: within the usual
/// limit of 1,024 descriptors, with room for the files of the store, which must never be the one to run out.
/// `rejoin serve` asks for the limit and says otherwise.
pub const CONNECTIONS_MAX: usize = 800;

/// Time without any progress of a write to a client that does not read: then its connection closes and frees what
/// is queued for it.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are read and thrown away of a client that is refused while it sends: sixteen of the largest default values.
/// Beyond it the client sees a reset.
pub const LINGER_BYTES_MAX: usize = 16 << 20;

/// Time that a refused client has to stop sending and to read why: a large body over a slow line, and no longer than a
/// head may take.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a connection beyond the limit has to send its head, which says from where it may be read.
pub const REFUSED_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections beyond the limit that are told so at a time, in some KiB each; more are dropped.
pub const REFUSALS_MAX: usize = 128;

/// Time that open requests have to end after the server was told to stop: orchestrators kill after 30 s.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Longest `Rejoin-Wait`: a client that must wait longer is better served by another node.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Rows of missing writes that a `not_caught_up` error lists: enough to see which node is behind.
pub const MISSING_ROWS_MAX: usize = 16;

/// Items of a page when the request does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 100;

/// Greatest number of items of a history page, as of a scan page.
pub const HISTORY_ITEMS_MAX: usize = 1_000;

/// Greatest number of items of a page of conflicts, as of a scan page.
pub const CONFLICT_ITEMS_MAX: usize = 1_000;

/// For how long a count of settled conflicts is told again: it reads the history of every path that had some.
pub const SETTLED_COUNT_AGE_MAX: Duration = Duration::from_secs(15);

/// Paths that had conflicts of which those settled lately are counted; with more, the status says that it does not know.
pub const SETTLED_PATHS_MAX: usize = 20_000;

/// What counts as lately.
pub const SETTLED_LATELY: Duration = Duration::from_secs(24 * 3600);

/// Longest context sent as a header, in bytes: as for tokens.
pub const CONTEXT_HEADER_BYTES_MAX: usize = 8 * 1024;

/// Greatest number of other nodes that a write can wait for with `ack`: a write that wants more waits for the slowest of
/// a whole fleet.
pub const ACK_NODES_MAX: usize = 64;

/// How long a write with `ack` waits when it does not say: a round trip and two syncs, many times over.
pub const ACK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Longest `timeout` of a write with `ack`, as for `Rejoin-Wait`.
pub const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How long `_where` waits for nodes that do not answer when it does not say: it always waits for those that are gone.
pub const WHERE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// Pieces of a streamed answer that may wait for the client.
pub const STREAM_PIECES_MAX: usize = 8;

/// Size at which a piece of a streamed answer is sent, in bytes: few wake-ups, little memory.
pub const STREAM_PIECE_BYTES: usize = 64 * 1024;

/// Documents looked at for one piece of a streamed answer: a walk that finds little still sees soon that its client has
/// gone.
pub const STREAM_EXAMINED_MAX: usize = 10_000;

/// Time between two signs of life on a quiet change stream: below the 30–60 s after which proxies give up.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Least time between two signs of life that a client may ask for.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Greatest time between two signs of life that a client may ask for: a dead client is found by writing to it.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);

/// Pieces of a change stream that may wait for the client. 2: each is a whole value; what else there is stays in the
/// store until the client has read these.
pub const CHANGE_PIECES_MAX: usize = 2;

/// Time that a ticket is good for: a page opens its stream at once.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Tickets that are given out and neither used nor over, at most: then whoever has the token has to wait.
pub const TICKETS_MAX: usize = 4096;

/// Greatest number of prefixes of one subscription: more have a common one, or go over several.
pub const PREFIXES_MAX: usize = 64;

/// Greatest number of subscriptions of one socket: a screen full of live views.
pub const SOCKET_SUBSCRIPTIONS_MAX: usize = 256;

/// Requests of one socket that may be unanswered; then it is not read. 16: enough to share a commit.
pub const SOCKET_REQUESTS_MAX: usize = 16;

/// Greatest size of a message of a socket beyond that of a value, in bytes: a path, a token, prefixes.
pub const SOCKET_ENVELOPE_BYTES_MAX: usize = 192 * 1024;

/// Greatest size of the id of a message of a socket, in bytes: a UUID and some.
pub const SOCKET_ID_BYTES_MAX: usize = 64;

/// Bytes that are read from a socket at a time, and kept for it while it is silent. 4 KiB: most messages are smaller, and
/// ten thousand silent sockets must fit into memory. A larger message is read into room of its size.
pub const SOCKET_READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes that may wait for a socket to be written: one event with the largest value that a peer may send (16 MiB) and
/// its envelope. Each message is written before the next one is made.
pub const SOCKET_WRITE_BUFFER_BYTES_MAX: usize = 24 << 20;

/// Time that a client has to take leave of a socket that is being closed.
pub const SOCKET_GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Greatest size of a body that is not a value (a peer's URL), in bytes.
pub const SMALL_BODY_BYTES_MAX: usize = 16 * 1024;

/// Greatest size of a batch in one body, in bytes: room for the largest atomic batch (4 MiB of values) and its envelope.
pub const BATCH_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Operations of a stream that are done together: one sync serves them.
pub const IMPORT_GROUP_OPERATIONS: usize = 256;

/// Bytes of operations of a stream that are done together, unless one is larger.
pub const IMPORT_GROUP_BYTES: usize = 512 * 1024;

/// Bytes that a line of a stream may have beside its value: a path, escaped, and a condition.
pub const IMPORT_LINE_EXTRA_BYTES: usize = 16 * 1024;

/// How long a stream waits for room for bytes that have come, before it ends: as long as others take to be done with theirs.
pub const IMPORT_ROOM_WAIT: Duration = Duration::from_secs(5);

/// Time between two lines of progress.
pub const IMPORT_PROGRESS: Duration = Duration::from_secs(1);

/// What [`crate::serve`] can be told to bound differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeLimits {
    /// See [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`HEAD_BYTES_MAX`]. At least 8 KiB.
    pub head_bytes: usize,
    /// See [`BODY_GRACE`].
    pub body_grace: Duration,
    /// See [`BODY_RATE_MIN`].
    pub body_rate_min: u32,
    /// See [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// See [`BODIES_BYTES_MAX`].
    pub bodies_bytes: usize,
    /// See [`CONNECTIONS_MAX`].
    pub connections: usize,
    /// See [`WRITE_STALL_TIMEOUT`].
    pub write_stall_timeout: Duration,
    /// See [`SHUTDOWN_GRACE`].
    pub shutdown_grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            head_bytes: HEAD_BYTES_MAX,
            body_grace: BODY_GRACE,
            body_rate_min: BODY_RATE_MIN,
            body_timeout: BODY_TIMEOUT,
            bodies_bytes: BODIES_BYTES_MAX,
            connections: CONNECTIONS_MAX,
            write_stall_timeout: WRITE_STALL_TIMEOUT,
            shutdown_grace: SHUTDOWN_GRACE,
        }
    }
}
