//! Digest sessions, seen from the replica: when one begins, what of its states is merged, and when it would remove too
//! much. Its reader is [`crate::audit::Audit`].

use alloc::vec::Vec;

use rejoin_causal::{Floor, Frontier, plant};

use crate::effect::{Alarm, AuditStep, Effect};
use crate::input::{LinkId, RequestId};
use crate::message::{Entry, Message, PathState};
use crate::path::Prefix;
use crate::removals::{Gone, Verdict};
use crate::replica::{Group, Replica, RunningRound};
use crate::session::{AuditState, Due, Session};
use crate::view::{Reason, View, Word};

impl Replica {
    /// Opens a digest session over everything, or over the part that a request asks for.
    pub(crate) fn open_audit<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        part: Option<(RequestId, Prefix)>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.audit.is_some() {
            return;
        }
        if self.removals.is_stopped(link.peer) && !self.config.removals_allowed {
            let peer = link.peer;
            link.round = None;
            group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed: 0 }));
            self.link_left(group, id);
            return;
        }
        let swept = if part.is_some() { Frontier::new() } else { self.frontier.clone() };
        let (part, prefix) = part.unzip();
        link.audit = Some(AuditState { opener: true, senders: None, swept, part, differs: false });
        group.effects.push(Effect::Audit(id, AuditStep::Open(prefix.unwrap_or_default())));
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
        if self.removals.is_stopped(link.peer) && !self.config.removals_allowed {
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
        let senders = Some(senders);
        link.audit = Some(AuditState { opener: false, senders, swept, part: None, differs: false });
        if let Session::Fenced { again, .. } = &mut link.session {
            // The peer may have taken its snapshot before it said what it has, and may compare a part only.
            *again = true;
        }
        // A session of our own that is given up for this one has compared nothing.
        link.round.iter_mut().for_each(|round| round.compared = None);
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
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return Ok(false) };
        let word = Word { peer, reason: Reason::Digest, at_ms: group.now.wall_ms };
        // All are looked at before any is merged: a frame that removes too much removes nothing.
        let (mut taken, mut going) = (Vec::new(), Vec::new());
        for (path, document) in states {
            let document = document.unwrap_or_default();
            let entry = Entry { path, document, superseded: Vec::new() };
            let Some(entry) = self.made(group, id, entry) else {
                if self.renewing.is_some() {
                    return Ok(false);
                }
                continue;
            };
            self.look_for_twins(group, id, &entry.path, &entry.document)?;
            if let Some(lead_ms) = self.lead_ms(group, core::slice::from_ref(&entry))? {
                self.quarantine(group, id, alloc::vec![entry], lead_ms)?;
                // What the peer's frontier would have removed here stays, and its release removes nothing: the session has
                // not swept this path, so what the peer has collected is not claimed. The next session looks again.
                self.update(id, |link| link.unswept = true);
                continue;
            }
            let local = group.rows.record(&entry.path)?.map(|record| record.document).unwrap_or_default();
            let before = going.len();
            let versions = Replica::would_remove(&local, &entry.document, &senders);
            going.extend(versions.map(|version| (entry.path.clone(), version.dot)));
            let may = going.len() == before || self.may_remove(&local);
            if !may {
                self.hold_removals(going.drain(before..).count() as u64);
            }
            taken.push((entry, may));
        }
        let verdict = self.ask_removals(group, id, word, &going);
        if verdict == Verdict::Stop {
            return Ok(false);
        }
        if verdict == Verdict::Hold && !plant::is("claim-held-removals") {
            // The same: what replaced these versions must not be taken for applied while they stay.
            self.update(id, |link| link.unswept = true);
        }
        for (entry, may) in taken {
            let dots: Vec<_> = entry.claims().collect();
            let Entry { path, document, .. } = entry;
            let gone = (may && verdict == Verdict::Remove).then_some(Gone { dots: &senders, word });
            let moved = self.merge(group, &path, document, gone)?;
            for dot in dots {
                self.applied(group, &path, dot, Some(id));
            }
            self.release_settled(group, &path)?;
            self.tally.versions_repaired += moved.added + moved.removed;
            let part = self.links.get(&id).and_then(|link| link.audit.as_ref()).and_then(|audit| audit.part);
            let concerned =
                |round: &&mut RunningRound| round.is_whole_over(id) || part == Some(round.request);
            for round in self.rounds.iter_mut().filter(concerned) {
                round.report.repaired += moved.added + moved.removed;
            }
        }
        Ok(true)
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
        if let Session::Fenced { known, exchange, again } = &mut link.session {
            let exchange = *exchange;
            let swept = if core::mem::take(again) { Frontier::new() } else { audit.swept };
            link.due = Some(Due { known: known.clone(), exchange, swept, fence: true });
        }
        if let Some(request) = audit.part {
            self.part_compared(group, id, request, audit.differs);
        }
        self.settle(group, id);
    }
}
