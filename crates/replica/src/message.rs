//! What replicas say to each other. docs/protocol.md tells the conversation; [`crate::codec`] has the bytes.

use alloc::vec::Vec;

use rejoin_causal::{Dot, Floor, Frontier, NodeId};

use crate::body::Document;
use crate::once::Kept;
use crate::path::Path;
use crate::policy::first_16;
use crate::statement::Statement;
use crate::view::Summary;

/// A document on its way, with the dots that its receiver may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: Path,
    /// The whole current state: merging it is all a receiver needs to do.
    pub document: Document,
    /// Dots that the state supersedes and that were new in the same commit. The dots of the live versions are
    /// claimed as well and are not repeated here.
    pub superseded: Vec<Dot>,
}

impl Entry {
    /// Every dot that a receiver has applied once it has merged the document.
    pub fn claims(&self) -> impl Iterator<Item = Dot> + '_ {
        self.document.versions().iter().map(|version| version.dot).chain(self.superseded.iter().copied())
    }
}

/// The state of a path in a digest session; `None` when the sender has no document there.
pub type PathState = (Path, Option<Document>);

/// A run of paths by storage key, `lower..upper`, with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// First key in the run.
    pub lower: Vec<u8>,
    /// First key after the run; `None`: to the end.
    pub upper: Option<Vec<u8>>,
    /// The sender's digest of it.
    pub summary: Summary,
}

/// A short run of paths, listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First key in the run.
    pub lower: Vec<u8>,
    /// First key after the run; `None`: to the end.
    pub upper: Option<Vec<u8>>,
    /// The sender's documents with a value, each with half of its fingerprint.
    pub items: Vec<(Path, u64)>,
}

/// Asks who has applied some writes, and made that durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Names the question: the life of the node that asks, and its number there.
    pub id: Dot,
    /// Links that it may still cross beyond the receiver.
    pub hops: u8,
    /// How long the asking node waits for answers from now on, in milliseconds.
    pub wait_ms: u64,
    /// The writes.
    pub dots: Vec<Dot>,
}

impl Question {
    /// Names the writes of a question: the head of BLAKE3 over their dots, in the order of the question.
    pub fn digest(dots: &[Dot]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for dot in dots {
            hasher.update(&dot.node.0);
            hasher.update(&dot.epoch.0.to_be_bytes());
            hasher.update(&dot.seq.to_be_bytes());
        }
        first_16(&hasher.finalize())
    }
}

/// Answers a question: that node has applied all of its writes, and has committed that. It is the node's own word: others
/// only pass it on.
///
/// Whoever hands one to a replica has checked that the key is the node's, and the signature the key's over
/// [`Holder::statement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The question.
    pub id: Dot,
    /// Which writes it asks for ([`Question::digest`]).
    pub digest: [u8; 16],
    /// The node.
    pub node: NodeId,
    /// Its public key.
    pub key: [u8; 32],
    /// Its signature.
    pub signature: [u8; 64],
}

impl Holder {
    /// What the node signs: in which cluster it answers which question, about which writes, and who it is.
    pub fn statement(cluster: &[u8; 16], id: Dot, digest: &[u8; 16], node: NodeId) -> Vec<u8> {
        let mut bytes = Vec::from(RECEIPT_DOMAIN);
        bytes.extend_from_slice(cluster);
        bytes.extend_from_slice(&id.node.0);
        bytes.extend_from_slice(&id.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&id.seq.to_be_bytes());
        bytes.extend_from_slice(digest);
        bytes.extend_from_slice(&node.0);
        bytes
    }
}

/// Keeps these signatures apart from all others that the same key makes.
const RECEIPT_DOMAIN: &[u8] = b"rejoin receipt 2\0";

/// One message. Either side may send any of them at any time; what makes no sense closes the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Opens an exchange of frontiers: "this is all I have, in 40 bytes".
    Probe {
        /// The number of the exchange on this link: odd from the side that dialed, even from the other, and growing.
        exchange: u64,
        /// Digest of the sender's frontier.
        frontier: [u8; 16],
        /// Digest of the sender's documents.
        values: Summary,
    },
    /// Answers a probe: frontiers and documents are equal.
    Same,
    /// Answers a probe: frontiers are equal and documents are not. A digest session follows.
    Differ,
    /// Answers a probe: frontiers differ. One digest per node, over its epochs.
    Nodes(Vec<(NodeId, [u8; 8])>),
    /// The asking side's rows of the nodes whose digests differ.
    Ask {
        /// Those nodes, with or without rows.
        nodes: Vec<NodeId>,
        /// What the sender has of them.
        rows: Frontier,
        /// How many documents the sender has: one without any has nothing to resurrect and needs no fence.
        documents: u64,
    },
    /// The answering side's rows of the same nodes.
    Answer {
        /// What the sender has of them.
        rows: Frontier,
        /// As in `Ask`.
        documents: u64,
    },
    /// Live push: the documents of a commit.
    Push(Vec<Entry>),
    /// Catch-up: documents from a snapshot, in log order. Costs credit.
    Chunk(Vec<Entry>),
    /// The end of a catch-up: every dot of the difference, those without a live version included.
    CaughtUp {
        /// The exchange that this answers, once: the receiver believes what it lacked in it. 0 for a catch-up that no exchange
        /// led to, which claims nothing.
        exchange: u64,
        /// What the receiver now has.
        claims: Frontier,
    },
    /// The sender's collection floor, as far as it rose since it was last sent: ahead of every push and catch-up that
    /// may rely on it.
    Floor(Floor),
    /// The receiver of chunks has committed that many bytes of them.
    Credit(u64),
    /// Opens a digest session.
    AuditOpen {
        /// The sender's frontier, of the snapshot that the session reads.
        frontier: Frontier,
        /// Its collection floor: what the session removes must not be served to others without this fence.
        floor: Floor,
    },
    /// Accepts it.
    AuditAccept {
        /// The accepting side's frontier, of its own snapshot.
        frontier: Frontier,
        /// Its collection floor.
        floor: Floor,
    },
    /// Ranges to compare.
    Compare(Vec<Range>),
    /// Where they differ: longer ranges cut up, shorter ones listed.
    Differences {
        /// Digests of parts of unequal ranges.
        splits: Vec<Range>,
        /// Unequal ranges short enough to list.
        leaves: Vec<Leaf>,
    },
    /// The opener's state of paths that differ; the other side answers with its own.
    Exchange(Vec<PathState>),
    /// The other side's state of those paths.
    Exchanged {
        /// The states.
        states: Vec<PathState>,
        /// Whether these were the last of the paths asked for.
        last: bool,
    },
    /// In a digest session: these differ, and are too large to travel. Their paths are not swept, so what either side claims
    /// next is not taken.
    Withheld(Vec<Path>),
    /// The digest session is over, on both sides once both have said so.
    AuditDone,
    /// Who has applied these writes?
    Question(Vec<Question>),
    /// These nodes have.
    Holders(Vec<Holder>),
    /// The sender has applied these, and does not push them over this link.
    Have(Frontier),
    /// The sender misses what was announced: push it, and from now on everything.
    Graft,
    /// The sender gets everything twice: announce from now on, and do not push.
    Prune,
    /// What nodes have signed about their lives, verified by whoever decoded it: ahead of what rests on them.
    Statements(Vec<Statement>),
    /// These are with the sender and not applied: their stamps are from its future. They need not be sent again while this
    /// link is up. Stands for what was said so before; goes ahead of the sender's rows in an exchange.
    Held(Frontier),
    /// What was answered to requests that may come again, ahead of what brings their writes.
    Kept(Vec<Kept>),
    /// What the sender's wall clock reads.
    Clock {
        /// In Unix milliseconds.
        wall_ms: u64,
    },
}

impl Message {
    /// Whether it belongs to a question, a digest session or a catch-up: a peer that goes on with one says such.
    pub(crate) fn is_of_a_session(&self) -> bool {
        !matches!(
            self,
            Message::Push(_)
                | Message::Floor(_)
                | Message::Question(_)
                | Message::Holders(_)
                | Message::Have(_)
                | Message::Graft
                | Message::Prune
                | Message::Held(_)
                | Message::Kept(_)
                | Message::Clock { .. }
        )
    }

    /// The message's name in logs and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Probe { .. } => "probe",
            Message::Same => "same",
            Message::Differ => "differ",
            Message::Nodes(_) => "nodes",
            Message::Ask { .. } => "ask",
            Message::Answer { .. } => "answer",
            Message::Push(_) => "push",
            Message::Chunk(_) => "chunk",
            Message::CaughtUp { .. } => "caught-up",
            Message::Floor(_) => "floor",
            Message::Credit(_) => "credit",
            Message::AuditOpen { .. } => "audit-open",
            Message::AuditAccept { .. } => "audit-accept",
            Message::Compare(_) => "compare",
            Message::Differences { .. } => "differences",
            Message::Exchange(_) => "exchange",
            Message::Exchanged { .. } => "exchanged",
            Message::Withheld(_) => "withheld",
            Message::AuditDone => "audit-done",
            Message::Question(_) => "question",
            Message::Holders(_) => "holders",
            Message::Have(_) => "have",
            Message::Graft => "graft",
            Message::Prune => "prune",
            Message::Statements(_) => "statements",
            Message::Held(_) => "held",
            Message::Kept(_) => "kept",
            Message::Clock { .. } => "clock",
        }
    }
}
