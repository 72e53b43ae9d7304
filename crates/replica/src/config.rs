//! Every bound of a replica: name, unit, default, reason.

/// The largest JSON value that a link accepts, in bytes: 16 MiB. Client limits are lower and may differ between
/// nodes; links accept up to this, so that nodes with different limits still converge.
pub const VALUE_BYTES_PROTOCOL_MAX: usize = 16 * 1024 * 1024;

/// The deepest JSON value that a link accepts: the deepest that any node can parse.
pub const VALUE_DEPTH_PROTOCOL_MAX: usize = crate::json::JSON_DEPTH_MAX;

/// Writes in one atomic batch. 1,000: it is one commit, one frame and one reply, and a peer that serves one of its writes
/// reads all of them.
pub const BATCH_WRITES_MAX: usize = 1_000;

/// Bytes of other documents that a frame takes along because of atomic batches: 16 MiB, four of the largest batches. Conflicting
/// batches can chain any number of documents together; beyond this, all are delivered and a reader may see part of a batch.
pub const BATCH_COMPANIONS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long applied dots are collected before they are announced over links that are not eager: 50 ms. One small frame then
/// stands for all that was written in that time.
pub const ANNOUNCE_AFTER_MS: u64 = 50;

/// How long after its announcement a write may come over other links before it is asked for: 250 ms, the length of a few
/// hops with their syncs.
pub const GRAFT_AFTER_MS: u64 = 250;

/// Time between two prunings by one node: 20 ms, in which pushes on their way arrive and show which links are left.
pub const PRUNE_PAUSE_MS: u64 = 20;

/// The longest time to live of a value, in milliseconds: 3,650 days. A value that is to live longer needs no end.
pub const TTL_MS_MAX: u64 = 3_650 * 86_400_000;

/// The latest end of a value, in Unix milliseconds: the last that a stamp can name, in the year 10889.
pub const EXPIRES_MS_MAX: u64 = (1 << 48) - 1;

/// Messages on one link that nobody asked for, before it is closed: 16. One may be a mistake; a peer that goes on is not to be
/// listened to.
pub const UNASKED_MAX: u32 = 16;

/// Pieces of one row of a claim, unless the row is already known in more: 1,024. Numbers are handed out one by one, so what is
/// missing between them is what was lost on the way, and that is never much.
pub const CLAIMED_RANGES_MAX: usize = 1_024;

/// Peers that are kept as stopped for what they would remove: 1,024, beyond the size of any cluster. A stopped peer beyond
/// them is stopped anew each time.
pub const REMOVALS_SOURCES_MAX: usize = 1_024;

/// Removals of a node's own writes that are named one by one for each frame: 16. The rest is counted.
pub const OWN_REMOVALS_NAMED_MAX: usize = 16;

/// Questions for receipts that are open at a node, its own and its peers': 4,096, some 100 bytes each. Beyond it a
/// question is not answered, and whoever asked hears of fewer nodes.
pub const RECEIPTS_OPEN_MAX: usize = 4_096;

/// How long a question for a receipt stays open, in milliseconds: 60 s. A client that waits longer is gone.
pub const RECEIPT_WAIT_MS_MAX: u64 = 60_000;

/// Links beyond the direct peers that a question for a receipt crosses: 3. A question reaches nodes at most four links
/// away; its cost grows with the links in between.
pub const RECEIPT_HOPS_MAX: u8 = 3;

/// Writes that one question for a receipt names: 1,024, as a batch of a client may have.
pub const RECEIPT_DOTS_MAX: usize = 1_024;

/// Writes that all open questions of more than one name together: 65,536, some 2 MiB.
pub const RECEIPTS_DOTS_OPEN_MAX: usize = 65_536;

/// Nodes that one question hears of: 1,024. A cluster of more has no use for all of their names.
pub const RECEIPT_HOLDERS_MAX: usize = 1_024;

/// Answers that all open questions keep together, to pass on: 65,536, some 10 MiB with their signatures.
pub const RECEIPTS_HOLDERS_OPEN_MAX: usize = 65_536;

/// Questions, or answers, in one message: 1,024, below 256 KiB when each names one write.
pub const RECEIPTS_PER_MESSAGE_MAX: usize = 1_024;

/// Statements in one message: 256, some 25 KiB. Verifying that many takes some 10 ms of a core.
pub const STATEMENTS_PER_MESSAGE_MAX: usize = 256;

/// Doubted lives that are kept: 1,024, some 200 bytes each. A machine that is set back every day for years stays below it.
/// Beyond it the node with the most of them loses its oldest.
pub const DOUBTS_MAX: usize = 1_024;

/// Time between two alarms about a doubt that stands, in milliseconds: 12 h. The shell lets an alarm stand for a day after it
/// was last raised.
pub const DOUBT_REMINDER_MS: u64 = 12 * 3_600_000;

/// Nodes of which it is kept that they have signed their newest life: 4,096, some 150 bytes each. Beyond it the one that
/// started longest ago goes, and a copy of it is noticed only where the two meet.
pub const ALIVE_NODES_MAX: usize = 4_096;
/// Writes that the questions of one message name together: 66,560, all of those open ones that name several, and one each.
pub const RECEIPT_DOTS_PER_MESSAGE_MAX: usize = RECEIPTS_DOTS_OPEN_MAX + RECEIPTS_PER_MESSAGE_MAX;

/// Lives that one frame names: 262,144. A cluster of a thousand nodes that start every day needs that many after nine months,
/// one of a hundred after seven years; in memory they are 12 MiB.
pub const LIVES_PER_FRAME_MAX: usize = 262_144;

/// Nodes whose digests, or rows, one message names: 65,536, far beyond the meshes of docs/scale.md.
pub const NODES_PER_MESSAGE_MAX: usize = 65_536;

/// Rows of the floor that are told in one message: 65,536, some 2 MiB. Each stands for itself.
pub const FLOOR_ROWS_PER_MESSAGE: usize = 65_536;

/// Ranges of numbers in the frontiers of one message: 1,048,576, or 16 MiB in memory. A row has several only where writes are
/// missing.
pub const RANGES_PER_MESSAGE_MAX: usize = 1_048_576;

/// The greatest document that travels, in bytes of its frame: 448 MiB, twenty-eight of the largest values there are. What is
/// greater is named to the operator and held back, and nothing else waits for it.
pub const DOCUMENT_BYTES_MAX: usize = 448 * 1024 * 1024;

/// The greatest frame that is put together again out of parts, in bytes: 512 MiB. One document of [`DOCUMENT_BYTES_MAX`] with
/// all that has to go with it.
pub const ASSEMBLED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of one part of a frame, beside its head: 1 MiB. Greater frames go in parts, so that what a link holds of a frame
/// that is not whole is counted as it comes.
pub const PART_BYTES: usize = 1024 * 1024;

/// Documents in one push or chunk: 65,536. 256 KiB hold ten thousand at most; the others are for
/// [`BATCH_COMPANIONS_MAX`].
pub const ENTRIES_PER_MESSAGE_MAX: usize = 65_536;

/// Other documents that a frame takes along because of atomic batches: 32,768; as [`BATCH_COMPANIONS_BYTES_MAX`] for small
/// ones.
pub const BATCH_COMPANIONS_MAX: usize = 32_768;

/// Replaced writes that one document of a push claims: 16,384. More of one commit are left to a catch-up.
pub const CLAIMS_PER_ENTRY_MAX: usize = 16_384;

/// Live versions of one document on a link: 65,536. A node stops its clients at [`Config::siblings_max`]; partitions add up.
pub const VERSIONS_PER_DOCUMENT_MAX: usize = 65_536;

/// Nodes in the causal past of one document: 65,536, as [`NODES_PER_MESSAGE_MAX`].
pub const VV_ENTRIES_MAX: usize = 65_536;

/// Fields of one version under merge-fields: 262,144. A value of 1 MiB has some 130,000 at most.
pub const FIELDS_PER_VERSION_MAX: usize = 262_144;

/// States in one message of a digest session: 32. Whoever asks for more is answered with a document for a few bytes.
pub const STATES_PER_MESSAGE_MAX: usize = 32;

/// Ranges compared in one message: 16, a few KiB, and enough to keep a round trip busy.
pub const RANGES_PER_COMPARE_MAX: usize = 16;

/// Parts into which an unequal range is cut: 16.
pub const PARTS_PER_RANGE_MAX: usize = 16;

/// Documents with a value in a range that is listed instead of cut: 64. A listed one costs its path and 8 bytes.
pub const LEAF_ITEMS_MAX: usize = 64;

/// Bytes of a bound of a range: the longest path, and one more for the least key above it.
pub const RANGE_KEY_BYTES_MAX: usize = crate::path::PATH_BYTES_MAX + 1;

/// Bytes of memory that decoding one frame may take beside what its bytes stand for: 64 MiB. The greatest of each count above
/// fits, one at a time.
pub const DECODE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of memory that decoding may take for each byte of a long frame: 4. Text is kept once, and checked with the names of
/// one object at a time.
pub const DECODE_BYTES_PER_LONG_BYTE: usize = 4;

/// The least reading of a wall clock that is not plainly wrong, in Unix milliseconds: the beginning of 2023, before this program
/// was written. A clock without a battery starts in 1970 or 2000.
pub const CLOCK_PLAUSIBLE_FROM_MS: u64 = 1_672_531_200_000;

/// Time between two looks at a clock that is wrong, in milliseconds: 1 s. So recovery begins when it is right, and not when
/// something happens next.
pub const CLOCK_LOOK_EVERY_MS: u64 = 1_000;

/// Own versions looked at in one turn of minting again what a wrong clock has stamped: 256, as a page of a catch-up.
pub const RESTAMP_ROWS_MAX: usize = 256;

/// Bytes of versions minted again in one turn: 1 MiB, one commit of a few milliseconds. The first that reaches it is the last
/// of its turn.
pub const RESTAMP_BYTES_MAX: usize = 1024 * 1024;

/// Time between two reports that documents of one node wait in quarantine, in milliseconds: 60 s. They come by the thousand.
pub const QUARANTINE_TOLD_EVERY_MS: u64 = 60_000;

/// Nodes whose held documents are counted for reports: 64. Of others nothing is reported until one of these is quiet.
pub const QUARANTINE_AUTHORS_MAX: usize = 64;

/// Time to the next turn of a collection that found little to collect, in milliseconds: 20 ms. Tombstones that have to stay are
/// looked at in every pass, and must not take the replica's time.
pub const COLLECT_SKIPPED_PAUSE_MS: u64 = 20;

/// Characters of a key by which a client names a request: 64, twice a random number in hexadecimal.
pub const KEY_CHARS_MAX: usize = 64;

/// Answers to requests that one message tells of: 1,024, some 60 KiB.
pub const KEPT_PER_MESSAGE_MAX: usize = 1_024;

/// Nodes in the past that is kept of an answer: 64. A document that more have written is answered with its own write alone
/// when it is asked for again.
pub const KEPT_TOPS_MAX: usize = 64;

/// Settings of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Superseded versions kept per path. Default 10, as the first server of this kind had.
    pub versions_max: u32,
    /// The largest value that a client may write, in bytes. Default 1 MiB: a document is the unit of transfer, so
    /// larger ones make every change of them expensive.
    pub value_bytes_max: usize,
    /// The deepest value that a client may write. Default 64: far beyond real data, far below any stack.
    pub value_depth_max: usize,
    /// Bytes of the values that one atomic batch may write together. Default 4 MiB: a batch travels in one frame, and
    /// four of the largest values fit.
    pub batch_bytes_max: usize,
    /// Live versions of one path beyond which a client's write must not add another. Default 64: nobody reads so many, and a
    /// program that does not look at what it writes over is stopped before every read of the path is slow.
    pub siblings_max: usize,
    /// Bytes of the live versions of one path, when there are several, beyond which a client's write must not add to them.
    /// Default 32 MiB: a document is read, written and sent as a whole, and two of the largest values there are still fit.
    pub siblings_bytes_max: usize,
    /// The greatest document that is sent, in bytes. Default [`DOCUMENT_BYTES_MAX`].
    pub document_bytes_max: usize,
    /// Time between anti-entropy rounds, in milliseconds, jittered by a tenth; `None`: never. Default 60 s.
    pub anti_entropy_interval_ms: Option<u64>,
    /// How long a deleted path is remembered before its tombstone is collected, in milliseconds. Default 7 days:
    /// longer than most nodes are away; those away longer meet the fence.
    pub tombstone_retention_ms: u64,
    /// How far ahead of the local clock a peer's stamp may be, in milliseconds. Default 60 s: beyond any clock
    /// kept by NTP. What is further ahead waits in quarantine.
    pub clock_skew_max_ms: u64,
    /// Documents held in quarantine. Default 10,000; those beyond it are left to a later catch-up.
    pub quarantine_entries_max: usize,
    /// Bytes of documents held in quarantine. Default 96 MiB: they are in memory, and a node with a little has as much.
    pub quarantine_bytes_max: usize,
    /// Documents held that came from one peer. Default 5,000: one wrong clock leaves room for the next.
    pub quarantine_peer_entries_max: usize,
    /// Bytes of documents held that came from one peer. Default 48 MiB, half of all.
    pub quarantine_peer_bytes_max: usize,
    /// Bytes waiting in one link's send queue beyond which live pushes turn into catch-up. Default 4 MiB.
    pub push_queue_bytes_max: u64,
    /// Links up to which a replica keeps all of them eager, whatever comes twice. Default 3: in a pair, a line, a ring or a
    /// triangle every update takes the shortest way.
    pub redundant_links_max: usize,
    /// Bytes in one push or catch-up frame, unless one document is larger. Default 256 KiB: a few milliseconds of
    /// the receiver's time.
    pub chunk_bytes_max: usize,
    /// Bytes of catch-up that may be on their way uncommitted. Default 1 MiB: four chunks keep a link busy.
    pub credit_bytes: u64,
    /// Versions that peers may remove by their word (claims and digest sessions, of all links together) in one window,
    /// before the operator must allow it: the limit is this, or `removals_share_percent` of the records if that is
    /// more. Default 1,000.
    pub removals_max: u64,
    /// See `removals_max`. Default 5 %.
    pub removals_share_percent: u64,
    /// The window of `removals_max`, in milliseconds of the steady clock. Default 1 h: long enough for someone to look,
    /// and with the retention of history rows (7 days) it bounds those that removals leave, to 168,000.
    pub removals_window_ms: u64,
    /// The operator allows peers to remove any number of documents. Default false.
    pub removals_allowed: bool,
    /// Lives that are suspected at a time. Default 64: no honest cluster has so many at once, and a peer that invents more
    /// pushes out the oldest.
    pub suspicions_max: usize,
    /// How long removals are held back for a suspicion after it was last heard of, in milliseconds. Default 24 h: an operator
    /// has a day to look at the alarm, and a lie does not hold collection up for longer.
    pub suspicion_hold_ms: u64,
    /// Lives unknown here that one peer may have taken into the frontier by claims, or into the floor, without a document of them,
    /// while this process runs. Default 1,024: each stays for good, costs some hundred bytes of memory, and a cluster of
    /// fifty nodes needs years of restarts to have so many.
    pub unexplained_rows_max: usize,
    /// How long a peer may leave a question, a digest session or a catch-up without a word, in milliseconds. Default 5 min:
    /// a full queue over a link of 20 KB/s takes less. Then the link is closed, and dialed again.
    pub session_silence_max_ms: u64,
    /// Tombstones looked at in one turn of collection, which is one commit. Default 256: a collection must not delay writers.
    /// While there are more, the next turn comes at once, behind what is in the queue.
    pub collect_batch_max: usize,
    /// Time between passes over the tombstones that may be collected, in milliseconds. Default 60 s.
    pub collect_interval_ms: u64,
    /// How long the node that wrote a value may take to delete it after its end, in milliseconds; then any node does.
    /// Default 60 s, as `clock_skew_max_ms`: no node takes over another's delete of a value that has not ended by its own
    /// clock.
    pub expire_grace_ms: u64,
    /// Over how much more time the other nodes take turns then, in milliseconds. Default 30 s: much longer than a delete
    /// takes to reach the others.
    pub expire_stagger_ms: u64,
    /// How long the answer to a write that is to be done once is kept, in milliseconds. Default 24 h: a client that was off for
    /// a night still finds out what became of its last write.
    pub kept_retention_ms: u64,
    /// Answers that are kept. Default 1,000,000, some 150 bytes each in three rows: twelve such writes a second for a day.
    /// Beyond it the oldest go before their time.
    pub kept_max: u64,
    /// Rows of ended values looked at in one walk, once for this node's own and once for others'. Default 256: deleting
    /// must not delay writers.
    pub expire_batch_max: usize,
    /// Time between walks that have found all there was, in milliseconds. Default 250: deletes that fall due together
    /// share a commit, and are written within a quarter of a second.
    pub expire_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            versions_max: 10,
            value_bytes_max: 1024 * 1024,
            value_depth_max: 64,
            batch_bytes_max: 4 * 1024 * 1024,
            siblings_max: 64,
            siblings_bytes_max: 32 * 1024 * 1024,
            document_bytes_max: DOCUMENT_BYTES_MAX,
            anti_entropy_interval_ms: Some(60_000),
            tombstone_retention_ms: 7 * 24 * 3_600_000,
            clock_skew_max_ms: 60_000,
            quarantine_entries_max: 10_000,
            quarantine_bytes_max: 96 * 1024 * 1024,
            quarantine_peer_entries_max: 5_000,
            quarantine_peer_bytes_max: 48 * 1024 * 1024,
            push_queue_bytes_max: 4 * 1024 * 1024,
            redundant_links_max: 3,
            chunk_bytes_max: 256 * 1024,
            credit_bytes: 1024 * 1024,
            removals_max: 1_000,
            removals_share_percent: 5,
            removals_window_ms: 3_600_000,
            removals_allowed: false,
            suspicions_max: 64,
            suspicion_hold_ms: 24 * 3_600_000,
            unexplained_rows_max: 1_024,
            session_silence_max_ms: 300_000,
            collect_batch_max: 256,
            collect_interval_ms: 60_000,
            expire_grace_ms: 60_000,
            expire_stagger_ms: 30_000,
            kept_retention_ms: 24 * 3_600_000,
            kept_max: 1_000_000,
            expire_batch_max: 256,
            expire_interval_ms: 250,
        }
    }
}
