//! Everything a replica can ask for, sealed until the commit it depends on is durable.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, NodeId, VersionVector};

use crate::batch::Batch;
use crate::input::{LinkId, RequestId};
use crate::message::{Message, PathState};
use crate::path::Path;
use crate::strategy::Visible;
use crate::tally::Tally;
use crate::view::Counters;

/// A write that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: Path,
    /// The dot it was given.
    pub dot: Dot,
    /// The stamp it was given.
    pub hlc: Hlc,
    /// The document's causal past, the write included.
    pub vector_clock: VersionVector,
    /// The document's entity tag now.
    pub etag: [u8; 16],
    /// What a reader sees now.
    pub visible: Visible,
    /// No value was visible before.
    pub created: bool,
}

/// Why a write was not done. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A delete of what is not there.
    NotFound {
        /// It was there and was deleted.
        deleted: bool,
    },
    /// The condition does not hold.
    Precondition(Current),
    /// First-write-wins: the path has a value already.
    RejectedByStrategy(Current),
    /// There is no conflict to settle.
    NoConflict(Current),
    /// The version to keep is not live.
    NotLive(Current),
    /// A conflict to settle has versions that the client has not read.
    Unseen(Current),
    /// The resulting value would be larger than the limit.
    TooLarge {
        /// Bytes it would have.
        bytes: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// The atomic batch has too many writes, or its values have too many bytes together.
    BatchTooLarge {
        /// How many of them.
        size: usize,
        /// How many there may be.
        limit: usize,
        /// `writes` or `bytes`.
        of: &'static str,
    },
}

/// Why an atomic batch was not done. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRefusal {
    /// Which of its writes is refused, counted from 0.
    pub at: usize,
    /// Why.
    pub refusal: Refusal,
}

/// What is there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The visible state; `None` when there never was a document.
    pub visible: Option<Box<Visible>>,
    /// Its entity tag.
    pub etag: Option<[u8; 16]>,
    /// Its causal past.
    pub vector_clock: VersionVector,
}

/// What an anti-entropy round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RoundReport {
    /// Links compared.
    pub links: u64,
    /// Links found equal, at once or after the difference was exchanged.
    pub equal: u64,
    /// Links lost during the round, or still different after three exchanges.
    pub unequal: u64,
    /// Documents sent.
    pub documents_sent: u64,
    /// Documents received.
    pub documents_received: u64,
    /// Versions that digest sessions removed or brought.
    pub repaired: u64,
}

/// A step of a digest session, for the reader of that link ([`crate::Audit`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditStep {
    /// Take a snapshot and open the session.
    Open,
    /// Take a snapshot and accept the peer's session.
    Accept,
    /// The peer's answer, to be compared with the snapshot.
    Compare(Message),
    /// The peer has accepted, or has sent the last states asked for: go on.
    Continue,
    /// Send the snapshot's states of these paths.
    Reply(Vec<Path>),
    /// The session is over or was given up.
    Stop,
}

/// Something that an operator must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Another process runs under this node's identity; this one takes a new one.
    Clone {
        /// The other's epoch.
        epoch: Epoch,
    },
    /// A digest session would remove too much and was stopped.
    RemovalsStopped {
        /// With whom.
        peer: NodeId,
        /// Versions it had removed.
        removed: u64,
    },
    /// A peer's clock is far ahead: its writes wait in quarantine.
    Quarantined {
        /// The path.
        path: Path,
        /// The version.
        dot: Dot,
        /// How far ahead, in milliseconds.
        ahead_ms: u64,
    },
    /// A custom resolver failed on a path.
    Resolver(Path),
}

/// The state of one link as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The link.
    pub link: LinkId,
    /// The peer.
    pub peer: NodeId,
    /// Where its session is.
    pub session: &'static str,
    /// Whether the peer has sent all it had when the session began.
    pub caught_up: bool,
    /// Dots that the peer is not known to have.
    pub ahead: u64,
    /// Dots that the peer had at the last exchange and this replica has not.
    pub behind: u64,
    /// Bytes in the link's send queue.
    pub queued_bytes: u64,
}

/// The state of a replica as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This replica.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Every dot applied.
    pub frontier: Frontier,
    /// Sums over the store.
    pub counters: Counters,
    /// The collection floor.
    pub floor: Floor,
    /// Its links.
    pub links: Vec<LinkStatus>,
    /// Documents waiting because their stamps are far ahead.
    pub quarantined: u64,
    /// The greatest lead of a peer's stamp over the local clock seen, in milliseconds.
    pub skew_max_ms: u64,
    /// What it has done since it was opened.
    pub tally: Tally,
    /// When the last anti-entropy exchange ended, on the steady clock; and how long it took.
    pub last_round: Option<(u64, u64)>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a write.
    Reply(RequestId, Result<Box<Written>, Box<Refusal>>),
    /// Answer an atomic batch: what each of its writes did, or why none was done.
    ReplyAll(RequestId, Result<Vec<Written>, Box<BatchRefusal>>),
    /// Send a frame; report [`crate::Input::Sent`] when it has left the queue.
    Send(LinkId, Bytes),
    /// Close a link and log why.
    Close(LinkId, String),
    /// Serve a catch-up from a snapshot taken now: all but what the peer is known to have.
    Serve(LinkId, Frontier),
    /// The peer allows that many more bytes of catch-up.
    Grant(LinkId, u64),
    /// Do a step of a digest session.
    Audit(LinkId, AuditStep),
    /// Documents changed; the change feed now ends at this sequence.
    Committed(u64),
    /// Answer an anti-entropy request.
    RoundDone(RequestId, RoundReport),
    /// Tell whoever asked that this other node has applied all of the writes, and has committed that.
    Holder(RequestId, NodeId),
    /// Answer a status request.
    Status(RequestId, Box<Status>),
    /// Tell the operator.
    Alarm(Alarm),
    /// Make a new key pair durable, answer with [`crate::Input::Renewed`], and dial all peers again.
    Renew,
}

/// Where batches are made durable.
pub trait Commit {
    /// Why it failed. A failed commit ends the replica: its memory is ahead of the disk.
    type Error;

    /// Writes the batch, all or nothing, and returns when it is as durable as configured.
    fn commit(&mut self, batch: Batch) -> Result<(), Self::Error>;
}

/// The outcome of a group of inputs: a batch to commit, and effects that nobody can see before it is committed.
#[must_use = "nothing happens until the effects are committed"]
#[derive(Debug, Default)]
pub struct Effects {
    pub(crate) batch: Batch,
    pub(crate) sealed: Vec<Effect>,
}

impl Effects {
    /// Commits the batch, then releases the effects. The only way to get at them.
    pub fn commit<S: Commit>(self, store: &mut S) -> Result<Vec<Effect>, S::Error> {
        if !self.batch.is_empty() {
            store.commit(self.batch)?;
        }
        Ok(self.sealed)
    }

    /// How many records the batch writes.
    pub fn records(&self) -> usize {
        self.batch.records.len()
    }
}

/// States of a digest session, for tests and traces.
pub(crate) fn paths_of(states: &[PathState]) -> Vec<Path> {
    states.iter().map(|(path, _)| path.clone()).collect()
}
