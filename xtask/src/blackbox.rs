//! Builds the server and the black-box checker, and runs one against the other.

use std::env;
use std::path::PathBuf;

use crate::test::cargo;

/// Runs it with the arguments of `rejoin-blackbox run`; `--release` builds the server as users do.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (release, arguments): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| *argument == "--release");
    let mut build = vec!["build", "--package", "rejoin-cli", "--bin", "rejoin"];
    if !release.is_empty() {
        build.push("--release");
    }
    cargo(&build)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let profile = if release.is_empty() { "debug" } else { "release" };
    let server = target.join(profile).join(format!("rejoin{}", env::consts::EXE_SUFFIX));
    let server = server.to_str().ok_or("the target directory's name is not text")?;
    let mut run = vec!["run", "--quiet", "--package", "rejoin-blackbox", "--", "run", "--server", server];
    run.extend(arguments.iter().map(|argument| argument.as_str()));
    cargo(&run)
}
