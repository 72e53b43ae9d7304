//! Every bound of the binding: name, unit, default and reason.

use std::time::Duration;

/// Writes of one server that are handed to its replica at a time; the others wait their turn in order. 2,048: several
/// groups of commits, and half of what the replica's queue takes before it calls that overload.
pub(crate) const WRITES_OPEN_MAX: usize = 2_048;

/// Reads that one turn of a thread does. 256: a wake-up is shared by many, and a few milliseconds at most.
pub(crate) const READS_PER_TURN: usize = 256;

/// Bytes of messages that go to the event loop in one piece, unless one message is larger. 1 MiB: a few milliseconds of
/// parsing, then other callbacks get their turn.
pub(crate) const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Bytes of messages that may wait for the event loop before scans and subscriptions pause. 4 MiB: the loop is behind,
/// and what they read stays in the store meanwhile.
pub(crate) const OUTBOX_BYTES_MAX: usize = 4 << 20;

/// Bytes of a piece of a scan's answer, about. 256 KiB: its parsing does not hold up the event loop.
pub(crate) const SCAN_PIECE_BYTES: usize = 256 << 10;

/// Threads for reads and opening stores, of all servers together; started when needed. 16: disks serve some in parallel.
pub(crate) const BLOCKING_THREADS_MAX: usize = 16;

/// Threads of the runtime of all servers, at most; there are no more than processors. 8: they only pass things on.
pub(crate) const WORKER_THREADS_MAX: usize = 8;

/// Time that open HTTP requests have to end once a server closes. 1 s: whoever closes it waits for it.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
