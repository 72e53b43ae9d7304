//! The JavaScript client: its packages, its CommonJS form, its tests in Node and in a real Chromium.
//!
//! Whatever is missing is installed, or the command fails: nothing is left out silently.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::{cargo, run_command};

const PACKAGE: &str = "clients/js";

/// Names of the browser; the tests look in the same places.
const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Node's oldest major version that runs the tests; the client itself runs on 18.
const NODE_MAJOR_MIN: u32 = 20;

/// Runs everything.
pub(crate) fn run() -> Result<(), String> {
    check_node()?;
    let browser = browser()?;
    cargo(&["build", "--package", "rejoin-cli", "--bin", "rejoin"])?;
    npm(&["ci"])?;
    npm(&["run", "format:check"])?;
    npm(&["run", "build"])?;
    let server = server()?;
    for script in ["test", "test:browser"] {
        let mut tests = npm_command(&["run", script]);
        tests.env("REJOIN", &server).env("REJOIN_CHROMIUM", &browser);
        run_command(tests)?;
    }
    Ok(())
}

fn check_node() -> Result<(), String> {
    let needs = format!("the JavaScript client's tests need Node {NODE_MAJOR_MIN} or later, and npm");
    let output =
        Command::new("node").arg("--version").output().map_err(|error| format!("{needs}: {error}"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        _ => Err(format!("{needs}, not {version}")),
    }
}

/// The browser; installed when there is none.
pub(crate) fn browser() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("REJOIN_CHROMIUM") {
        return Ok(named.into());
    }
    let find = || BROWSERS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_path_buf);
    if let Some(found) = find() {
        return Ok(found);
    }
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "chromium"]] {
        let mut install = Command::new("apt-get");
        install.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run_command(install).map_err(|error| {
            format!("there is no Chromium, and it cannot be installed: {error}; name one in REJOIN_CHROMIUM")
        })?;
    }
    find().ok_or_else(|| "apt-get installed no Chromium; name one in REJOIN_CHROMIUM".to_owned())
}

/// The server that was built, by its whole path: the tests run in another directory.
fn server() -> Result<PathBuf, String> {
    let here = env::current_dir().map_err(|error| error.to_string())?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(here.join(target).join("debug").join(format!("rejoin{}", env::consts::EXE_SUFFIX)))
}

fn npm(arguments: &[&str]) -> Result<(), String> {
    run_command(npm_command(arguments))
}

fn npm_command(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(PACKAGE);
    command
}
