//! Real servers over links that fail, and clients that write down what they were told.

mod cluster;
mod faults;
mod finale;
mod operation;
mod proxy;
mod workload;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::history::{FORMAT, Line, Recorder};
use cluster::Cluster;
pub use cluster::NODES_MAX;
use faults::{Fault, What};
use proxy::Mode;
use workload::Shared;

/// How long a client waits for an answer: shorter than most pauses and stalls, so that uncertain writes happen.
pub const OPERATION_MAX: Duration = Duration::from_secs(2);

/// How long a server may take to serve, recovering its store, on a busy machine.
pub const START_MAX: Duration = Duration::from_secs(60);

/// How long equal nodes may take after the last fault: a dead link is noticed within 15 s, dialed again within 10 s,
/// and a round comes every 2 s; the rest is for busy machines.
pub const CONVERGE_MAX: Duration = Duration::from_secs(90);

/// Clients for each node.
const CLIENTS_PER_NODE: usize = 2;

/// Superseded versions that a node keeps, unless it is told otherwise.
const MAX_VERSIONS: usize = 10;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `rejoin` program.
    pub program: PathBuf,
    /// Where the history, the logs and the data go.
    pub folder: PathBuf,
    /// What everything random is made of.
    pub seed: u64,
    /// How many servers.
    pub nodes: usize,
    /// How long the clients work.
    pub time: Duration,
}

impl Plan {
    /// The record's file.
    pub fn history(&self) -> PathBuf {
        self.folder.join("history.jsonl")
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// What everything random was made of.
    pub seed: u64,
    /// Servers.
    pub nodes: usize,
    /// Operations asked.
    pub operations: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Operations without an answer that says whether they were done.
    pub unknown: u64,
    /// Operations refused, and requests to servers that were down.
    pub refused: u64,
    /// Requests with a token that their node could not meet in time.
    pub not_caught_up: u64,
    /// `kill -9`.
    pub kills: u64,
    /// SIGTERM.
    pub stops: u64,
    /// SIGSTOP and SIGCONT.
    pub pauses: u64,
    /// Ways cut, slowed, stalled or half open.
    pub links: u64,
    /// Partitions.
    pub partitions: u64,
    /// Milliseconds from the last fault until all nodes were equal.
    pub converged_ms: u64,
}

/// Runs a plan to its end. All servers have ended when this returns or is dropped.
///
/// # Errors
/// Files, ports or processes that cannot be had, and servers that do not start in time. What servers get wrong is not
/// an error: it is in the record.
pub async fn run(plan: &Plan) -> io::Result<Figures> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut cluster = Cluster::create(&plan.folder, &plan.program, plan.nodes, &mut random).await?;
    let run_ms = u64::try_from(plan.time.as_millis()).unwrap_or(u64::MAX);
    let faults = faults::schedule(&mut random, plan.nodes, cluster.ways.len(), run_ms);
    let clients: Vec<u64> = (0..plan.nodes * CLIENTS_PER_NODE).map(|_| random.random()).collect();
    for node in 0..plan.nodes {
        cluster.start(node)?;
    }
    finale::all_serve(&mut cluster).await?;

    let nodes = cluster.nodes.iter().map(|node| (node.name.clone(), node.client.clone())).collect();
    let count = AtomicU64::default;
    let shared = Arc::new(Shared {
        recorder: Recorder::create(&plan.history())?,
        nodes,
        operations: count(),
        acknowledged: count(),
        unknown: count(),
        refused: count(),
        not_caught_up: count(),
    });
    shared.recorder.note(&Line::Run { format: FORMAT, seed: plan.seed, max_versions: MAX_VERSIONS })?;
    let (stop, stopped) = watch::channel(false);
    let mut working = tokio::task::JoinSet::new();
    for (number, seed) in clients.into_iter().enumerate() {
        working.spawn(workload::work(Arc::clone(&shared), number, seed, stopped.clone()));
    }
    let ended = suffer(&mut cluster, &faults, plan.time, &shared.recorder).await;
    stop.send_replace(true);
    while let Some(worked) = working.join_next().await {
        worked.map_err(io::Error::other)??;
    }
    ended?;
    let converged_ms = finale::finish(&mut cluster, &shared.recorder).await?;
    shared.recorder.flush()?;

    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let of = |kind: fn(&What) -> bool| faults.iter().filter(|fault| kind(&fault.what)).count() as u64;
    Ok(Figures {
        seed: plan.seed,
        nodes: plan.nodes,
        operations: read(&shared.operations),
        acknowledged: read(&shared.acknowledged),
        unknown: read(&shared.unknown),
        refused: read(&shared.refused),
        not_caught_up: read(&shared.not_caught_up),
        kills: of(|what| matches!(what, What::Kill(_))),
        stops: of(|what| matches!(what, What::Stop(_))),
        pauses: of(|what| matches!(what, What::Pause(_))),
        links: of(|what| matches!(what, What::Link(..))),
        partitions: of(|what| matches!(what, What::Partition(_))),
        converged_ms,
    })
}

/// Begins and ends every fault in its time.
async fn suffer(
    cluster: &mut Cluster,
    faults: &[Fault],
    time: Duration,
    recorder: &Recorder,
) -> io::Result<()> {
    let began = Instant::now();
    let mut turns: Vec<(u64, bool, usize)> = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        turns.push((fault.at_ms, true, number));
        turns.push((fault.at_ms + fault.for_ms, false, number));
    }
    turns.sort_unstable();
    for (at_ms, begins, number) in turns {
        sleep_until(began + Duration::from_millis(at_ms).min(time)).await;
        cluster.note_dead(recorder)?;
        turn(cluster, &faults[number].what, number, begins, recorder).await?;
    }
    sleep_until(began + time).await;
    cluster.note_dead(recorder)
}

async fn turn(
    cluster: &mut Cluster,
    what: &What,
    number: usize,
    begins: bool,
    recorder: &Recorder,
) -> io::Result<()> {
    let (name, node, detail) = match what {
        What::Kill(node) => {
            (if begins { "kill" } else { "start" }, cluster.nodes[*node].name.clone(), String::new())
        }
        What::Stop(node) => {
            (if begins { "stop" } else { "start" }, cluster.nodes[*node].name.clone(), String::new())
        }
        What::Pause(node) => {
            (if begins { "pause" } else { "resume" }, cluster.nodes[*node].name.clone(), String::new())
        }
        What::Link(way, mode) => {
            (if begins { "link" } else { "heal" }, cluster.way_name(*way), format!("{mode:?}"))
        }
        What::Partition(sides) => {
            let side = |of: bool| -> String {
                let named = cluster.nodes.iter().zip(sides).filter(|(_, side)| **side == of);
                named.map(|(node, _)| node.name.as_str()).collect()
            };
            (
                if begins { "link" } else { "heal" },
                format!("{}|{}", side(true), side(false)),
                "partition".to_owned(),
            )
        }
    };
    let event = Line::Event { at_ms: recorder.at_ms(), what: name.to_owned(), node, detail };
    recorder.note(&event)?;
    match (what, begins) {
        (What::Kill(node), true) => cluster.kill(*node).await?,
        (What::Stop(node), true) => cluster.stop(*node).await?,
        (What::Kill(node) | What::Stop(node), false) => cluster.revive(*node, recorder).await?,
        (What::Pause(node), true) => cluster.pause(*node),
        (What::Pause(node), false) => cluster.resume(*node),
        (What::Link(way, mode), true) => cluster.spoil(*way, number, *mode),
        (What::Link(way, _), false) => cluster.mend(*way, number),
        (What::Partition(sides), _) => {
            for way in 0..cluster.ways.len() {
                let crosses = sides[cluster.ways[way].from] != sides[cluster.ways[way].to];
                match (crosses, begins) {
                    (true, true) => cluster.spoil(way, number, Mode::Cut),
                    (true, false) => cluster.mend(way, number),
                    (false, _) => {}
                }
            }
        }
    }
    Ok(())
}

/// Where the files of a run are, for a person.
pub fn places(folder: &Path) -> String {
    format!("history: {0}/history.jsonl; logs: {0}/*/log", folder.display())
}
