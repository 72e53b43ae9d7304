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

/// Questions, or answers, in one message: 1,024, below 256 KiB when each names one write.
pub const RECEIPTS_PER_MESSAGE_MAX: usize = 1_024;

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
    /// Documents that a digest session may remove before it must ask: it stops when it would remove more than
    /// this and more than `removals_share_percent` of the store. Default 1,000.
    pub removals_max: u64,
    /// See `removals_max`. Default 5 %.
    pub removals_share_percent: u64,
    /// The operator allows digest sessions to remove any number of documents. Default false.
    pub removals_allowed: bool,
    /// Tombstones collected in one commit. Default 256: a collection must not delay writers.
    pub collect_batch_max: usize,
    /// Time between looks for tombstones to collect, in milliseconds. Default 60 s.
    pub collect_interval_ms: u64,
    /// How long the node that wrote a value may take to delete it after its end, in milliseconds; then any node does.
    /// Default 60 s, as `clock_skew_max_ms`: no node takes over another's delete of a value that has not ended by its own
    /// clock.
    pub expire_grace_ms: u64,
    /// Over how much more time the other nodes take turns then, in milliseconds. Default 30 s: much longer than a delete
    /// takes to reach the others.
    pub expire_stagger_ms: u64,
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
            anti_entropy_interval_ms: Some(60_000),
            tombstone_retention_ms: 7 * 24 * 3_600_000,
            clock_skew_max_ms: 60_000,
            quarantine_entries_max: 10_000,
            push_queue_bytes_max: 4 * 1024 * 1024,
            redundant_links_max: 3,
            chunk_bytes_max: 256 * 1024,
            credit_bytes: 1024 * 1024,
            removals_max: 1_000,
            removals_share_percent: 5,
            removals_allowed: false,
            collect_batch_max: 256,
            collect_interval_ms: 60_000,
            expire_grace_ms: 60_000,
            expire_stagger_ms: 30_000,
            expire_batch_max: 256,
            expire_interval_ms: 250,
        }
    }
}
