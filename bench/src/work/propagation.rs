//! One write here until its event there: a node to its peer, and along chains.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::client::http::Http;
use crate::client::redis::Redis;
use crate::document::key;
use crate::figure::{Figures, Subject};
use crate::load::percentile;
use crate::plan::{Plan, Workload};
use crate::process::{Process, free_port};
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

/// Pause between two writes: the system is to be idle when each comes.
const PAUSE: Duration = Duration::from_millis(3);

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..plan.rounds {
        for (nodes, durability) in [(2, "os"), (2, "disk"), (5, "os"), (5, "disk"), (10, "os")] {
            let times = chain(tools, plan, nodes, durability).await?;
            let system = if durability == "os" { System::RejoinOs } else { System::RejoinDisk };
            report(figures, &format!("{nodes} nodes in a chain"), system, times);
        }
        if tools.redis().is_ok() {
            let times = redis(tools, plan).await?;
            report(figures, "2 nodes in a chain", System::RedisEverysec, times);
        }
    }
    Ok(())
}

fn report(figures: &mut Figures, case: &str, system: System, mut times: Vec<f32>) {
    let (name, durability) = (system.name(), system.durability());
    let subject = Subject { workload: Workload::Propagation, case, system: name, durability };
    figures.add(&subject, "p50", "ms", percentile(&mut times, 0.5));
    figures.add(&subject, "p99", "ms", percentile(&mut times, 0.99));
}

/// Milliseconds of each write from the first node to the last.
async fn chain(
    tools: &Tools,
    plan: &Plan,
    nodes: usize,
    durability: &'static str,
) -> anyhow::Result<Vec<f32>> {
    let mut chain: Vec<Node> = Vec::new();
    for _ in 0..nodes {
        let peers = chain.last().map(|node| node.port).into_iter().collect();
        let mut node = Node::create(durability, peers)?;
        node.start(tools).await?;
        chain.push(node);
    }
    for node in &chain[1..] {
        node.linked(1).await?;
    }
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else { return Ok(Vec::new()) };
    let mut events = last.connect().await?;
    subscribe(&mut events).await?;
    marks(first, events, plan.propagated).await
}

/// Milliseconds of each of that many writes at a node until its event comes over a connection.
pub(crate) async fn marks(first: &Node, mut events: Http, writes: u32) -> anyhow::Result<Vec<f32>> {
    let mut writer = first.connect().await?;
    let mut times = Vec::new();
    // The first ones are for links to settle.
    for number in 0..writes + 20 {
        let mark = format!("mark-{number:08}");
        let value = format!("{{\"text\":\"{mark}\"}}");
        tokio::time::sleep(PAUSE).await;
        let sent = Instant::now();
        let put = async {
            let target = format!("/api/{}", key(number));
            let answer = writer
                .request("PUT", &target, "Content-Type: application/json\r\n", value.as_bytes())
                .await?;
            ensure!(answer.status < 300, "PUT: {}", answer.words());
            anyhow::Ok(())
        };
        let told = async {
            crate::client::answered(events.until(mark.as_bytes())).await?;
            anyhow::Ok(sent.elapsed())
        };
        let ((), took) = tokio::try_join!(put, told)?;
        if number >= 20 {
            times.push(took.as_secs_f32() * 1e3);
        }
    }
    Ok(times)
}

/// Follows all changes of a node that has no documents yet.
pub(crate) async fn subscribe(http: &mut Http) -> anyhow::Result<()> {
    http.send("GET", "/api/_changes?feed=eventsource&since=0&heartbeat=300000", "", b"").await?;
    // What comes behind the end of the snapshot is told as it happens.
    crate::client::answered(http.until(b"snapshot-end")).await
}

/// Follows all changes of a node from now on.
pub(crate) async fn follow(http: &mut Http) -> anyhow::Result<()> {
    http.send("GET", "/api/_changes?feed=eventsource&since=now&heartbeat=300000", "", b"").await?;
    crate::client::answered(http.until(b"\r\n\r\n")).await
}

/// The same on Redis: from a primary to a notification of its replica.
async fn redis(tools: &Tools, plan: &Plan) -> anyhow::Result<Vec<f32>> {
    let (_primary, port) = start_redis(tools, &[]).await?;
    let replica_of = port.to_string();
    let (_replica, replica) =
        start_redis(tools, &["--replicaof", "127.0.0.1", &replica_of, "--notify-keyspace-events", "KA"])
            .await?;
    synced(replica).await?;
    let mut writer = Redis::connect(port).await?;
    let mut events = Redis::connect(replica).await?;
    events.command(&[b"PSUBSCRIBE", b"__keyspace@0__:*"]).await?;
    let mut times = Vec::new();
    for number in 0..plan.propagated + 20 {
        let key = key(number);
        tokio::time::sleep(PAUSE).await;
        let sent = Instant::now();
        let told = async {
            crate::client::answered(events.until(key.as_bytes())).await?;
            anyhow::Ok(sent.elapsed())
        };
        let ((), took) = tokio::try_join!(writer.put(&key, b"{\"text\":1}"), told)?;
        if number >= 20 {
            times.push(took.as_secs_f32() * 1e3);
        }
    }
    Ok(times)
}

/// A server with more arguments than [`System::start`] gives.
pub(crate) async fn start_redis(
    tools: &Tools,
    arguments: &[&str],
) -> anyhow::Result<((Process, tempfile::TempDir), u16)> {
    let home = tempfile::Builder::new().prefix("rejoin-bench-").tempdir()?;
    let port = free_port()?;
    let mut command = tools.redis()?;
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "everysec", "--repl-diskless-sync-delay", "0", "--dir"]).arg(home.path());
    command.args(arguments).current_dir(home.path());
    let mut process = Process::start(command, home.path())?;
    process.listening(port).await?;
    Ok(((process, home), port))
}

/// Waits until a replica follows its primary.
pub(crate) async fn synced(replica: u16) -> anyhow::Result<()> {
    let mut redis = Redis::connect(replica).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = redis.command(&[b"INFO", b"replication"]).await?;
        if memchr::memmem::find(answer, b"master_link_status:up").is_some() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "a replica does not follow its primary");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
