//! Receipts: asked for as a client does, and held against the disks of those that are said to hold a write.

use std::collections::BTreeSet;

use rejoin_causal::{Dot, NodeId};
use rejoin_replica::message::Holder;
use rejoin_replica::{Input, RequestId, View};

use super::World;
use crate::plant::Plant;
use crate::violation::{Promise, Violation, ensure};

impl World {
    /// A client asks which other nodes hold these writes.
    pub fn ask_for_holders(&mut self, node: usize, dots: Vec<Dot>, wait_ms: u64) -> RequestId {
        let request = self.new_request();
        self.asked.insert(request, dots.clone());
        self.tell(node, Input::AskHolders { request, dots, wait_ms });
        request
    }

    /// A client asks which other nodes hold the newest write of a node, if that has made any.
    pub fn ask_for_holders_of_newest(&mut self, node: usize, wait_ms: u64) {
        let this = &self.nodes[node];
        let seq = this.process.as_ref().map_or(0, |process| process.last_seq);
        if seq > 0 {
            let dot = Dot { node: this.id, epoch: this.epoch, seq };
            self.ask_for_holders(node, vec![dot], wait_ms);
        }
    }

    /// The nodes that were said to hold what was asked for, so far.
    pub fn holders(&self, request: RequestId) -> BTreeSet<NodeId> {
        self.holders.get(&request).cloned().unwrap_or_default()
    }

    /// The receipt of a node, with a stand-in for its signature that lying members cannot make: they do not ask for it.
    pub(super) fn attest(&self, node: NodeId, id: Dot, digest: [u8; 16]) -> Holder {
        let key = *blake3::hash(&node.0).as_bytes();
        let statement = Holder::statement(&[0; 16], id, &digest, node);
        let (first, second) = (blake3::keyed_hash(&key, &statement), blake3::keyed_hash(&SEAL, &statement));
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(first.as_bytes());
        signature[32..].copy_from_slice(second.as_bytes());
        Holder { id, digest, node, key, signature }
    }

    /// What a node's shell lets through of receipts.
    pub(super) fn signed(&mut self, mut holders: Vec<Holder>) -> Vec<Holder> {
        if self.settings.plant == Some(Plant::ReceiptsUnsigned) {
            return holders;
        }
        let came = holders.len();
        holders.retain(|holder| *holder == self.attest(holder.node, holder.id, holder.digest));
        if holders.len() < came {
            self.trace.mark("unsigned receipts");
        }
        holders
    }

    pub(super) fn holder(
        &mut self,
        node: usize,
        request: RequestId,
        holder: NodeId,
    ) -> Result<(), Violation> {
        let name = self.nodes[node].name.clone();
        let dots = self.asked.get(&request).cloned().unwrap_or_default();
        let new = self.holders.entry(request).or_default().insert(holder);
        let asks_itself = self.nodes[node].id == holder;
        // A twin answers under the name of whoever asks.
        ensure(self.oracle.has_forks() || new && !asks_itself, Promise::Receipts, || {
            format!("{name} counts {holder:?} twice, or itself")
        })?;
        self.trace.mark("receipt");
        // A disk that went back in time since it answered, and a clone under two names, tell nothing.
        if self.history_was_lost {
            return Ok(());
        }
        let Some(other) = self.nodes.iter().find(|other| other.id == holder) else { return Ok(()) };
        let store = rejoin_store::Store::open(other.engine.clone(), rejoin_store::SyncPolicy::Never);
        let frontier = store.and_then(|store| store.snapshot().frontier());
        let frontier = frontier
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        ensure(dots.iter().all(|dot| frontier.contains(*dot)), Promise::Receipts, || {
            format!("{name} has a receipt of {} for {dots:?}, which is not on its disk", other.name)
        })
    }
}

/// What a node keeps to itself, for all of them: nobody in here signs for another.
const SEAL: [u8; 32] = *b"a key that no member of it knows";
