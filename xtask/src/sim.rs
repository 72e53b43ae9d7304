//! The simulation, built for speed and run with the arguments of this command.

use std::process::Command;

/// Passes `arguments` on to `rejoin-sim`; its output says what failed.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let arguments: Vec<String> = arguments.collect();
    let mut command = Command::new(crate::test::cargo_path());
    command.args(["run", "--quiet", "--profile", "sim", "--package", "rejoin-sim"]);
    // Only a build that is asked to plant defects can.
    if arguments.iter().any(|argument| argument.starts_with("--plant")) {
        command.args(["--features", "plant"]);
    }
    command.arg("--");
    let status = command.args(arguments).status();
    let status = status.map_err(|error| format!("cannot run the simulation: {error}"))?;
    if status.success() { Ok(()) } else { Err("the simulation failed".into()) }
}
