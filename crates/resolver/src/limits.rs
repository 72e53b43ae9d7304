//! Every bound of a resolver: name, unit, default and reason.

use std::time::Duration;

/// Bytes of a resolver's source. 256 KiB: it is read anew by every engine, and a function that decides between two
/// values has a few lines.
pub const SOURCE_BYTES_MAX: usize = 256 * 1024;

/// Calls and turns of loops in one run, in ticks of about 10,000, as the engine counts them. 100: a million, some tens
/// of milliseconds. A count and not a time, so that a slow node does not come to another result than a fast one.
pub const TICKS_MAX: u32 = 100;

/// Memory of one engine, in bytes. 64 MiB: room for two values of the default limit (1 MiB) as objects, several times.
pub const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Stack of one engine, in bytes. 256 KiB: a few hundred nested calls, deeper than any value may be.
pub const STACK_BYTES_MAX: usize = 256 * 1024;

/// Stack of a thread that runs engines, in bytes. 2 MiB: that of the engine, and what its own code needs below it.
#[cfg(feature = "engine")]
pub(crate) const THREAD_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Time of one run. 1 s: far beyond what [`TICKS_MAX`] takes; it ends what does not count ticks. Faults of time depend
/// on the machine, so they are tried again; see [`TIME_FAULT_KEPT`].
pub const TIME_MAX: Duration = Duration::from_secs(1);

/// How much longer than [`TIME_MAX`] an engine may take to notice. 250 ms: then its thread is given up.
#[cfg(feature = "engine")]
pub(crate) const TIME_GRACE: Duration = Duration::from_millis(250);

/// How long a fault of time is remembered before the resolver is tried again on the same versions. 10 s: long enough
/// that a scan is not slowed by each such path, short enough that a hiccup does not last.
pub const TIME_FAULT_KEPT: Duration = Duration::from_secs(10);

/// Threads that run engines of one resolver at a time. 2: the node's own thread and one reader; more readers wait.
pub const THREADS_MAX: usize = 2;

/// Threads that may hang in one call that does not end, before the resolver is switched off until one returns. 2: each
/// takes a processor.
pub const HUNG_MAX: usize = 2;

/// Remembered results of one resolver, in bytes. 16 MiB: some ten thousand paths in conflict, with values of 1 KiB.
pub const CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Characters of an exception's message that are kept. 300: it goes to logs.
pub(crate) const MESSAGE_CHARS_MAX: usize = 300;

/// Versions in a sample conflict. 4: 24 orders.
pub const SAMPLE_VERSIONS_MAX: usize = 4;
