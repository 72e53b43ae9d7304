//! Measures a rejoin server, and others on the same work.
//!
//! `cargo xtask bench` builds and runs this; docs/performance.md says what the workloads are and how to read the
//! figures. Read in this order: `plan` (what can be measured, and how much of it), `work/` (one file per workload),
//! `server/` (the processes that are measured), `client/` (one connection to each), `load` (many of them at once),
//! `figure` (what comes out).
//!
//! The load generator is a process of its own, with one thread: what it takes is not taken from the figures of the
//! server's CPU time, and the row of a server that stores nothing says how fast it can be.

mod client;
mod document;
mod figure;
mod load;
mod messages;
mod plan;
mod process;
mod proxy;
mod server;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::figure::Figures;
use crate::plan::{Plan, Workload};
use crate::server::{Tools, nothing};
use crate::work::embedded;

/// The server's, so that the library is measured with the same.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures rejoin and others on the same work.
#[derive(Debug, Parser)]
#[command(name = "rejoin-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure.
    Run(Run),
    /// Serve HTTP and store nothing: what the load generator is checked against.
    Nothing {
        /// Where, on loopback.
        #[arg(long)]
        port: u16,
    },
    /// Measure the library in this process; one line of JSON on standard output.
    Embedded(embedded::Arguments),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// What to measure; everything when none is named.
    workloads: Vec<Workload>,
    /// The server's program.
    #[arg(long)]
    rejoin: PathBuf,
    /// Where the programs of other systems are, as `cargo xtask bench --peers` puts them there; none without.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long)]
    json: PathBuf,
    /// Documents there are before something is measured.
    #[arg(long)]
    documents: Option<u32>,
    /// Times that everything is measured, all systems in turn.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds that one measurement of requests takes.
    #[arg(long)]
    seconds: Option<f64>,
    /// A million documents.
    #[arg(long)]
    full: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Nothing { port } => nothing::serve(port),
        Command::Embedded(arguments) => embedded::measure(&arguments),
        Command::Run(run) => {
            let mut plan = if run.full { Plan::full() } else { Plan::default() };
            plan.documents = run.documents.unwrap_or(plan.documents);
            plan.rounds = run.rounds.unwrap_or(plan.rounds);
            plan.seconds = run.seconds.unwrap_or(plan.seconds);
            process::raise_open_files();
            let tools = Tools::find(run.rejoin, run.peers)?;
            let workloads = if run.workloads.is_empty() { Workload::ALL.to_vec() } else { run.workloads };
            let mut figures = Figures::new(&tools, &plan);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            for workload in workloads {
                eprintln!("== {workload}");
                runtime.block_on(work::measure(workload, &tools, &plan, &mut figures))?;
                // After each, so that a run that is cut short has left what it did measure.
                figures.write(&run.json)?;
            }
            Ok(())
        }
    }
}
