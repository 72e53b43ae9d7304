//! Every bound of the client, with its reason.

use std::time::Duration;

/// How long a connection may take to open: a node that is there answers within a round trip or two.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a whole answer may take: longer than any wait the server itself allows for an ordinary request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an anti-entropy round may take: the server bounds a round to 30 s and needs a moment to say so.
pub const ROUND_TIMEOUT: Duration = Duration::from_secs(40);

/// Waits before a write is sent again whose answer was lost: in 2 s a node is there again that was only started anew.
pub const RETRY_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1_600)];

/// How often a change feed is asked to show that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a change feed may say nothing before it counts as dead: three heartbeats and some patience.
pub const WATCH_SILENCE_MAX: Duration = Duration::from_secs(50);

/// Greatest size of an answer that is read into memory, in bytes: far above a full page of a scan (4 MiB of values), low
/// enough that a wrong server cannot exhaust memory.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Greatest size of one event of a change feed, in bytes: one value and its envelope.
pub const EVENT_BYTES_MAX: usize = 64 << 20;

/// Wait before a feed is opened again, at first: a node that restarts takes about as long.
pub const FOLLOW_WAIT_LEAST: Duration = Duration::from_millis(100);

/// Wait before a feed is opened again, at most: a person who waits for it does not give up.
pub const FOLLOW_WAIT_MAX: Duration = Duration::from_secs(5);
