//! The processes that are measured: what each is started with, and what an answered write survives there.

pub(crate) mod nothing;
pub(crate) mod rejoin;
pub(crate) mod several;
mod tools;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::client::Client;
use crate::client::etcd::Etcd;
use crate::client::http::{Http, Paths};
use crate::client::nats::Nats;
use crate::client::redis::Redis;
use crate::process::{Process, free_port};
pub(crate) use tools::Tools;

/// A system, as it is set up here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// An HTTP server that stores nothing: the limit of the load generator.
    Nothing,
    RejoinDisk,
    RejoinOs,
    RedisAlways,
    RedisEverysec,
    Etcd,
    Nats,
    Pouchdb,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Nothing => "stores nothing",
            System::RejoinDisk => "Rejoin disk",
            System::RejoinOs => "Rejoin os",
            System::RedisAlways => "Redis always",
            System::RedisEverysec => "Redis everysec",
            System::Etcd => "etcd",
            System::Nats => "NATS KV",
            System::Pouchdb => "PouchDB Server",
        }
    }

    /// What an answered write survives.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            System::Nothing => "nothing",
            System::RejoinDisk | System::RedisAlways | System::Etcd => "power cut (fsync before the answer)",
            System::RejoinOs => "kill -9 (no fsync)",
            System::RedisEverysec => "kill -9 (fsync every second)",
            System::Nats => "kill -9 (fsync every 2 min)",
            System::Pouchdb => "kill -9 (LevelDB, no fsync)",
        }
    }

    /// Whether it takes tens of milliseconds for what others do in one.
    pub(crate) fn is_slow(self) -> bool {
        self == System::Pouchdb
    }

    /// Starts it with nothing stored.
    pub(crate) async fn start(self, tools: &Tools) -> anyhow::Result<Running> {
        let home = tempfile::Builder::new().prefix("rejoin-bench-").tempdir()?;
        let port = free_port()?;
        let command = self.command(tools, port, &home)?;
        let mut process = Process::start(command, home.path())?;
        process.listening(port).await.with_context(|| self.name())?;
        self.prepare(port).await.with_context(|| self.name())?;
        Ok(Running { system: self, process, port, _home: home })
    }

    fn command(self, tools: &Tools, port: u16, home: &TempDir) -> anyhow::Result<Command> {
        let port_text = port.to_string();
        let data = home.path().join("data");
        std::fs::create_dir_all(&data)?;
        let mut command = match self {
            System::Nothing => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["nothing", "--port", &port_text]);
                command
            }
            System::RejoinDisk => rejoin::command(tools, port, &data, "disk", &[]),
            System::RejoinOs => rejoin::command(tools, port, &data, "os", &[]),
            System::RedisAlways | System::RedisEverysec => {
                let fsync = if self == System::RedisAlways { "always" } else { "everysec" };
                let mut command = tools.redis()?;
                command.args([
                    "--bind",
                    "127.0.0.1",
                    "--port",
                    &port_text,
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                ]);
                command.args(["--appendfsync", fsync, "--dir"]).arg(&data);
                command
            }
            System::Etcd => {
                let (url, peer) =
                    (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()?));
                let mut command = tools.etcd()?;
                command.arg("--data-dir").arg(&data).args(["--log-level", "error", "--logger", "zap"]);
                command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
                command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
                command.args(["--initial-cluster", &format!("default={peer}")]);
                command
            }
            System::Nats => {
                let mut command = tools.nats()?;
                command.args(["-a", "127.0.0.1", "-p", &port_text, "-js", "-sd"]).arg(&data);
                command
            }
            System::Pouchdb => {
                let mut command = tools.pouchdb()?;
                command.args(["-n", "-o", "127.0.0.1", "-p", &port_text, "-d"]).arg(&data);
                command.arg("-c").arg(home.path().join("config.json"));
                command
            }
        };
        command.current_dir(home.path());
        Ok(command)
    }

    /// What has to be there before the first write.
    async fn prepare(self, port: u16) -> anyhow::Result<()> {
        match self {
            System::Nats => Nats::connect(port).await?.make_bucket().await,
            System::Pouchdb => {
                let mut http = Http::connect(port, Paths::Couch).await?;
                let answer = http.request("PUT", "/bench", "", b"").await?;
                ensure!(answer.status == 201, "PUT /bench: {}", answer.words());
                Ok(())
            }
            System::RejoinDisk | System::RejoinOs => rejoin::ready(port).await,
            // It listens before it has elected itself.
            System::Etcd => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Etcd::connect(port).await?.put("ready", b"{}").await
            }
            _ => Ok(()),
        }
    }
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// Its data; gone with this.
    _home: TempDir,
}

impl Running {
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        Ok(match self.system {
            System::Nothing | System::RejoinDisk | System::RejoinOs => {
                Http::client(self.port, Paths::Rejoin).await?
            }
            System::Pouchdb => Http::client(self.port, Paths::Couch).await?,
            System::RedisAlways | System::RedisEverysec => Client::Redis(Redis::connect(self.port).await?),
            System::Etcd => Client::Etcd(Etcd::connect(self.port).await?),
            System::Nats => Client::Nats(Nats::connect(self.port).await?),
        })
    }

    pub(crate) async fn connections(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(self.connect().await?);
        }
        Ok(clients)
    }
}
