//! A process that is measured: started, asked what it took, and ended.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A server starts within this time, even on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A server that was asked to stop does within this time.
const STOP_MAX: Duration = Duration::from_secs(60);

/// A process of ours; it ends with this.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says goes to a file in `directory`.
    pub(crate) fn start(mut command: Command, directory: &Path) -> anyhow::Result<Process> {
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        let name = format!("{}", Path::new(command.get_program()).display());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child })
    }

    /// Waits until it accepts connections; tells how long that took.
    pub(crate) async fn listening(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("a server ended with {status} instead of serving");
            }
            if Instant::now() > deadline {
                bail!("a server does not listen after {} s", START_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// CPU time that it has taken so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        let text = std::fs::read_to_string(self.file("stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; behind it, fields 14 and 15 of proc(5) are the 12th and 13th.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        // Linux shows 100 ticks a second, whatever it counts in.
        (ticks(11) + ticks(12)) * 10_000.0
    }

    /// Memory that it holds, in MiB.
    pub(crate) fn rss_mib(&self) -> f64 {
        self.status_kib("VmRSS:") / 1024.0
    }

    fn status_kib(&self, name: &str) -> f64 {
        let text = std::fs::read_to_string(self.file("status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let Some(id) = rustix::process::Pid::from_raw(i32::try_from(self.child.id())?) else { return Ok(()) };
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("a server does not stop after {} s", STOP_MAX.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises the limit of open files to what this process, and those it starts, are allowed.
pub(crate) fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // What cannot be raised is found out by asking for the limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many files this process may have open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A port that is free now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
