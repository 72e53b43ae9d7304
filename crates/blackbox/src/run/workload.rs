//! What clients do: small operations on few paths, on any node, with and without the token of a session.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rejoin_client::{Client, Session};
use tokio::sync::watch;

use super::OPERATION_MAX;
use super::operation::{ask, payload};
use crate::history::{Line, Outcome, Recorder, Verb};

/// Groups of paths; a scan reads one.
const GROUPS: u64 = 8;

/// Paths of a group.
const GROUP_PATHS: u64 = 5;

/// Operations after which a client begins a new session.
const SESSION_OPERATIONS: u64 = 80;

/// Longest pause between two operations of a client, in milliseconds.
const PAUSE_MS: u64 = 25;

/// How long a node may wait for what a session has seen.
const CATCH_UP_MAX: Duration = Duration::from_millis(800);

/// Every path that clients use.
pub(super) fn paths() -> Vec<String> {
    (0..GROUPS).flat_map(|group| (0..GROUP_PATHS).map(move |path| format!("k/{group}/{path}"))).collect()
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) recorder: Recorder,
    pub(super) nodes: Vec<(String, Client)>,
    pub(super) operations: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) not_caught_up: AtomicU64,
}

impl Shared {
    /// Does one operation and records it.
    async fn operate(
        &self,
        client: &str,
        node: usize,
        session: Option<&(String, Session)>,
        verb: Verb,
        path: &str,
        value: Option<(String, usize)>,
    ) -> io::Result<()> {
        let op = self.operations.fetch_add(1, Ordering::Relaxed) + 1;
        let (name, http) = &self.nodes[node];
        let body = value.as_ref().map(|(write, pad_bytes)| payload(write, *pad_bytes)).unwrap_or_default();
        self.recorder.note(&Line::Call {
            op,
            at_ms: self.recorder.at_ms(),
            node: name.clone(),
            client: client.to_owned(),
            session: session.map(|(name, _)| name.clone()),
            verb,
            path: path.to_owned(),
            value: value.map(|(write, _)| write),
        })?;
        let http = session.map_or_else(|| http.clone(), |(_, session)| http.in_session(session));
        let asked = tokio::time::timeout(OPERATION_MAX, ask(&http, verb, path, &body)).await;
        let outcome = asked.unwrap_or_else(|_| Outcome::Unknown { why: "timed_out".to_owned() });
        let counter = match &outcome {
            Outcome::Written { .. } => Some(&self.acknowledged),
            Outcome::Unknown { .. } => Some(&self.unknown),
            Outcome::Refused { code, .. } if code == "not_caught_up" => Some(&self.not_caught_up),
            Outcome::Refused { .. } => Some(&self.refused),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.recorder.note(&Line::Answer { op, at_ms: self.recorder.at_ms(), outcome })
    }
}

/// A client's life, until it is told to stop. Every other client works in sessions; one of three keeps to one node.
pub(super) async fn work(
    shared: Arc<Shared>,
    number: usize,
    seed: u64,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let name = format!("c{number}");
    let (mut session, mut done) = (None, 0_u64);
    let home = random.random_range(0..shared.nodes.len());
    while !*stop.borrow() {
        if number.is_multiple_of(2) && done.is_multiple_of(SESSION_OPERATIONS) {
            session = Some((format!("{name}.{}", done / SESSION_OPERATIONS), Session::new(CATCH_UP_MAX)));
        }
        done += 1;
        let node = if number.is_multiple_of(3) { home } else { random.random_range(0..shared.nodes.len()) };
        let group = random.random_range(0..GROUPS);
        // Few writes go to most paths, so that histories stay whole, and many to some.
        let path = random.random_range(0..GROUP_PATHS).min(random.random_range(0..GROUP_PATHS));
        let mut path = format!("k/{group}/{path}");
        let (verb, value) = match random.random_range(0..100) {
            0..40 => (Verb::Put, Some((format!("{name}-{done}"), pad_bytes(&mut random)))),
            40..50 => (Verb::Delete, None),
            50..70 => (Verb::Get, None),
            70..90 => (Verb::Explain, None),
            _ => {
                path = format!("k/{group}/");
                (Verb::Scan, None)
            }
        };
        shared.operate(&name, node, session.as_ref(), verb, &path, value).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..PAUSE_MS))).await;
    }
    Ok(())
}

/// Most values are small; some fill several frames of a socket.
fn pad_bytes(random: &mut StdRng) -> usize {
    match random.random_range(0..50) {
        0 => random.random_range(0..100_000),
        1..10 => random.random_range(0..4_000),
        _ => random.random_range(0..50),
    }
}
