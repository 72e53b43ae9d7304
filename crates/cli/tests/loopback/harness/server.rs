//! One `rejoin serve` process and what a user does with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::http::{Answer, Client};
use super::wait::eventually;

/// A server starts, recovering its store, within this time even on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// A server that was told to stop does within this time: it waits for goodbyes and flushes.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What a server logs is in its file within this time.
const LOG_MAX: Duration = Duration::from_secs(10);

/// Lines of a server's log shown when a test fails.
const LOG_TAIL_LINES: usize = 40;

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    name: String,
    port: u16,
    durability: &'static str,
    peers: Vec<String>,
    config: String,
    log_level: &'static str,
    environment: BTreeMap<&'static str, PathBuf>,
}

impl Launch {
    /// A server on a free port, as durable as can be, without peers.
    pub(crate) fn new(name: &str) -> Launch {
        Launch {
            name: name.to_owned(),
            port: free_port(),
            durability: "disk",
            peers: Vec::new(),
            config: String::new(),
            log_level: "info",
            environment: BTreeMap::new(),
        }
    }

    /// Quick writes: they survive `kill -9`, not a power cut.
    pub(crate) fn quick(mut self) -> Launch {
        self.durability = "os";
        self
    }

    /// A peer to dial.
    pub(crate) fn peer(mut self, url: impl Into<String>) -> Launch {
        self.peers.push(url.into());
        self
    }

    /// The text of its configuration file.
    pub(crate) fn config(mut self, toml: &str) -> Launch {
        self.config = toml.to_owned();
        self
    }

    /// A variable of its environment.
    pub(crate) fn environment(mut self, name: &'static str, value: impl Into<PathBuf>) -> Launch {
        self.environment.insert(name, value.into());
        self
    }

    /// Where it will serve.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the process and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let mut server = self.create();
        server.start();
        server
    }

    /// The server, not running yet.
    pub(crate) fn create(self) -> Server {
        let home = tempfile::Builder::new().prefix("rejoin-loopback-").tempdir().unwrap();
        fs::write(home.path().join(CONFIG_FILE), &self.config).unwrap();
        let client = RefCell::new(Client::new(self.port));
        Server { launch: self, home, child: None, client }
    }
}

const CONFIG_FILE: &str = "rejoin.toml";
const LOG_FILE: &str = "log";
const DATA_FOLDER: &str = "data";

/// A server with its data directory; the process may run or not.
#[derive(Debug)]
pub(crate) struct Server {
    launch: Launch,
    home: TempDir,
    child: Option<Child>,
    client: RefCell<Client>,
}

/// A document as a scan lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The text, as it was written.
    pub(crate) value: String,
    pub(crate) etag: String,
    pub(crate) version: String,
    pub(crate) conflicts: u64,
}

impl Server {
    pub(crate) fn name(&self) -> &str {
        &self.launch.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.launch.port
    }

    pub(crate) fn url(&self) -> String {
        self.launch.url()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join(DATA_FOLDER)
    }

    // The process

    /// The command that runs this server.
    fn command(&self) -> Command {
        let mut command = rejoin();
        command.args(["serve", "--log-level", self.launch.log_level]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.launch.port)]);
        command.args(["--name", &self.launch.name, "--durability", self.launch.durability]);
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--config").arg(self.home.path().join(CONFIG_FILE));
        for peer in &self.launch.peers {
            command.args(["--peer", peer]);
        }
        command.envs(&self.launch.environment);
        command
    }

    /// Starts the process, again on the same data and port, and waits until it serves.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.ready();
    }

    /// Changes the text of its configuration file, for its next start.
    #[allow(dead_code, reason = "for tests that share this harness")]
    pub(crate) fn configure(&mut self, toml: &str) {
        fs::write(self.home.path().join(CONFIG_FILE), toml).unwrap();
    }

    /// Starts the process.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.launch.name);
        let log = OpenOptions::new().create(true).append(true).open(self.home.path().join(LOG_FILE)).unwrap();
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        *self.client.borrow_mut() = self.client();
    }

    /// Waits until it serves; fails at once when the process has ended.
    #[track_caller]
    pub(crate) fn ready(&mut self) {
        let (name, mut client) = (self.launch.name.clone(), self.client());
        let child = self.child.as_mut().unwrap();
        eventually(&format!("{name} serves"), START_MAX, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} ended with {status} instead of serving");
            }
            match client.send("GET", "/readyz", &[], None) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = eventually(&format!("{} stops", self.launch.name), STOP_MAX, || ended(&mut child));
        assert!(ended.success(), "{} ended with {ended}", self.launch.name);
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub(crate) fn ends(&mut self, at_most: Duration) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        eventually(&format!("{} ends", self.launch.name), at_most, || ended(&mut child))
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Memory of the process that is in use, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Everything that the server has said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// Waits until the log has a line with all of these words behind its first `after` bytes, and gives it without
    /// its time.
    #[track_caller]
    pub(crate) fn logs(&self, after: usize, words: &[&str]) -> String {
        eventually(&format!("{} logs {words:?}", self.launch.name), LOG_MAX, || {
            let log = self.log();
            let mut lines =
                log[after..].lines().map(|line| line.split_once("Z ").map_or(line, |(_, said)| said));
            let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
            line.map(|line| line.trim_start().to_owned()).ok_or_else(|| "no such line".to_owned())
        })
    }

    // The data directory

    /// A copy of the data directory, whatever the process does meanwhile.
    pub(crate) fn copy_data(&self) -> TempDir {
        let copy = tempfile::Builder::new().prefix("rejoin-backup-").tempdir().unwrap();
        copy_directory(&self.data_dir(), copy.path());
        copy
    }

    /// Puts a copy in place of the data directory of a server that does not run.
    pub(crate) fn restore_data(&self, copy: &Path) {
        assert!(self.child.is_none(), "{} runs", self.launch.name);
        fs::remove_dir_all(self.data_dir()).unwrap();
        copy_directory(copy, &self.data_dir());
    }

    // Requests

    /// A client of its own, for a thread.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.launch.port)
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let answer = self.client.borrow_mut().send(method, target, &[], body);
        answer.unwrap_or_else(|error| panic!("{method} {target} on {}: {error}", self.launch.name))
    }

    /// A request that must succeed.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let answer = self.send(method, target, body);
        let (name, status) = (&self.launch.name, answer.status);
        assert!(matches!(status, 200 | 201), "{method} {target} on {name}: {status} {}", answer.text());
        answer
    }

    /// Writes a value; gives the write result.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, value: &str) -> Value {
        self.ask("PUT", &format!("/api/{path}"), Some(value)).json()
    }

    /// Deletes a value that is there; gives the write result.
    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Value {
        self.ask("DELETE", &format!("/api/{path}"), None).json()
    }

    /// The value at a path, as JSON text; none when it is not there.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let answer = self.send("GET", &format!("/api/{path}"), None);
        match answer.status {
            200 => Some(answer.text()),
            404 => None,
            status => panic!("GET {path} on {}: {status} {}", self.launch.name, answer.text()),
        }
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "/api/status", None).json()
    }

    /// The peers, after a look at the sessions.
    #[track_caller]
    pub(crate) fn peers(&self) -> Vec<Value> {
        self.status()["peers"].as_array().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn explain(&self, path: &str) -> Value {
        self.ask("GET", &format!("/api/_explain/{path}"), None).json()
    }

    #[track_caller]
    pub(crate) fn history(&self, path: &str) -> Vec<Value> {
        let history = self.ask("GET", &format!("/api/history/{path}"), None).json();
        history["items"].as_array().unwrap().clone()
    }

    /// Compares with every peer now.
    #[track_caller]
    pub(crate) fn anti_entropy(&self) -> Value {
        self.ask("POST", "/api/_anti_entropy", None).json()
    }

    /// Every document, from one snapshot.
    #[track_caller]
    pub(crate) fn scan(&self) -> BTreeMap<String, Item> {
        let headers = [("Accept", "application/x-ndjson")];
        let answer = self.client.borrow_mut().send("GET", "/api/scan/?meta=true", &headers, None);
        let answer = answer.unwrap_or_else(|error| panic!("scan on {}: {error}", self.launch.name));
        assert_eq!(answer.status, 200, "scan on {}: {}", self.launch.name, answer.text());
        let text = answer.text();
        let lines = text.strip_suffix("{\"cursor\":null}\n").expect("the last line says that this is all");
        lines.lines().map(item).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n  ");
            println!("--- the log of {} ({}) ends with\n  {tail}", self.launch.name, self.url());
        }
    }
}

/// A line of a streamed scan.
#[derive(Deserialize)]
struct Line<'a> {
    path: String,
    #[serde(borrow)]
    value: &'a RawValue,
    etag: String,
    version: String,
    conflicts: u64,
}

fn item(line: &str) -> (String, Item) {
    let Line { path, value, etag, version, conflicts } = serde_json::from_str(line).unwrap();
    (path, Item { value: value.get().to_owned(), etag, version, conflicts })
}

fn ended(child: &mut Child) -> Result<ExitStatus, String> {
    child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
}

/// The program under test, without the settings of whoever runs the tests.
pub(crate) fn rejoin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REJOIN_") {
            command.env_remove(name);
        }
    }
    command
}

/// A port that nothing listens on, below the range from which the system takes the ports of outgoing connections: so
/// a server finds its port free again when it is restarted.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 16_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different places.
    let start = u16::try_from(std::process::id() * 61 % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Copies a directory file by file, as a user's backup does.
fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&source, &target);
            continue;
        }
        match File::open(&source) {
            Ok(mut file) => {
                let mut copy = File::create(target).unwrap();
                std::io::copy(&mut file, &mut copy).unwrap();
            }
            // A running server may have removed it since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{}: {error}", source.display()),
        }
    }
}

/// The files below a directory, by path.
pub(crate) fn read_files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut read_files(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}
