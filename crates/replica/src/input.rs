//! Everything that can happen to a replica.

use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Frontier, NodeId};

use crate::expiry::Ttl;
use crate::json::Json;
use crate::key::Once;
use crate::message::{Holder, Message};
use crate::path::{Path, Prefix};
use crate::statement::{DoubtReason, Statement};

/// What the clocks of the shell say. A replica has none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Unix milliseconds; may step either way.
    pub wall_ms: u64,
    /// Milliseconds of a clock that never goes back; for timers.
    pub steady_ms: u64,
}

/// A request that waits for an answer; chosen by the shell, returned with the effect that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One live connection; chosen by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What a client does to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a value. Under merge-fields, unmentioned fields stay.
    Put(Json),
    /// Write a value. Under merge-fields, unmentioned fields are removed.
    Replace(Json),
    /// Apply a JSON merge patch (RFC 7396) to the visible value.
    Patch(Json),
    /// Delete.
    Delete,
    /// Settle a conflict with a value of the client's. Under merge-fields, unmentioned fields are removed; no strategy
    /// refuses it.
    Resolve(Json),
    /// Settle a conflict with what that live version says, a delete included.
    Keep(Dot),
}

impl Change {
    /// Whether it settles a conflict.
    pub fn settles(&self) -> bool {
        matches!(self, Change::Resolve(_) | Change::Keep(_))
    }
}

/// What must hold on this node for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// No value is visible (`If-None-Match: *`).
    Absent,
    /// A value is visible (`If-Match: *`).
    Present,
    /// The document's entity tag is one of these (`If-Match`).
    Matches(Vec<[u8; 16]>),
    /// The document's entity tag is none of these (`If-None-Match`).
    NoneOf(Vec<[u8; 16]>),
}

/// Which of the live versions a write replaces.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Observed {
    /// All that this replica has.
    #[default]
    All,
    /// Those that the client read; others stay as siblings. A change that settles a conflict is refused instead.
    These(Vec<Dot>),
}

/// One write by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub path: Path,
    /// What.
    pub change: Change,
    /// Only if.
    pub condition: Condition,
    /// Over which versions.
    pub observed: Observed,
    /// How long the value is to live; without an end when `None`, whatever was there. A delete has no use for it.
    pub ttl: Option<Ttl>,
    /// It is done once, however often it is asked for. In an atomic batch, that of the first write stands for all.
    pub once: Option<Once>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A client writes.
    Write(RequestId, Write),
    /// A client writes several things at once, all or nothing.
    WriteAll(RequestId, Vec<Write>),
    /// A link is up and its peer has proved who it is.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Who is at the other end.
        peer: NodeId,
        /// That process's epoch.
        epoch: Epoch,
        /// Whether this side dialed: the dialing side opens the first exchange.
        dialed: bool,
    },
    /// A link is gone.
    LinkDown(LinkId),
    /// A message came in.
    Message(LinkId, Message),
    /// Bytes of frames that the replica sent have left the link's queue.
    Sent(LinkId, u64),
    /// The catch-up that an [`crate::Effect::Serve`] started has sent its last message.
    Served {
        /// To whom.
        link: LinkId,
        /// What the peer has by it: the difference it was made of, or what its documents carried where it may not claim.
        claims: Frontier,
        /// Documents sent.
        documents: u64,
        /// Dots of the difference are left that no document carried and nothing claimed.
        unclaimed: bool,
        /// Dots of the difference that it did not claim: of documents that are too large to travel, and what those replaced.
        withheld: Frontier,
    },
    /// A link's reader met a document that is too large to travel.
    Withheld {
        /// The link.
        link: LinkId,
        /// The document.
        path: Path,
        /// A digest session left it out: what the peer claims next may rest on it.
        unswept: bool,
    },
    /// Run an anti-entropy round on every link now, or compare only the paths that begin with this.
    AntiEntropy(RequestId, Prefix),
    /// Tell which other nodes have applied these writes, each as it is heard of ([`crate::Effect::Holder`]).
    AskHolders {
        /// Who asks. Not used twice, and not 0.
        request: RequestId,
        /// The writes, at most [`crate::config::RECEIPT_DOTS_MAX`].
        dots: Vec<Dot>,
        /// For how long, in milliseconds; at most [`crate::config::RECEIPT_WAIT_MS_MAX`].
        wait_ms: u64,
    },
    /// This node's own receipt, signed as [`crate::Effect::Attest`] asked.
    Attested(Holder),
    /// Whoever asked that has heard enough.
    ForgetHolders(RequestId),
    /// Tell how things are.
    Status(RequestId),
    /// Tell what waits in quarantine.
    Quarantine(RequestId),
    /// Take documents out of quarantine now, although their stamps are ahead.
    Release {
        /// Who asks.
        request: RequestId,
        /// That of this path; all when `None`. What was written together comes out together.
        path: Option<Path>,
        /// Only those that this node wrote or sent.
        node: Option<NodeId>,
    },
    /// A peer showed our own identity in another process.
    CloneSeen {
        /// That process's epoch.
        epoch: Epoch,
    },
    /// This process may not be alone in its life: a second one has proved it, or the machine was copied or set back.
    SelfDoubt {
        /// The epoch that is doubted. One that was left since is not.
        epoch: Epoch,
        /// Why.
        reason: DoubtReason,
    },
    /// The shell has made a new identity durable, as [`crate::Effect::Renew`] asked.
    Renewed {
        /// The new id.
        node: NodeId,
        /// Its epoch.
        epoch: Epoch,
        /// The doubts that were to be signed, and that the new life has begun.
        statements: Vec<Statement>,
    },
    /// Time has passed; see [`crate::Replica::deadline`].
    Tick,
}
