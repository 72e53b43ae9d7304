//! What a replica has done since it was opened, counted where it is done.

use crate::strategy::Strategy;

/// Counts since the replica was opened. They begin at 0 and only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Documents that peers pushed or served.
    pub documents_received: u64,
    /// Of the pushed ones, those that were known already.
    pub documents_duplicate: u64,
    /// Documents served in catch-ups.
    pub documents_served: u64,
    /// Catch-ups received to their end.
    pub catch_ups_received: u64,
    /// Catch-ups served to their end.
    pub catch_ups_served: u64,
    /// Digest sessions that ended in order.
    pub digest_sessions: u64,
    /// Versions that digest sessions brought or removed.
    pub versions_repaired: u64,
    /// Versions that were removed by peers' words: by claims and digest sessions.
    pub removed_by_peers: u64,
    /// Messages that nobody had asked for, and that were ignored.
    pub unasked: u64,
    /// Times that a peer named a write of this node that it never made.
    pub unmade_writes: u64,
    /// Anti-entropy rounds that found a peer equal, at once or after an exchange.
    pub rounds_equal: u64,
    /// Rounds that left a difference.
    pub rounds_unequal: u64,
    /// Links over which updates came twice, so that they are only announced there.
    pub links_pruned: u64,
    /// Links that carry updates again because an announced one did not come otherwise.
    pub links_grafted: u64,
    /// Documents that were put in quarantine.
    pub quarantined: u64,
    /// Versions of this replica that a wrong clock had stamped, minted again.
    pub restamped: u64,
    /// Tombstones collected.
    pub collected: u64,
    /// Values whose time had come, and whose deletes this replica wrote.
    pub expired: u64,
    /// Writes that were asked for again, and answered as the first time.
    pub replayed: u64,
    /// Answers that were forgotten before their time, because there were too many.
    pub forgotten_early: u64,
    /// Conflicts by strategy, in the order of [`Tally::STRATEGIES`].
    pub conflicts: [ConflictTally; 4],
}

/// Conflicts under one strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ConflictTally {
    /// Paths that came to have more than one live version.
    pub opened: u64,
    /// Paths that came to have one again, or none.
    pub closed: u64,
}

impl Tally {
    /// The names of the strategies, in the order of [`Tally::conflicts`].
    pub const STRATEGIES: [&'static str; 4] =
        ["last-write-wins", "first-write-wins", "merge-fields", "custom"];

    /// Counts a path that was a conflict, or is one.
    pub(crate) fn contest(&mut self, strategy: &Strategy, before: bool, after: bool) {
        let at = match strategy {
            Strategy::LastWriteWins => 0,
            Strategy::FirstWriteWins => 1,
            Strategy::MergeFields => 2,
            Strategy::Custom(_) => 3,
        };
        self.conflicts[at].opened += u64::from(!before && after);
        self.conflicts[at].closed += u64::from(before && !after);
    }
}
