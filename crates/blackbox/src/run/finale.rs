//! After the faults: everybody runs, everybody becomes equal, and everything is read from everybody.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use rejoin_client::{Client, Error};

use super::cluster::Cluster;
use super::operation::{explained, item_state, past};
use super::{CONVERGE_MAX, START_MAX, workload};
use crate::history::{Line, Recorder, State};

/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

/// How often everything is read again because a write that had no answer arrived meanwhile.
const READS_MAX: usize = 5;

/// Waits until every server answers.
pub(super) async fn all_serve(cluster: &mut Cluster) -> io::Result<()> {
    let deadline = Instant::now() + START_MAX;
    for node in &cluster.nodes {
        loop {
            match tokio::time::timeout(START_MAX, node.client.status()).await {
                Ok(Ok(status)) if status.ready => break,
                said if Instant::now() >= deadline => {
                    let why = format!("{} does not serve within {START_MAX:?}: {said:?}", node.name);
                    return Err(io::Error::other(why));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
    Ok(())
}

/// Waits until all nodes are equal, and records everything that they hold; how many milliseconds it took to be equal.
pub(super) async fn finish(cluster: &mut Cluster, recorder: &Recorder) -> io::Result<u64> {
    let began = Instant::now();
    cluster.note_dead(recorder)?;
    all_serve(cluster).await?;
    let mut took_ms = 0;
    for reads in 1..=READS_MAX {
        let states = loop {
            cluster.note_dead(recorder)?;
            let states = states(cluster).await;
            let equal = states.windows(2).all(|pair| pair[0].0.is_some() && pair[0].0 == pair[1].0);
            if equal || began.elapsed() >= CONVERGE_MAX {
                break states;
            }
            tokio::time::sleep(LOOK).await;
        };
        if reads == 1 {
            took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        }
        let equal = states.windows(2).all(|pair| pair[0].0.is_some() && pair[0].0 == pair[1].0);
        let mut lasts = Vec::new();
        for node in &cluster.nodes {
            lasts.extend(everything(&node.name, &node.client).await.map_err(io::Error::other)?);
        }
        let later = self::states(cluster).await;
        if equal && later.iter().zip(&states).any(|(later, before)| later.0 != before.0) && reads < READS_MAX
        {
            continue;
        }
        let detail = match equal {
            true => String::new(),
            false => states.into_iter().map(|(_, said)| said).collect::<Vec<_>>().join("; "),
        };
        recorder.note(&Line::Settled { at_ms: recorder.at_ms(), took_ms, equal, detail })?;
        for last in lasts {
            recorder.note(&last)?;
        }
        break;
    }
    Ok(took_ms)
}

/// What each node has applied and holds: none when it does not say; and the same for people.
async fn states(cluster: &Cluster) -> Vec<(Option<(String, String)>, String)> {
    let mut states = Vec::new();
    for node in &cluster.nodes {
        let said = node.client.status().await;
        let text = match &said {
            Ok(status) => {
                let peers: Vec<String> = status
                    .peers
                    .iter()
                    .map(|peer| {
                        let name = peer.name.as_deref().unwrap_or("?");
                        format!("{name} {} -{} +{}", peer.state, peer.behind, peer.ahead)
                    })
                    .collect();
                let clock = &status.vector_clock;
                format!(
                    "{}: digest {}, clock {clock:?}, peers {peers:?}",
                    node.name, status.convergence.digest
                )
            }
            Err(error) => format!("{}: {error}", node.name),
        };
        states.push((said.ok().map(|status| (status.convergence.digest, status.token)), text));
    }
    states
}

/// Every path on a node, in three ways.
async fn everything(node: &str, client: &Client) -> Result<Vec<Line>, Error> {
    let mut listed: BTreeMap<String, State> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let scan = client.scan("").meta(true).limit(1_000);
        let page = match cursor {
            Some(cursor) => scan.cursor(cursor),
            None => scan,
        }
        .page()
        .await?;
        listed.extend(page.items.into_iter().filter_map(item_state).map(|state| (state.path.clone(), state)));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut paths = workload::paths();
    paths.extend(listed.keys().filter(|path| !path.starts_with("k/")).cloned());
    let mut lines = Vec::new();
    for path in paths {
        let state = match client.explain(&path).await {
            Ok(said) => Some(explained(&path, said)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let history = client.history(&path, Some(1_000), None).await?;
        lines.push(Line::Final {
            node: node.to_owned(),
            listed: listed.remove(&path),
            state,
            history: history.items.iter().map(past).collect(),
            path,
        });
    }
    Ok(lines)
}
