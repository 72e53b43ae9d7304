//! Comparing frontiers in few bytes: one digest for all, one per node, then rows for the nodes that differ.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use rejoin_causal::{Frontier, NodeId};

use crate::policy::first_16;

/// Digest of what is known of one node, over its epochs.
fn node_digest(frontier: &Frontier, node: NodeId) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    for (epoch, set) in frontier.epochs(node) {
        hasher.update(&epoch.0.to_le_bytes());
        hasher.update(&(set.ranges().len() as u64).to_le_bytes());
        for (first, last) in set.ranges() {
            hasher.update(&first.to_le_bytes());
            hasher.update(&last.to_le_bytes());
        }
    }
    let mut digest = [0; 8];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    digest
}

/// Each node's digest, in node order.
pub(crate) fn node_digests(frontier: &Frontier) -> Vec<(NodeId, [u8; 8])> {
    frontier.nodes().map(|node| (node, node_digest(frontier, node))).collect()
}

/// Digest of the whole frontier.
pub fn frontier_digest(frontier: &Frontier) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for (node, digest) in node_digests(frontier) {
        hasher.update(&node.0);
        hasher.update(&digest);
    }
    first_16(&hasher.finalize())
}

/// The nodes of which `ours` and the frontier behind `theirs` differ.
pub(crate) fn differing(ours: &Frontier, theirs: &[(NodeId, [u8; 8])]) -> BTreeSet<NodeId> {
    let ours = node_digests(ours);
    let only = |these: &[(NodeId, [u8; 8])], those: &[(NodeId, [u8; 8])]| -> Vec<NodeId> {
        let those: BTreeSet<_> = those.iter().collect();
        these.iter().filter(|row| !those.contains(row)).map(|row| row.0).collect()
    };
    only(&ours, theirs).into_iter().chain(only(theirs, &ours)).collect()
}

/// The rows of some nodes.
pub(crate) fn rows_of(frontier: &Frontier, nodes: &BTreeSet<NodeId>) -> Frontier {
    let mut rows = Frontier::new();
    for node in nodes {
        for (epoch, set) in frontier.epochs(*node) {
            rows.insert_row(*node, epoch, set);
        }
    }
    rows
}

/// A peer's whole frontier: the peer's own rows where it differs, ours where it does not.
pub(crate) fn peer_frontier(ours: &Frontier, differing: &BTreeSet<NodeId>, rows: &Frontier) -> Frontier {
    let mut peer = Frontier::new();
    for (node, epoch, set) in ours.rows().filter(|(node, ..)| !differing.contains(node)) {
        peer.insert_row(node, epoch, set);
    }
    // Rows of nodes that nobody asked for would be a claim we cannot place.
    for (node, epoch, set) in rows.rows().filter(|(node, ..)| differing.contains(node)) {
        peer.insert_row(node, epoch, set);
    }
    peer
}
