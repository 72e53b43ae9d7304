//! What CI runs, and what README tells a newcomer to run: the same steps in the same order.

use std::process::Command;
use std::time::Instant;

use crate::licences;

/// A target without an operating system: what does not build there reaches for a clock, a socket or a thread.
const BARE_METAL: &str = "thumbv7em-none-eabi";

/// Runs every check; stops at the first that fails.
pub(crate) fn run() -> Result<(), String> {
    let started = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("core crates on bare metal", bare_metal)?;
    step("licences", || licences::check().map(drop))?;
    step("figures of docs/reliability.md", crate::reliability::check)?;
    step("figures of docs/performance.md", crate::bench::check)?;
    step("tests", || cargo(&["test", "--workspace"]))?;
    step("planted defects", || {
        cargo(&[
            "test",
            "--package",
            "rejoin-sim",
            "--features",
            "plant",
            "--test",
            "plants",
            "--",
            "--nocapture",
        ])
    })?;
    step("JavaScript client", crate::js::run)?;
    step("clients and a proxy", || crate::api_scripts::run(crate::api_scripts::CLIENTS, &[]))?;
    if crate::bench::instructions::is_possible() {
        step("instructions of small operations", || crate::bench::instructions::check(false))?;
    } else {
        println!("\n== instructions of small operations: not counted, there is no valgrind");
    }
    step("documentation", || {
        let mut command = Command::new(cargo_path());
        command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
        run_command(command)
    })?;
    step("the Node.js package", || crate::node::run(&[]))?;
    println!("\nall checks passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn step(name: &str, check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("\n== {name}");
    let started = Instant::now();
    check().map_err(|error| format!("{name}: {error}"))?;
    println!("== {name}: passed in {} s", started.elapsed().as_secs());
    Ok(())
}

fn bare_metal() -> Result<(), String> {
    // Quick when it is there already. Without rustup, the build below says what is missing.
    let mut add = Command::new("rustup");
    add.args(["target", "add", BARE_METAL]);
    if let Err(error) = run_command(add) {
        println!("{error}; going on with the targets that are installed");
    }
    cargo(&["build", "--target", BARE_METAL, "--package", "rejoin-causal", "--package", "rejoin-replica"])
}

/// Runs cargo, the one that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(cargo_path());
    command.args(arguments);
    run_command(command)
}

pub(crate) fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string())
}

pub(crate) fn run_command(mut command: Command) -> Result<(), String> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})")) }
}
