//! The servers of a run, and the ways between them.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rejoin_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::proxy::{Mode, Proxy};
use crate::history::{Line, Recorder};

/// Ports of servers: below those that systems hand out to outgoing connections, so that nobody takes the port of a
/// server while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Names of nodes, so that histories are easy to read.
const NAMES: &str = "abcdefghijklmnopqrstuvwxyz";

/// At most this many nodes, as many as there are names.
pub const NODES_MAX: usize = NAMES.len();

/// Servers, not all of which run, and the ways on which they dial each other.
#[derive(Debug)]
pub(super) struct Cluster {
    /// The servers.
    pub(super) nodes: Vec<Server>,
    /// The ways.
    pub(super) ways: Vec<Way>,
    folder: PathBuf,
    program: PathBuf,
    durability: &'static str,
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    /// Its name.
    pub(super) name: String,
    /// A client of it.
    pub(super) client: Client,
    port: u16,
    child: Option<Child>,
    /// Faults that keep it down; it runs at none.
    down: usize,
    /// Faults that keep it paused.
    paused: usize,
    /// It was told to end.
    stopping: bool,
}

/// A way on which one node dials another.
#[derive(Debug)]
pub(super) struct Way {
    /// Who dials.
    pub(super) from: usize,
    /// Who is dialed.
    pub(super) to: usize,
    proxy: Proxy,
    /// Faults that are on it, by their number; the newest counts.
    faults: Vec<(usize, Mode)>,
}

impl Cluster {
    /// Servers under `folder`, none running yet. The seed chooses who dials whom, so that all are connected, and how
    /// durable they are; both kinds survive `kill -9`.
    ///
    /// # Errors
    /// Folders and ports that cannot be had.
    pub(super) async fn create(
        folder: &Path,
        program: &Path,
        count: usize,
        random: &mut StdRng,
    ) -> io::Result<Cluster> {
        let durability = if random.random_bool(0.3) { "disk" } else { "os" };
        let mut nodes = Vec::new();
        for name in NAMES.chars().take(count) {
            let port = free_port()?;
            let client = Client::new(&format!("http://127.0.0.1:{port}"), None).map_err(io::Error::other)?;
            let name = name.to_string();
            fs::create_dir_all(folder.join(&name))?;
            fs::write(folder.join(&name).join(CONFIG_FILE), CONFIG)?;
            nodes.push(Server { name, client, port, child: None, down: 0, paused: 0, stopping: false });
        }
        let mut ways = Vec::new();
        for (from, to) in topology(count, random) {
            let proxy = Proxy::to(nodes[to].port).await?;
            ways.push(Way { from, to, proxy, faults: Vec::new() });
        }
        let (folder, program) = (folder.to_owned(), program.to_owned());
        Ok(Cluster { nodes, ways, folder, program, durability })
    }

    /// Starts a server that does not run.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(super) fn start(&mut self, node: usize) -> io::Result<()> {
        let server = &self.nodes[node];
        let home = self.folder.join(&server.name);
        let log = OpenOptions::new().create(true).append(true).open(home.join("log"))?;
        let mut command = Command::new(&self.program);
        command.args(["serve", "--name", &server.name, "--durability", self.durability]);
        command.args(["--listen", &format!("127.0.0.1:{}", server.port)]);
        command.arg("--data-dir").arg(home.join("data")).arg("--config").arg(home.join(CONFIG_FILE));
        for way in self.ways.iter().filter(|way| way.from == node) {
            command.args(["--peer", &way.proxy.url()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let server = &mut self.nodes[node];
        (server.child, server.stopping) = (Some(command.spawn()?), false);
        Ok(())
    }

    /// Notes servers that have ended by themselves, and lets them lie.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(super) fn note_dead(&mut self, recorder: &Recorder) -> io::Result<()> {
        for server in &mut self.nodes {
            let Some(status) = server.child.as_mut().map(Child::try_wait).transpose()?.flatten() else {
                continue;
            };
            server.child = None;
            // One that had just been started may not listen to signals yet.
            let told = status.success() || status.signal() == Some(Signal::TERM.as_raw());
            if server.stopping && told {
                continue;
            }
            let (at_ms, what) = (recorder.at_ms(), "died".to_owned());
            let (node, detail) = (server.name.clone(), status.to_string());
            recorder.note(&Line::Event { at_ms, what, node, detail })?;
        }
        Ok(())
    }

    /// `kill -9`; the server stays down until as many [`Cluster::revive`] came.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) async fn kill(&mut self, node: usize) -> io::Result<()> {
        let server = &mut self.nodes[node];
        server.down += 1;
        match server.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// SIGTERM; as [`Cluster::kill`] otherwise.
    ///
    /// # Errors
    /// The system does not let us.
    pub(super) async fn stop(&mut self, node: usize) -> io::Result<()> {
        let server = &mut self.nodes[node];
        // One that is paused cannot hear it.
        if server.paused > 0 || server.child.is_none() {
            return self.kill(node).await;
        }
        server.down += 1;
        server.stopping = true;
        server.signal(Signal::TERM);
        Ok(())
    }

    /// The end of a [`Cluster::kill`] or [`Cluster::stop`].
    ///
    /// # Errors
    /// The program cannot be started, or does not stop.
    pub(super) async fn revive(&mut self, node: usize, recorder: &Recorder) -> io::Result<()> {
        let server = &mut self.nodes[node];
        server.down = server.down.saturating_sub(1);
        if server.down > 0 {
            return Ok(());
        }
        if let Some(child) = server.child.as_mut().filter(|_| server.stopping) {
            if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
                let why = format!("{} does not stop within {STOP_MAX:?}", server.name);
                return Err(io::Error::other(why));
            }
            self.note_dead(recorder)?;
        }
        match self.nodes[node].child {
            Some(_) => Ok(()),
            None => self.start(node),
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, node: usize) {
        self.nodes[node].paused += 1;
        // One that is paused while it ends would keep us from starting it again.
        if !self.nodes[node].stopping {
            self.nodes[node].signal(Signal::STOP);
        }
    }

    /// The end of a [`Cluster::pause`].
    pub(super) fn resume(&mut self, node: usize) {
        let server = &mut self.nodes[node];
        server.paused = server.paused.saturating_sub(1);
        if server.paused == 0 {
            server.signal(Signal::CONT);
        }
    }

    /// Puts a fault on a way.
    pub(super) fn spoil(&mut self, way: usize, fault: usize, mode: Mode) {
        let way = &mut self.ways[way];
        way.faults.push((fault, mode));
        way.proxy.set(mode);
    }

    /// Takes a fault off a way.
    pub(super) fn mend(&mut self, way: usize, fault: usize) {
        let way = &mut self.ways[way];
        way.faults.retain(|(known, _)| *known != fault);
        way.proxy.set(way.faults.last().map_or(Mode::Open, |(_, mode)| *mode));
    }

    /// A way in words: `a>b`.
    pub(super) fn way_name(&self, way: usize) -> String {
        let way = &self.ways[way];
        format!("{}>{}", self.nodes[way.from].name, self.nodes[way.to].name)
    }
}

impl Server {
    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // A server that has just ended is noted elsewhere.
            let _ = kill_process(pid, signal);
        }
    }
}

/// How long a server may take to stop: longer than open requests and goodbyes may take.
const STOP_MAX: Duration = Duration::from_secs(30);

const CONFIG_FILE: &str = "rejoin.toml";

/// Rounds often enough that runs of seconds see them.
const CONFIG: &str = "[sync]\nanti_entropy_interval = \"2s\"\n";

/// Who dials whom: a random tree, which keeps all connected, and some more.
fn topology(count: usize, random: &mut StdRng) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> =
        (1..count).map(|node| (node, random.random_range(0..node))).collect();
    for from in 0..count {
        for to in 0..count {
            // Both may dial each other: they keep one link.
            if from != to && !pairs.contains(&(from, to)) && random.random_bool(0.3) {
                pairs.push((from, to));
            }
        }
    }
    pairs
}

fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes that run at the same time start at different places.
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..count {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(step).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no port is free"))
}
