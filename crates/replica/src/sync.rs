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

use rejoin_causal::{Epoch, Frontier, NodeId, plant};

use crate::catch_up::chunk_cost;
use crate::effect::{AuditStep, Effect, paths_of};
use crate::frontiers::{differing, frontier_digest, node_digests, peer_frontier, rows_of};
use crate::input::LinkId;
use crate::message::{Entry, Message};
use crate::replica::{Group, Replica};
use crate::session::{Asking, Due, Link, Session};
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
}
