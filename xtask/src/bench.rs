//! The figures of docs/performance.md, which nobody else writes.
//!
//! `rejoin-bench` measures and leaves its figures as JSON. They are kept in docs/performance.json, with the commit they
//! were measured at, and rendered between two markers of docs/performance.md.

pub(crate) mod instructions;
mod page;
mod peers;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::test::{cargo, run_command};

const FIGURES: &str = "docs/performance.json";
const PAGE: &str = "docs/performance.md";

const HELP: &str = "\
Measures the server, and writes the figures into docs/performance.md.

  cargo xtask bench [NAME...] [--peers] [--json FILE] [--full] [--documents N] [--rounds N] [--seconds N]
  cargo xtask bench --instructions [--keep]   what small operations take, in instructions, against what was accepted
  cargo xtask bench --check     whether docs/performance.md shows what docs/performance.json says

NAME is a workload: requests, scan, embedded, propagation, replication, catch-up, reconnect, bootstrap, fan-out, mesh,
size. Without a name, all of them; the others keep their figures.

  --peers   the same work on Redis, etcd, NATS and PouchDB Server, in the same run; fetches them from Debian and npm
  --json    leaves the figures in this file, and docs/ as it is
  --full    a million documents, and longer; an hour and more
";

/// Does what the arguments say.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (mut run, mut own, mut peers, mut json) = (Vec::new(), Vec::new(), false, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            "--check" => return check(),
            "--instructions" => {
                let keep = arguments.next().map(String::as_str) == Some("--keep");
                return instructions::check(keep);
            }
            "--peers" => peers = true,
            "--json" => json = Some(PathBuf::from(arguments.next().ok_or("--json needs a file")?)),
            "--full" => own.push(argument.clone()),
            "--documents" | "--rounds" | "--seconds" => {
                own.push(argument.clone());
                own.push(arguments.next().ok_or_else(|| format!("{argument} needs a number"))?.clone());
            }
            name if !name.starts_with('-') => run.push(name.to_owned()),
            other => return Err(format!("'{other}' is not an argument\n{HELP}")),
        }
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    cargo(&["build", "--release", "--package", "rejoin-cli", "--package", "rejoin-bench", "--bins"])?;
    let program = |name: &str| target.join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let left = target.join("bench.json");
    let mut command = Command::new(program("rejoin-bench"));
    command.arg("run").args(run).args(own).arg("--rejoin").arg(program("rejoin")).arg("--json").arg(&left);
    if peers {
        command.arg("--peers").arg(peers::fetch(&target.join("peers"))?);
    }
    run_command(command)?;
    if let Some(file) = json {
        return fs::copy(&left, &file)
            .map(drop)
            .map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    keep(&value(&left)?)?;
    write(Path::new(PAGE), &page::rendered(&read(Path::new(PAGE))?, &value(Path::new(FIGURES))?)?)
}

/// Whether the page shows the figures that are kept.
pub(crate) fn check() -> Result<(), String> {
    let page = read(Path::new(PAGE))?;
    if page == page::rendered(&page, &value(Path::new(FIGURES))?)? {
        return Ok(());
    }
    Err(format!("the figures in {PAGE} are not those of {FIGURES}: only `cargo xtask bench` writes them"))
}

/// Keeps the figures of each workload that was measured, and what they were measured with.
fn keep(measured: &Value) -> Result<(), String> {
    let mut kept = value(Path::new(FIGURES)).unwrap_or_else(|_| json!({}));
    let commit = crate::reliability::commit()?;
    let mut runs: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for figure in measured["figures"].as_array().into_iter().flatten() {
        runs.entry(figure["workload"].as_str().ok_or("a figure without a workload")?)
            .or_default()
            .push(figure);
    }
    for (workload, figures) in runs {
        kept[workload] = json!({
            "commit": commit, "machine": measured["machine"], "systems": measured["systems"],
            "missing": measured["missing"], "plan": measured["plan"], "figures": figures,
        });
    }
    let text = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())?;
    write(Path::new(FIGURES), &format!("{text}\n"))
}

fn value(path: &Path) -> Result<Value, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{} is not JSON: {error}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
