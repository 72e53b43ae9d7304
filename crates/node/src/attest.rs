//! Receipts are a node's own word: signing this node's, and checking others' before the replica hears of them.

use std::time::{Duration, Instant};

use rejoin_causal::{Dot, NodeId};
use rejoin_link::{Identity, is_receipt_of};
use rejoin_replica::message::Holder;
use rejoin_replica::{Alarm, LinkId, Message};

use crate::shared::Shared;

/// Receipts that one link may have checked in [`CHECKS_WINDOW`]: 8,192, some half a second of one core. Beyond them they are
/// dropped, and whoever asked hears of fewer nodes.
const CHECKS_MAX: usize = 8_192;

/// See [`CHECKS_MAX`].
const CHECKS_WINDOW: Duration = Duration::from_secs(10);

/// Receipts that are checked without leaving the thread: 16, less than a millisecond.
const CHECKED_AT_ONCE_MAX: usize = 16;

/// This node's receipt for a question.
pub(crate) fn sign(identity: &Identity, id: Dot, digest: [u8; 16]) -> Holder {
    let node = NodeId(identity.key.id());
    let statement = Holder::statement(&identity.cluster.0, id, &digest, node);
    let (key, signature) = (identity.key.public(), identity.key.sign_receipt(&statement));
    Holder { id, digest, node, key, signature }
}

/// The receipts that came over one link.
#[derive(Debug)]
pub(crate) struct Checks {
    window_ends: Instant,
    left: usize,
}

impl Checks {
    pub(crate) fn new() -> Checks {
        Checks { window_ends: Instant::now() + CHECKS_WINDOW, left: CHECKS_MAX }
    }

    /// The message without receipts that nobody has signed.
    pub(crate) async fn checked(
        &mut self,
        shared: &Shared,
        (link, peer): (LinkId, NodeId),
        message: Message,
    ) -> Message {
        let Message::Holders(mut holders) = message else { return message };
        let now = Instant::now();
        if now >= self.window_ends {
            *self = Checks::new();
        }
        holders.truncate(self.left);
        self.left -= holders.len();
        let cluster = shared.identity().cluster.0;
        let came = holders.len();
        let check = move || -> Vec<Holder> {
            holders.into_iter().filter(|holder| is_signed(&cluster, holder)).collect()
        };
        let holders = match came > CHECKED_AT_ONCE_MAX {
            true => tokio::task::spawn_blocking(check).await.unwrap_or_default(),
            false => check(),
        };
        if holders.len() < came {
            let count = (came - holders.len()) as u64;
            shared.alarms.raise(&Alarm::UnsignedReceipts { link, peer, count });
        }
        Message::Holders(holders)
    }
}

fn is_signed(cluster: &[u8; 16], holder: &Holder) -> bool {
    let Holder { id, digest, node, key, signature } = holder;
    is_receipt_of(&node.0, key, &Holder::statement(cluster, *id, digest, *node), signature)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rejoin_causal::Epoch;
    use rejoin_link::{ClusterId, NodeKey, OpenHandshakes};

    use super::*;

    #[test]
    fn a_receipt_counts_in_its_cluster_for_its_question_and_for_nobody_else() {
        let identity = Identity {
            key: Arc::new(NodeKey::from_seed([7; 32])),
            cluster: ClusterId([1; 16]),
            secret: None,
            name: String::new(),
            epoch: 1,
            policy: [0; 16],
            handshakes: OpenHandshakes::default(),
        };
        let id = Dot { node: NodeId([9; 16]), epoch: Epoch(1), seq: 4 };
        let holder = sign(&identity, id, [3; 16]);
        assert!(is_signed(&[1; 16], &holder));
        assert!(!is_signed(&[2; 16], &holder), "another cluster");
        let forged = |change: fn(&mut Holder)| {
            let mut forged = holder.clone();
            change(&mut forged);
            is_signed(&[1; 16], &forged)
        };
        assert!(!forged(|holder| holder.id.seq += 1), "another question");
        assert!(!forged(|holder| holder.digest[0] ^= 1), "other writes");
        assert!(!forged(|holder| holder.node.0[0] ^= 1), "another node");
        assert!(!forged(|holder| holder.key = NodeKey::from_seed([8; 32]).public()), "another key");
        assert!(!forged(|holder| holder.signature[0] ^= 1), "another signature");
    }
}
