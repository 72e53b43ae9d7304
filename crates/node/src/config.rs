//! Bounds of the shell around a replica; the replica's own are in [`rejoin_replica::Config`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Jobs waiting for the replica. 4,096: at 40,000 writes a second a tenth of a second; beyond that it is
/// kinder to say so than to queue.
pub(crate) const QUEUE_JOBS_MAX: usize = 4_096;

/// Jobs from which on a group does not wait for whoever gathers it. 32: a sync shared by so many costs each little, and
/// a task that reads a link puts in no more than that before somebody works on it.
pub(crate) const GATHERED_JOBS_MAX: usize = 32;

/// How long a write waits for room in that queue before it is refused as overload. 5 s: longer than any hiccup of a
/// disk that is not failing.
pub(crate) const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Inputs handled and committed together. 512: one sync serves all of them; more would only delay the first.
pub(crate) const GROUP_INPUTS_MAX: usize = 512;

/// Free space below which nothing is accepted that makes the data grow; at most a tenth of a small file system. 64 MiB:
/// room for deletes, and for whatever else runs on the machine while its operator makes more.
pub(crate) const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Time between two looks at the free space, unless it is near its end: then there is one before every group.
pub(crate) const DISK_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long an anti-entropy request waits for its links. 30 s: a round over a slow link is a second or two.
pub(crate) const ROUND_WAIT_MAX: Duration = Duration::from_secs(30);

/// Atomic batches handed over and not answered. 16: together at most 64 MiB of values in one commit; more wait their turn.
pub(crate) const ATOMIC_BATCHES_MAX: usize = 16;

/// Items in one page of a scan, unless asked for fewer.
pub(crate) const SCAN_ITEMS_DEFAULT: usize = 100;

/// Items in one page of a scan, at most.
pub(crate) const SCAN_ITEMS_MAX: usize = 1_000;

/// Bytes of values in one page of a scan, unless one value is larger: a page must not pin memory.
pub(crate) const SCAN_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Documents that one page of a scan looks at, at most; a page that finds little ends there, with a cursor. 10,000: tens
/// of milliseconds of reading.
pub(crate) const SCAN_EXAMINED_MAX: usize = 10_000;

/// Bytes of values that one page of a scan looks at, unless one value is larger. 32 MiB: as long as many small ones.
pub(crate) const SCAN_EXAMINED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Documents that a scan reads ahead, at most. 256: amortises the seek.
pub(crate) const SCAN_READ_AHEAD: usize = 256;

/// Bytes of values that a scan reads ahead, unless one value is larger: a thousand streams must fit into memory.
pub(crate) const SCAN_READ_AHEAD_BYTES: usize = 256 * 1024;

/// Rows that a subscription reads at a time. 256: a few milliseconds of reading.
pub(crate) const FEED_ROWS_PER_READ: usize = 256;

/// Bytes of values that a subscription reads at a time, unless one value is larger. 64 KiB: what waits for a reader that
/// does not come.
pub(crate) const FEED_BYTES_PER_READ: usize = 64 * 1024;

/// Reads of one poll of a subscription that find nothing for it, before other tasks get their turn.
pub(crate) const FEED_READS_PER_POLL: usize = 4;

/// Changes, by path, that are left for a subscription that has not looked. 64: a burst; beyond that it reads the feed,
/// which costs nothing while it waits.
pub(crate) const UNREAD_ROWS_MAX: usize = 64;

/// How long a subscription tells the current values from one snapshot. 60 s: the store keeps everything that is replaced
/// meanwhile.
pub(crate) const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);

/// Peer URLs of one node. 1,024: a mesh that wants more wants a different topology.
pub(crate) const PEERS_MAX: usize = 1_024;

/// Links of one node, in and out. 4,096: each costs two tasks and a few buffers.
pub(crate) const LINKS_MAX: usize = 4_096;

/// Bytes of a node name.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// What an answered write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Answered after fsync: survives a power cut. The default.
    #[default]
    Disk,
    /// Answered after the operating system has it: survives `kill -9`, not a power cut.
    Os,
    /// Kept in memory only: survives nothing but what peers have.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Disk => "disk",
            Durability::Os => "os",
            Durability::Memory => "memory",
        })
    }
}

impl FromStr for Durability {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Durability, crate::Error> {
        match text {
            "disk" => Ok(Durability::Disk),
            "os" => Ok(Durability::Os),
            "memory" => Ok(Durability::Memory),
            _ => Err(crate::Error::Config(format!("durability is '{text}': it is one of disk, os, memory"))),
        }
    }
}

/// What this node accepts from clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Depth of a value.
    pub value_depth: usize,
    /// Bytes of a path.
    pub path_bytes: usize,
    /// Segments of a path.
    pub path_segments: usize,
    /// Bytes of a segment.
    pub segment_bytes: usize,
    /// Items of a scan page.
    pub scan_items: usize,
    /// Bytes of a scan page.
    pub scan_page_bytes: usize,
    /// Superseded versions kept per path.
    pub history_versions: u32,
}
