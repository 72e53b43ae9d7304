//! The conversation with a peer: which message leads where. docs/protocol.md has it as a story with pictures; what comes
//! in is taken by [`crate::intake`], digest sessions are in [`crate::sweep`], rounds in [`crate::rounds`].
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
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Frontier, NodeId, plant};

use crate::catch_up::chunk_cost;
use crate::effect::{Alarm, AuditStep, Effect, paths_of};
use crate::frontiers::{differing, frontier_digest, node_digests, peer_frontier, rows_of};
use crate::input::LinkId;
use crate::message::{Entry, Message};
use crate::replica::{Group, Replica};
use crate::session::{Asking, Due, EXCHANGES_PER_ROUND, Link, Session};
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
        let heard_ms = group.now.steady_ms;
        let state = Link { heard_ms, ..Link::new(peer, epoch, dialed, self.floor.clone()) };
        self.links.insert(link, state);
        self.tell_clock(group, link);
        self.tell_doubts(group, link);
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
            self.link_left(group, link);
        }
    }

    pub(crate) fn message<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        message: Message,
    ) -> Result<(), V::Error> {
        // A link that was closed while its messages were on their way.
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if message.is_of_a_session() {
            link.heard_ms = group.now.steady_ms;
        }
        match message {
            Message::Probe { exchange, frontier, values } => {
                if !link.is_new_exchange(exchange) {
                    self.unasked(group, id, "a probe under a number that is not the peer's next");
                    return Ok(());
                }
                let ours = frontier_digest(&self.frontier);
                let same_values = values == self.counters.values;
                if ours == frontier && same_values {
                    self.say(group, id, &Message::Same);
                    self.update(id, |link| link.grant(exchange, None));
                    self.update(id, Link::peer_has_all);
                    self.found_equal(group, id);
                } else if ours == frontier {
                    self.say(group, id, &Message::Differ);
                    self.update(id, |link| link.grant(exchange, None));
                    self.update(id, Link::peer_has_all);
                    self.found_equal_frontiers(id);
                } else {
                    let nodes = node_digests(&self.frontier);
                    let frozen = self.frontier.clone();
                    self.update(id, |link| link.answering = Some((exchange, frozen)));
                    self.say(group, id, &Message::Nodes(nodes));
                }
            }
            Message::Same => match link.asking {
                Some(Asking::Probed { .. }) => {
                    self.probe_answered(id);
                    self.found_equal(group, id);
                }
                _ => self.unasked(group, id, "'same' without a probe"),
            },
            Message::Differ => match link.asking {
                Some(Asking::Probed { .. }) => {
                    self.probe_answered(id);
                    self.found_equal_frontiers(id);
                    if !self.would_compare_in_vain(group, id) {
                        self.open_audit(group, id, None);
                    }
                }
                _ => self.unasked(group, id, "'differ' without a probe"),
            },
            Message::Nodes(theirs) => {
                let Some(Asking::Probed { exchange, .. }) = link.asking else {
                    self.unasked(group, id, "'nodes' without a probe");
                    return Ok(());
                };
                let nodes = differing(&self.frontier, &theirs);
                let rows = rows_of(&self.frontier, &nodes);
                let ask = Message::Ask {
                    nodes: nodes.iter().copied().collect(),
                    rows,
                    documents: self.counters.records,
                };
                let vouched = nodes.clone();
                let asking = Asking::Asked { exchange, frozen: self.frontier.clone(), nodes };
                self.update(id, |link| {
                    link.asking = Some(asking);
                    link.caught_up = false;
                });
                self.tell_held(group, id);
                self.say(group, id, &ask);
                self.vouch(group, id, vouched);
            }
            Message::Ask { nodes, mut rows, documents } => {
                let answering = self.links.get_mut(&id).and_then(|link| link.answering.take());
                let Some((exchange, frozen)) = answering else {
                    self.unasked(group, id, "'ask' without a probe");
                    return Ok(());
                };
                self.made_dots(group, id, &mut rows);
                let nodes: BTreeSet<NodeId> = nodes.into_iter().collect();
                let answer = Message::Answer {
                    rows: rows_of(&self.frontier, &nodes),
                    documents: self.counters.records,
                };
                self.update(id, |link| link.caught_up = false);
                self.tell_held(group, id);
                self.say(group, id, &answer);
                self.vouch(group, id, nodes.iter().copied());
                self.peer_known(id, exchange, peer_frontier(&frozen, &nodes, &rows), None, documents);
            }
            Message::Answer { mut rows, documents } => {
                let asking = self.links.get_mut(&id).and_then(|link| link.asking.take());
                let Some(Asking::Asked { exchange, frozen, nodes }) = asking else {
                    self.update(id, |link| link.asking = asking);
                    self.unasked(group, id, "'answer' without an 'ask'");
                    return Ok(());
                };
                self.made_dots(group, id, &mut rows);
                let known = peer_frontier(&frozen, &nodes, &rows);
                self.peer_known(id, exchange, known, Some(&frozen), documents);
            }
            Message::Push(mut entries) => {
                // A push names every dot that is news in it: most duplicates end here, without a read. A chunk does
                // not, and the void claims at the end of its catch-up rely on its documents having been merged.
                let pushed = entries.len();
                let claims: Frontier = entries.iter().flat_map(Entry::claims).collect();
                self.update(id, |link| link.branch.held_back.remove_all(&claims));
                self.look_for_twins_in(group, id, &entries)?;
                entries.retain(|entry| {
                    let known = entry.claims().all(|dot| self.frontier.contains(dot));
                    if known {
                        entry.claims().for_each(|dot| Replica::note_sender(group, &entry.path, dot, id));
                    }
                    !known
                });
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
                self.look_for_twins_in(group, id, &entries)?;
                let carried: Frontier = entries.iter().flat_map(Entry::claims).collect();
                self.update(id, |link| link.carried.union_with(&carried));
                if self.receive(group, id, entries)? {
                    self.say(group, id, &Message::Credit(credit));
                }
            }
            Message::CaughtUp { exchange, claims } => self.caught_up(group, id, exchange, claims)?,
            Message::Floor(floor) => self.join_floor(group, id, &floor),
            Message::Credit(_) if !link.served => self.unasked(group, id, "credit without a catch-up"),
            Message::Credit(bytes) => group.effects.push(Effect::Grant(id, bytes)),
            Message::AuditOpen { .. } if !link.exchanged => {
                self.unasked(group, id, "a digest session without an exchange");
            }
            Message::AuditOpen { mut frontier, floor } => {
                self.made_dots(group, id, &mut frontier);
                self.audit_opened(group, id, frontier, &floor);
            }
            Message::AuditAccept { mut frontier, floor } => {
                self.made_dots(group, id, &mut frontier);
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
                if let Some(audit) = link.audit.as_mut().filter(|audit| audit.opener == opener) {
                    if let Message::Differences { splits, leaves } = &message {
                        audit.differs |= !splits.is_empty() || !leaves.is_empty();
                    }
                    group.effects.push(Effect::Audit(id, AuditStep::Compare(message)));
                } else {
                    self.unasked(group, id, "ranges outside a digest session");
                }
            }
            Message::Exchange(states) => {
                if link.audit.as_ref().is_some_and(|audit| !audit.opener) {
                    let paths = paths_of(&states);
                    if self.merge_states(group, id, states)? {
                        group.effects.push(Effect::Audit(id, AuditStep::Reply(paths)));
                    }
                } else {
                    self.unasked(group, id, "states outside a digest session");
                }
            }
            Message::Exchanged { states, last } => {
                if !link.audit.as_ref().is_some_and(|audit| audit.opener && audit.senders.is_some()) {
                    self.unasked(group, id, "states outside a digest session");
                } else if self.merge_states(group, id, states)? && last {
                    group.effects.push(Effect::Audit(id, AuditStep::Continue));
                }
            }
            Message::Withheld(paths) => {
                if link.audit.is_some() {
                    let peer = link.peer;
                    self.update(id, |link| link.unswept = true);
                    for path in paths {
                        let alarm = Alarm::Undeliverable { path, bytes: 0, versions: 0, peer };
                        group.effects.push(Effect::Alarm(alarm));
                    }
                }
            }
            Message::AuditDone => self.audit_done(group, id),
            Message::Have(dots) => self.announced(group, id, dots),
            Message::Held(dots) => self.update(id, |link| link.peer_holds = dots),
            Message::Kept(kept) => self.hear_kept(group, kept)?,
            Message::Clock { wall_ms } => self.clock_told(group, id, wall_ms),
            Message::Graft => self.grafted(group, id),
            Message::Prune => self.pruned(id),
            Message::Statements(statements) => self.hear(group, Some(id), statements),
            Message::Question(questions) => {
                questions.into_iter().for_each(|question| self.question(group, id, question));
            }
            Message::Holders(holders) => {
                holders.into_iter().for_each(|holder| self.holder(group, holder));
            }
        }
        Ok(())
    }

    pub(crate) fn update(&mut self, id: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            change(link);
        }
    }

    pub(crate) fn say<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, message: &Message) {
        if let Some(link) = self.links.get_mut(&id) {
            group.send(id, link, message);
        }
    }

    pub(crate) fn probe<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let exchange = link.next_exchange;
        link.next_exchange += 2;
        link.heard_ms = group.now.steady_ms;
        link.owes_claims = false;
        link.asking = Some(Asking::Probed { exchange, frozen: self.frontier.clone() });
        let (frontier, values) = (frontier_digest(&self.frontier), self.counters.values);
        self.say(group, id, &Message::Probe { exchange, frontier, values });
    }

    /// The peer has what we had when we probed. What came since was pushed or lags, unless nothing was pushed yet.
    fn probe_answered(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(Asking::Probed { exchange, frozen }) = link.asking.take() else { return };
        link.grant(exchange, None);
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
            link.withheld = Frontier::new();
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

    /// What the peer has is known: at the end of this group it is served the rest, and may claim what was lacking here when
    /// it was told what we have: `told`, or all that we have now.
    fn peer_known(
        &mut self,
        id: LinkId,
        exchange: u64,
        known: Frontier,
        told: Option<&Frontier>,
        documents: u64,
    ) {
        let mut waiting = self.quarantine.claims();
        let Some(link) = self.links.get_mut(&id) else { return };
        waiting.union_with(&link.refused);
        let missing = known.difference(&self.frontier).difference(&waiting);
        let behind = missing.len();
        let nothing_to_send = self.frontier.difference(&known).difference(&link.peer_holds).is_empty()
            && self.owed(id, &known).is_empty();
        let had = told.unwrap_or(&self.frontier).clone();
        self.update(id, |link| {
            link.behind = behind;
            link.grant(exchange, Some(had));
            // All that differs waits in quarantine, here or there: asking again in this round changes nothing.
            if behind == 0
                && nothing_to_send
                && let Some(round) = &mut link.round
            {
                round.exchanges = EXCHANGES_PER_ROUND;
            }
            if let Session::CatchingUp { again } = &mut link.session {
                *again = Some((known, exchange));
            } else {
                link.due = Some(Due { known, exchange, swept: Frontier::new(), fence: documents > 0 });
            }
        });
    }

    /// Serves what is due, behind a digest session where the peer is below the floor.
    ///
    /// At the end of a group: the snapshot that serves it holds all that the group brought, and that may be below a
    /// floor which rose only now.
    fn serve_due<V: View>(&mut self, group: &mut Group<'_, V>, id: LinkId) -> Result<(), V::Error> {
        let Some(Due { known, exchange, mut swept, fence }) =
            self.links.get_mut(&id).and_then(|link| link.due.take())
        else {
            return Ok(());
        };
        swept.union_with(&known);
        if fence && self.floor.fences(&self.frontier, &swept) {
            self.update(id, |link| {
                link.session = Session::Fenced { known, exchange, again: link.audit.is_some() };
            });
            self.open_audit(group, id, None);
        } else {
            // What the peer holds it does not need again while this link is up. It has not applied it, so the fence counts it
            // as missing.
            let mut there = known;
            let owed = self.owed(id, &there);
            there.union_with(&self.live_at_peer(group, id)?);
            self.serve(group, id, there, exchange);
            if !owed.is_empty() {
                self.tell_kept(group, id, owed.iter().flat_map(Entry::claims))?;
                self.say(group, id, &Message::Chunk(owed));
            }
        }
        Ok(())
    }

    /// What a peer holds and is live here. What is live no longer the peer has to be told: nothing else would ever take it out
    /// of its quarantine, once what replaced it is collected.
    fn live_at_peer<V: View>(&self, group: &Group<'_, V>, id: LinkId) -> Result<Frontier, V::Error> {
        let mut live = Frontier::new();
        let Some(link) = self.links.get(&id) else { return Ok(live) };
        // Who says that it holds more than a quarantine does is sent it again.
        let mut left = self.config.quarantine_entries_max.saturating_mul(2);
        for (node, epoch, set) in link.peer_holds.rows() {
            for &(first, last) in set.ranges() {
                for seq in group.rows.log_dots(node, epoch, first, last, left)? {
                    live.insert(Dot { node, epoch, seq });
                    left = left.saturating_sub(1);
                }
            }
        }
        Ok(live)
    }

    /// What waits here and the peer has written itself and lost since. Nobody serves it, and only its author can mint it again.
    /// Not what waits there as well, because of what others wrote to the same path.
    fn owed(&self, id: LinkId, known: &Frontier) -> Vec<Entry> {
        let Some(link) = self.links.get(&id) else { return Vec::new() };
        let mut there = known.clone();
        there.union_with(&link.peer_holds);
        self.quarantine.owed_to(link.peer, &there, self.config.chunk_bytes_max)
    }

    /// Tells the peer what it need not send again: what is held, and what there is no room for.
    fn tell_held<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let mut held = self.quarantine.claims();
        let peer = self.links.get(&id).map(|link| link.peer);
        let has_room = peer.is_some_and(|peer| self.quarantine_has_room(peer));
        let Some(link) = self.links.get_mut(&id) else { return };
        link.refused.remove_all(&self.frontier);
        let reach_ms = group.now.wall_ms.saturating_add(self.config.clock_skew_max_ms);
        if !has_room && link.refused_until_ms > reach_ms {
            held.union_with(&link.refused);
        }
        let told = core::mem::replace(&mut link.told_held, !held.is_empty());
        if (told || !held.is_empty()) && !plant::is("held-is-not-told") {
            group.send(id, link, &Message::Held(held));
        }
    }

    /// Serves a catch-up: all but `known`, from a snapshot taken when this group is committed.
    fn serve<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, known: Frontier, exchange: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        group.tell_floor(id, link);
        // The snapshot will hold every dot that lags now; later ones are pushed or lag anew.
        link.peer_has_all();
        link.serves = self.frontier.difference(&known);
        link.serving = link.serves.len();
        link.heard_ms = group.now.steady_ms;
        link.session = Session::CatchingUp { again: None };
        link.served = true;
        group.effects.push(Effect::Serve { link: id, known, exchange });
    }

    pub(crate) fn served<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
        documents: u64,
        (unclaimed, withheld): (bool, Frontier),
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Session::CatchingUp { again } = &mut link.session else { return };
        let again = again.take();
        self.tally.catch_ups_served += 1;
        self.tally.documents_served += documents;
        link.serving = 0;
        link.serves = Frontier::new();
        link.heard_ms = group.now.steady_ms;
        link.peer_has(claims);
        link.withheld.union_with(&withheld);
        link.session = Session::Live;
        for round in self.rounds.iter_mut().filter(|round| round.is_whole_over(id)) {
            round.report.documents_sent += documents;
        }
        link.due =
            again.map(|(known, exchange)| Due { known, exchange, swept: Frontier::new(), fence: true });
        // The lag had writes that were replaced since: only the answer to an exchange may claim them. One that is out was begun
        // before this.
        link.owes_claims |= unclaimed;
        self.settle(group, id);
    }

    pub(crate) fn sent(&mut self, id: LinkId, bytes: u64) {
        self.update(id, |link| link.queued_bytes = link.queued_bytes.saturating_sub(bytes));
    }

    /// Serves what is due, and lets live links that lag and have room again catch up from their lag.
    ///
    /// At the end of a group, behind its pushes: what those could not send lags as well, and a void claim must not
    /// overtake the document that it relies on.
    pub(crate) fn drain<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let due = self.links.iter().filter(|(_, link)| link.due.is_some());
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.serve_due(group, id)?;
        }
        let owing = self.links.iter().filter(|(_, link)| {
            link.owes_claims && link.session == Session::Live && link.due.is_none() && link.asking.is_none()
        });
        for id in owing.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.probe(group, id);
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
            lacks.union_with(&link.withheld);
            let known = self.frontier.difference(&lacks);
            if !self.floor.fences(&self.frontier, &known) {
                self.serve(group, id, known, 0);
            } else if link.asking.is_none() {
                // The log alone cannot bring these. Most likely the peer has them by now: ask.
                self.probe(group, id);
            }
        }
        Ok(())
    }
}
