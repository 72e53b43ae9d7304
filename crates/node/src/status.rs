//! How a node is doing.

use std::fmt;
use std::time::{Duration, SystemTime};

use rejoin_causal::{Epoch, Hex, Hlc, NodeId, VersionVector};
use rejoin_replica::{Doubted, LinkStatus, RemovalsStatus, Tally};

use crate::alarms::StandingAlarm;
use crate::board::{self, Figures, Posted};
use crate::config::{Durability, Limits};
use crate::feed::hub::FeedStatus;
use crate::links::DialState;
use crate::node::Node;
use crate::token::Token;
use crate::{Error, room};

/// Who dialed a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    In,
    /// This node.
    Out,
}

/// Whether there is a link to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// There is.
    Connected,
    /// There is not; the node tries again by itself.
    Backoff,
    /// One side refused the other: another cluster, a wrong secret, or the node itself.
    Rejected,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::In => "in",
            Direction::Out => "out",
        })
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerState::Connected => "connected",
            PeerState::Backoff => "backoff",
            PeerState::Rejected => "rejected",
        })
    }
}

/// A peer: linked, or dialed.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its id, once it has proved it.
    pub id: Option<NodeId>,
    /// Its name.
    pub name: Option<String>,
    /// The URL at which it is dialed.
    pub url: Option<String>,
    /// Who dialed.
    pub direction: Direction,
    /// Whether there is a link.
    pub state: PeerState,
    /// Where the conversation is: `greeting`, `fenced`, `catching-up`, `live`, or nothing without a link.
    pub session: &'static str,
    /// Since when the state is what it is.
    pub since: SystemTime,
    /// The measured round trip.
    pub rtt: Option<Duration>,
    /// Writes that the peer is not known to have.
    pub ahead: u64,
    /// Writes that the peer had at the last exchange and this node has not.
    pub behind: u64,
    /// Documents from this peer that wait here in quarantine.
    pub held_by_us: u64,
    /// Writes that wait at the peer in quarantine, as it last said.
    pub held_by_peer: u64,
    /// How far its clock is ahead of this node's, in milliseconds, once it has said what it reads.
    pub clock_ahead_ms: Option<i64>,
    /// Bytes waiting to be sent.
    pub queue_bytes: u64,
    /// Bytes that came over the link, handshake and framing included; 0 without a link.
    pub bytes_in: u64,
    /// Bytes that went over it.
    pub bytes_out: u64,
    /// It has other conflict strategies, so that the two may show different values.
    pub policy_differs: bool,
    /// Why the last attempt or link ended.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_retry_at: Option<SystemTime>,
}

/// A node as a person sees it.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// How long it has run.
    pub uptime: Duration,
    /// Whether it can serve.
    pub ready: bool,
    /// The newest write applied of each node.
    pub vector_clock: VersionVector,
    /// What it has applied.
    pub token: Token,
    /// Its peers.
    pub peers: Vec<PeerStatus>,
    /// Documents with a value.
    pub entries: u64,
    /// Deletes that are remembered.
    pub tombstones: u64,
    /// Superseded versions kept.
    pub history_entries: u64,
    /// Answers kept for requests that may come again.
    pub kept: u64,
    /// Documents with more than one live version.
    pub conflicts: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Writes that grow data are refused and links are closed, because the disk is nearly full.
    pub disk_full: bool,
    /// Bytes left on the disk; unknown without a disk.
    pub disk_free_bytes: Option<u64>,
    /// Free bytes below which the disk counts as nearly full: the reserve, and what the store itself may need.
    pub disk_kept_bytes: Option<u64>,
    /// The storage engine.
    pub engine: &'static str,
    /// What an answered write survives.
    pub durability: Durability,
    /// The greatest stamp given or seen.
    pub hlc: Hlc,
    /// The greatest lead of a peer's clock seen, in milliseconds.
    pub skew_max_ms: u64,
    /// Documents waiting because their stamps are far in the future.
    pub quarantined: u64,
    /// Removals by peers' words.
    pub removals: RemovalsStatus,
    /// Their bytes, about.
    pub quarantined_bytes: u64,
    /// How far the stamps of this node are ahead of its wall clock, in milliseconds.
    pub clock_ahead_ms: u64,
    /// Own writes that a wrong clock has stamped are being minted again, or will be once peers agree with the wall clock.
    pub restamping: bool,
    /// The digest of all documents, in hex: equal on nodes that show the same.
    pub digest: String,
    /// When the last comparison with a peer ended.
    pub last_round_at: Option<SystemTime>,
    /// How long it took.
    pub last_round_ms: Option<u64>,
    /// The hash of the conflict strategies.
    pub policy_hash: String,
    /// Linked peers with other strategies.
    pub policy_mismatches: Vec<NodeId>,
    /// Live subscriptions.
    pub subscriptions: u64,
    /// How subscriptions have fared.
    pub feed: FeedStatus,
    /// What the replica has done since the node opened.
    pub tally: Tally,
    /// Of when the figures are that the replica keeps: now, unless it is busy, stuck or gone.
    pub as_of: SystemTime,
    /// What an operator must hear of.
    pub alarms: Vec<StandingAlarm>,
    /// Lives of nodes that may be two, as their nodes have signed. Nothing that rests on them is removed.
    pub doubts: Vec<DoubtStatus>,
    /// Removals by a peer's word that were not done, for a doubt or for want of budget, since the node opened.
    pub held_removals: u64,
    /// What it accepts from clients.
    pub limits: Limits,
}

/// A life of a node that may be two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtStatus {
    /// Whose.
    pub node: NodeId,
    /// Which.
    pub epoch: Epoch,
    /// Why, as a stable word: `twin`, `reverted`, `generation`, `clock-jump`.
    pub reason: &'static str,
    /// When this node heard of it.
    pub since: SystemTime,
}

impl DoubtStatus {
    fn of((node, epoch): (NodeId, Epoch), doubted: &Doubted) -> DoubtStatus {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(doubted.since_ms);
        DoubtStatus { node, epoch, reason: doubted.reason.name(), since }
    }
}

impl Node {
    /// How the node is doing. Answered within a tenth of a second even while the node is overloaded, waits for its disk or
    /// has failed; then [`NodeStatus::as_of`] says of when the answer is.
    pub async fn status(&self) -> Result<NodeStatus, Error> {
        let shared = self.shared();
        if shared.reader().is_none() && shared.failed.borrow().is_none() {
            return Err(Error::Closed);
        }
        let Posted { status, as_of, .. } = board::look(shared).await;
        let Figures { bytes, space } = board::figures(shared).await;
        let info = self.info();
        let policy = shared.identity().policy;
        let now = shared.clock.now();
        let ago = |steady_ms: u64| Duration::from_millis(now.steady_ms.saturating_sub(steady_ms));
        Ok(NodeStatus {
            node: status.node,
            name: info.name.clone(),
            epoch: status.epoch,
            uptime: info.started.elapsed().unwrap_or_default(),
            ready: self.ready().is_ok(),
            vector_clock: status.frontier.tops(),
            token: self.token(),
            peers: self.peers(),
            entries: status.counters.values.count,
            tombstones: status.counters.tombstones,
            history_entries: status.counters.history,
            kept: status.counters.kept,
            conflicts: status.counters.conflicts,
            disk_bytes: bytes,
            disk_full: *shared.disk_full.borrow(),
            disk_free_bytes: space.map(|space| space.free_bytes),
            disk_kept_bytes: space.map(|space| room::kept_bytes(&space, shared.disk_reserve)),
            engine: info.engine,
            durability: info.durability,
            hlc: status.counters.hlc,
            skew_max_ms: status.skew_max_ms,
            quarantined: status.quarantined,
            removals: status.removals.clone(),
            quarantined_bytes: status.quarantined_bytes,
            clock_ahead_ms: status.clock.last.unix_ms().saturating_sub(now.wall_ms),
            restamping: status.clock.restamping,
            digest: Hex(&status.counters.values.fingerprint.to_be_bytes()).to_string(),
            last_round_at: status.last_round.map(|(at_ms, _)| SystemTime::now() - ago(at_ms)),
            last_round_ms: status.last_round.map(|(_, took_ms)| took_ms),
            policy_hash: Hex(&policy).to_string(),
            policy_mismatches: shared.links.with_up(|up| {
                let others = up.values().filter(|up| up.peer.policy != policy);
                others.map(|up| NodeId(up.peer.id)).collect()
            }),
            subscriptions: shared.hub.subscriptions(),
            feed: shared.hub.status(),
            tally: status.tally,
            as_of,
            alarms: self.alarms(),
            doubts: status.doubted.iter().map(|(life, doubted)| DoubtStatus::of(*life, doubted)).collect(),
            held_removals: status.removals.held,
            limits: info.limits,
        })
    }

    /// The alarms that stand: what an operator must hear of.
    pub fn alarms(&self) -> Vec<StandingAlarm> {
        self.shared().alarms.standing()
    }

    /// Whether the disk is nearly full, so that only reads and deletes are served; in words, how full.
    pub fn disk_full(&self) -> Option<String> {
        let shared = self.shared();
        let space = board::known_figures(shared).space;
        shared.disk_full.borrow().then(|| room::words(space.as_ref(), shared.disk_reserve))
    }

    /// The peers, linked and dialed. How far ahead and behind they are is as of the last turn of a node that is busy.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let shared = self.shared();
        let sessions = board::glance(shared).status.links.clone();
        let policy = shared.identity().policy;
        let session = |link| sessions.iter().find(|session: &&LinkStatus| session.link == link);
        let mut peers: Vec<PeerStatus> = shared.links.with_up(|up| {
            let linked = up.iter().map(|(link, up)| PeerStatus {
                id: Some(NodeId(up.peer.id)),
                name: Some(up.peer.name.clone()),
                url: up.url.clone(),
                direction: if up.dialed { Direction::Out } else { Direction::In },
                state: PeerState::Connected,
                session: session(*link).map_or("greeting", |session| session.session),
                since: up.since,
                rtt: up.stats.rtt(),
                ahead: session(*link).map_or(0, |session| session.ahead),
                behind: session(*link).map_or(0, |session| session.behind),
                held_by_us: session(*link).map_or(0, |session| session.held_by_us),
                held_by_peer: session(*link).map_or(0, |session| session.held_by_peer),
                clock_ahead_ms: session(*link).and_then(|session| session.clock_ahead_ms),
                queue_bytes: session(*link).map_or(0, |session| session.queued_bytes),
                bytes_in: up.stats.bytes_in(),
                bytes_out: up.stats.bytes_out(),
                policy_differs: up.peer.policy != policy,
                last_error: None,
                next_retry_at: None,
            });
            linked.collect()
        });
        shared.links.with_dialed(|dialed| {
            for (url, dialed) in dialed {
                // A peer that dialed us while we dial it is one peer.
                let linked = peers.iter_mut().find(|peer| {
                    peer.url.as_deref() == Some(url) || (peer.id.is_some() && peer.id == dialed.peer)
                });
                if let Some(peer) = linked {
                    peer.url = Some(url.clone());
                    continue;
                }
                peers.push(PeerStatus {
                    id: dialed.peer,
                    name: None,
                    url: Some(url.clone()),
                    direction: Direction::Out,
                    state: match dialed.state {
                        DialState::Rejected => PeerState::Rejected,
                        DialState::Trying | DialState::Connected => PeerState::Backoff,
                    },
                    session: "",
                    since: dialed.since,
                    rtt: None,
                    ahead: 0,
                    behind: 0,
                    held_by_us: 0,
                    held_by_peer: 0,
                    clock_ahead_ms: None,
                    queue_bytes: 0,
                    bytes_in: 0,
                    bytes_out: 0,
                    policy_differs: false,
                    last_error: dialed.last_error.clone(),
                    next_retry_at: dialed.next_retry_at,
                });
            }
        });
        peers
    }
}
