//! Runs the binary and nodes of it, each in a directory of its own, all ended by their handles.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The binary, without the settings of whoever runs the tests.
pub(crate) fn rejoin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("REJOIN_")) {
            command.env_remove(name);
        }
    }
    command.env_remove("COLUMNS").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Run {
        Run {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Standard error as the one error shape.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert_ne!(self.code, 0, "{self:?}");
        assert_eq!(self.stdout, "");
        serde_json::from_str(&self.stderr).unwrap_or_else(|_| panic!("not one JSON object: {self:?}"))
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    Run::of(command.output().unwrap())
}

pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Run::of(child.wait_with_output().unwrap())
}

/// How long a node may take to log what a test waits for.
const LOG_WAIT_MAX: Duration = Duration::from_secs(30);

/// A running `rejoin serve`.
pub(crate) struct Node {
    child: Child,
    pub(crate) url: String,
    log: Receiver<String>,
    _directory: Option<TempDir>,
}

impl Node {
    /// A node of its own, with these further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start_in(directory.path(), arguments);
        node._directory = Some(directory);
        node
    }

    /// A node on that directory, which stays.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Node {
        let mut command = rejoin();
        command.args(["serve", "--json", "--data-dir"]).arg(directory.join("data"));
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--durability", "os")] {
            if !arguments.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(arguments);
        Node::spawn(command)
    }

    /// What a command starts that logs JSON.
    pub(crate) fn spawn(mut command: Command) -> Node {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = listening(&mut lines);
        let (sender, log) = channel();
        // Whoever logs into a full pipe stops, so somebody reads it, to its end.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A test that has ended reads no more.
                let _ = sender.send(line);
            }
        });
        Node { child, url, log, _directory: None }
    }

    /// A client command for this node.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = rejoin();
        command.args(["--url", &self.url]).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments))
    }

    /// Waits for a line of its log.
    pub(crate) fn logged(&self, text: &str) {
        while !self.log.recv_timeout(LOG_WAIT_MAX).expect("it does not log it").contains(text) {}
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end; its exit code and the rest of its log.
    pub(crate) fn end(mut self) -> (i32, Vec<String>) {
        let code = self.child.wait().unwrap().code().expect("ended by the signal instead of handling it");
        (code, self.log.iter().collect())
    }

    /// Tells it to stop, and waits for its end.
    pub(crate) fn stop(self) -> (i32, Vec<String>) {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening(lines: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut before = String::new();
    for line in lines {
        let line = line.unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["message"] == "listening" {
            return event["url"].as_str().unwrap().to_owned();
        }
        before.push_str(&line);
    }
    panic!("the node ended before it listened: {before}");
}

/// A command that goes on printing lines.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// Waits for its next line.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("it ended").unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> i32 {
        self.child.wait().unwrap().code().expect("ended by a signal")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without unsafe code there is no system call for it.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Compares text with a file under `tests/snapshots`, or writes it there when `UPDATE` is set.
#[track_caller]
pub(crate) fn snapshot(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == text,
        "{name} differs; UPDATE=1 writes it anew\n--- expected\n{expected}\n--- got\n{text}"
    );
}
