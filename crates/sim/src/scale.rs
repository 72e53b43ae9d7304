//! Thousands of nodes: how far an update travels, how fast and at what cost.
//!
//! The replicas, the stores and the wire format are the real ones; the network has a delay on each link and loses
//! nothing but what is on its way when a node stops. Unlike in [`crate::World`], nothing is checked after each commit: that is
//! what random worlds are for, and it would take a day.

mod graph;
mod network;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use graph::{Graph, times_from};
use network::Network;

use crate::rng::Rng;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How nodes are linked.
    pub graph: Graph,
    /// How many there are.
    pub nodes: usize,
    /// Updates before anything is measured: they grow the tree.
    pub warm_up: usize,
    /// Updates that are measured, each by another node.
    pub updates: usize,
    /// Time between two updates, in milliseconds.
    pub pause_ms: u64,
    /// Nodes that stop in a minute, in a thousand. Each comes back after ten seconds.
    pub churn_per_mille: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was measured.
    pub plan: Plan,
    /// Links.
    pub edges: usize,
    /// The longest of the shortest ways between two nodes, in milliseconds: nothing is faster than this for all.
    pub diameter_ms: f64,
    /// Milliseconds until half of the nodes had an update: median over updates, and the slowest.
    pub half_ms: Spread,
    /// Until 99 of a hundred had it.
    pub most_ms: Spread,
    /// Until all had it that ran all the time.
    pub all_ms: Spread,
    /// Documents pushed, per update and node.
    pub pushes: f64,
    /// The same of the very first update, when every link is eager.
    pub pushes_first: f64,
    /// Bytes on all links, per update and node.
    pub bytes: f64,
    /// Of them, bytes that are not pushes: announcements, rounds, catch-ups.
    pub bytes_beside: f64,
    /// Links pruned and grafted while measuring.
    pub pruned: u64,
    /// See `pruned`.
    pub grafted: u64,
    /// Nodes that stopped and came back.
    pub churned: u64,
    /// Updates that some node which ran all the time did not get while it was looked at.
    pub missed: u64,
}

/// The median and the greatest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// Half are at most this.
    pub median: f64,
    /// None is greater.
    pub most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or(0.0);
        Spread { median, most: values.last().copied().unwrap_or(0.0) }
    }
}

/// Runs one plan.
pub fn measure(plan: Plan, seed: u64) -> Measured {
    let mut rng = Rng::of_seed(seed);
    let edges = plan.graph.edges(plan.nodes, &mut rng);
    let mut network = Network::new(plan.nodes, &edges, rng.bits());
    let diameter_us = diameter_us(&network, plan.nodes, &mut rng);
    // Links come up and find each other equal.
    network.run_ms(1_000);

    let first = network.pushes;
    network.write(rng.index(plan.nodes));
    network.run_ms(plan.pause_ms.max(1_000));
    let per = |count: u64, updates: usize| count as f64 / (updates.max(1) * plan.nodes) as f64;
    let pushes_first = per(network.pushes - first, 1);
    for _ in 0..plan.warm_up {
        network.write(rng.index(plan.nodes));
        network.run_ms(plan.pause_ms);
    }
    network.run_ms(2_000);

    let (pushes, bytes, push_bytes) = (network.pushes, network.bytes, network.push_bytes);
    let (pruned, grafted) = network.branches();
    network.churn(plan.churn_per_mille);
    let mut followed = Vec::new();
    for _ in 0..plan.updates {
        if let Some(dot) = network.write(rng.index(plan.nodes)) {
            followed.push(dot);
        }
        network.run_ms(plan.pause_ms);
    }
    network.churn(0);
    network.run_ms(12_000);

    let (mut half, mut most, mut all, mut missed) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for dot in &followed {
        let arrivals = network.arrivals(*dot);
        let at = |share: usize| arrivals.times_ms.get((arrivals.expected * share).div_ceil(100) - 1).copied();
        half.extend(at(50));
        most.extend(at(99));
        all.extend(at(100));
        missed += u64::from(at(100).is_none());
    }
    let (pruned_after, grafted_after) = network.branches();
    let bytes = network.bytes - bytes;
    Measured {
        plan,
        edges: edges.len(),
        diameter_ms: diameter_us as f64 / 1_000.0,
        half_ms: Spread::of(half),
        most_ms: Spread::of(most),
        all_ms: Spread::of(all),
        pushes: per(network.pushes - pushes, followed.len()),
        pushes_first,
        bytes: per(bytes, followed.len()),
        bytes_beside: per(bytes - (network.push_bytes - push_bytes), followed.len()),
        pruned: pruned_after - pruned,
        grafted: grafted_after - grafted,
        churned: network.churned,
        missed,
    }
}

/// From sixty nodes, which finds the longest way or misses it by a few per cent.
fn diameter_us(network: &Network, nodes: usize, rng: &mut Rng) -> u64 {
    let neighbours = network.neighbours();
    let from = |_| times_from(rng.index(nodes), &neighbours, network::HOP_US);
    (0..60).map(from).filter_map(|times| times.into_iter().max()).max().unwrap_or(0)
}

/// The figures as JSON.
pub fn figures(all: &[Measured]) -> Value {
    let spread = |spread: Spread| json!({ "median": spread.median, "most": spread.most });
    let one = |measured: &Measured| {
        let fields: BTreeMap<&str, Value> = [
            ("graph", json!(measured.plan.graph.name())),
            ("nodes", json!(measured.plan.nodes)),
            ("links", json!(measured.edges)),
            ("updates", json!(measured.plan.updates)),
            ("churn_per_mille_and_minute", json!(measured.plan.churn_per_mille)),
            ("stopped", json!(measured.churned)),
            ("diameter_ms", json!(measured.diameter_ms)),
            ("half_ms", spread(measured.half_ms)),
            ("p99_ms", spread(measured.most_ms)),
            ("all_ms", spread(measured.all_ms)),
            ("pushes", json!(measured.pushes)),
            ("pushes_first", json!(measured.pushes_first)),
            ("bytes", json!(measured.bytes)),
            ("bytes_beside", json!(measured.bytes_beside)),
            ("pruned", json!(measured.pruned)),
            ("grafted", json!(measured.grafted)),
            ("missed", json!(measured.missed)),
        ]
        .into_iter()
        .collect();
        json!(fields)
    };
    json!(all.iter().map(one).collect::<Vec<_>>())
}

/// The figures as a table of Markdown.
pub fn table(all: &[Measured]) -> String {
    let mut text = String::from(
        "| Graph | Nodes | Churn | Diameter | 50 % have it | 99 % | all | Pushes per update and node | Bytes per update and node, of them not pushes | Pruned, grafted |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for one in all {
        let churn = match one.plan.churn_per_mille {
            0 => "none".to_owned(),
            churn => format!("{} %/min, {} stops", churn as f64 / 10.0, one.churned),
        };
        let spread = |spread: Spread| format!("{:.0} ms ({:.0})", spread.median, spread.most);
        text += &format!(
            "| {} | {} | {churn} | {:.0} ms | {} | {}, {:.2} × | {} | {:.2} (first: {:.2}) | {:.0}, {:.0} | {}, {} |\n",
            one.plan.graph.name(),
            one.plan.nodes,
            one.diameter_ms,
            spread(one.half_ms),
            spread(one.most_ms),
            one.most_ms.median / one.diameter_ms.max(0.001),
            spread(one.all_ms),
            one.pushes,
            one.pushes_first,
            one.bytes,
            one.bytes_beside,
            one.pruned,
            one.grafted,
        );
    }
    text
}
