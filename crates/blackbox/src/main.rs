//! `rejoin-blackbox`: runs servers under faults and checks what their clients saw, or checks a record.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rejoin_blackbox::check::{Violation, check};
use rejoin_blackbox::history::read;
use rejoin_blackbox::run::{NODES_MAX, Plan, places, run};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code when promises were broken; 1 is for what kept them from being checked.
const VIOLATIONS: u8 = 2;

/// Violations shown of each kind; a broken promise often breaks at many places.
const SHOWN_MAX: usize = 5;

/// Checks a cluster from the outside.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start servers, let clients work while links and servers fail, and check what the clients saw.
    Run {
        /// The `rejoin` program.
        #[arg(long, value_name = "FILE")]
        server: PathBuf,
        /// How long clients work.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// What faults and operations are made of.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many servers.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX as u64))]
        nodes: u64,
        /// Write the figures and violations as JSON to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Check the record of a run.
    Check {
        /// One JSON object a line.
        history: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { history } => match read(&history) {
            Ok(lines) => {
                println!("{} lines", lines.len());
                verdict(&check(&lines))
            }
            Err(error) => failed(&error),
        },
        Command::Run { server, seconds, seed, nodes, json } => {
            let nodes = usize::try_from(nodes).unwrap_or(NODES_MAX);
            let plan =
                |folder| Plan { program: server, folder, seed, nodes, time: Duration::from_secs(seconds) };
            match run_and_check(plan, json) {
                Ok(code) => code,
                Err(error) => failed(&error),
            }
        }
    }
}

fn run_and_check(plan: impl FnOnce(PathBuf) -> Plan, report: Option<PathBuf>) -> io::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("rejoin-blackbox-").tempdir()?;
    let plan = plan(folder.path().to_owned());
    let outcome = tokio::runtime::Runtime::new()?.block_on(async {
        tokio::select! {
            figures = run(&plan) => figures,
            // Dropping the run ends its servers.
            signal = told_to_stop() => Err(signal),
        }
    });
    let keep = |folder: tempfile::TempDir| eprintln!("{}", places(&folder.keep()));
    let figures = match outcome {
        Ok(figures) => figures,
        Err(error) => {
            keep(folder);
            return Err(error);
        }
    };
    let violations = match read(&plan.history()) {
        Ok(lines) => check(&lines),
        Err(error) => {
            keep(folder);
            return Err(io::Error::other(error));
        }
    };
    let said: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let said = json!({ "figures": figures, "violations": said });
    if let Some(file) = report {
        std::fs::write(file, format!("{said}\n"))?;
    }
    println!("{}", said["figures"]);
    if !violations.is_empty() {
        keep(folder);
    }
    Ok(verdict(&violations))
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() -> io::Error {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return error,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    io::Error::other("told to stop")
}

fn verdict(violations: &[Violation]) -> ExitCode {
    println!("{} violations", violations.len());
    // Sorted by kind: some of each.
    for kind in violations.chunk_by(|one, next| one.kind == next.kind) {
        println!("{} of {}:", kind.len(), kind[0].kind);
        kind.iter().take(SHOWN_MAX).for_each(|violation| println!("  {violation}"));
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(VIOLATIONS) }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
