//! Graphs of many nodes, with a delay on each link.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::rng::Rng;

/// How nodes are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graph {
    /// Every node has four links to random others, of 2 to 80 ms.
    Regular,
    /// A ring in which each node knows the two next on both sides (2 to 10 ms), and every tenth link goes far (20 to 80 ms).
    SmallWorld,
    /// Clusters of 20 with four links each inside (0.2 to 2 ms); each cluster has four links to others (20 to 80 ms).
    Clustered,
    /// Every node is linked to every other, 0.2 to 2 ms: a rack.
    Mesh,
}

/// One link: two nodes and the time between them, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Its ends.
    pub nodes: [usize; 2],
    /// One way.
    pub delay_us: u64,
}

/// Nodes of one cluster.
const CLUSTER: usize = 20;

impl Graph {
    /// Those of the figures.
    pub const ALL: [Graph; 3] = [Graph::Regular, Graph::SmallWorld, Graph::Clustered];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Graph::Regular => "random 4-regular",
            Graph::SmallWorld => "small world",
            Graph::Clustered => "clustered",
            Graph::Mesh => "mesh",
        }
    }

    /// The links of so many nodes. Always connected.
    pub fn edges(self, nodes: usize, rng: &mut Rng) -> Vec<Edge> {
        let mut builder = Builder { seen: BTreeSet::new(), edges: Vec::new() };
        match self {
            Graph::Regular => regular(&mut builder, &(0..nodes).collect::<Vec<_>>(), (2_000, 80_000), rng),
            Graph::SmallWorld => {
                for node in 0..nodes {
                    for step in 1..=2 {
                        // The ring itself stays whole.
                        match step == 2 && rng.chance(200) {
                            true => builder.add(node, rng.index(nodes), delay(rng, (20_000, 80_000))),
                            false => builder.add(node, (node + step) % nodes, delay(rng, (2_000, 10_000))),
                        }
                    }
                }
            }
            Graph::Clustered => {
                let clusters: Vec<Vec<usize>> =
                    (0..nodes).collect::<Vec<_>>().chunks(CLUSTER).map(<[usize]>::to_vec).collect();
                for members in &clusters {
                    regular(&mut builder, members, (200, 2_000), rng);
                }
                for _ in 0..2 {
                    let mut order: Vec<usize> = (0..clusters.len()).collect();
                    shuffle(&mut order, rng);
                    for at in 0..order.len() {
                        let (one, other) = (&clusters[order[at]], &clusters[order[(at + 1) % order.len()]]);
                        builder.add(*rng.pick(one), *rng.pick(other), delay(rng, (20_000, 80_000)));
                    }
                }
            }
            Graph::Mesh => {
                for node in 0..nodes {
                    (0..node).for_each(|other| builder.add(other, node, delay(rng, (200, 2_000))));
                }
            }
        }
        builder.edges
    }
}

struct Builder {
    seen: BTreeSet<[usize; 2]>,
    edges: Vec<Edge>,
}

impl Builder {
    fn add(&mut self, one: usize, other: usize, delay_us: u64) {
        let nodes = [one.min(other), one.max(other)];
        if one != other && self.seen.insert(nodes) {
            self.edges.push(Edge { nodes, delay_us });
        }
    }
}

/// Two random rings over the same nodes: connected, and four links each, but for links that fall together.
fn regular(builder: &mut Builder, members: &[usize], between: (u64, u64), rng: &mut Rng) {
    for _ in 0..2 {
        let mut order = members.to_vec();
        shuffle(&mut order, rng);
        for at in 0..order.len() {
            builder.add(order[at], order[(at + 1) % order.len()], delay(rng, between));
        }
    }
}

fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for at in (1..order.len()).rev() {
        order.swap(at, rng.index(at + 1));
    }
}

/// Short delays are as likely as long ones are far apart: evenly spread over the logarithm.
fn delay(rng: &mut Rng, (least, most): (u64, u64)) -> u64 {
    let share = rng.below(1 << 20) as f64 / (1u64 << 20) as f64;
    let delay = Duration::from_micros(least).mul_f64((most as f64 / least as f64).powf(share));
    u64::try_from(delay.as_micros()).unwrap_or(most)
}

/// The shortest times from a node to all others, in microseconds, when every node on the way takes `hop_us`.
pub fn times_from(start: usize, neighbours: &[Vec<(usize, u64)>], hop_us: u64) -> Vec<u64> {
    let mut times = vec![u64::MAX; neighbours.len()];
    times[start] = 0;
    let mut open = BinaryHeap::from([Reverse((0, start))]);
    while let Some(Reverse((time, node))) = open.pop() {
        if time > times[node] {
            continue;
        }
        for &(next, delay_us) in &neighbours[node] {
            let there = time + delay_us + hop_us;
            if there < times[next] {
                times[next] = there;
                open.push(Reverse((there, next)));
            }
        }
    }
    times
}
