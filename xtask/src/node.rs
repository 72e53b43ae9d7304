//! The Node.js package: builds it, checks its types, runs its tests and its examples.

use std::path::Path;
use std::process::Command;

use crate::test::{cargo_path, run_command};

const PACKAGE: &str = "bindings/node";

/// Each of them ends by itself and fails when something that it claims does not hold.
const EXAMPLES: [&str; 3] = ["basic-example.js", "conflict-example.js", "complex-network.js"];

/// Oldest release of Node.js that the package supports.
const NODE_MAJOR_MIN: u32 = 20;

/// Builds quickly, or as users do with `--release`; then runs everything. `--bench` runs the measurements instead.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (mut release, mut bench) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--release" => release = true,
            "--bench" => (release, bench) = (true, true),
            other => return Err(format!("'{other}' is not an argument: there are --release and --bench")),
        }
    }
    check_node()?;
    npm(&["ci", "--no-audit", "--no-fund"])?;
    npm(&["run", if release { "build" } else { "build:debug" }])?;
    if bench {
        return ["bench/throughput.js", "bench/memory.js", "bench/network.js"]
            .iter()
            .try_for_each(|script| node(&["--expose-gc", script]));
    }
    npm(&["run", "test:types"])?;
    npm(&["test"])?;
    for example in EXAMPLES {
        println!("\n-- {example}");
        node(&[&format!("examples/{example}")])?;
    }
    println!("\n-- memory, briefly");
    node(&["--expose-gc", "bench/memory.js", "--puts", "30000"])
}

/// Says what to install when there is no Node.js, or one that is too old.
fn check_node() -> Result<(), String> {
    let needed = format!("Node.js {NODE_MAJOR_MIN} or newer is needed, with npm: https://nodejs.org");
    let output =
        Command::new("node").arg("--version").output().map_err(|error| format!("{needed} ({error})"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        _ => Err(format!("{needed}; this is {version}")),
    }
}

fn npm(arguments: &[&str]) -> Result<(), String> {
    // On Windows it is a script, which only a shell finds.
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(arguments).current_dir(Path::new(PACKAGE)).env("CARGO", cargo_path());
    run_command(command)
}

fn node(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("node");
    command.args(arguments).current_dir(Path::new(PACKAGE));
    run_command(command)
}
