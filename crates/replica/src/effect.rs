//! Everything a replica can ask for, sealed until the commit it depends on is durable.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, NodeId, VersionVector};

use crate::batch::Batch;
use crate::doubt::Doubted;
use crate::input::{LinkId, RequestId};
use crate::message::{Message, PathState};
use crate::path::{Path, Prefix};
use crate::quarantine::Held;
use crate::statement::{Doubt, DoubtReason, Life};
use crate::strategy::Visible;
use crate::tally::Tally;
use crate::view::{Counters, Word};

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
    /// Whether that was answered before.
    pub replay: Replay,
}

/// Whether an answer is the first to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Replay {
    /// It is: the write was done now.
    #[default]
    No,
    /// The write was done before, and this is what was answered then.
    Whole,
    /// The same, but for the value that was shown: nobody here can tell it any more.
    WithoutValue,
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
    /// The path has too many live versions, or too many bytes of them, for a write that leaves them as they are.
    TooManySiblings {
        /// How many there would be.
        size: usize,
        /// How many there may be.
        limit: usize,
        /// `versions` or `bytes`.
        of: &'static str,
        /// What is there.
        current: Current,
    },
    /// The write is to be done once, and its key was used for another one.
    KeyReused,
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
    /// Take a snapshot and open the session, over the paths that begin with this.
    Open(Prefix),
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
    /// Another process runs under this node's key, in an older epoch; that one takes a new identity when it knows.
    OlderClone {
        /// The other's epoch.
        epoch: Epoch,
    },
    /// A peer would remove too much by its word and was stopped.
    RemovalsStopped {
        /// Who.
        peer: NodeId,
        /// Versions it has removed, or would have.
        removed: u64,
    },
    /// The budget of removals is used up: what another peer would remove was left.
    RemovalsHeld {
        /// Who would.
        peer: NodeId,
        /// Versions that stay.
        versions: u64,
    },
    /// A write of this node's present life was removed by a peer's word.
    OwnWriteRemoved {
        /// Where it was.
        path: Path,
        /// The write.
        dot: Dot,
        /// Whose word.
        word: Word,
        /// The link that it came over.
        link: LinkId,
    },
    /// A peer sends what nobody asked it for; it was ignored.
    Unasked {
        /// Over which link.
        link: LinkId,
        /// Who.
        peer: NodeId,
        /// What.
        what: &'static str,
    },
    /// A peer names a write of this node that it never made: a lie, of that peer or of one that it believed, or another
    /// process under this node's identity. The name was cut from what was taken in.
    UnmadeWrite {
        /// Over which link.
        link: LinkId,
        /// Who passed it on.
        peer: NodeId,
        /// The write.
        dot: Dot,
    },
    /// A peer passes on receipts that their nodes have not signed; they were dropped.
    UnsignedReceipts {
        /// Over which link.
        link: LinkId,
        /// Who.
        peer: NodeId,
        /// How many.
        count: u64,
    },
    /// A peer claims writes of more lives than are to be believed without a document of theirs.
    UnexplainedRows {
        /// Who.
        peer: NodeId,
        /// How many rows of its claim were left out.
        rows: u64,
    },
    /// A node's clock was far ahead when it wrote: its writes wait in quarantine. Raised once a minute for each node.
    Quarantined {
        /// The node that wrote them.
        author: NodeId,
        /// The peer that sent the last of them.
        peer: NodeId,
        /// How many documents since this was last raised.
        documents: u64,
        /// One of them.
        path: Path,
        /// How far ahead the farthest is, in milliseconds.
        ahead_ms: u64,
    },
    /// The stamps of this node are ahead of its wall clock: that was wrong, or is now.
    ClockAhead {
        /// How far, in milliseconds.
        ahead_ms: u64,
    },
    /// That is over: the stamps follow the wall clock again, and peers take what was written meanwhile.
    ClockRecovered {
        /// Versions that were minted again.
        restamped: u64,
    },
    /// Most linked peers have another time than this node.
    ClockDiffers {
        /// How far this node is ahead of the nearest of them, in milliseconds; less than 0 when it is behind.
        ahead_ms: i64,
    },
    /// That is over.
    ClockAgrees,
    /// A peer has another time than this node.
    PeerClock {
        /// The peer.
        peer: NodeId,
        /// How far it is ahead, in milliseconds; less than 0 when it is behind.
        ahead_ms: i64,
    },
    /// That is over.
    PeerClockAgrees {
        /// The peer.
        peer: NodeId,
    },
    /// A custom resolver failed on a path.
    Resolver(Path),
    /// More than one process may have gone on in this life: numbers of it name two writes. Nothing that rests on it is
    /// removed any more.
    LifeDoubted {
        /// The life.
        life: Life,
        /// Why its node says so.
        reason: DoubtReason,
        /// It is of this node, which takes a new identity.
        own: bool,
    },
    /// A write came in whose number is known here for another path, stamp or content. Nobody has signed that: either its
    /// life is two, or a peer lies.
    SameDotTwice {
        /// Who sent it.
        peer: NodeId,
        /// The number.
        dot: Dot,
        /// Where it is here.
        ours: Path,
        /// Where it came in.
        theirs: Path,
    },
    /// A document is too large to travel. Everything else does.
    Undeliverable {
        /// The document.
        path: Path,
        /// Bytes that it takes, about; 0 when a peer says so of its own.
        bytes: u64,
        /// Its live versions.
        versions: u64,
        /// To, or from, whom.
        peer: NodeId,
    },
    /// A path has come half way to the number or the bytes of live versions at which clients' writes are refused.
    Siblings {
        /// The path.
        path: Path,
        /// Its live versions.
        versions: u64,
        /// Their bytes.
        bytes: u64,
    },
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
    /// Documents from this peer that wait here in quarantine.
    pub held_by_us: u64,
    /// Dots that wait at the peer in quarantine, as it last said.
    pub held_by_peer: u64,
    /// How far the peer's wall clock is ahead of ours, in milliseconds, once it has said what it reads.
    pub clock_ahead_ms: Option<i64>,
}

/// How a node's clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockStatus {
    /// The greatest stamp given or seen.
    pub last: Hlc,
    /// Own versions with stamps from the future are being minted again, or will be once peers agree with the wall clock.
    pub restamping: bool,
    /// How many were, since the replica was opened.
    pub restamped: u64,
}

/// What peers have removed by their word, and may remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalsStatus {
    /// How long one window is, in milliseconds.
    pub window_ms: u64,
    /// Versions removed in this window.
    pub count: u64,
    /// How many there may be; `u64::MAX` when the operator allows any number.
    pub limit: u64,
    /// Versions that stayed because the budget was used up by others, since the replica was opened.
    pub held: u64,
    /// Peers that were stopped, until the operator allows removals.
    pub stopped: Vec<Stopped>,
}

/// A peer that was stopped for what it would remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Who, how and when.
    pub word: Word,
    /// Versions that it had removed in the window, or would have.
    pub removed: u64,
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
    /// Removals by peers' words.
    pub removals: RemovalsStatus,
    /// Documents waiting because their stamps are far ahead.
    pub quarantined: u64,
    /// Their bytes, about.
    pub quarantined_bytes: u64,
    /// The clocks.
    pub clock: ClockStatus,
    /// The greatest lead of a peer's stamp over the local clock seen, in milliseconds.
    pub skew_max_ms: u64,
    /// Lives that may be two, by what their nodes have signed.
    pub doubted: Vec<(Life, Doubted)>,
    /// Lives that may be two, by what nobody has signed.
    pub suspected: Vec<Life>,
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
    /// Serve a catch-up from a snapshot taken now.
    Serve {
        /// To whom.
        link: LinkId,
        /// What the peer is known to have: all but this is served.
        known: Frontier,
        /// The exchange in which it said so, which lets it believe claims; 0 when there was none.
        exchange: u64,
    },
    /// The peer allows that many more bytes of catch-up.
    Grant(LinkId, u64),
    /// Do a step of a digest session.
    Audit(LinkId, AuditStep),
    /// Documents changed; the change feed now ends at this sequence.
    Committed(u64),
    /// Answer an anti-entropy request.
    RoundDone(RequestId, RoundReport),
    /// Sign that this node has applied, and now committed, what this question asks for; answer with
    /// [`crate::Input::Attested`].
    Attest {
        /// The question.
        id: Dot,
        /// Which writes it asks for.
        digest: [u8; 16],
    },
    /// Tell whoever asked that this other node has applied all of the writes, and has committed that.
    Holder(RequestId, NodeId),
    /// Answer a status request.
    Status(RequestId, Box<Status>),
    /// Tell the operator.
    Alarm(Alarm),
    /// A version of this node that a wrong clock had stamped was minted again.
    Restamped {
        /// Where.
        path: Path,
        /// The version that it takes the place of.
        replaced: Dot,
        /// The new one.
        dot: Dot,
    },
    /// Answer who asked what waits in quarantine.
    Held(RequestId, Vec<Held>),
    /// Answer who let documents out of quarantine: how many came out.
    Released(RequestId, u64),
    /// Sign these doubts with the old key, make a new key pair and what was signed durable, answer with
    /// [`crate::Input::Renewed`], and dial all peers again.
    Renew {
        /// Of lives of this node.
        doubts: Vec<Doubt>,
    },
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
