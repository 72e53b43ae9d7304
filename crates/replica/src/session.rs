//! What a replica knows of one link: where the conversation with that peer is.

use alloc::collections::BTreeSet;

use rejoin_causal::{Dot, Epoch, Floor, Frontier, NodeId, VersionVector, plant};

use crate::broadcast::Branch;
use crate::input::RequestId;
use crate::view::Summary;
use crate::wall::PeerClock;

/// The sending half of the conversation: what this replica does for its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// What the peer has is not known yet; nothing is sent.
    Greeting,
    /// The peer lacks a collected delete: a digest session cleans it before the log serves it. Nothing is pushed.
    Fenced {
        /// What the peer had when it was fenced.
        known: Frontier,
        /// The exchange in which it said so.
        exchange: u64,
        /// The digest session under way reads states from before the fence: another one has to follow.
        again: bool,
    },
    /// A catch-up is being served; commits are pushed as well.
    CatchingUp {
        /// A later exchange found more: serve again, from this, and answer that exchange.
        again: Option<(Frontier, u64)>,
    },
    /// The peer has all but `lag`; commits are pushed.
    Live,
}

impl Session {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Session::Greeting => "greeting",
            Session::Fenced { .. } => "fenced",
            Session::CatchingUp { .. } => "catching-up",
            Session::Live => "live",
        }
    }

    pub(crate) fn pushes(&self) -> bool {
        matches!(self, Session::CatchingUp { .. } | Session::Live)
    }
}

/// A catch-up that is to be served once the group at hand is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// What the peer has.
    pub(crate) known: Frontier,
    /// The exchange in which it said so.
    pub(crate) exchange: u64,
    /// What a digest session has just compared: nothing that these dots replaced is left there.
    pub(crate) swept: Frontier,
    /// The peer has documents, so it may hold what a collected delete replaced.
    pub(crate) fence: bool,
}

/// An exchange of frontiers that this side opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// A probe is out: our frontier when it was sent.
    Probed { exchange: u64, frozen: Frontier },
    /// Our rows are out: our frontier when they were sent, and the nodes that differ.
    Asked { exchange: u64, frozen: Frontier, nodes: BTreeSet<NodeId> },
}

/// What an exchange lets the peer claim, once: what this side lacked when it said what it has.
///
/// Not only what the peer said that it has: a claim stands for a snapshot as a whole. Of two dots, one that replaced the
/// other and one that the peer heard of a moment later, the first alone would be a zombie.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Grant {
    exchange: u64,
    /// What this side had; `None` when there is nothing to claim, or no more.
    had: Option<Frontier>,
}

/// What a claim answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// An open exchange, in which all but this was lacking here.
    AllBut(Frontier),
    /// An exchange after which another one was made.
    Late,
    /// Nothing.
    Unasked,
}

/// A digest session on this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditState {
    pub(crate) opener: bool,
    /// The peer's frontier, of the snapshot that its states come from; unknown until it has accepted.
    pub(crate) senders: Option<Frontier>,
    /// Our frontier when it began, or a little less; empty where only a part is compared.
    pub(crate) swept: Frontier,
    /// The request for a part that this session is for, if we opened it for one.
    pub(crate) part: Option<RequestId>,
    /// The peer has named ranges that differ.
    pub(crate) differs: bool,
}

/// A round: exchanges on one link until it is found equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Exchanges so far.
    pub(crate) exchanges: u8,
    pub(crate) started_ms: u64,
    /// The last exchange found the two equal.
    pub(crate) equal: bool,
    /// Frontier and documents, by their digests, when the last digest session of it began.
    pub(crate) compared: Option<([u8; 16], Summary)>,
}

/// Exchanges in one round, or digest sessions over a part, at most: a busy pair is never quite equal, and the next round comes anyway.
pub(crate) const EXCHANGES_PER_ROUND: u8 = 3;

/// One link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) peer_epoch: Epoch,
    pub(crate) dialed: bool,
    pub(crate) session: Session,
    pub(crate) due: Option<Due>,
    /// The peer has sent all that it had when the last exchange ended.
    pub(crate) caught_up: bool,
    /// Dots that should have been pushed and were not: `F \ F_peer`, as far as this link is to blame.
    pub(crate) lag: Frontier,
    /// What the link is for live updates.
    pub(crate) branch: Branch,
    /// What rose of the floor since the peer was last told.
    pub(crate) untold: Floor,
    /// Dots that a running catch-up is to bring the peer.
    pub(crate) serving: u64,
    /// A catch-up that answered no exchange has left out what only such an answer may claim.
    pub(crate) owes_claims: bool,
    /// Dots that the last catch-up left out, with documents that are too large to travel: the peer lacks them, and nothing is
    /// done about it. The next catch-up must not take them for known: what it claims may be what only they have replaced.
    pub(crate) withheld: Frontier,
    /// Dots that the peer had and we had not, at the last exchange.
    pub(crate) behind: u64,
    pub(crate) queued_bytes: u64,
    /// Dots that the catch-up which the peer is serving has brought so far.
    pub(crate) carried: Frontier,
    /// Dots that came from this peer and found no room in quarantine. While there is none, they are not sent again.
    pub(crate) refused: Frontier,
    /// When the wall clock reads the first of their stamps: from then on they are sent again all the same.
    pub(crate) refused_until_ms: u64,
    /// What those documents have in their past.
    pub(crate) refused_past: VersionVector,
    /// A digest session left a path as it was, because the peer's state of it is held or was refused: what the peer has
    /// collected is not claimed.
    pub(crate) unswept: bool,
    /// What is at the peer, and not applied there: it holds it in quarantine.
    pub(crate) peer_holds: Frontier,
    /// The peer was told that we hold something.
    pub(crate) told_held: bool,
    /// What the peer's wall clock reads.
    pub(crate) clock: Option<PeerClock>,
    /// What the catch-up that is being served is to bring the peer.
    pub(crate) serves: Frontier,
    /// When this link's conversation last went on, on the steady clock.
    pub(crate) heard_ms: u64,
    pub(crate) asking: Option<Asking>,
    /// The number of our next exchange.
    pub(crate) next_exchange: u64,
    /// We answered a probe, of this exchange, with node digests of this frontier.
    pub(crate) answering: Option<(u64, Frontier)>,
    /// What the last exchange lets the peer claim: of those that we opened, and of those that it opened.
    pub(crate) grants: [Grant; 2],
    /// An exchange was made on this link, so that the peer may open a digest session.
    pub(crate) exchanged: bool,
    /// A catch-up was served on this link, so that the peer may grant credit.
    pub(crate) served: bool,
    /// Messages that nobody had asked for.
    pub(crate) unasked: u32,
    pub(crate) audit: Option<AuditState>,
    pub(crate) round: Option<Round>,
}

impl Link {
    pub(crate) fn new(peer: NodeId, peer_epoch: Epoch, dialed: bool, floor: Floor) -> Link {
        Link {
            peer,
            peer_epoch,
            dialed,
            session: Session::Greeting,
            due: None,
            caught_up: false,
            lag: Frontier::new(),
            branch: Branch::new(),
            untold: floor,
            serving: 0,
            owes_claims: false,
            withheld: Frontier::new(),
            behind: 0,
            queued_bytes: 0,
            carried: Frontier::new(),
            refused: Frontier::new(),
            refused_until_ms: 0,
            refused_past: VersionVector::new(),
            unswept: false,
            peer_holds: Frontier::new(),
            told_held: false,
            clock: None,
            serves: Frontier::new(),
            heard_ms: 0,
            asking: None,
            next_exchange: if dialed { 1 } else { 2 },
            answering: None,
            grants: [Grant::default(), Grant::default()],
            exchanged: false,
            served: false,
            unasked: 0,
            audit: None,
            round: None,
        }
    }

    /// Whether the peer may still need this dot from here: it was not pushed, or a catch-up that reads an older snapshot is
    /// to bring it.
    pub(crate) fn may_lack(&self, dot: Dot) -> bool {
        let served = matches!(self.session, Session::CatchingUp { .. }) && self.serves.contains(dot);
        self.lag.contains(dot)
            || self.branch.held_back.contains(dot)
            || self.withheld.contains(dot)
            || (served && !plant::is("collect-amid-sessions"))
    }

    /// What the peer has left without a word for too long, if anything: a question, a digest session, a catch-up.
    pub(crate) fn is_silent_about(&self, now_ms: u64, silence_max_ms: u64) -> Option<&'static str> {
        let about = match (&self.session, &self.asking, &self.answering, &self.audit) {
            (_, Some(_), ..) => "a question",
            (_, _, _, Some(_)) => "a digest session",
            (Session::CatchingUp { .. }, ..) => "a catch-up",
            (_, _, Some(_), _) => "an answer",
            _ => return None,
        };
        (now_ms.saturating_sub(self.heard_ms) > silence_max_ms).then_some(about)
    }

    /// Forgets what lags or was held back of these dots: the peer has them.
    pub(crate) fn peer_has(&mut self, dots: &Frontier) {
        self.lag.remove_all(dots);
        self.branch.held_back.remove_all(dots);
        self.withheld.remove_all(dots);
    }

    /// The same of all dots.
    pub(crate) fn peer_has_all(&mut self) {
        self.lag = Frontier::new();
        self.branch.held_back = Frontier::new();
        self.withheld = Frontier::new();
    }

    /// Whether the peer may open an exchange under this number: it has not used it before, and it is not one of ours.
    pub(crate) fn is_new_exchange(&self, exchange: u64) -> bool {
        let theirs = u64::from(!self.dialed);
        exchange % 2 == theirs && exchange > self.grants[1].exchange
    }

    /// An exchange is complete, in which this side said that it has `had`; `None` when both have the same.
    pub(crate) fn grant(&mut self, exchange: u64, had: Option<Frontier>) {
        let ours = exchange % 2 == u64::from(self.dialed);
        self.grants[usize::from(!ours)] = Grant { exchange, had };
        self.exchanged = true;
    }

    /// The peer claims as the answer to an exchange.
    pub(crate) fn claimed(&mut self, exchange: u64) -> Claimed {
        let ours = exchange % 2 == u64::from(self.dialed);
        let grant = &mut self.grants[usize::from(!ours)];
        match grant.had.take_if(|_| grant.exchange == exchange) {
            Some(had) => Claimed::AllBut(had),
            None if exchange > 0 && exchange < grant.exchange => Claimed::Late,
            None => Claimed::Unasked,
        }
    }

    /// No exchange, catch-up or digest session is going on, and nothing waits to be sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.session == Session::Live
            && self.due.is_none()
            && self.caught_up
            && self.asking.is_none()
            && self.answering.is_none()
            && self.audit.is_none()
            && !self.owes_claims
    }
}
