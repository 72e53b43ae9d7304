//! The causal past of one document.

use alloc::vec::Vec;
use core::fmt;

use crate::dot::ordinal;
use crate::{Dot, Epoch, NodeId};

/// NodeId → the greatest `(epoch, seq)` of that node's writes *to one path* that a state covers.
///
/// Comparison is lexicographic, so a later epoch of a node covers its own earlier writes to the same path. That is
/// the only place where order is assumed rather than observed (docs/consistency.md, "after a restore").
///
/// Nearly every document was written by one node or two, and there is a vector in each: a short array, where a tree would
/// allocate room for eleven.
///
/// Invariant: sorted by node, without repeats.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct VersionVector {
    tops: Vec<(NodeId, (Epoch, u64))>,
}

/// Tops that are put in one after the other: as many as documents have, and too few for the moves to cost.
const JOINED_ONE_BY_ONE_MAX: usize = 16;

impl VersionVector {
    /// The empty past.
    pub const fn new() -> VersionVector {
        VersionVector { tops: Vec::new() }
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
        self.place(dot.node).is_ok_and(|at| self.tops[at].1 >= dot.position())
    }

    /// The greatest write of a node that it covers.
    pub fn top(&self, node: NodeId) -> Option<Dot> {
        let (epoch, seq) = self.place(node).ok().map(|at| self.tops[at].1)?;
        Some(Dot { node, epoch, seq })
    }

    /// Puts `dot`, and all before it of its node, into this past.
    pub fn raise(&mut self, dot: Dot) {
        match self.place(dot.node) {
            Ok(at) => self.tops[at].1 = self.tops[at].1.max(dot.position()),
            Err(at) => self.tops.insert(at, (dot.node, dot.position())),
        }
    }

    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.tops.binary_search_by_key(&node, |(node, _)| *node)
    }

    /// The pointwise maximum.
    pub fn join(&mut self, other: &VersionVector) {
        // In one pass when much is new: a peer chooses how many tops a past has, and in which places.
        if other.len() > JOINED_ONE_BY_ONE_MAX {
            *self = self.tops().chain(other.tops()).collect();
            return;
        }
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
        self.tops.iter().map(|&(node, (epoch, seq))| Dot { node, epoch, seq })
    }

    /// Node and [`Dot::ordinal`] of each top: what JSON shows as a `vectorClock`.
    pub fn ordinals(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.tops.iter().map(|&(node, (epoch, seq))| (node, ordinal(epoch, seq)))
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tops()).finish()
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> VersionVector {
        let mut tops: Vec<(NodeId, (Epoch, u64))> =
            dots.into_iter().map(|dot| (dot.node, dot.position())).collect();
        // Each node's greatest first; the others go.
        tops.sort_unstable_by(|one, other| (one.0, other.1).cmp(&(other.0, one.1)));
        tops.dedup_by_key(|(node, _)| *node);
        VersionVector { tops }
    }
}
