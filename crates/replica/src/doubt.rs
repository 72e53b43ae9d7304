//! Lives that may be two: who says so, who is told, and what is kept because of it.
//!
//! A doubt arises in the node itself ([`Input::SelfDoubt`](crate::Input)): the life that it is in has, or may have, a
//! second process. It takes a new identity before its next write, and the doubt of the old life, signed with the old key,
//! goes ahead of everything on every link, is passed on once, and is kept for good. Whatever rests on a doubted life stays
//! where it is: numbers of that life name two writes, so "the peer has applied it and does not have it" proves nothing.
//!
//! Suspicion is the unsigned kind: one number with two contents, or numbers of ours that we never gave. It may be a lie, so
//! it holds removals back here alone and for a time, is told to nobody, and forces no new identity.
//!
//! This brings nothing back, and does not tell the two branches apart. docs/consistency.md says what is promised.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Frontier, IntervalSet, NodeId, plant};

use crate::body::Document;
use crate::config::{ALIVE_NODES_MAX, DOUBT_REMINDER_MS, DOUBTS_MAX, STATEMENTS_PER_MESSAGE_MAX};
use crate::effect::{Alarm, Effect};
use crate::input::LinkId;
use crate::message::{Entry, Message};
use crate::path::Path;
use crate::replica::{Group, Replica};
use crate::statement::{Doubt, DoubtReason, Life, Proof, Statement, StatementKind};
use crate::view::View;
use crate::wall::FIRST_PLACE;

/// A doubted life, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubted {
    /// Why.
    pub reason: DoubtReason,
    /// When this replica heard of it, in Unix milliseconds of its own clock.
    pub since_ms: u64,
    /// The signature of its node; `None` while this node has still to sign it.
    pub proof: Option<Proof>,
    /// It was a life of this node, which has left that identity.
    pub own: bool,
}

/// What is known of lives beyond their writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives {
    /// Of each node, the newest life that it has signed to be alive.
    alive: BTreeMap<NodeId, (Epoch, Proof)>,
    doubted: BTreeMap<Life, Doubted>,
    /// Lives of which something unsigned speaks, each with when that was last heard, on the steady clock.
    suspected: BTreeMap<Life, u64>,
    /// What the shell signed at the start and the store may not have yet.
    unsaved: Vec<Statement>,
    /// When the doubts are told to the operator again, on the steady clock.
    remind_at_ms: u64,
}

impl Lives {
    pub(crate) fn open<V: View>(view: &V, unsaved: Vec<Statement>) -> Result<Lives, V::Error> {
        let mut lives = Lives { unsaved, ..Lives::default() };
        for (node, epoch, proof) in view.alive()? {
            lives.alive.insert(node, (epoch, proof));
        }
        lives.doubted.extend(view.doubted()?);
        Ok(lives)
    }

    pub(crate) fn doubted(&self) -> &BTreeMap<Life, Doubted> {
        &self.doubted
    }

    pub(crate) fn suspected(&self) -> impl Iterator<Item = Life> + '_ {
        self.suspected.keys().copied()
    }

    /// The identities that this node has left.
    pub(crate) fn left(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.doubted.iter().filter(|(_, doubted)| doubted.own).map(|((node, _), _)| *node)
    }

    fn newest_of(&self, node: NodeId) -> Option<Statement> {
        let (epoch, proof) = *self.alive.get(&node)?;
        Some(Statement { life: (node, epoch), kind: StatementKind::Alive, proof })
    }

    /// Whether any life of a node up to this epoch is doubted, or suspected.
    fn is_doubtful(&self, node: NodeId, epoch: Epoch) -> bool {
        let up_to = (node, Epoch(0))..=(node, epoch);
        self.doubted.range(up_to.clone()).next().is_some() || self.suspected.range(up_to).next().is_some()
    }

    /// Beyond their number a node goes of which no write is known, then the one that started longest ago: keys cost nothing,
    /// and who makes up many must not push out those that matter.
    fn surplus_alive(&self, frontier: &Frontier) -> Option<NodeId> {
        if self.alive.len() <= ALIVE_NODES_MAX {
            return None;
        }
        let wrote = |node: NodeId| frontier.epochs(node).next().is_some();
        let least = self.alive.iter().min_by_key(|(node, (epoch, _))| (wrote(**node), *epoch, **node));
        least.map(|(node, _)| *node)
    }

    /// Beyond their number a life goes of which no write is known, then the oldest of the node with the most doubts: nobody
    /// can crowd out others' doubts with doubts of its own, or of keys that it made up.
    fn surplus_doubt(&self, frontier: &Frontier) -> Option<Life> {
        if self.doubted.len() <= DOUBTS_MAX {
            return None;
        }
        let empty = self.doubted.keys().rev().find(|(node, epoch)| frontier.row(*node, *epoch).is_none());
        if empty.is_some() {
            return empty.copied();
        }
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (node, _) in self.doubted.keys() {
            *counts.entry(*node).or_default() += 1;
        }
        let (most, _) = counts.into_iter().max_by_key(|(node, count)| (*count, *node))?;
        self.doubted.keys().find(|(node, _)| *node == most).copied()
    }
}

impl Replica {
    /// The lives that this replica knows to be doubted.
    pub fn doubted(&self) -> &BTreeMap<Life, Doubted> {
        self.lives.doubted()
    }

    /// The lives of which only something unsigned speaks.
    pub fn suspected(&self) -> impl Iterator<Item = Life> + '_ {
        self.lives.suspected()
    }

    /// Whether it waits for a new identity.
    pub fn is_renewing(&self) -> bool {
        self.renewing.is_some()
    }

    /// Before each group: what the start has brought, and an identity that a doubt has ended.
    pub(crate) fn settle_identity<V>(&mut self, group: &mut Group<'_, V>) {
        let unsaved = core::mem::take(&mut self.lives.unsaved);
        if !unsaved.is_empty() {
            self.hear(group, None, unsaved);
        }
        let hold_ms = self.config.suspicion_hold_ms;
        self.lives.suspected.retain(|_, since_ms| group.now.steady_ms.saturating_sub(*since_ms) < hold_ms);
        self.remind(group);
        self.renew_if_doubted(group);
    }

    /// A doubt stands until somebody settles it, so an operator hears of it again: at every start, and in time before an
    /// alarm that is not raised again is taken for over.
    fn remind<V>(&mut self, group: &mut Group<'_, V>) {
        if group.now.steady_ms < self.lives.remind_at_ms {
            return;
        }
        self.lives.remind_at_ms = group.now.steady_ms.saturating_add(DOUBT_REMINDER_MS);
        for (life, Doubted { reason, .. }) in &self.lives.doubted {
            let (life, reason, own) = (*life, *reason, life.0 == self.node);
            group.effects.push(Effect::Alarm(Alarm::LifeDoubted { life, reason, own }));
        }
    }

    /// The shell has found that this process may not be alone in its life.
    pub(crate) fn self_doubt<V>(&mut self, group: &mut Group<'_, V>, epoch: Epoch, reason: DoubtReason) {
        if epoch != self.epoch || plant::is("ignore-doubt") {
            // It speaks of an identity that was left since.
            return;
        }
        self.doubt(group, (self.node, self.epoch), reason, None, true);
        self.renew_if_doubted(group);
    }

    /// Under a key of which any life is doubted nothing more is written: a later epoch would hide what the other branch
    /// wrote to the same paths.
    fn renew_if_doubted<V>(&mut self, group: &mut Group<'_, V>) {
        let own = (self.node, Epoch(0))..=(self.node, Epoch(u64::MAX));
        let doubted = self.lives.doubted.range(own).next().is_some();
        if doubted && self.renewing.is_none() && !plant::is("keep-doubted-identity") {
            self.renew(group);
        }
    }

    /// Asks for a new identity, and for the signatures that the old one still owes.
    pub(crate) fn renew<V>(&mut self, group: &mut Group<'_, V>) {
        let own = (self.node, Epoch(0))..=(self.node, Epoch(u64::MAX));
        let unsigned = self.lives.doubted.range(own).filter(|(_, doubted)| doubted.proof.is_none());
        let doubts = unsigned.map(|(life, doubted)| Doubt { life: *life, reason: doubted.reason }).collect();
        group.effects.push(Effect::Renew { doubts });
        self.renewing = Some(Vec::new());
    }

    /// The node goes by a new id from now on; writes waited for that.
    pub(crate) fn renewed<V>(
        &mut self,
        group: &mut Group<'_, V>,
        (node, epoch): Life,
        statements: Vec<Statement>,
    ) {
        (self.node, self.epoch, self.seq) = (node, epoch, 0);
        // A walk goes by identity, and this one may come before the place where it is.
        self.wall.walk = self.wall.walk.map(|_| FIRST_PLACE);
        self.hear(group, None, statements);
        // What was found out between the old identity and the new one can be signed by nobody any more.
        let unsigned = |((of, _), doubted): &(&Life, &Doubted)| *of != node && doubted.proof.is_none();
        let unsigned: Vec<Life> = self.lives.doubted.iter().filter(unsigned).map(|(life, _)| *life).collect();
        for life in unsigned {
            self.lives.doubted.remove(&life);
            group.rows.batch.doubted.insert(life, None);
            self.suspect(life, group.now.steady_ms);
        }
    }

    /// Statements that were verified: of a peer, or of this node.
    pub(crate) fn hear<V>(
        &mut self,
        group: &mut Group<'_, V>,
        source: Option<LinkId>,
        statements: Vec<Statement>,
    ) {
        let mut news = Vec::new();
        for statement in statements {
            let new = match statement.kind {
                StatementKind::Alive => self.alive(group, statement),
                StatementKind::Doubted(reason) => {
                    self.doubt(group, statement.life, reason, Some(statement.proof), source.is_none())
                }
            };
            if new {
                news.push(statement);
            }
        }
        if !plant::is("keep-statements-to-oneself") {
            self.spread(group, source, &news);
        }
        self.renew_if_doubted(group);
    }

    /// A node has signed that it began this life; whether that is news.
    fn alive<V>(&mut self, group: &mut Group<'_, V>, statement: Statement) -> bool {
        let (node, epoch) = statement.life;
        if node == self.node {
            self.clone_seen(group, epoch);
        }
        if self.lives.alive.get(&node).is_some_and(|(known, _)| *known >= epoch) {
            return false;
        }
        self.lives.alive.insert(node, (epoch, statement.proof));
        group.rows.batch.alive.insert(node, Some((epoch, statement.proof)));
        if let Some(surplus) = self.lives.surplus_alive(&self.frontier) {
            self.lives.alive.remove(&surplus);
            group.rows.batch.alive.insert(surplus, None);
            return surplus != node;
        }
        true
    }

    /// A life is doubted, by its node or by this process of itself; whether that is news for others.
    fn doubt<V>(
        &mut self,
        group: &mut Group<'_, V>,
        life: Life,
        reason: DoubtReason,
        proof: Option<Proof>,
        own: bool,
    ) -> bool {
        let known = self.lives.doubted.get(&life).copied();
        if known.is_some_and(|known| known.proof.is_some() || proof.is_none()) {
            return false;
        }
        let since_ms = known.map_or(group.now.wall_ms, |known| known.since_ms);
        let own = own || life.0 == self.node || known.is_some_and(|known| known.own);
        let doubted = Doubted { reason, since_ms, proof, own };
        self.lives.doubted.insert(life, doubted);
        if !plant::is("lose-doubts") {
            group.rows.batch.doubted.insert(life, Some(doubted));
        }
        if let Some(surplus) = self.lives.surplus_doubt(&self.frontier) {
            self.lives.doubted.remove(&surplus);
            group.rows.batch.doubted.insert(surplus, None);
            if surplus == life {
                return false;
            }
        }
        if known.is_none() {
            let own = life.0 == self.node;
            group.effects.push(Effect::Alarm(Alarm::LifeDoubted { life, reason, own }));
        }
        proof.is_some()
    }

    /// Everything that is doubted, ahead of whatever else is said on a new link.
    pub(crate) fn tell_doubts<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let signed = self.lives.doubted.iter().filter_map(|(life, doubted)| {
            let kind = StatementKind::Doubted(doubted.reason);
            Some(Statement { life: *life, kind, proof: doubted.proof? })
        });
        let statements: Vec<Statement> = signed.collect();
        self.tell(group, id, &statements);
    }

    /// That lives of these nodes are what their nodes say: ahead of their writes, where two replicas are found to differ in
    /// them. A process whose key runs elsewhere in a newer life learns of it so, over any number of links.
    pub(crate) fn vouch<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        nodes: impl IntoIterator<Item = NodeId>,
    ) {
        let statements: Vec<Statement> =
            nodes.into_iter().filter_map(|node| self.lives.newest_of(node)).collect();
        self.tell(group, id, &statements);
    }

    /// The same on all links, for nodes of which the first write of a life has become known in this group.
    pub(crate) fn vouch_for_news<V>(&mut self, group: &mut Group<'_, V>) {
        let nodes = core::mem::take(&mut group.begun);
        let statements: Vec<Statement> =
            nodes.into_iter().filter_map(|node| self.lives.newest_of(node)).collect();
        self.spread(group, None, &statements);
    }

    /// Remembers to vouch for a node of whose life this is the first write known.
    pub(crate) fn note_begun<V>(&self, group: &mut Group<'_, V>, dot: Dot) {
        let only = |set: &IntervalSet| set.ranges() == [(dot.seq, dot.seq)];
        if self.frontier.row(dot.node, dot.epoch).is_some_and(only) {
            group.begun.insert(dot.node);
        }
    }

    fn spread<V>(&mut self, group: &mut Group<'_, V>, source: Option<LinkId>, statements: &[Statement]) {
        if statements.is_empty() {
            return;
        }
        let others: Vec<LinkId> = self.links.keys().copied().filter(|id| Some(*id) != source).collect();
        for id in others {
            self.tell(group, id, statements);
        }
    }

    fn tell<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, statements: &[Statement]) {
        for some in statements.chunks(STATEMENTS_PER_MESSAGE_MAX) {
            self.say(group, id, &Message::Statements(some.to_vec()));
        }
    }

    /// Whether any life is doubted or suspected.
    pub(crate) fn doubts_any(&self) -> bool {
        !self.lives.doubted.is_empty() || !self.lives.suspected.is_empty()
    }

    /// Whether a document rests on a life that may be two: it has a version of it, or a past that reaches into it. Nobody's
    /// word removes anything of such a document here.
    pub(crate) fn rests_on_doubt(&self, document: &Document) -> bool {
        // A version vector names the newest life of a node, and every version is covered by it.
        let doubtful = || document.vv().tops().any(|top| self.lives.is_doubtful(top.node, top.epoch));
        self.doubts_any() && doubtful() && !plant::is("remove-in-doubt") && !plant::is("ignore-doubt")
    }

    /// Something unsigned says that a life may be two. Tells whether that is news.
    pub(crate) fn suspect(&mut self, life: Life, steady_ms: u64) -> bool {
        if self.lives.doubted.contains_key(&life) || plant::is("ignore-doubt") {
            return false;
        }
        let new = self.lives.suspected.insert(life, steady_ms).is_none();
        if self.lives.suspected.len() > self.config.suspicions_max {
            let oldest = self.lives.suspected.iter().min_by_key(|(life, since_ms)| (**since_ms, **life));
            if let Some(oldest) = oldest.map(|(life, _)| *life) {
                self.lives.suspected.remove(&oldest);
            }
        }
        new
    }

    /// Looks whether a document that came in has a version whose number is known here with another path, stamp or content.
    pub(crate) fn look_for_twins<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        path: &Path,
        document: &Document,
    ) -> Result<(), V::Error> {
        for version in document.versions() {
            let dot = version.dot;
            // What was never applied here cannot contradict anything.
            if !self.frontier.contains(dot) {
                continue;
            }
            let live_at = group.rows.log(dot.node, dot.epoch, dot.seq, dot.seq)?;
            let Some(found) = live_at.into_iter().next() else { continue };
            let same = found == *path && {
                let record = group.rows.record(path)?;
                let ours = record.as_ref().and_then(|record| record.document.version(dot));
                ours.is_none_or(|ours| ours == version)
            };
            if !same {
                self.twin_dot(group, id, dot, found, path.clone());
            }
        }
        Ok(())
    }

    fn twin_dot<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, dot: Dot, ours: Path, theirs: Path) {
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return };
        if self.suspect((dot.node, dot.epoch), group.now.steady_ms) {
            group.effects.push(Effect::Alarm(Alarm::SameDotTwice { peer, dot, ours, theirs }));
        }
    }

    /// The same of all documents of a frame.
    pub(crate) fn look_for_twins_in<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        entries: &[Entry],
    ) -> Result<(), V::Error> {
        for entry in entries {
            self.look_for_twins(group, id, &entry.path, &entry.document)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(node: u8, epoch: u64) -> Life {
        (NodeId([node; 16]), Epoch(epoch))
    }

    fn doubted(lives: impl IntoIterator<Item = Life>) -> Lives {
        let doubted = Doubted { reason: DoubtReason::Twin, since_ms: 1, proof: None, own: false };
        Lives { doubted: lives.into_iter().map(|life| (life, doubted)).collect(), ..Lives::default() }
    }

    fn written(lives: impl IntoIterator<Item = Life>) -> Frontier {
        lives.into_iter().map(|(node, epoch)| Dot { node, epoch, seq: 1 }).collect()
    }

    #[test]
    fn whoever_doubts_a_thousand_lives_of_its_own_loses_its_oldest() {
        let many = || (1..=DOUBTS_MAX as u64).map(|epoch| life(9, epoch));
        let lives = doubted(many().chain([life(1, 5)]));
        assert_eq!(lives.surplus_doubt(&written(many().chain([life(1, 5)]))), Some(life(9, 1)));
        assert_eq!(doubted(many()).surplus_doubt(&written(many())), None, "there is room for so many");
    }

    #[test]
    fn doubts_of_keys_that_wrote_nothing_push_out_none_that_matters() {
        let many = (1..=DOUBTS_MAX as u64).map(|epoch| life(1, epoch));
        let lives = doubted(many.chain([life(200, 5)]));
        assert_eq!(lives.surplus_doubt(&written([life(200, 5)])), Some(life(1, DOUBTS_MAX as u64)));
    }

    #[test]
    fn a_later_epoch_of_a_doubted_life_is_doubtful_and_an_earlier_one_is_not() {
        let lives = doubted([life(1, 5)]);
        assert!(lives.is_doubtful(life(1, 5).0, Epoch(5)));
        assert!(lives.is_doubtful(life(1, 5).0, Epoch(6)), "its past may reach into it");
        assert!(!lives.is_doubtful(life(1, 5).0, Epoch(4)));
        assert!(!lives.is_doubtful(life(2, 5).0, Epoch(5)));
    }
}
