//! Removals by a peer's word: versions that leave because a claim or a digest session says that they are gone elsewhere,
//! with nothing in their place.
//!
//! Nothing but that word stands for such a removal, so all of them pass here: they share one budget of this node, whoever
//! says so and how often it links, and each goes into history with the peer and the reason, for as long as a tombstone
//! would have stayed, so that an operator can bring it back. What a frame would remove is counted before any of it is
//! removed.
//!
//! Tombstones are not counted and leave no row: nobody reads anything else without them.
//!
//! The budget is kept in memory: a restart begins a new window.

use alloc::collections::BTreeMap;

use rejoin_causal::{Dot, Frontier, NodeId, plant};

use crate::body::{Document, Version};
use crate::config::{OWN_REMOVALS_NAMED_MAX, REMOVALS_SOURCES_MAX};
use crate::effect::{Alarm, Effect, RemovalsStatus, Stopped};
use crate::input::LinkId;
use crate::path::Path;
use crate::replica::{Group, Replica};
use crate::view::{Removal, View, Word};

/// What a peer says is gone, and how it says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone<'a> {
    /// Versions with these dots that the peer does not show.
    pub(crate) dots: &'a Frontier,
    pub(crate) word: Word,
}

/// What comes of a frame that removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is within the budget.
    Remove,
    /// The budget is used up by others: everything of the frame is done but the removals.
    Hold,
    /// This peer has used up the budget, or would: the link was closed.
    Stop,
}

/// How much was removed in this window, and who was stopped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removals {
    /// On the steady clock.
    window_ends_ms: u64,
    by_peer: BTreeMap<NodeId, u64>,
    /// Removals that were held back since the replica was opened.
    held: u64,
    stopped: BTreeMap<NodeId, Stopped>,
}

impl Removals {
    /// Versions removed in the window.
    fn count(&self) -> u64 {
        self.by_peer.values().sum()
    }

    /// Begins a new window when the last one is over.
    fn turn(&mut self, now_ms: u64, window_ms: u64) {
        if now_ms >= self.window_ends_ms {
            self.by_peer.clear();
            self.window_ends_ms = now_ms.saturating_add(window_ms);
        }
    }

    /// Whether a peer was stopped, and waits for the operator.
    pub(crate) fn is_stopped(&self, peer: NodeId) -> bool {
        self.stopped.contains_key(&peer)
    }
}

impl Replica {
    /// Whether versions of this document may be removed by a peer's word at all: not while it rests on a life that may be
    /// two, because then the peer may have applied other writes under the same numbers.
    pub(crate) fn may_remove(&self, document: &Document) -> bool {
        !self.rests_on_doubt(document)
    }

    /// What merging `incoming`, with what the peer says is gone, would remove by its word.
    pub(crate) fn would_remove<'a>(
        local: &'a Document,
        incoming: &'a Document,
        gone: &'a Frontier,
    ) -> impl Iterator<Item = &'a Version> {
        local.versions().iter().filter(|version| {
            let dot = version.dot;
            !version.body.is_tombstone()
                && incoming.version(dot).is_none()
                && !incoming.vv().covers(dot)
                && gone.contains(dot)
        })
    }

    /// Decides over all that a frame removes by its peer's word, before any of it is done.
    pub(crate) fn ask_removals<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        word: Word,
        going: &[(Path, Dot)],
    ) -> Verdict {
        let limit = self.removals_limit();
        let removals = &mut self.removals;
        removals.turn(group.now.steady_ms, self.config.removals_window_ms);
        let count = going.len() as u64;
        if count == 0 {
            return Verdict::Remove;
        }
        let by_this_peer = removals.by_peer.get(&word.peer).copied().unwrap_or(0).saturating_add(count);
        let used = match plant::is("budget-per-session") {
            true => count,
            false => removals.count().saturating_add(count),
        };
        let stopped = removals.is_stopped(word.peer);
        if (used > limit || stopped) && !self.config.removals_allowed {
            // Who has used more than half is the reason; another is only late, and is asked again in the next round.
            if stopped || by_this_peer > limit / 2 {
                self.stop_removals(group, id, word, by_this_peer);
                return Verdict::Stop;
            }
            self.removals.held += count;
            group.effects.push(Effect::Alarm(Alarm::RemovalsHeld { peer: word.peer, versions: count }));
            return Verdict::Hold;
        }
        *removals.by_peer.entry(word.peer).or_default() += count;
        self.tally.removed_by_peers += count;
        // They may go rightly: others have deleted them, and have forgotten the deletes.
        let own = going.iter().filter(|(_, dot)| dot.node == self.node).take(OWN_REMOVALS_NAMED_MAX);
        for (path, dot) in own {
            let (path, dot) = (path.clone(), *dot);
            group.effects.push(Effect::Alarm(Alarm::OwnWriteRemoved { path, dot, word, link: id }));
        }
        Verdict::Remove
    }

    /// Puts down that so many removals were held back for another reason than the budget.
    pub(crate) fn hold_removals(&mut self, versions: u64) {
        self.removals.held += versions;
    }

    /// How many versions peers may have removed in one window.
    fn removals_limit(&self) -> u64 {
        let share = self.counters.records.saturating_mul(self.config.removals_share_percent) / 100;
        self.config.removals_max.max(share)
    }

    fn stop_removals<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, word: Word, removed: u64) {
        let (peer, stopped) = (word.peer, Stopped { word, removed });
        let known = &mut self.removals.stopped;
        if known.len() < REMOVALS_SOURCES_MAX || known.contains_key(&peer) {
            known.entry(peer).or_insert(stopped);
        }
        group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed }));
        self.close(group, id, alloc::format!("it would remove {removed} documents or more"));
    }

    /// How things stand with removals.
    pub(crate) fn removals_status(&self) -> RemovalsStatus {
        RemovalsStatus {
            window_ms: self.config.removals_window_ms,
            count: self.removals.count(),
            limit: if self.config.removals_allowed { u64::MAX } else { self.removals_limit() },
            held: self.removals.held,
            stopped: self.removals.stopped.values().copied().collect(),
        }
    }

    /// Forgets what was removed longer ago than a tombstone is remembered: some of it, the oldest first.
    pub(crate) fn forget_removals<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let before_ms = group.now.wall_ms.saturating_sub(self.config.tombstone_retention_ms);
        let limit = self.config.collect_batch_max.max(1);
        let rows = group.rows.base.removals(0, before_ms, limit)?;
        if rows.len() == limit {
            self.next_collect_ms = self.next_collect_ms.min(group.now.steady_ms + 1);
        }
        for row in rows {
            let Removal { at_ms, path, hlc, dot } = row;
            group.rows.batch.history.insert((path.clone(), hlc, dot), None);
            group.rows.batch.removals.insert(Removal { at_ms, path, hlc, dot }, false);
            self.counters.history -= 1;
        }
        Ok(())
    }
}
