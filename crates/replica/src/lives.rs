//! What peers say of lives without proof: of writes of this node that it never made, and of lives that nobody here has seen
//! a document of.
//!
//! A version vector or a frontier is not signed, and whoever passes it on may be as honest as can be. So a name for a write
//! of ours that we never made closes no link. It is cut from what is taken in: in a past it would hide what this node writes
//! next, in the frontier it would make it known before it exists. And somebody hears of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Floor, Frontier, NodeId, plant};

use crate::body::Document;
use crate::config::CLAIMED_RANGES_MAX;
use crate::effect::{Alarm, Effect};
use crate::input::LinkId;
use crate::message::Entry;
use crate::replica::{Group, Replica};

/// What was taken of peers without proof.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unproved {
    /// Lives that were unknown here when a peer claimed writes of them. Each once: what waits is claimed again in every round.
    lives: BTreeMap<NodeId, BTreeSet<(NodeId, Epoch)>>,
}

/// Whether a peer may name one more life that was unknown here: only so many, because what names them stays for good.
fn may_name(named: &mut BTreeSet<(NodeId, Epoch)>, life: (NodeId, Epoch), lives_max: usize) -> bool {
    named.contains(&life) || named.len() < lives_max && named.insert(life)
}

impl Replica {
    /// Whether this node's own count says that there is no such write.
    fn is_unmade(&self, dot: Dot) -> bool {
        dot.node == self.node && dot.position() > (self.epoch, self.seq)
    }

    /// The greatest write that this node has made.
    fn made_to(&self) -> Dot {
        Dot { node: self.node, epoch: self.epoch, seq: self.seq }
    }

    /// Somebody names a write of this node that this one never made: it may be a lie, of that peer or of one that it
    /// believed, or another process under this node's identity.
    ///
    /// Nothing that is not signed makes a node give its identity up: that is for doubts (doubt.rs). While it is suspected,
    /// nothing that rests on this life is removed here.
    fn heard_of<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, dot: Dot) {
        let Some(peer) = self.links.get(&link).map(|link| link.peer) else { return };
        self.tally.unmade_writes += 1;
        group.effects.push(Effect::Alarm(Alarm::UnmadeWrite { link, peer, dot }));
        if dot.epoch == self.epoch {
            self.suspect((self.node, self.epoch), group.now.steady_ms);
        }
    }

    /// A document without writes of this node that it never made; `None` when nothing is left of it.
    ///
    /// What the past says of this node goes with them, but for the versions that stay: which of this node's writes such a
    /// past has really seen cannot be told, and a sibling too many is not a loss.
    pub(crate) fn made<V>(
        &mut self,
        group: &mut Group<'_, V>,
        link: LinkId,
        mut entry: Entry,
    ) -> Option<Entry> {
        let named = entry.document.vv().tops().find(|dot| self.is_unmade(*dot));
        let Some(named) = named else { return Some(entry) };
        self.heard_of(group, link, named);
        if plant::is("merge-unmade") {
            return Some(entry);
        }
        if self.renewing.is_some() {
            // Under the new identity these are writes of another node; they come again over links made anew.
            self.refuse(link, core::slice::from_ref(&entry), 0, group.now.wall_ms);
            return None;
        }
        let versions = entry.document.versions().iter().filter(|version| !self.is_unmade(version.dot));
        let versions: Vec<_> = versions.cloned().collect();
        if versions.is_empty() {
            return None;
        }
        let others = entry.document.vv().tops().filter(|dot| dot.node != self.node);
        let past = others.chain(versions.iter().map(|version| version.dot)).collect();
        entry.document = Document::from_parts(past, versions)?;
        entry.superseded.retain(|dot| dot.node != self.node);
        Some(entry)
    }

    /// The same of dots that a peer has applied.
    pub(crate) fn made_dots<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, dots: &mut Frontier) {
        if plant::is("merge-unmade") {
            return;
        }
        if let Some(named) = dots.remove_later(self.made_to()) {
            self.heard_of(group, link, named);
        }
    }

    /// The same of a floor, and without rows of too many lives that nothing is known of here.
    pub(crate) fn made_floor<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, floor: &Floor) -> Floor {
        let Some(peer) = self.links.get(&link).map(|link| link.peer) else { return Floor::new() };
        let lives = self.unproved.lives.remove(&peer);
        let (mut lives, lives_max) = (lives.unwrap_or_default(), self.config.unexplained_rows_max);
        let (mut made, mut named, mut refused) = (Floor::new(), None, 0u64);
        for top in floor.rows() {
            let life = (top.node, top.epoch);
            let is_known = || {
                self.frontier.row(top.node, top.epoch).is_some() || self.floor.covers(Dot { seq: 1, ..top })
            };
            if self.is_unmade(top) {
                named = Some(top);
            } else if is_known() || may_name(&mut lives, life, lives_max) {
                made.raise(top);
            } else {
                refused += 1;
            }
        }
        self.unproved.lives.insert(peer, lives);
        if let Some(named) = named {
            self.heard_of(group, link, named);
        }
        if refused > 0 {
            group.effects.push(Effect::Alarm(Alarm::UnexplainedRows { peer, rows: refused }));
        }
        made
    }

    /// Claims without those that a peer makes of too many lives that nothing is known of here, or in too many pieces: they
    /// would stay in the frontier for good.
    pub(crate) fn explained<V>(
        &mut self,
        group: &mut Group<'_, V>,
        link: LinkId,
        claims: Frontier,
    ) -> Frontier {
        let Some(peer) = self.links.get(&link).map(|link| link.peer) else { return Frontier::new() };
        let lives_max = self.config.unexplained_rows_max;
        let lives = self.unproved.lives.entry(peer).or_default();
        let (mut explained, mut refused) = (Frontier::new(), 0u64);
        for (node, epoch, set) in claims.rows() {
            let known = self.frontier.row(node, epoch);
            let in_pieces =
                set.ranges().len() > CLAIMED_RANGES_MAX.max(known.map_or(0, |known| known.ranges().len()));
            if in_pieces || known.is_none() && !may_name(lives, (node, epoch), lives_max) {
                refused += 1;
                continue;
            }
            explained.insert_row(node, epoch, set);
        }
        if refused > 0 {
            group.effects.push(Effect::Alarm(Alarm::UnexplainedRows { peer, rows: refused }));
        }
        explained
    }
}
