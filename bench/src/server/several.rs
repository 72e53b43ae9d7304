//! Other systems as several servers that copy from each other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Tools;
use crate::client::etcd::Etcd;
use crate::client::nats::Nats;
use crate::process::{Process, free_port};

/// Members of a cluster find each other within this time, or the run fails.
const CLUSTER_MAX: Duration = Duration::from_secs(60);

/// The domain of the server whose bucket is copied.
const DOMAIN: &str = "here";

/// A server of several; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Process,
    _home: TempDir,
}

impl Server {
    fn start(
        port: u16,
        command: impl FnOnce(&TempDir) -> anyhow::Result<std::process::Command>,
    ) -> anyhow::Result<Server> {
        let home = tempfile::Builder::new().prefix("rejoin-bench-").tempdir()?;
        let mut command = command(&home)?;
        command.current_dir(home.path());
        Ok(Server { port, process: Process::start(command, home.path())?, _home: home })
    }
}

/// A cluster of etcd in which a write is answered once most members have it on disk.
pub(crate) async fn etcd_cluster(tools: &Tools, members: usize) -> anyhow::Result<Vec<Server>> {
    let mut addresses = Vec::new();
    for member in 0..members {
        addresses.push((
            format!("member{member}"),
            free_port()?,
            format!("http://127.0.0.1:{}", free_port()?),
        ));
    }
    let cluster: Vec<String> = addresses.iter().map(|(name, _, peer)| format!("{name}={peer}")).collect();
    let cluster = cluster.join(",");
    let mut servers = Vec::new();
    for (name, port, peer) in &addresses {
        let client = format!("http://127.0.0.1:{port}");
        servers.push(Server::start(*port, |home| {
            let mut command = tools.etcd()?;
            command.args(["--name", name, "--log-level", "error", "--logger", "zap", "--data-dir"]);
            command.arg(home.path().join("data"));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
            command.args(["--initial-cluster", &cluster]);
            Ok(command)
        })?);
    }
    for server in &mut servers {
        server.process.listening(server.port).await.context("etcd")?;
    }
    // They listen before they have elected one of them.
    let deadline = Instant::now() + CLUSTER_MAX;
    for server in &servers {
        while let Err(error) = etcd_writes(server.port).await {
            ensure!(Instant::now() < deadline, "a cluster of etcd takes no write: {error:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(servers)
}

async fn etcd_writes(port: u16) -> anyhow::Result<()> {
    Etcd::connect(port).await?.put("ready", b"{}").await
}

/// A server of NATS with a bucket, and one that is its leaf and mirrors the bucket.
pub(crate) async fn nats_pair(tools: &Tools) -> anyhow::Result<(Server, Server)> {
    let leaf = free_port()?;
    let links = format!("listen: \"127.0.0.1:{leaf}\"");
    let here = nats(tools, DOMAIN, &links).await?;
    let links = format!("remotes: [{{ url: \"nats-leaf://127.0.0.1:{leaf}\" }}]");
    let there = nats(tools, "there", &links).await?;
    Nats::connect(here.port).await?.make_bucket().await?;
    let mut mirror = Nats::connect(there.port).await?;
    mirror.make_mirror(DOMAIN).await?;
    // One value that has come over says that the mirror runs.
    Nats::connect(here.port).await?.put("ready", b"{}").await?;
    let deadline = Instant::now() + CLUSTER_MAX;
    while mirror.count().await? == 0 {
        ensure!(Instant::now() < deadline, "a mirror of NATS takes nothing over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((here, there))
}

async fn nats(tools: &Tools, domain: &str, links: &str) -> anyhow::Result<Server> {
    let port = free_port()?;
    let mut server = Server::start(port, |home| {
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: {domain}\n\
             jetstream {{ store_dir: \"{}\", domain: {domain} }}\nleafnodes {{ {links} }}\n",
            home.path().join("data").display()
        );
        let file = home.path().join("nats.conf");
        std::fs::write(&file, config)?;
        let mut command = tools.nats()?;
        command.arg("-c").arg(file);
        Ok(command)
    })?;
    server.process.listening(port).await.context("NATS")?;
    Ok(server)
}
