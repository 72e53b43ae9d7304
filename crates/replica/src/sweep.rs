//! Digest sessions, seen from the replica: when one begins, what of its states is merged, and when it would remove too
//! much. Its reader is [`crate::audit::Audit`].

use alloc::format;
use alloc::vec::Vec;

use rejoin_causal::{Floor, Frontier, plant};

use crate::effect::{Alarm, AuditStep, Effect};
use crate::input::LinkId;
use crate::message::{Entry, Message, PathState};
use crate::quarantine::Quarantine;
use crate::replica::{Group, Replica};
use crate::session::{AuditState, Due, Session};
use crate::view::View;

impl Replica {
    pub(crate) fn open_audit<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.audit.is_some() {
            return;
        }
        if self.halted.contains(&link.peer) && !self.config.removals_allowed {
            let peer = link.peer;
            link.round = None;
            group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed: 0 }));
            self.round_left(group, id, false);
            return;
        }
        let swept = self.frontier.clone();
        link.audit = Some(AuditState { opener: true, senders: None, swept, removed: 0 });
        group.effects.push(Effect::Audit(id, AuditStep::Open));
    }

    pub(crate) fn audit_opened<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        senders: Frontier,
        floor: &Floor,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // One session serves both sides. When both open one, the dialing side's is kept.
        if link.audit.as_ref().is_some_and(|audit| audit.opener) && link.dialed {
            return;
        }
        if self.halted.contains(&link.peer) && !self.config.removals_allowed {
            // Otherwise a session would go on where the last one was stopped, a thousand documents at a time.
            let peer = link.peer;
            group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed: 0 }));
            self.close(
                group,
                id,
                "an earlier digest session removed too much; the operator must allow it".into(),
            );
            return;
        }
        let swept = self.frontier.clone();
        link.audit = Some(AuditState { opener: false, senders: Some(senders), swept, removed: 0 });
        if let Session::Fenced { again, .. } = &mut link.session {
            // The peer may have taken its snapshot before it said what it has.
            *again = true;
        }
        if plant::is("join-frontier-early")
            && let Some(AuditState { senders: Some(senders), .. }) = &link.audit
        {
            self.frontier.union_with(senders);
            group.grown.extend(senders.rows().map(|(node, epoch, _)| (node, epoch)));
        }
        // At the start: a session may break after it has removed what only this floor explains to others.
        self.join_floor(group, id, floor);
        group.effects.push(Effect::Audit(id, AuditStep::Accept));
    }

    /// Merges the states of a digest session with the frontier that came with it; false when it was stopped.
    pub(crate) fn merge_states<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        states: Vec<PathState>,
    ) -> Result<bool, V::Error> {
        let Some(senders) =
            self.links.get(&id).and_then(|link| link.audit.as_ref()).and_then(|audit| audit.senders.clone())
        else {
            return Ok(false);
        };
        for (path, document) in states {
            let document = document.unwrap_or_default();
            if !self.plausible(group, id, &document) {
                return Ok(false);
            }
            let entry = Entry { path, document, superseded: Vec::new() };
            let lead_ms = Quarantine::lead_ms(&entry, &self.frontier, group.now.wall_ms);
            if lead_ms > self.config.clock_skew_max_ms {
                self.quarantine(group, id, alloc::vec![entry], lead_ms);
                // What the peer's frontier would have removed here stays, and its release removes nothing: the session has
                // not swept this path, so what the peer claims next is not taken. The next session looks again.
                self.update(id, |link| link.refuses_claims = true);
                continue;
            }
            let dots: Vec<_> = entry.claims().collect();
            let Entry { path, document, .. } = entry;
            let moved = self.merge(group, &path, document, Some(&senders))?;
            for dot in dots {
                self.applied(group, &path, dot, Some(id));
            }
            self.tally.versions_repaired += moved.added + moved.removed;
            for round in self.rounds.iter_mut().filter(|round| round.waiting.contains(&id)) {
                round.report.repaired += moved.added + moved.removed;
            }
            if self.removed_too_much(group, id, moved.fenced) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn removed_too_much<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, removed: u64) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return true };
        let Some(audit) = &mut link.audit else { return true };
        audit.removed += removed;
        let share = self.counters.records.saturating_mul(self.config.removals_share_percent) / 100;
        let stop = audit.removed > self.config.removals_max.max(share) && !self.config.removals_allowed;
        if stop {
            let removed = audit.removed;
            self.stop_removals(group, id, removed);
        }
        stop
    }

    pub(crate) fn stop_removals<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, removed: u64) {
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return };
        self.halted.insert(peer);
        group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed }));
        self.close(group, id, format!("it would remove {removed} documents or more"));
    }

    pub(crate) fn audit_done<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(audit) = link.audit.take() else { return };
        self.tally.digest_sessions += 1;
        group.effects.push(Effect::Audit(id, AuditStep::Stop));
        if !audit.opener {
            self.say(group, id, &Message::AuditDone);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Session::Fenced { known, again } = &mut link.session {
            let swept = if core::mem::take(again) { Frontier::new() } else { audit.swept };
            link.due = Some(Due { known: known.clone(), swept, fence: true });
        }
        self.settle(group, id);
    }
}
