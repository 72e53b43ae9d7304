//! Where the programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::System;

/// The programs, as `cargo xtask bench` has built and fetched them.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) rejoin: PathBuf,
    /// A folder with packages of Debian (`root`) and npm (`npm`), and why some are missing (`missing`).
    peers: Option<PathBuf>,
}

impl Tools {
    pub(crate) fn find(rejoin: PathBuf, peers: Option<PathBuf>) -> anyhow::Result<Tools> {
        let absolute = |path: PathBuf| std::path::absolute(&path).context("a path");
        let rejoin = absolute(rejoin)?;
        ensure!(rejoin.is_file(), "there is no program {}", rejoin.display());
        Ok(Tools { rejoin, peers: peers.map(absolute).transpose()? })
    }

    /// The systems that can be measured, beside ours.
    pub(crate) fn others(&self) -> Vec<System> {
        let all = [System::RedisAlways, System::RedisEverysec, System::Etcd, System::Nats, System::Pouchdb];
        all.into_iter().filter(|system| self.command(*system).is_ok()).collect()
    }

    /// Names and versions.
    pub(crate) fn versions(&self) -> Vec<(String, String)> {
        let mut versions = Vec::new();
        for (name, system) in NAMES {
            let Ok(mut command) = self.command(system) else { continue };
            let output = match system {
                System::Pouchdb => self.npm_version(),
                System::RejoinDisk => said(command.arg("version")),
                _ => said(command.arg("--version")),
            };
            versions.push((name.to_owned(), output));
        }
        versions
    }

    /// What was to be measured and cannot be, and why.
    pub(crate) fn missing(&self) -> Vec<(String, String)> {
        let Some(peers) = &self.peers else { return Vec::new() };
        let text = std::fs::read_to_string(peers.join("missing")).unwrap_or_default();
        let line = |line: &str| line.split_once(": ").map(|(name, why)| (name.to_owned(), why.to_owned()));
        text.lines().filter_map(line).collect()
    }

    pub(crate) fn redis(&self) -> anyhow::Result<Command> {
        self.debian("usr/bin/redis-server")
    }

    pub(crate) fn etcd(&self) -> anyhow::Result<Command> {
        self.debian("usr/bin/etcd")
    }

    pub(crate) fn nats(&self) -> anyhow::Result<Command> {
        self.debian("usr/sbin/nats-server")
    }

    pub(crate) fn pouchdb(&self) -> anyhow::Result<Command> {
        let program = self.peers()?.join(POUCHDB).join("bin/pouchdb-server");
        ensure!(program.is_file(), "pouchdb-server is not installed");
        let mut command = Command::new("node");
        command.arg(program);
        Ok(command)
    }

    fn command(&self, system: System) -> anyhow::Result<Command> {
        match system {
            System::RedisAlways | System::RedisEverysec => self.redis(),
            System::Etcd => self.etcd(),
            System::Nats => self.nats(),
            System::Pouchdb => self.pouchdb(),
            System::Nothing | System::RejoinDisk | System::RejoinOs => Ok(Command::new(&self.rejoin)),
        }
    }

    fn debian(&self, path: &str) -> anyhow::Result<Command> {
        let root = self.peers()?.join("root");
        let program = root.join(path);
        ensure!(program.is_file(), "{path} is not installed");
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", libraries(&root));
        Ok(command)
    }

    fn peers(&self) -> anyhow::Result<&Path> {
        self.peers.as_deref().context("without --peers")
    }

    fn npm_version(&self) -> String {
        let read = || -> Option<String> {
            let text =
                std::fs::read_to_string(self.peers.as_ref()?.join(POUCHDB).join("package.json")).ok()?;
            let package: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(package["version"].as_str()?.to_owned())
        };
        read().unwrap_or_default()
    }
}

const POUCHDB: &str = "npm/node_modules/pouchdb-server";

const NAMES: [(&str, System); 5] = [
    ("Rejoin", System::RejoinDisk),
    ("Redis", System::RedisAlways),
    ("etcd", System::Etcd),
    ("NATS", System::Nats),
    ("PouchDB Server", System::Pouchdb),
];

/// The folder of shared libraries in an unpacked package.
fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH))
}

/// The first line that a program says, without paths.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    output.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
