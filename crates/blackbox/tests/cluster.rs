//! A short run of real servers under faults from a fixed seed, as CI does it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rejoin_blackbox::check::check;
use rejoin_blackbox::history::read;
use rejoin_blackbox::run::{Plan, places, run};

/// Builds the server beside this test and gives its place; quick when it is there already.
fn server() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "rejoin-cli", "--bin", "rejoin"]);
    build.arg("--target-dir").arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the server does not build");
    folder.join(format!("rejoin{}", std::env::consts::EXE_SUFFIX))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_failing_cluster_see_what_was_promised() {
    let folder = tempfile::Builder::new().prefix("rejoin-blackbox-").tempdir().unwrap();
    let path = folder.path().to_owned();
    let plan = Plan { program: server(), folder: path, seed: 7, nodes: 3, time: Duration::from_secs(20) };
    let figures = match run(&plan).await {
        Ok(figures) => figures,
        Err(error) => panic!("{error}\n{}", places(&folder.keep())),
    };
    let violations = check(&read(&plan.history()).unwrap());
    println!("{figures:?}");
    if !violations.is_empty() {
        let said: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{}\n{figures:?}\n{}", said.join("\n"), places(&folder.keep()));
    }
    // A run in which little happened proves little.
    assert!(figures.acknowledged > 100, "{figures:?}");
    assert!(
        figures.kills > 0 && figures.pauses > 0 && figures.links > 0 && figures.partitions > 0,
        "{figures:?}"
    );
}
