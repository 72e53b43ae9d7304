//! Many writes here, as fast as they are taken, until all of them are there.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::client::Client;
use crate::client::etcd::Etcd;
use crate::client::http::{Http, Paths};
use crate::client::nats::Nats;
use crate::client::redis::Redis;
use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::server::rejoin::{Node, fill};
use crate::server::{System, Tools, several};

use super::propagation::{start_redis, synced};

/// Of PouchDB Server, which takes minutes for what others do in seconds.
const SLOW_WRITES: u32 = 1_000;

/// Of etcd, each of which is synced by two of three members on the same disk.
const ETCD_WRITES: u32 = 5_000;

/// Everything is there within this time, or the run fails.
const REPLICATED_MAX: Duration = Duration::from_secs(300);

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..plan.rounds {
        for (system, durability) in [(System::RejoinOs, "os"), (System::RejoinDisk, "disk")] {
            let (here, there) = rejoin(tools, plan, durability).await?;
            report(figures, "", system, plan.replicated, here, there);
        }
        if tools.redis().is_ok() {
            let (here, there) = redis(tools, plan).await?;
            report(figures, "", System::RedisEverysec, plan.replicated, here, there);
        }
        if tools.nats().is_ok() {
            let (here, there) = nats(tools, plan).await?;
            report(figures, "leaf mirrors", System::Nats, plan.replicated, here, there);
        }
        if tools.etcd().is_ok() {
            let (here, there) = etcd(tools).await?;
            report(figures, "3 members", System::Etcd, ETCD_WRITES, here, there);
        }
        if tools.pouchdb().is_ok() {
            let (here, there) = pouchdb(tools).await?;
            report(figures, "", System::Pouchdb, SLOW_WRITES, here, there);
        }
    }
    Ok(())
}

/// Times from the first write until the last answer, and until the other has all.
fn report(figures: &mut Figures, setup: &str, system: System, writes: u32, here: Duration, there: Duration) {
    let name =
        if setup.is_empty() { system.name().to_owned() } else { format!("{}, {setup}", system.name()) };
    let case = format!("{writes} writes");
    let durability = system.durability();
    let subject = Subject { workload: Workload::Replication, case: &case, system: &name, durability };
    figures.add(&subject, "answered", "/s", f64::from(writes) / here.as_secs_f64());
    figures.add(&subject, "replicated", "/s", f64::from(writes) / there.as_secs_f64());
    figures.add(&subject, "behind", "%", (there.as_secs_f64() / here.as_secs_f64() - 1.0) * 100.0);
}

async fn rejoin(
    tools: &Tools,
    plan: &Plan,
    durability: &'static str,
) -> anyhow::Result<(Duration, Duration)> {
    let mut here = Node::create(durability, Vec::new())?;
    here.start(tools).await?;
    let mut there = Node::create(durability, vec![here.port])?;
    there.start(tools).await?;
    there.linked(1).await?;
    let begun = Instant::now();
    here.fill(0..plan.replicated, 1).await?;
    let answered = begun.elapsed();
    there.has(&here.token().await?).await?;
    Ok((answered, begun.elapsed()))
}

async fn redis(tools: &Tools, plan: &Plan) -> anyhow::Result<(Duration, Duration)> {
    let (_primary, port) = start_redis(tools, &[]).await?;
    let (_replica, replica) = start_redis(tools, &["--replicaof", "127.0.0.1", &port.to_string()]).await?;
    synced(replica).await?;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(Client::Redis(Redis::connect(port).await?));
    }
    let mut other = Redis::connect(replica).await?;
    let begun = Instant::now();
    fill(clients, 0..plan.replicated, 1).await?;
    let answered = begun.elapsed();
    let deadline = begun + REPLICATED_MAX;
    while other.number(&[b"DBSIZE"]).await? < u64::from(plan.replicated) {
        ensure!(Instant::now() < deadline, "a replica of Redis does not have everything");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok((answered, begun.elapsed()))
}

async fn nats(tools: &Tools, plan: &Plan) -> anyhow::Result<(Duration, Duration)> {
    let (here, there) = several::nats_pair(tools).await?;
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(Client::Nats(Nats::connect(here.port).await?));
    }
    let mut other = Nats::connect(there.port).await?;
    let before = other.count().await?;
    let begun = Instant::now();
    fill(clients, 0..plan.replicated, 1).await?;
    let answered = begun.elapsed();
    let deadline = begun + REPLICATED_MAX;
    while other.count().await? < before + u64::from(plan.replicated) {
        ensure!(Instant::now() < deadline, "a mirror of NATS does not take everything over");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((answered, begun.elapsed()))
}

/// Until the last of three members has applied the last write; all apply them in one order.
async fn etcd(tools: &Tools) -> anyhow::Result<(Duration, Duration)> {
    let members = several::etcd_cluster(tools, 3).await?;
    let (mut clients, mut others) = (Vec::new(), Vec::new());
    for _ in 0..64 {
        clients.push(Client::Etcd(Etcd::connect(members[0].port).await?));
    }
    for member in &members {
        others.push(Etcd::connect(member.port).await?);
    }
    let begun = Instant::now();
    fill(clients, 0..ETCD_WRITES, 1).await?;
    let answered = begun.elapsed();
    others[0].put("last", &[b' '; 200]).await?;
    let deadline = begun + REPLICATED_MAX;
    for other in &mut others {
        while !other.has("last").await? {
            ensure!(Instant::now() < deadline, "a member of etcd does not have everything");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok((answered, begun.elapsed()))
}

async fn pouchdb(tools: &Tools) -> anyhow::Result<(Duration, Duration)> {
    let here = System::Pouchdb.start(tools).await?;
    let there = System::Pouchdb.start(tools).await?;
    let mut http = Http::connect(there.port, Paths::Couch).await?;
    let ask = format!(
        "{{\"source\":\"http://127.0.0.1:{}/bench\",\"target\":\"http://127.0.0.1:{}/bench\",\"continuous\":true}}",
        here.port, there.port
    );
    let json = "Content-Type: application/json\r\n";
    let answer = http.request("POST", "/_replicate", json, ask.as_bytes()).await?;
    ensure!(answer.status < 300, "POST /_replicate: {}", answer.words());
    let begun = Instant::now();
    fill(here.connections(64).await?, 0..SLOW_WRITES, 1).await?;
    let answered = begun.elapsed();
    let deadline = begun + REPLICATED_MAX;
    loop {
        // It closes connections that were idle for five seconds.
        let mut http = Http::connect(there.port, Paths::Couch).await?;
        let answer = http.request("GET", "/bench", "", b"").await?;
        let info: serde_json::Value = serde_json::from_slice(answer.body)?;
        if info["doc_count"].as_u64().unwrap_or(0) >= u64::from(SLOW_WRITES) {
            return Ok((answered, begun.elapsed()));
        }
        ensure!(Instant::now() < deadline, "PouchDB Server does not replicate: {info}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
