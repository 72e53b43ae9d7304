//! `/api/status`: how the node is doing, for people and monitors.

use std::time::{Instant, SystemTime};

use hyper::{Request, Response, StatusCode};
use rejoin::{DoubtStatus, Hlc, PeerStatus, StandingAlarm};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::{Api, millis};
use crate::config::{SETTLED_COUNT_AGE_MAX, SETTLED_LATELY, SETTLED_PATHS_MAX};
use crate::incoming::Incoming;
use crate::lines::blocking;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{VectorClock, unix_ms};

/// Answers a request for the status.
pub(crate) async fn answer(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let status = api.node.status().await?;
    let limits = status.limits;
    let body = Status {
        server_id: status.node.to_string(),
        name: &status.name,
        epoch: format!("{:016x}", status.epoch.0),
        port: api.bound.port(),
        version: env!("CARGO_PKG_VERSION"),
        uptime: status.uptime.as_secs_f64(),
        ready: status.ready,
        as_of: unix_ms(status.as_of),
        vector_clock: VectorClock(&status.vector_clock),
        peers: status.peers.iter().map(Peer::of).collect(),
        peer_count: status.peers.len(),
        storage: Storage {
            engine: status.engine,
            durability: status.durability.to_string(),
            entries: status.entries,
            tombstones: status.tombstones,
            history_entries: status.history_entries,
            bytes: status.disk_bytes,
            disk_full: status.disk_full,
            free_bytes: status.disk_free_bytes,
            kept_bytes: status.disk_kept_bytes,
        },
        clock: Clock {
            hlc: shown(status.hlc),
            max_skew_ms: status.skew_max_ms,
            quarantined: status.quarantined,
            quarantined_bytes: status.quarantined_bytes,
            ahead_ms: status.clock_ahead_ms,
            restamping: status.restamping,
            restamped: status.tally.restamped,
        },
        removals: Removals {
            window: status.removals.window_ms,
            count: status.removals.count,
            limit: Some(status.removals.limit).filter(|limit| *limit < u64::MAX),
            held: status.removals.held,
            stopped: status.removals.stopped.iter().map(Stopped::of).collect(),
        },
        token: status.token.as_str(),
        conflicts: Conflicts { open: status.conflicts, resolved24h: settled_lately(api).await? },
        policy: Policy {
            hash: &status.policy_hash,
            mismatched_peers: status.policy_mismatches.iter().map(ToString::to_string).collect(),
        },
        convergence: Convergence {
            digest: &status.digest,
            last_round_at: status.last_round_at.map(unix_ms),
            last_round_ms: status.last_round_ms,
        },
        subscriptions: status.subscriptions,
        feed: Feed { slow: status.feed.slow, coalesced: status.feed.coalesced, resyncs: status.feed.resyncs },
        alarms: status.alarms.iter().map(Alarm::of).collect(),
        doubts: status.doubts.iter().map(Doubt::of).collect(),
        held_removals: status.held_removals,
        limits: Limits {
            value_bytes: limits.value_bytes,
            value_depth: limits.value_depth,
            path_bytes: limits.path_bytes,
            path_segments: limits.path_segments,
            segment_bytes: limits.segment_bytes,
            scan_items: limits.scan_items,
            scan_page_bytes: limits.scan_page_bytes,
            history_versions: limits.history_versions,
            head_bytes: api.limits.head_bytes,
            bodies_bytes: api.limits.bodies_bytes,
            connections: api.limits.connections,
        },
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

/// How many conflicts were settled lately. Counted once for all who ask in the same seconds.
async fn settled_lately(api: &Api) -> Result<Option<u64>, Problem> {
    let mut counted = api.settled.lock().await;
    if let Some((at, count)) = *counted
        && at.elapsed() < SETTLED_COUNT_AGE_MAX
    {
        return Ok(count);
    }
    let node = api.node.clone();
    let since_ms = unix_ms(SystemTime::now()).saturating_sub(millis(SETTLED_LATELY));
    let count = blocking(move || node.settled_since(since_ms, SETTLED_PATHS_MAX)).await??;
    *counted = Some((Instant::now(), count));
    Ok(count)
}

/// A stamp: milliseconds and counter. As one number it would not fit into a double.
fn shown(hlc: Hlc) -> String {
    format!("{}+{}", hlc.unix_ms(), hlc.counter())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(rename = "serverID")]
    server_id: String,
    name: &'a str,
    epoch: String,
    port: u16,
    version: &'static str,
    /// Seconds.
    uptime: f64,
    ready: bool,
    /// Of when the figures of the replica are, in Unix milliseconds: now, unless it is busy, stuck or gone.
    as_of: u64,
    vector_clock: VectorClock<'a>,
    peers: Vec<Peer<'a>>,
    peer_count: usize,
    storage: Storage,
    clock: Clock,
    removals: Removals,
    token: &'a str,
    conflicts: Conflicts,
    policy: Policy<'a>,
    convergence: Convergence<'a>,
    subscriptions: u64,
    feed: Feed,
    alarms: Vec<Alarm<'a>>,
    doubts: Vec<Doubt>,
    held_removals: u64,
    limits: Limits,
}

/// What an operator must hear of.
#[derive(Serialize)]
struct Alarm<'a> {
    kind: &'static str,
    subject: &'a str,
    message: &'a str,
    hint: &'static str,
    since: u64,
    last: u64,
    count: u64,
}

impl<'a> Alarm<'a> {
    fn of(alarm: &'a StandingAlarm) -> Alarm<'a> {
        Alarm {
            kind: alarm.kind,
            subject: &alarm.subject,
            message: &alarm.message,
            hint: alarm.hint,
            since: unix_ms(alarm.since),
            last: unix_ms(alarm.last),
            count: alarm.count,
        }
    }
}

/// A life of a node that may be two.
#[derive(Serialize)]
struct Doubt {
    node: String,
    epoch: String,
    reason: &'static str,
    since: u64,
}

impl Doubt {
    fn of(doubt: &DoubtStatus) -> Doubt {
        Doubt {
            node: doubt.node.to_string(),
            epoch: format!("{:016x}", doubt.epoch.0),
            reason: doubt.reason,
            since: unix_ms(doubt.since),
        }
    }
}

/// A peer, as here and in `/api/_peers`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer<'a> {
    id: Option<String>,
    name: Option<&'a str>,
    url: Option<&'a str>,
    direction: String,
    state: String,
    session: &'static str,
    since: u64,
    rtt_ms: Option<f64>,
    behind: u64,
    ahead: u64,
    queue: u64,
    held_by_us: u64,
    held_by_peer: u64,
    clock_ahead_ms: Option<i64>,
    last_error: Option<&'a str>,
    next_retry_at: Option<u64>,
}

impl<'a> Peer<'a> {
    /// The shape of a peer.
    pub(crate) fn of(peer: &'a PeerStatus) -> Peer<'a> {
        Peer {
            id: peer.id.map(|id| id.to_string()),
            name: peer.name.as_deref(),
            url: peer.url.as_deref(),
            direction: peer.direction.to_string(),
            state: peer.state.to_string(),
            session: peer.session,
            since: unix_ms(peer.since),
            rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            behind: peer.behind,
            ahead: peer.ahead,
            queue: peer.queue_bytes,
            held_by_us: peer.held_by_us,
            held_by_peer: peer.held_by_peer,
            clock_ahead_ms: peer.clock_ahead_ms,
            last_error: peer.last_error.as_deref(),
            next_retry_at: peer.next_retry_at.map(unix_ms),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Storage {
    engine: &'static str,
    durability: String,
    entries: u64,
    tombstones: u64,
    history_entries: u64,
    bytes: u64,
    /// Only reads and deletes are served.
    disk_full: bool,
    /// Left on the disk.
    free_bytes: Option<u64>,
    /// Below that, the disk counts as full.
    kept_bytes: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    hlc: String,
    max_skew_ms: u64,
    quarantined: u64,
    quarantined_bytes: u64,
    /// How far the stamps of this node are ahead of its wall clock.
    ahead_ms: u64,
    /// Own writes that a wrong clock has stamped are being minted again, or will be once peers agree with the clock.
    restamping: bool,
    /// How many were.
    restamped: u64,
}

/// What peers have removed by their word in this window, and may remove.
#[derive(Serialize)]
struct Removals {
    /// Its length in milliseconds.
    window: u64,
    count: u64,
    /// None while the operator allows any number.
    limit: Option<u64>,
    held: u64,
    stopped: Vec<Stopped>,
}

#[derive(Serialize)]
struct Stopped {
    peer: String,
    reason: &'static str,
    since: u64,
    removed: u64,
}

impl Stopped {
    fn of(stopped: &rejoin::Stopped) -> Stopped {
        let rejoin::Stopped { word, removed } = *stopped;
        let (peer, reason) = (word.peer.to_string(), word.reason.name());
        Stopped { peer, reason, since: word.at_ms, removed }
    }
}

#[derive(Serialize)]
struct Conflicts {
    open: u64,
    /// Nothing when too many paths have had some.
    resolved24h: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy<'a> {
    hash: &'a str,
    mismatched_peers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Convergence<'a> {
    digest: &'a str,
    last_round_at: Option<u64>,
    last_round_ms: Option<u64>,
}

/// How subscriptions have fared since the start.
#[derive(Serialize)]
struct Feed {
    slow: u64,
    coalesced: u64,
    resyncs: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    value_bytes: usize,
    value_depth: usize,
    path_bytes: usize,
    path_segments: usize,
    segment_bytes: usize,
    scan_items: usize,
    scan_page_bytes: usize,
    history_versions: u32,
    head_bytes: usize,
    bodies_bytes: usize,
    connections: usize,
}
