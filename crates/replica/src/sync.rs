//! The conversation with a peer: frontiers, catch-up, push, digest sessions, rounds. docs/protocol.md has it as a
//! story with pictures.
//!
//! Frontiers are compared in four messages, of which an idle pair needs two:
//!
//! ```text
//! asking                          answering
//! Probe {digests}           →
//!                           ←     Same | Differ | Nodes {a digest per node}
//! Ask {rows that differ}    →
//!                           ←     Answer {its rows}      both now serve each other what is missing
//! ```
//!
//! Links are ordered, so each row that a side sends was computed after everything the other had pushed before was
//! handled: the differences are exactly what was lost, is held in quarantine, or lags; nothing that is merely on
//! its way.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use core::slice;

use rejoin_causal::{Dot, Epoch, Floor, Frontier, NodeId, plant};

use crate::body::Document;
use crate::catch_up::chunk_cost;
use crate::effect::{Alarm, AuditStep, Effect, paths_of};
use crate::frontiers::{differing, frontier_digest, node_digests, peer_frontier, rows_of};
use crate::input::{LinkId, Now, RequestId};
use crate::message::{Entry, Message, PathState};
use crate::quarantine::Quarantine;
use crate::replica::{Group, Replica, RunningRound};
use crate::session::{Asking, AuditState, Due, EXCHANGES_PER_ROUND, Link, Round, Session};
use crate::unit;
use crate::view::View;

impl Replica {
    pub(crate) fn link_up<V>(
        &mut self,
        group: &mut Group<'_, V>,
        link: LinkId,
        peer: NodeId,
        epoch: Epoch,
        dialed: bool,
    ) {
        self.links.insert(link, Link::new(peer, epoch, dialed, self.floor.clone()));
        if dialed {
            self.begin_round(group, link);
        }
        self.ask_new_link(group, link);
    }

    pub(crate) fn link_down<V>(&mut self, group: &mut Group<'_, V>, link: LinkId) {
        if let Some(state) = self.links.remove(&link) {
            self.lost_link(link);
            if state.audit.is_some() {
                group.effects.push(Effect::Audit(link, AuditStep::Stop));
            }
            self.round_left(group, link, false);
        }
    }

    pub(crate) fn message<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        message: Message,
    ) -> Result<(), V::Error> {
        // A link that was closed while its messages were on their way.
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        match message {
            Message::Probe { frontier, values } => {
                let ours = frontier_digest(&self.frontier);
                let same_values = values == self.counters.values;
                if ours == frontier && same_values {
                    self.say(group, id, &Message::Same);
                    self.update(id, Link::peer_has_all);
                    self.found_equal(group, id);
                } else if ours == frontier {
                    self.say(group, id, &Message::Differ);
                    self.update(id, Link::peer_has_all);
                    self.found_equal_frontiers(id);
                } else {
                    let nodes = node_digests(&self.frontier);
                    let frozen = self.frontier.clone();
                    self.update(id, |link| link.answering = Some(frozen));
                    self.say(group, id, &Message::Nodes(nodes));
                }
            }
            Message::Same => match link.asking {
                Some(Asking::Probed { .. }) => {
                    self.probe_answered(id);
                    self.found_equal(group, id);
                }
                _ => self.violation(group, id, "'same' answers no probe"),
            },
            Message::Differ => match link.asking {
                Some(Asking::Probed { .. }) => {
                    self.probe_answered(id);
                    self.found_equal_frontiers(id);
                    self.open_audit(group, id);
                }
                _ => self.violation(group, id, "'differ' answers no probe"),
            },
            Message::Nodes(theirs) => {
                if !matches!(link.asking, Some(Asking::Probed { .. })) {
                    self.violation(group, id, "'nodes' answers no probe");
                    return Ok(());
                }
                let nodes = differing(&self.frontier, &theirs);
                let rows = rows_of(&self.frontier, &nodes);
                let ask = Message::Ask {
                    nodes: nodes.iter().copied().collect(),
                    rows,
                    documents: self.counters.records,
                };
                let asking = Asking::Asked { frozen: self.frontier.clone(), nodes };
                self.update(id, |link| {
                    link.asking = Some(asking);
                    link.caught_up = false;
                });
                self.say(group, id, &ask);
            }
            Message::Ask { nodes, rows, documents } => {
                let Some(frozen) = self.links.get_mut(&id).and_then(|link| link.answering.take()) else {
                    self.violation(group, id, "'ask' without a probe");
                    return Ok(());
                };
                let nodes: BTreeSet<NodeId> = nodes.into_iter().collect();
                let answer = Message::Answer {
                    rows: rows_of(&self.frontier, &nodes),
                    documents: self.counters.records,
                };
                self.update(id, |link| link.caught_up = false);
                self.say(group, id, &answer);
                self.peer_known(id, peer_frontier(&frozen, &nodes, &rows), documents);
            }
            Message::Answer { rows, documents } => {
                let asking = self.links.get_mut(&id).and_then(|link| link.asking.take());
                let Some(Asking::Asked { frozen, nodes }) = asking else {
                    self.violation(group, id, "'answer' without an 'ask'");
                    return Ok(());
                };
                self.peer_known(id, peer_frontier(&frozen, &nodes, &rows), documents);
            }
            Message::Push(mut entries) => {
                // A push names every dot that is news in it: most duplicates end here, without a read. A chunk does
                // not, and the void claims at the end of its catch-up rely on its documents having been merged.
                let pushed = entries.len();
                let claims: Frontier = entries.iter().flat_map(Entry::claims).collect();
                self.update(id, |link| link.branch.held_back.remove_all(&claims));
                entries.retain(|entry| !entry.claims().all(|dot| self.frontier.contains(dot)));
                self.tally.documents_received += pushed as u64;
                self.tally.documents_duplicate += (pushed - entries.len()) as u64;
                if entries.is_empty() && pushed > 0 {
                    self.prune(group, id);
                }
                self.receive(group, id, entries)?;
            }
            Message::Chunk(entries) => {
                let credit = chunk_cost(&entries);
                self.count_received(id, entries.len() as u64);
                let carried: Frontier = entries.iter().flat_map(Entry::claims).collect();
                self.update(id, |link| link.carried.union_with(&carried));
                if self.receive(group, id, entries)? {
                    self.say(group, id, &Message::Credit(credit));
                }
            }
            Message::CaughtUp { claims } => self.caught_up(group, id, &claims)?,
            Message::Floor(floor) => self.join_floor(group, id, &floor),
            Message::Credit(bytes) => group.effects.push(Effect::Grant(id, bytes)),
            Message::AuditOpen { frontier, floor } => self.audit_opened(group, id, frontier, &floor),
            Message::AuditAccept { frontier, floor } => {
                match self.links.get_mut(&id).and_then(|link| link.audit.as_mut()) {
                    Some(audit) if audit.opener && audit.senders.is_none() => {
                        audit.senders = Some(frontier);
                        self.join_floor(group, id, &floor);
                        group.effects.push(Effect::Audit(id, AuditStep::Continue));
                    }
                    // We gave our session up for the peer's; its acceptance crossed with that.
                    _ => {}
                }
            }
            message @ (Message::Compare(_) | Message::Differences { .. }) => {
                let opener = matches!(message, Message::Differences { .. });
                if link.audit.as_ref().is_some_and(|audit| audit.opener == opener) {
                    group.effects.push(Effect::Audit(id, AuditStep::Compare(message)));
                }
            }
            Message::Exchange(states) => {
                if link.audit.as_ref().is_some_and(|audit| !audit.opener) {
                    let paths = paths_of(&states);
                    if self.merge_states(group, id, states)? {
                        group.effects.push(Effect::Audit(id, AuditStep::Reply(paths)));
                    }
                }
            }
            Message::Exchanged { states, last } => {
                if link.audit.as_ref().is_some_and(|audit| audit.opener)
                    && self.merge_states(group, id, states)?
                    && last
                {
                    group.effects.push(Effect::Audit(id, AuditStep::Continue));
                }
            }
            Message::AuditDone => self.audit_done(group, id),
            Message::Have(dots) => self.announced(group, id, &dots),
            Message::Graft => self.grafted(id),
            Message::Prune => self.pruned(id),
            Message::Question(questions) => {
                questions.into_iter().for_each(|question| self.question(group, id, question));
            }
            Message::Holders(holders) => {
                holders.iter().for_each(|holder| self.holder(group, holder));
            }
        }
        Ok(())
    }

    fn update(&mut self, id: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            change(link);
        }
    }

    fn say<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, message: &Message) {
        if let Some(link) = self.links.get_mut(&id) {
            group.send(id, link, message);
        }
    }

    fn probe<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let probe =
            Message::Probe { frontier: frontier_digest(&self.frontier), values: self.counters.values };
        let frozen = self.frontier.clone();
        self.update(id, |link| link.asking = Some(Asking::Probed { frozen }));
        self.say(group, id, &probe);
    }

    /// The peer has what we had when we probed. What came since was pushed or lags, unless nothing was pushed yet.
    fn probe_answered(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(Asking::Probed { frozen }) = link.asking.take() else { return };
        link.peer_has(&frozen);
        if !link.session.pushes() {
            link.lag.union_with(&self.frontier.difference(&frozen));
        }
    }

    /// Both have the same: live, in both directions. A probe of our own may still be out: both ends ask at times.
    fn found_equal<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        self.tally.catch_ups_received += 1;
        self.update(id, |link| {
            link.caught_up = true;
            link.behind = 0;
            if link.session == Session::Greeting {
                link.session = Session::Live;
            }
            if let Some(round) = &mut link.round {
                round.equal = true;
            }
        });
        self.settle(group, id);
    }

    /// Equal frontiers and unequal documents: live, and a digest session will tell the difference.
    fn found_equal_frontiers(&mut self, id: LinkId) {
        self.update(id, |link| {
            link.caught_up = true;
            link.behind = 0;
            if link.session == Session::Greeting {
                link.session = Session::Live;
            }
        });
    }

    /// What the peer has is known: at the end of this group it is served the rest.
    fn peer_known(&mut self, id: LinkId, known: Frontier, documents: u64) {
        let behind = known.difference(&self.frontier).len();
        self.update(id, |link| {
            link.behind = behind;
            if let Session::CatchingUp { again } = &mut link.session {
                *again = Some(known);
            } else {
                link.due = Some(Due { known, swept: Frontier::new(), fence: documents > 0 });
            }
        });
    }

    /// Serves what is due, behind a digest session where the peer is below the floor.
    ///
    /// At the end of a group: the snapshot that serves it holds all that the group brought, and that may be below a
    /// floor which rose only now.
    fn serve_due<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(Due { known, mut swept, fence }) = self.links.get_mut(&id).and_then(|link| link.due.take())
        else {
            return;
        };
        swept.union_with(&known);
        if fence && self.floor.fences(&self.frontier, &swept) {
            self.update(id, |link| {
                link.session = Session::Fenced { known, again: link.audit.is_some() };
            });
            self.open_audit(group, id);
        } else {
            self.serve(group, id, known);
        }
    }

    /// Serves a catch-up: all but `known`, from a snapshot taken when this group is committed.
    fn serve<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, known: Frontier) {
        let Some(link) = self.links.get_mut(&id) else { return };
        group.tell_floor(id, link);
        // The snapshot will hold every dot that lags now; later ones are pushed or lag anew.
        link.peer_has_all();
        link.serving = self.frontier.difference(&known).len();
        link.session = Session::CatchingUp { again: None };
        group.effects.push(Effect::Serve(id, known));
    }

    pub(crate) fn served<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
        documents: u64,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Session::CatchingUp { again } = &mut link.session else { return };
        let again = again.take();
        self.tally.catch_ups_served += 1;
        self.tally.documents_served += documents;
        link.serving = 0;
        link.peer_has(claims);
        link.session = Session::Live;
        for round in self.rounds.iter_mut().filter(|round| round.waiting.contains(&id)) {
            round.report.documents_sent += documents;
        }
        link.due = again.map(|known| Due { known, swept: Frontier::new(), fence: true });
        self.settle(group, id);
    }

    pub(crate) fn sent(&mut self, id: LinkId, bytes: u64) {
        self.update(id, |link| link.queued_bytes = link.queued_bytes.saturating_sub(bytes));
    }

    /// Serves what is due, and lets live links that lag and have room again catch up from their lag.
    ///
    /// At the end of a group, behind its pushes: what those could not send lags as well, and a void claim must not
    /// overtake the document that it relies on.
    pub(crate) fn drain<V>(&mut self, group: &mut Group<'_, V>) {
        let due = self.links.iter().filter(|(_, link)| link.due.is_some());
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.serve_due(group, id);
        }
        let room = self.config.push_queue_bytes_max / 2;
        let lagging = self.links.iter().filter(|(_, link)| {
            link.session == Session::Live && !link.lag.is_empty() && link.queued_bytes <= room
        });
        let lagging: Vec<LinkId> = lagging.map(|(id, _)| *id).collect();
        for id in lagging {
            let Some(link) = self.links.get(&id) else { continue };
            let mut lacks = link.lag.clone();
            if !plant::is("held-back-is-there") {
                lacks.union_with(&link.branch.held_back);
            }
            let known = self.frontier.difference(&lacks);
            if !self.floor.fences(&self.frontier, &known) {
                self.serve(group, id, known);
            } else if link.asking.is_none() {
                // The log alone cannot bring these. Most likely the peer has them by now: ask.
                self.probe(group, id);
            }
        }
    }

    fn count_received(&mut self, id: LinkId, documents: u64) {
        self.tally.documents_received += documents;
        for round in self.rounds.iter_mut().filter(|round| round.waiting.contains(&id)) {
            round.report.documents_received += documents;
        }
    }

    /// Merges pushed or served documents; false when the link was closed for what they say.
    fn receive<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        entries: Vec<Entry>,
    ) -> Result<bool, V::Error> {
        // All are looked at before any is merged: half of a batch must not be what is left of a bad frame.
        for entry in &entries {
            if !self.plausible(group, id, &entry.document) {
                return Ok(false);
            }
        }
        // Nearly every frame: no two of its documents have to stay together.
        if entries.iter().all(|entry| unit::units(&entry.document).next().is_none()) {
            for entry in entries {
                match self.lead_ms(slice::from_ref(&entry), group.now) {
                    Some(lead_ms) => self.quarantine(group, id, alloc::vec![entry], lead_ms),
                    None => self.absorb(group, entry, Some(id))?,
                }
            }
            return Ok(true);
        }
        let bundles = unit::bundles(&entries);
        let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
        for places in bundles {
            let bundle: Vec<Entry> = places.into_iter().filter_map(|at| entries[at].take()).collect();
            if let Some(lead_ms) = self.lead_ms(&bundle, group.now) {
                self.quarantine(group, id, bundle, lead_ms);
                continue;
            }
            for entry in bundle {
                self.absorb(group, entry, Some(id))?;
            }
        }
        Ok(true)
    }

    /// How far documents that belong together are ahead of this clock, where that is too far to merge them now.
    fn lead_ms(&mut self, bundle: &[Entry], now: Now) -> Option<u64> {
        let lead = |entry| Quarantine::lead_ms(entry, &self.frontier, now.wall_ms);
        let lead_ms = bundle.iter().map(lead).max().unwrap_or(0);
        self.skew_max_ms = self.skew_max_ms.max(lead_ms);
        (lead_ms > self.config.clock_skew_max_ms).then_some(lead_ms)
    }

    /// Holds documents that belong together until the latest of their stamps has come.
    fn quarantine<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, bundle: Vec<Entry>, lead_ms: u64) {
        for entry in &bundle {
            if let Some(newest) = entry.document.versions().iter().max_by_key(|version| version.hlc) {
                let (path, dot) = (entry.path.clone(), newest.dot);
                group.effects.push(Effect::Alarm(Alarm::Quarantined { path, dot, ahead_ms: lead_ms }));
            }
        }
        self.tally.quarantined += bundle.len() as u64;
        let release_ms = group.now.wall_ms + lead_ms;
        let left = self.quarantine.hold(bundle, release_ms, self.config.quarantine_entries_max);
        self.refuse(id, left);
    }

    /// Leaves documents to a later catch-up. Until then the peer may take them for known, and claim what they replaced.
    fn refuse(&mut self, id: LinkId, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let dots: Frontier = entries.iter().flat_map(Entry::claims).collect();
        self.update(id, |link| {
            link.refused.union_with(&dots);
            link.refuses_claims = true;
        });
    }

    /// Whether a peer's void claims may be taken over: never while what replaced them may be held or was refused.
    fn may_claim(&mut self, id: LinkId, claims: &Frontier) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        link.refused.remove_all(&self.frontier);
        let refused_since = core::mem::take(&mut link.refuses_claims);
        // What was refused before and is claimed now was not sent again, so it is void as well.
        let may = self.quarantine.len() == 0 && !refused_since && claims.is_superset(&link.refused);
        let may = may || plant::is("claim-quarantined");
        if may {
            link.refused = Frontier::new();
        }
        may
    }

    /// Whether a document says nothing about this node's own writes that this node knows to be untrue.
    fn plausible<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, document: &Document) -> bool {
        let named = document.vv().tops().filter(|dot| dot.node == self.node).max();
        let Some(named) = named else { return true };
        if named.epoch > self.epoch {
            self.clone_seen(group, named.epoch);
        } else if named.epoch == self.epoch && named.seq > self.seq {
            self.violation(group, id, "it names a write of ours that we never made");
            return false;
        }
        true
    }

    /// The same of dots that a peer has applied.
    pub(crate) fn plausible_claims<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
    ) -> bool {
        for (epoch, set) in claims.epochs(self.node) {
            if epoch > self.epoch {
                self.clone_seen(group, epoch);
            } else if epoch == self.epoch && set.last().is_some_and(|last| last > self.seq) {
                self.violation(group, id, "it claims a write of ours that we never made");
                return false;
            }
        }
        true
    }

    /// The end of a catch-up: every dot of it is applied, those without a live version included.
    fn caught_up<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
    ) -> Result<(), V::Error> {
        if !self.plausible_claims(group, id, claims) {
            return Ok(());
        }
        let carried =
            self.links.get_mut(&id).map_or_else(Frontier::new, |link| core::mem::take(&mut link.carried));
        // A claim never covers a held document, nor what only that document would supersede. What a held document
        // covers cannot be told apart here, so nothing is claimed; the next round tries again.
        if self.may_claim(id, claims) {
            if !plant::is("bury-nothing") && !self.bury(group, id, claims, &carried)? {
                return Ok(());
            }
            for (node, epoch, set) in claims.difference(&self.frontier).rows() {
                self.frontier.insert_row(node, epoch, set);
                group.grown.insert((node, epoch));
                // Peers that are live have to hear of these too; without a document only a catch-up can claim them.
                for (_, link) in
                    self.links.iter_mut().filter(|(other, link)| **other != id && link.session.pushes())
                {
                    if link.branch.eager {
                        link.lag.insert_row(node, epoch, set);
                    } else {
                        let mut dots = Frontier::new();
                        dots.insert_row(node, epoch, set);
                        link.branch.hold_back(&dots, group.now.steady_ms);
                    }
                }
            }
        }
        self.update(id, |link| {
            link.caught_up = true;
            link.behind = 0;
        });
        self.settle(group, id);
        Ok(())
    }

    /// Removes live versions that a catch-up claims and did not carry: the peer has applied them and they are no longer
    /// live there, but came here from someone else after the peer was told what we have. What replaced them may be
    /// collected, so nothing but this claim would ever say so. False when that would remove too much.
    fn bury<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
        carried: &Frontier,
    ) -> Result<bool, V::Error> {
        // What is not applied here cannot be live here: as a rule next to nothing is left to look for.
        let unknown = claims.difference(&self.frontier);
        let suspects = claims.difference(&unknown).difference(carried);
        let mut paths = BTreeSet::new();
        for (node, epoch, set) in suspects.rows() {
            for &(first, last) in set.ranges() {
                paths.extend(group.rows.log(node, epoch, first, last)?);
            }
        }
        let share = self.counters.records.saturating_mul(self.config.removals_share_percent) / 100;
        if paths.len() as u64 > self.config.removals_max.max(share) && !self.config.removals_allowed {
            self.stop_removals(group, id, paths.len() as u64);
            return Ok(false);
        }
        for path in paths {
            self.merge(group, &path, Document::new(), Some(&suspects))?;
        }
        Ok(true)
    }

    /// Joins a peer's floor: what it had collected is gone here too, or never comes.
    fn join_floor<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, floor: &Floor) {
        for top in floor.rows() {
            self.raise_floor(group, Some(id), top);
        }
    }

    /// Raises the floor to a dot; every peer but the one that said so is told before it gets another document.
    pub(crate) fn raise_floor<V>(&mut self, group: &mut Group<'_, V>, source: Option<LinkId>, top: Dot) {
        if !self.floor.raise(top) {
            return;
        }
        group.rows.batch.floor.insert(top);
        for (_, link) in self.links.iter_mut().filter(|(id, _)| Some(**id) != source) {
            link.untold.raise(top);
        }
    }

    // Digest sessions

    fn open_audit<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
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

    fn audit_opened<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, senders: Frontier, floor: &Floor) {
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
    fn merge_states<V: View>(
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

    fn stop_removals<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, removed: u64) {
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return };
        self.halted.insert(peer);
        group.effects.push(Effect::Alarm(Alarm::RemovalsStopped { peer, removed }));
        self.close(group, id, format!("it would remove {removed} documents or more"));
    }

    fn audit_done<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
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

    // Rounds

    /// Runs an anti-entropy round on every link.
    pub(crate) fn anti_entropy<V>(&mut self, group: &mut Group<'_, V>, request: Option<RequestId>) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        if let Some(request) = request {
            let waiting = links.iter().copied().collect();
            self.rounds.push(RunningRound { request, waiting, report: Default::default() });
        }
        for id in links {
            self.begin_round(group, id);
        }
        self.finish_rounds(group);
    }

    fn begin_round<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let started_ms = group.now.steady_ms;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.round.is_some() {
            return;
        }
        link.round = Some(Round { exchanges: 0, started_ms, equal: false });
        let fresh = link.session == Session::Greeting && link.dialed && link.asking.is_none();
        if fresh {
            self.update(id, |link| link.round.iter_mut().for_each(|round| round.exchanges = 1));
            self.probe(group, id);
        } else {
            self.settle(group, id);
        }
    }

    /// A link where nothing is going on: its round ends, or asks again whether the two are equal now.
    fn settle<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.is_quiet() {
            return;
        }
        let Some(round) = &mut link.round else { return };
        if round.equal || round.exchanges >= EXCHANGES_PER_ROUND {
            let (equal, started_ms) = (round.equal, round.started_ms);
            link.round = None;
            match equal {
                true => self.tally.rounds_equal += 1,
                false => self.tally.rounds_unequal += 1,
            }
            self.last_round = Some((group.now.steady_ms, group.now.steady_ms.saturating_sub(started_ms)));
            self.round_left(group, id, equal);
        } else {
            round.exchanges += 1;
            self.probe(group, id);
        }
    }

    fn round_left<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, equal: bool) {
        for round in &mut self.rounds {
            if round.waiting.remove(&id) {
                round.report.links += 1;
                round.report.equal += u64::from(equal);
                round.report.unequal += u64::from(!equal);
            }
        }
        self.finish_rounds(group);
    }

    fn finish_rounds<V>(&mut self, group: &mut Group<'_, V>) {
        let finished = |round: &RunningRound| round.waiting.is_empty();
        for round in self.rounds.iter().filter(|round| finished(round)) {
            group.effects.push(Effect::RoundDone(round.request, round.report));
        }
        self.rounds.retain(|round| !finished(round));
    }
}
