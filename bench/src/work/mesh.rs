//! How often a mesh sends one update: between all of its nodes, and over a random graph of four links a node.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};

use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

/// Who links to whom.
type Links = Vec<(usize, usize)>;

const DEGREE: usize = 4;

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let nodes = plan.mesh_nodes as usize;
    for (name, links) in [("full mesh", full(nodes)), ("random, 4 links a node", random(nodes))] {
        let (sent, late) = sends(tools, plan, &links).await?;
        let case = format!("{nodes} nodes, {name}");
        let system = System::RejoinOs;
        let subject = Subject {
            workload: Workload::Mesh,
            case: &case,
            system: system.name(),
            durability: system.durability(),
        };
        figures.add(&subject, "payload sends", "/node/update", sent);
        figures.add(&subject, "until all have all", "ms", late);
    }
    Ok(())
}

fn full(nodes: usize) -> Links {
    (0..nodes).flat_map(|from| (0..from).map(move |to| (from, to))).collect()
}

/// Four stubs a node, matched at random until no node is linked to itself or twice to another.
fn random(nodes: usize) -> Links {
    let mut random = StdRng::seed_from_u64(16);
    loop {
        let mut stubs: Vec<usize> = (0..nodes).flat_map(|node| [node; DEGREE]).collect();
        stubs.shuffle(&mut random);
        let mut links: Links =
            stubs.chunks(2).map(|pair| (pair[0].max(pair[1]), pair[0].min(pair[1]))).collect();
        links.sort_unstable();
        links.dedup();
        if links.len() == nodes * DEGREE / 2
            && links.iter().all(|(from, to)| from != to)
            && is_connected(nodes, &links)
        {
            return links;
        }
    }
}

fn is_connected(nodes: usize, links: &Links) -> bool {
    let mut reached = vec![false; nodes];
    reached[0] = true;
    for _ in 0..nodes {
        for (from, to) in links {
            let either = reached[*from] || reached[*to];
            (reached[*from], reached[*to]) = (either, either);
        }
    }
    reached.into_iter().all(|reached| reached)
}

/// Documents received by push for each node and update, and milliseconds from the last answer until all have all.
async fn sends(tools: &Tools, plan: &Plan, links: &Links) -> anyhow::Result<(f64, f64)> {
    let count = plan.mesh_nodes as usize;
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..count {
        let peers = links.iter().filter(|(from, _)| *from == at).map(|(_, to)| nodes[*to].port).collect();
        let mut node = Node::create("os", peers)?;
        node.start(tools).await?;
        nodes.push(node);
    }
    for (at, node) in nodes.iter().enumerate() {
        node.linked(links.iter().filter(|(from, to)| *from == at || *to == at).count()).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = received(&nodes).await?;
    // From several nodes, and slowly enough for each update to be a push of its own.
    let mut http = Vec::new();
    for node in nodes.iter().take(4) {
        http.push(node.connect().await?);
    }
    let mut documents = crate::document::Documents::new(4);
    let writers = http.len();
    for number in 0..plan.mesh_updates {
        let value = documents.next().to_vec();
        http[number as usize % writers].put(&crate::document::key(number), &value).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answered = std::time::Instant::now();
    for writer in 0..writers {
        let token = nodes[writer].token().await?;
        for node in &nodes {
            node.has(&token).await?;
        }
    }
    let late = answered.elapsed().as_secs_f64() * 1e3;
    let sent = received(&nodes).await? - before;
    Ok((sent / f64::from(plan.mesh_updates) / (count - 1) as f64, late))
}

async fn received(nodes: &[Node]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for node in nodes {
        sum += node.metric("rejoin_sync_received_documents_total").await?;
    }
    Ok(sum)
}
