//! Receipts: which other nodes hold a write, asked of the peers and of theirs.
//!
//! A receipt is about a moment: that node had committed the write, as durably as its own [`crate::Durability`] says.
//! Nothing is kept up for receipts; a node that nobody asks sends nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rejoin_causal::{Dot, NodeId};
use rejoin_replica::config::{RECEIPT_DOTS_MAX, RECEIPT_WAIT_MS_MAX};
use rejoin_replica::path::Path;
use rejoin_replica::{RequestId, View as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::shared::{Job, Shared};
use crate::{Error, Node};

/// Longest wait for a receipt.
pub const RECEIPT_WAIT_MAX: Duration = Duration::from_millis(RECEIPT_WAIT_MS_MAX);

/// Which other nodes are known to hold some writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Those nodes, in the order in which they were heard of.
    pub holders: Vec<NodeId>,
    /// As many as were wanted.
    pub complete: bool,
}

/// Which of the nodes that this one knows of hold the current versions of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The path.
    pub path: Path,
    /// Its live versions here.
    pub versions: Vec<Dot>,
    /// The other nodes, by id.
    pub nodes: Vec<NodeAt>,
}

/// One other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its id.
    pub id: NodeId,
    /// Its name, when it is linked.
    pub name: Option<String>,
    /// Whether there is a link to it.
    pub linked: bool,
    /// Whether it has said that it holds these versions, or newer ones. False: not in this time, which says nothing of
    /// a node that cannot be reached.
    pub holds: bool,
}

impl Node {
    /// Waits until `wanted` other nodes hold these writes, or for at most that long ([`RECEIPT_WAIT_MAX`]).
    ///
    /// Nodes at most four links away are asked. Those that come up meanwhile are asked as well.
    pub async fn receipt(&self, writes: &[Dot], wanted: usize, at_most: Duration) -> Result<Receipt, Error> {
        if writes.len() > RECEIPT_DOTS_MAX {
            return Err(Error::Config(format!("a receipt is of at most {RECEIPT_DOTS_MAX} writes")));
        }
        let mut holders = Vec::new();
        if wanted > 0 {
            let deadline = Instant::now() + at_most.min(RECEIPT_WAIT_MAX);
            let mut question = self.question(writes.to_vec(), at_most).await?;
            while holders.len() < wanted {
                match tokio::time::timeout_at(deadline, question.holders.recv()).await {
                    Ok(Some(holder)) => holders.push(holder),
                    Ok(None) => return Err(self.shared().ended()),
                    Err(_) => break,
                }
            }
        }
        let complete = holders.len() >= wanted;
        Ok(Receipt { holders, complete })
    }

    /// Which known nodes hold the current versions of a path: those that are linked or dialed, and those that wrote
    /// anything that is known here. Waits at most that long for those that do not hold them yet, or are gone.
    pub async fn whereabouts(&self, path: &Path, at_most: Duration) -> Result<Whereabouts, Error> {
        let record = self.shared().snapshot()?.record(path)?;
        let document = record.map(|record| record.document).filter(|document| !document.is_empty());
        let document = document.ok_or(Error::NotFound { deleted: false })?;
        let versions: Vec<Dot> = document.versions().iter().map(|version| version.dot).collect();
        let own = NodeId(self.shared().identity().key.id());
        let peers = self.peers();
        let mut known: BTreeSet<NodeId> = self.shared().applied().frontier.nodes().collect();
        known.extend(peers.iter().filter_map(|peer| peer.id));
        known.remove(&own);
        let receipt = match versions.len() <= RECEIPT_DOTS_MAX {
            true => self.receipt(&versions, known.len(), at_most).await?,
            false => Receipt { holders: Vec::new(), complete: false },
        };
        known.extend(&receipt.holders);
        let at = |id: NodeId| {
            let peer = peers.iter().find(|peer| peer.id == Some(id));
            NodeAt {
                id,
                name: peer.and_then(|peer| peer.name.clone()),
                linked: peer.is_some_and(|peer| peer.state == crate::PeerState::Connected),
                holds: receipt.holders.contains(&id),
            }
        };
        Ok(Whereabouts { path: path.clone(), versions, nodes: known.into_iter().map(at).collect() })
    }

    async fn question(&self, dots: Vec<Dot>, at_most: Duration) -> Result<Question, Error> {
        let wait_ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX).min(RECEIPT_WAIT_MS_MAX);
        // Each node is told of once, so the channel holds as many as there are nodes, at most.
        let (told, holders) = mpsc::unbounded_channel();
        let shared = Arc::clone(self.shared());
        let request = shared.ask(|answer| Job::AskHolders { dots, wait_ms, told, answer }).await?;
        Ok(Question { shared, request, holders })
    }
}

/// An open question; forgotten when dropped.
struct Question {
    shared: Arc<Shared>,
    request: RequestId,
    holders: mpsc::UnboundedReceiver<NodeId>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.shared.jobs.force(Job::ForgetHolders(self.request));
    }
}
