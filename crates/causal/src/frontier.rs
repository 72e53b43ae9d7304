//! Every dot a replica has applied, and the floor below which it has collected deletes.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;

use crate::{Dot, Epoch, IntervalSet, NodeId, VersionVector};

/// A set of dots: one [`IntervalSet`] per node and epoch.
///
/// A copy shares the rows of each node until they change: one is made with every commit, and a node may have had thousands of
/// epochs.
///
/// Invariant: no node without an epoch, no epoch without a number.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    nodes: BTreeMap<NodeId, Arc<BTreeMap<Epoch, IntervalSet>>>,
}

impl Frontier {
    /// The empty set.
    pub const fn new() -> Frontier {
        Frontier { nodes: BTreeMap::new() }
    }

    /// Whether no dot is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many dots are in it (saturating).
    pub fn len(&self) -> u64 {
        self.rows().fold(0u64, |sum, (_, _, set)| sum.saturating_add(set.len()))
    }

    /// Membership.
    pub fn contains(&self, dot: Dot) -> bool {
        self.row(dot.node, dot.epoch).is_some_and(|set| set.contains(dot.seq))
    }

    /// Adds one dot; says whether it was new.
    pub fn insert(&mut self, dot: Dot) -> bool {
        let epochs = self.nodes.entry(dot.node).or_default();
        // What is known already is no reason to part from a copy.
        if epochs.get(&dot.epoch).is_some_and(|set| set.contains(dot.seq)) {
            return false;
        }
        Arc::make_mut(epochs).entry(dot.epoch).or_default().insert(dot.seq)
    }

    /// Adds a whole row.
    pub fn insert_row(&mut self, node: NodeId, epoch: Epoch, set: &IntervalSet) {
        if !set.is_empty() {
            let epochs = self.nodes.entry(node).or_default();
            if !epochs.get(&epoch).is_some_and(|known| known.is_superset(set)) {
                Arc::make_mut(epochs).entry(epoch).or_default().union_with(set);
            }
        }
    }

    /// Adds a whole row, which is not in it yet, without copying it.
    pub(crate) fn put_row(&mut self, node: NodeId, epoch: Epoch, set: IntervalSet) {
        if !set.is_empty() {
            Arc::make_mut(self.nodes.entry(node).or_default()).insert(epoch, set);
        }
    }

    /// Adds everything of `other`.
    pub fn union_with(&mut self, other: &Frontier) {
        for (node, epoch, set) in other.rows() {
            self.insert_row(node, epoch, set);
        }
    }

    /// What is in `self` and not in `other`.
    pub fn difference(&self, other: &Frontier) -> Frontier {
        let mut left = Frontier::new();
        for (node, epoch, set) in self.rows() {
            match other.row(node, epoch) {
                Some(taken) => left.insert_row(node, epoch, &set.difference(taken)),
                None => left.insert_row(node, epoch, set),
            }
        }
        left
    }

    /// Takes everything of `other` out of `self`.
    pub fn remove_all(&mut self, other: &Frontier) {
        for (node, epoch, set) in other.rows() {
            let Entry::Occupied(mut epochs) = self.nodes.entry(node) else { continue };
            if !epochs.get().contains_key(&epoch) {
                continue;
            }
            if let Entry::Occupied(mut row) = Arc::make_mut(epochs.get_mut()).entry(epoch) {
                let left = row.get().difference(set);
                if left.is_empty() {
                    row.remove();
                } else {
                    row.insert(left);
                }
            }
            if epochs.get().is_empty() {
                epochs.remove();
            }
        }
    }

    /// Takes out every dot of `top`'s node that is later than `top`, by epoch and number; the greatest that was there.
    pub fn remove_later(&mut self, top: Dot) -> Option<Dot> {
        let epochs = self.nodes.get(&top.node)?;
        let (epoch, set) = epochs.last_key_value()?;
        let seq = set.last()?;
        let greatest = Dot { node: top.node, epoch: *epoch, seq };
        if greatest.position() <= top.position() {
            return None;
        }
        let mut later = Frontier::new();
        for (epoch, set) in epochs.range(top.epoch..) {
            let kept = if *epoch == top.epoch { top.seq } else { 0 };
            later.insert_row(top.node, *epoch, &set.difference(&IntervalSet::range(1, kept)));
        }
        self.remove_all(&later);
        Some(greatest)
    }

    /// What is in `self` and not in a past.
    pub fn beyond(&self, past: &VersionVector) -> Frontier {
        let mut left = Frontier::new();
        for (node, epoch, set) in self.rows() {
            match past.top(node) {
                Some(top) if top.epoch > epoch => {}
                Some(top) if top.epoch == epoch => {
                    left.insert_row(node, epoch, &set.difference(&IntervalSet::range(1, top.seq)));
                }
                _ => left.insert_row(node, epoch, set),
            }
        }
        left
    }

    /// Whether everything of `other` is in `self`.
    pub fn is_superset(&self, other: &Frontier) -> bool {
        other.rows().all(|(node, epoch, set)| self.row(node, epoch).is_some_and(|mine| mine.is_superset(set)))
    }

    /// The numbers applied of one epoch of one node.
    pub fn row(&self, node: NodeId, epoch: Epoch) -> Option<&IntervalSet> {
        self.nodes.get(&node)?.get(&epoch)
    }

    /// The epochs known of one node, ascending.
    pub fn epochs(&self, node: NodeId) -> impl Iterator<Item = (Epoch, &IntervalSet)> {
        self.nodes.get(&node).into_iter().flat_map(|epochs| epochs.iter()).map(|(epoch, set)| (*epoch, set))
    }

    /// The nodes of which a dot is known, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys().copied()
    }

    /// Every row in (node, epoch) order.
    pub fn rows(&self) -> impl Iterator<Item = (NodeId, Epoch, &IntervalSet)> {
        self.nodes
            .iter()
            .flat_map(|(node, epochs)| epochs.iter().map(move |(epoch, set)| (*node, *epoch, set)))
    }

    /// The dots, ascending. Costs as much as there are dots.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.rows().flat_map(|(node, epoch, set)| set.iter().map(move |seq| Dot { node, epoch, seq }))
    }

    /// The greatest dot of each node, as a version vector.
    pub fn tops(&self) -> VersionVector {
        let mut tops = VersionVector::new();
        for (node, epoch, set) in self.rows() {
            if let Some(seq) = set.last() {
                tops.raise(Dot { node, epoch, seq });
            }
        }
        tops
    }

    /// Whether no dot at or below `top` is missing, as far as this frontier can know: every known epoch of that
    /// node up to the dot's is dense, and the dot's own epoch reaches the dot.
    pub fn is_dense_to(&self, top: Dot) -> bool {
        // What is missing above the dot, perhaps for ever after a restore, does not matter to it.
        let reaches = |set: &IntervalSet| matches!(set.ranges(), [(1, last), ..] if *last >= top.seq);
        self.row(top.node, top.epoch).is_some_and(reaches)
            && self.epochs(top.node).all(|(epoch, set)| epoch >= top.epoch || set.is_dense())
    }
}

impl FromIterator<Dot> for Frontier {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Frontier {
        let mut frontier = Frontier::new();
        for dot in dots {
            frontier.insert(dot);
        }
        frontier
    }
}

impl core::fmt::Debug for Frontier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.rows().map(|(node, epoch, set)| ((node, epoch), set))).finish()
    }
}

/// The garbage-collection floor: per node and epoch, the greatest `seq` of a tombstone this replica has collected.
///
/// A peer that lacks a dot at or below the floor may still hold what a collected delete removed, so it is fenced:
/// it meets a digest session before the log serves it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Floor {
    rows: BTreeMap<(NodeId, Epoch), u64>,
}

impl Floor {
    /// Nothing was ever collected.
    pub const fn new() -> Floor {
        Floor { rows: BTreeMap::new() }
    }

    /// Whether nothing was ever collected.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Raises the floor to the dot of a collected tombstone; says whether that changed it.
    pub fn raise(&mut self, dot: Dot) -> bool {
        let row = self.rows.entry((dot.node, dot.epoch)).or_insert(0);
        let higher = dot.seq > *row;
        *row = dot.seq.max(*row);
        higher
    }

    /// Raises to everything of `other`; returns the rows that changed.
    pub fn join(&mut self, other: &Floor) -> alloc::vec::Vec<Dot> {
        other.rows().filter(|dot| self.raise(*dot)).collect()
    }

    /// The rows, each as the greatest collected dot of its epoch.
    pub fn rows(&self) -> impl Iterator<Item = Dot> + '_ {
        self.rows.iter().map(|(&(node, epoch), &seq)| Dot { node, epoch, seq })
    }

    /// Whether a dot is at or below this floor.
    pub fn covers(&self, dot: Dot) -> bool {
        self.rows.get(&(dot.node, dot.epoch)).is_some_and(|top| dot.seq <= *top)
    }

    /// Whether `peer` lacks a dot of `ours` at or below this floor.
    pub fn fences(&self, ours: &Frontier, peer: &Frontier) -> bool {
        self.rows().any(|top| {
            let Some(applied) = ours.row(top.node, top.epoch) else { return false };
            let below = applied.intersection(&IntervalSet::range(1, top.seq));
            match peer.row(top.node, top.epoch) {
                Some(theirs) => !theirs.is_superset(&below),
                None => !below.is_empty(),
            }
        })
    }
}
