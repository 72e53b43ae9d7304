//! What a replica knows of one link: where the conversation with that peer is.

use alloc::collections::BTreeSet;

use rejoin_causal::{Dot, Epoch, Floor, Frontier, NodeId};

use crate::broadcast::Branch;

/// The sending half of the conversation: what this replica does for its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// What the peer has is not known yet; nothing is sent.
    Greeting,
    /// The peer lacks a collected delete: a digest session cleans it before the log serves it. Nothing is pushed.
    Fenced {
        /// What the peer had when it was fenced.
        known: Frontier,
        /// The digest session under way reads states from before the fence: another one has to follow.
        again: bool,
    },
    /// A catch-up is being served; commits are pushed as well.
    CatchingUp {
        /// A later exchange found more: serve again, from this.
        again: Option<Frontier>,
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
    /// What a digest session has just compared: nothing that these dots replaced is left there.
    pub(crate) swept: Frontier,
    /// The peer has documents, so it may hold what a collected delete replaced.
    pub(crate) fence: bool,
}

/// An exchange of frontiers that this side opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// A probe is out: our frontier when it was sent.
    Probed { frozen: Frontier },
    /// Our rows are out: our frontier when they were sent, and the nodes that differ.
    Asked { frozen: Frontier, nodes: BTreeSet<NodeId> },
}

/// A digest session on this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditState {
    pub(crate) opener: bool,
    /// The peer's frontier, of the snapshot that its states come from; unknown until it has accepted.
    pub(crate) senders: Option<Frontier>,
    /// Our frontier when it began, or a little less.
    pub(crate) swept: Frontier,
    /// Versions that it has removed here.
    pub(crate) removed: u64,
}

/// A round: exchanges on one link until it is found equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Exchanges so far.
    pub(crate) exchanges: u8,
    pub(crate) started_ms: u64,
    /// The last exchange found the two equal.
    pub(crate) equal: bool,
}

/// Exchanges in one round, at most: a busy pair is never quite equal, and the next round comes anyway.
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
    /// Dots that the peer had and we had not, at the last exchange.
    pub(crate) behind: u64,
    pub(crate) queued_bytes: u64,
    /// Dots that the catch-up which the peer is serving has brought so far.
    pub(crate) carried: Frontier,
    /// Dots that came from this peer and found no room in quarantine.
    pub(crate) refused: Frontier,
    /// Some of them since the last catch-up ended.
    pub(crate) refuses_claims: bool,
    pub(crate) asking: Option<Asking>,
    /// We answered a probe with node digests of this frontier.
    pub(crate) answering: Option<Frontier>,
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
            behind: 0,
            queued_bytes: 0,
            carried: Frontier::new(),
            refused: Frontier::new(),
            refuses_claims: false,
            asking: None,
            answering: None,
            audit: None,
            round: None,
        }
    }

    /// Whether the peer may still need this dot from here.
    pub(crate) fn may_lack(&self, dot: Dot) -> bool {
        self.lag.contains(dot) || self.branch.held_back.contains(dot)
    }

    /// Forgets what lags or was held back of these dots: the peer has them.
    pub(crate) fn peer_has(&mut self, dots: &Frontier) {
        self.lag.remove_all(dots);
        self.branch.held_back.remove_all(dots);
    }

    /// The same of all dots.
    pub(crate) fn peer_has_all(&mut self) {
        self.lag = Frontier::new();
        self.branch.held_back = Frontier::new();
    }

    /// No exchange, catch-up or digest session is going on, and nothing waits to be sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.session == Session::Live
            && self.due.is_none()
            && self.caught_up
            && self.asking.is_none()
            && self.answering.is_none()
            && self.audit.is_none()
    }
}
