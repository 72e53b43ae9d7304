//! Our own server, alone or with peers.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::Tools;
use crate::client::Client;
use crate::client::http::{Http, Paths};
use crate::document::{Documents, key};
use crate::load;
use crate::process::{Process, free_port};

/// A node catches up within this time, or the run fails.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);

/// A node that listens is ready within this time, or the run fails.
const READY_MAX: Duration = Duration::from_secs(60);

/// Connections over which documents are loaded.
const LOADERS: usize = 4;

/// Documents of one stream of lines.
const LINES: u32 = 1_000;

/// The command that serves.
pub(crate) fn command(tools: &Tools, port: u16, data: &Path, durability: &str, peers: &[u16]) -> Command {
    let mut command = Command::new(&tools.rejoin);
    command.args(["serve", "--log-level", "warn", "--durability", durability]);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(data);
    for peer in peers {
        command.args(["--peer", &format!("http://127.0.0.1:{peer}")]);
    }
    command
}

/// Waits until the server at a port can serve.
pub(crate) async fn ready(port: u16) -> anyhow::Result<()> {
    let mut http = Http::connect(port, Paths::Rejoin).await?;
    let deadline = Instant::now() + READY_MAX;
    while http.request("GET", "/readyz", "", b"").await?.status != 200 {
        ensure!(Instant::now() < deadline, "a node is not ready after {} s", READY_MAX.as_secs());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// A node of a cluster; its process may run or not.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) peers: Vec<u16>,
    durability: &'static str,
    home: TempDir,
    process: Option<Process>,
}

impl Node {
    /// A node with an empty store, not running.
    pub(crate) fn create(durability: &'static str, peers: Vec<u16>) -> anyhow::Result<Node> {
        let home = tempfile::Builder::new().prefix("rejoin-bench-").tempdir()?;
        Ok(Node { port: free_port()?, peers, durability, home, process: None })
    }

    /// Starts it; tells how long that took, until it was ready.
    pub(crate) async fn start(&mut self, tools: &Tools) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let command = command(tools, self.port, &self.home.path().join("data"), self.durability, &self.peers);
        let mut process = Process::start(command, self.home.path())?;
        process.listening(self.port).await?;
        self.process = Some(process);
        ready(self.port).await?;
        Ok(begun.elapsed())
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    pub(crate) fn process(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().context("the node does not run")
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Http> {
        Http::connect(self.port, Paths::Rejoin).await
    }

    /// Writes documents over 64 connections; tells the bytes of their paths and values.
    pub(crate) async fn fill(&self, numbers: std::ops::Range<u32>, seed: u64) -> anyhow::Result<u64> {
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(Http::client(self.port, Paths::Rejoin).await?);
        }
        fill(clients, numbers, seed).await
    }

    /// Writes documents as streams of lines, which is how many are loaded; tells the bytes of their paths and values.
    pub(crate) async fn load(&self, numbers: std::ops::Range<u32>, seed: u64) -> anyhow::Result<u64> {
        let work = std::rc::Rc::new(std::cell::RefCell::new((numbers.start, Documents::new(seed), 0_u64)));
        let mut loading = Vec::new();
        for _ in 0..LOADERS {
            let (mut http, work, end) = (self.connect().await?, std::rc::Rc::clone(&work), numbers.end);
            loading.push(tokio::task::spawn_local(async move {
                loop {
                    let lines = lines(&mut work.borrow_mut(), end);
                    if lines.is_empty() {
                        return anyhow::Ok(());
                    }
                    let kind = "Content-Type: application/x-ndjson\r\n";
                    let answer = http.request("POST", "/api/_batch?results=refused", kind, &lines).await?;
                    let done = memchr::memmem::find(answer.body, b"\"refused\":0").is_some();
                    ensure!(answer.status == 200 && done, "POST /api/_batch: {}", answer.words());
                }
            }));
        }
        for loading in loading {
            loading.await??;
        }
        let bytes = work.borrow().2;
        Ok(bytes)
    }

    /// What it has applied.
    pub(crate) async fn token(&self) -> anyhow::Result<String> {
        let mut http = self.connect().await?;
        let answer = http.request("GET", "/api/status", "", b"").await?;
        Ok(answer.header("rejoin-token").context("a status without a token")?.to_owned())
    }

    /// Waits until it has applied what a token names.
    pub(crate) async fn has(&self, token: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + CATCH_UP_MAX;
        let mut http = self.connect().await?;
        let headers = format!("Rejoin-Token: {token}\r\nRejoin-Wait: 30s\r\n");
        loop {
            let answer = http.request("GET", "/api/status", &headers, b"").await?;
            match answer.status {
                200 => return Ok(()),
                503 if Instant::now() < deadline => {}
                _ => bail!("a node did not catch up: {}", answer.words()),
            }
        }
    }

    /// Waits until it has as many links.
    pub(crate) async fn linked(&self, links: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut http = self.connect().await?;
        loop {
            let answer = http.request("GET", "/api/status", "", b"").await?;
            let status: serde_json::Value = serde_json::from_slice(answer.body)?;
            let connected = status["peers"].as_array().into_iter().flatten();
            let connected = connected.filter(|peer| peer["state"] == "connected").count();
            if connected >= links {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{connected} of {links} links: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let mut http = self.connect().await?;
        let answer = http.request("GET", "/metrics", "", b"").await?;
        let text = std::str::from_utf8(answer.body)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
    }

    /// Bytes of its files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.home.path().join("data"))
    }
}

/// The next documents as operations, one a line.
fn lines(work: &mut (u32, Documents, u64), end: u32) -> Vec<u8> {
    let (next, documents, bytes) = work;
    let mut lines = Vec::new();
    for number in *next..end.min(*next + LINES) {
        let (key, value) = (key(number), documents.next());
        *bytes += (key.len() + value.len()) as u64;
        lines.extend_from_slice(b"{\"path\":\"");
        lines.extend_from_slice(key.as_bytes());
        lines.extend_from_slice(b"\",\"value\":");
        lines.extend_from_slice(value);
        lines.extend_from_slice(b"}\n");
    }
    *next = end.min(*next + LINES);
    lines
}

/// Writes documents, each once; tells the bytes of their keys and values.
pub(crate) async fn fill(
    clients: Vec<Client>,
    numbers: std::ops::Range<u32>,
    seed: u64,
) -> anyhow::Result<u64> {
    let work = std::rc::Rc::new(std::cell::RefCell::new((numbers.start, Documents::new(seed), 0_u64)));
    let (end, ahead) = (numbers.end, std::rc::Rc::clone(&work));
    let go_on = move || ahead.borrow().0 < end;
    let writing = std::rc::Rc::clone(&work);
    let (_, _clients) = load::run(clients, go_on, async move |client| {
        let (key, value) = {
            let mut work = writing.borrow_mut();
            let key = key(work.0);
            work.0 += 1;
            let value = work.1.next().to_vec();
            work.2 += (key.len() + value.len()) as u64;
            (key, value)
        };
        client.put(&key, &value).await
    })
    .await?;
    let bytes = work.borrow().2;
    Ok(bytes)
}

/// Bytes that a directory's files take on the disk.
fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
