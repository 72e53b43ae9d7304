//! A member that says what is not so, over its own links.
//!
//! What nobody asked it for, and what it made up, an honest replica sees through ([`World::lie`]): the promises stay as they
//! are, nothing is lost, nobody takes a new identity for it, all become equal.
//!
//! What it was asked it is believed ([`World::deny`]), within the budget of removals. What that costs is told by history
//! alone: a version may be missing when some node has a row which says that this very member had it removed. Nothing else is
//! excused.

use std::collections::BTreeSet;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, Floor, Frontier};
use rejoin_replica::message::{Entry, Holder, Question};
use rejoin_replica::path::Path;
use rejoin_replica::{Config, Document, Message, View as _, Word, codec};

use super::{Event, World};
use crate::network::Frame;
use crate::rng::Rng;
use crate::violation::{Promise, Violation, ensure};

/// An exchange that no link comes to.
const NO_EXCHANGE: u64 = 1 << 40;

impl World {
    /// One lie over one link, if there is one.
    pub fn lie(&mut self, chance: &mut Rng) -> bool {
        let open: Vec<u64> = self.connections.iter().filter(|(_, at)| !at.cut).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return false;
        }
        let (connection, from) = (open[chance.index(open.len())], chance.index(2));
        let Some(victim) = self.connections.get(&connection).map(|at| at.ends[1 - from].node) else {
            return false;
        };
        let Some(message) = self.made_up(chance, victim) else { return false };
        self.slip_in(connection, from, &message);
        true
    }

    /// One lie that is believed, over one link, if there is one: some values are gone, says a digest session or the claim at the
    /// end of a catch-up.
    pub fn deny(&mut self, chance: &mut Rng) -> bool {
        let open: Vec<u64> = self.connections.iter().filter(|(_, at)| !at.cut).map(|(id, _)| *id).collect();
        let from = chance.index(2);
        let Some(connection) = open.get(chance.index(open.len().max(1))).copied() else { return false };
        let victim = self.connections.get(&connection).map(|at| at.ends[1 - from].node);
        let Some(snapshot) = victim.and_then(|victim| self.snapshot(victim)) else { return false };
        let Ok(records) = snapshot.records(&[], None, 64) else { return false };
        // What is gone of a delete is in no history, and could not be told from what a replica has lost.
        let is_value = |dot: Dot| !self.oracle.is_tombstone(dot);
        let values = records
            .into_iter()
            .filter(|(_, record)| record.document.versions().iter().all(|version| is_value(version.dot)));
        let mut paths: Vec<Path> = values.map(|(path, _)| path).collect();
        let most = usize::try_from(chance.between(1, 4)).unwrap_or(1);
        while paths.len() > most {
            paths.swap_remove(chance.index(paths.len()));
        }
        let claims = chance.chance(300);
        if paths.is_empty() {
            return false;
        }
        // The replica at its end knows nothing of that, and says nothing before or after it that could be taken for a part of
        // it.
        self.silence(connection, from);
        let said = self.say_gone(connection, from, paths, claims);
        self.at(self.now_ms, Event::LiarLeaves { connection, from });
        said
    }

    /// What one end of a connection has sent is lost.
    fn silence(&mut self, connection: u64, from: usize) {
        let now_ms = self.now_ms;
        let Some(at) = self.connections.get_mut(&connection) else { return };
        at.ends[from].queue.clear();
        at.ends[from].last_due_ms = now_ms;
    }

    /// The link ends with the lie.
    pub(super) fn liar_leaves(&mut self, connection: u64, from: usize) {
        self.silence(connection, from);
        self.cut(connection);
    }

    /// One end of a connection says that what the other has at these paths is gone: with `claims` as if a catch-up that was
    /// asked for ended so, otherwise in a digest session.
    pub fn say_gone(&mut self, connection: u64, from: usize, paths: Vec<Path>, claims: bool) -> bool {
        let Some(at) = self.connections.get(&connection) else { return false };
        let (liar, victim, exchange) = (at.ends[from].node, at.ends[1 - from].node, at.exchange);
        let Some(snapshot) = self.snapshot(victim) else { return false };
        let Ok(frontier) = snapshot.frontier() else { return false };
        let mut dots = BTreeSet::new();
        for path in &paths {
            let Ok(Some(record)) = snapshot.record(path) else { continue };
            dots.extend(record.document.versions().iter().map(|version| version.dot));
        }
        if dots.is_empty() {
            return false;
        }
        self.denied.entry((victim, self.nodes[liar].id)).or_default().extend(&dots);
        if claims {
            let claims = dots.into_iter().collect();
            self.slip_in(connection, from, &Message::CaughtUp { exchange, claims });
        } else {
            let states = paths.into_iter().map(|path| (path, None)).collect();
            self.slip_in(connection, from, &Message::AuditOpen { frontier, floor: Floor::new() });
            self.slip_in(connection, from, &Message::Exchange(states));
        }
        true
    }

    /// Tells the oracle of versions that went by a peer's word because it had lied, and checks that no process lets more go
    /// than it may.
    pub(super) fn account_removals(&mut self, node: usize, by_word: &[(Dot, Word)]) -> Result<(), Violation> {
        for (dot, word) in by_word {
            let denied = self.denied.get(&(node, word.peer));
            if denied.is_some_and(|denied| denied.contains(dot)) {
                self.oracle.lose_to_a_lie(*dot);
                self.trace.mark("a lie had a value removed");
            }
        }
        let (now_ms, this) = (self.now_ms, &mut self.nodes[node]);
        let Some(process) = this.process.as_mut() else { return Ok(()) };
        process.removed += by_word.len() as u64;
        let (removed, config) = (process.removed, &this.config);
        if config.removals_allowed || config.removals_share_percent > 0 {
            return Ok(());
        }
        let windows = 1 + now_ms / config.removals_window_ms;
        ensure(removed <= config.removals_max * windows, Promise::Bounded, || {
            format!("peers had {removed} versions removed at {}", this.name)
        })
    }

    /// The operator has looked at what peers had removed or wanted to, and allows it, so that all can become equal.
    pub(super) fn allow_removals(&mut self, node: usize) {
        let config = &mut self.nodes[node].config;
        let is_tight = config.removals_max < Config::default().removals_max;
        if is_tight && !std::mem::replace(&mut config.removals_allowed, true) && self.is_up(node) {
            self.kill(node);
            self.start(node);
        }
    }

    /// Puts a message among those that one end of a connection has sent.
    pub fn slip_in(&mut self, connection: u64, from: usize, message: &Message) {
        self.lied = true;
        self.note(|_| format!("connection {connection} carries a lie: {message:?}"));
        let now_ms = self.now_ms;
        let Some(at) = self.connections.get_mut(&connection) else { return };
        let end = &mut at.ends[from];
        let due_ms = now_ms.max(end.last_due_ms);
        let bytes = Bytes::from(codec::encode(message));
        end.queue.push_back(Frame { bytes, counted: None, push: false, due_ms });
        self.at(due_ms, Event::Deliver { connection, from });
    }

    /// The connection between two nodes, and which end of it the first one is.
    pub fn connection_from(&self, one: usize, other: usize) -> Option<(u64, usize)> {
        let found = self.connections.iter().find(|(_, at)| !at.cut && at.is_between([one, other]));
        found.map(|(id, at)| (*id, usize::from(at.ends[0].node != one)))
    }

    /// A lie to this node.
    fn made_up(&self, chance: &mut Rng, victim: usize) -> Option<Message> {
        let snapshot = self.snapshot(victim)?;
        let this = &self.nodes[victim];
        let unmade = Dot { node: this.id, epoch: Epoch(this.epoch.0 + 1), seq: 1 + chance.below(1_000) };
        let kind = chance.below(7);
        Some(match kind {
            0 | 1 => {
                let exchange = chance.below(2) * NO_EXCHANGE;
                Message::CaughtUp { exchange, claims: snapshot.frontier().ok()? }
            }
            2 => {
                let mut floor = Floor::new();
                floor.raise(unmade);
                Message::Floor(floor)
            }
            3 | 4 => {
                let records = snapshot.records(&[], None, 20).ok()?;
                let (path, record) = records.get(chance.index(records.len().max(1)))?.clone();
                let past = record.document.vv().tops().chain([unmade]).collect();
                let document = Document::from_parts(past, record.document.versions().to_vec())?;
                (!document.is_empty()).then_some(())?;
                let entries = vec![Entry { path, document, superseded: Vec::new() }];
                // Of a push nothing is looked at that is known already.
                if kind == 3 { Message::Push(entries) } else { Message::Chunk(entries) }
            }
            5 => {
                let (request, dots) = self.asked.iter().next_back()?;
                let other = &self.nodes[chance.index(self.nodes.len())];
                let id = Dot { node: this.id, epoch: this.epoch, seq: request.0 };
                let (digest, key) = (Question::digest(dots), [7; 32]);
                Message::Holders(vec![Holder { id, digest, node: other.id, key, signature: [7; 64] }])
            }
            _ => match chance.below(3) {
                0 => Message::Graft,
                1 => Message::Have([unmade].into_iter().collect::<Frontier>()),
                _ => Message::Exchanged { states: Vec::new(), last: true },
            },
        })
    }
}
