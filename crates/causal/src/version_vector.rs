//! The causal past of one document.

use alloc::collections::BTreeMap;
use core::fmt;

use crate::dot::ordinal;
use crate::{Dot, Epoch, NodeId};

/// NodeId → the greatest `(epoch, seq)` of that node's writes *to one path* that a state covers.
///
/// Comparison is lexicographic, so a later epoch of a node covers its own earlier writes to the same path. That is
/// the only place where order is assumed rather than observed (docs/consistency.md, "after a restore").
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct VersionVector {
    tops: BTreeMap<NodeId, (Epoch, u64)>,
}

impl VersionVector {
    /// The empty past.
    pub const fn new() -> VersionVector {
        VersionVector { tops: BTreeMap::new() }
    }

    /// Whether it covers nothing.
    pub fn is_empty(&self) -> bool {
        self.tops.is_empty()
    }

    /// How many nodes it names.
    pub fn len(&self) -> usize {
        self.tops.len()
    }

    /// Whether the write `dot` is in this past.
    pub fn covers(&self, dot: Dot) -> bool {
        self.tops.get(&dot.node).is_some_and(|top| *top >= dot.position())
    }

    /// Puts `dot`, and all before it of its node, into this past.
    pub fn raise(&mut self, dot: Dot) {
        let top = self.tops.entry(dot.node).or_default();
        *top = (*top).max(dot.position());
    }

    /// The pointwise maximum.
    pub fn join(&mut self, other: &VersionVector) {
        for dot in other.tops() {
            self.raise(dot);
        }
    }

    /// Whether everything `other` covers is covered.
    pub fn dominates(&self, other: &VersionVector) -> bool {
        other.tops().all(|dot| self.covers(dot))
    }

    /// The greatest dot of each node, in node order.
    pub fn tops(&self) -> impl Iterator<Item = Dot> + '_ {
        self.tops.iter().map(|(&node, &(epoch, seq))| Dot { node, epoch, seq })
    }

    /// Node and [`Dot::ordinal`] of each top: what JSON shows as a `vectorClock`.
    pub fn ordinals(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.tops.iter().map(|(&node, &(epoch, seq))| (node, ordinal(epoch, seq)))
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tops()).finish()
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> VersionVector {
        let mut vector = VersionVector::new();
        for dot in dots {
            vector.raise(dot);
        }
        vector
    }
}
