//! Programs in Python against a node: tests/api/fuzz.py sends what the description of the API allows and what it does not,
//! tests/api/clients.py has real clients and a real proxy meet it.

use std::process::Command;

/// What the API allows, and what it does not.
pub(crate) const FUZZ: &str = "tests/api/fuzz.py";

/// Clients, a proxy and generated code.
pub(crate) const CLIENTS: &str = "tests/api/clients.py";

/// Builds the program, then runs the script with these arguments.
pub(crate) fn run(script: &'static str, arguments: &[String]) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    for (program, first) in
        [(cargo.as_str(), &["build", "--package", "rejoin-cli"][..]), ("python3", &[script][..])]
    {
        let mut command = Command::new(program);
        command.args(first);
        if program == "python3" {
            command.args(arguments);
            if script == CLIENTS {
                command.env("REJOIN_CHROMIUM", crate::js::browser()?);
            }
        }
        let status = command.status().map_err(|error| format!("cannot run `{program}`: {error}"))?;
        if !status.success() {
            return Err(format!("`{program} {}` failed ({status})", first.join(" ")));
        }
    }
    Ok(())
}
