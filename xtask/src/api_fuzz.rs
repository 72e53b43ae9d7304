//! Sends a node what the description of its API allows, and what it does not: tests/api/fuzz.py does the work.

use std::process::Command;

/// Builds the program, then runs the script with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for (program, first) in
        [(cargo.as_str(), &["build", "--package", "rejoin-cli"][..]), ("python3", &["tests/api/fuzz.py"][..])]
    {
        let mut command = Command::new(program);
        command.args(first);
        if program == "python3" {
            command.args(arguments);
        }
        let status = command.status().map_err(|error| format!("cannot run `{program}`: {error}"))?;
        if !status.success() {
            return Err(format!("`{program} {}` failed ({status})", first.join(" ")));
        }
    }
    Ok(())
}
