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

/// How long a question for the status waits for the replica, and for the disk, before it is answered with what was last
/// known. 50 ms: many turns of a disk that is well, and no time for a monitor.
pub(crate) const STATUS_WAIT_MAX: Duration = Duration::from_millis(50);

/// Age at which what was last known of the replica is posted anew with its next turn. 250 ms: a few times a second, so that
/// it costs a busy replica nothing.
pub(crate) const STATUS_AGE_MAX: Duration = Duration::from_millis(250);

/// Inputs handled and committed together. 512: one sync serves all of them; more would only delay the first.
pub(crate) const GROUP_INPUTS_MAX: usize = 512;

/// Free space below which nothing is accepted that makes the data grow; at most a tenth of a small file system. 64 MiB:
/// room for deletes, and for whatever else runs on the machine while its operator makes more.
pub(crate) const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Time between two looks at the free space, unless it is near its end: then there is one before every group.
pub(crate) const DISK_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a second link of a peer waits until its two ends have shaken hands. 2 s: four ways over slow links; one that is
/// dead and not noticed yet costs the new one that long.
pub(crate) const INTRODUCTION_WAIT_MAX: Duration = Duration::from_secs(2);

/// Frames of the second link that are put by meanwhile. 64: whoever dials opens an exchange and then waits.
pub(crate) const INTRODUCTION_EARLY_FRAMES_MAX: usize = 64;

/// Longest message of an introduction, in bytes: that of a handshake.
pub(crate) const INTRODUCTION_BYTES_MAX: usize = rejoin_link::config::HANDSHAKE_FRAME_BYTES_MAX;

/// Introductions that one link's peer can ask for. 16: there is one for each other link of the same pair.
pub(crate) const INTRODUCTIONS_PER_LINK: u32 = 16;

/// Time between two looks at the machine below, while nothing is written; each group of writes looks as well. 1 s: two
/// clocks and a socket cost a microsecond, and nobody is told later than that.
pub(crate) const MACHINE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of the file of a machine's generation that are looked at. 4 KiB: ids are some ten.
pub(crate) const GENERATION_FILE_BYTES_MAX: u64 = 4_096;

/// Events of the kernel that one look reads, at most; the others wait. 64: hundreds a second come while a machine starts,
/// none after.
pub(crate) const MACHINE_EVENTS_PER_LOOK: usize = 64;

/// Jumps of the wall clock below this are corrections. 5 s: NTP steps what is off by more than some hundred milliseconds, and
/// a live migration stops a machine for seconds; nobody puts a machine back by less.
pub(crate) const CLOCK_JUMP_MIN_MS: u64 = 5_000;

/// A wall clock that is ahead for this long has jumped. 2 s: longer than a set and a set back.
pub(crate) const CLOCK_JUMP_HOLDS_MS: u64 = 2_000;

/// How long a new link waits while that is decided. 10 s: some looks at the clock.
pub(crate) const UNSURE_MAX: Duration = Duration::from_secs(10);

/// Time since boot in which a jump is that of a clock which is set for the first time. 3 min: NTP answers as soon as there
/// is a network.
pub(crate) const CLOCK_SETTLES_MS: u64 = 3 * 60_000;

/// A jump within this time of one that counted does not count. 1 h: a clock that is set again and again costs one identity
/// an hour.
pub(crate) const CLOCK_JUMP_PAUSE_MS: u64 = 3_600_000;

/// A wall clock that was set back for this long is taken at its word; before that, to be set ahead again is no jump. 1 h.
pub(crate) const CLOCK_JUMP_FORGOTTEN_MS: u64 = 3_600_000;

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

/// How long a walk or a subscription reads from one snapshot, whether anybody takes what it reads or not. 60 s: the store
/// keeps everything that is replaced meanwhile.
pub(crate) const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);

/// How long a catch-up or a digest session, which read from one snapshot, wait for a peer that says nothing. 300 s: a
/// chunk takes two minutes over the slowest link that is not taken for dead.
pub(crate) const READER_IDLE_MAX: Duration = Duration::from_secs(300);

/// Peer URLs of one node. 1,024: a mesh that wants more wants a different topology.
pub(crate) const PEERS_MAX: usize = 1_024;

/// Links of one node, in and out. 4,096: each costs two tasks and a few buffers.
pub(crate) const LINKS_MAX: usize = 4_096;

/// Bytes of frames that come in parts and are not whole yet, over all links: 512 MiB, one of the greatest. A link that finds
/// no room waits with its next part.
pub(crate) const ASSEMBLIES_BYTES_MAX: usize = rejoin_replica::config::ASSEMBLED_BYTES_MAX;

/// Bytes of memory of messages of long frames that are being decoded, or wait for the replica, over all links: 192 MiB, three
/// of the greatest without text, and hundreds of chunks. One that takes more has all of it.
pub(crate) const DECODING_BYTES_MAX: usize = 192 * 1024 * 1024;

/// The same of messages of short frames, which do not wait for long ones: 64 MiB.
pub(crate) const DECODING_SHORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Frames up to which decoding is done where they come in: 64 KiB, less than a millisecond.
pub(crate) const DECODED_AT_ONCE_BYTES_MAX: usize = 64 * 1024;

/// Memory of a message from which on its commit is left to the replica's thread: 1 MiB, thousands of small documents.
pub(crate) const HANDLED_AT_ONCE_BYTES_MAX: usize = 1024 * 1024;

/// Time that a frame in parts may take before its rate is looked at. 30 s, as one fragment.
pub(crate) const ASSEMBLY_GRACE: Duration = Duration::from_secs(30);

/// Least average rate of a frame in parts after [`ASSEMBLY_GRACE`], in bytes a second: 64 KiB. It holds room that others wait
/// for.
pub(crate) const ASSEMBLY_RATE_MIN: u32 = 64 * 1024;

/// Bytes that a link's reader has handed over and the socket has not taken: 1 MiB, or one frame. What a peer asks for and does
/// not read is not read here either.
pub(crate) const READER_BYTES_MAX: usize = 1024 * 1024;

/// Commands that wait for a link's reader: 64. A peer has one request and a few credits open; one that asks for more than it
/// is answered loses its link.
pub(crate) const READ_COMMANDS_MAX: usize = 64;

/// Bytes of several live versions of one path, at most, whatever is asked for: 256 MiB, well below the largest document that
/// travels, so that what several nodes wrote concurrently does too.
pub(crate) const SIBLINGS_BYTES_MAX: usize = 256 * 1024 * 1024;

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
