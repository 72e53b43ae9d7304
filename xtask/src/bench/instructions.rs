//! What small operations take, in instructions: the same in every run, however busy the machine is.
//!
//! Each operation is done N and 2 N times under callgrind; the difference leaves out what starting the program takes.
//! bench/instructions.json has the counts that were accepted.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::cargo;

const ACCEPTED: &str = "bench/instructions.json";

/// Growth that is taken for noise, in percent: another CPU has other variants of `memcpy` and of hash functions, another
/// compiler inlines differently.
const GROWTH_PERCENT_MAX: f64 = 10.0;

/// Repetitions of what takes microseconds, and of what handles 1,000 documents.
const REPEATS: u32 = 2_000;
const REPEATS_LARGE: u32 = 20;

/// Whether there is a tool that counts.
pub(crate) fn is_possible() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Counts all operations. Fails when one takes more than was accepted; with `keep`, accepts what is counted.
pub(crate) fn check(keep: bool) -> Result<(), String> {
    if !is_possible() {
        return Err("counting instructions needs valgrind".into());
    }
    cargo(&["build", "--release", "--package", "rejoin-micro"])?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let program = target.join("release").join(format!("rejoin-micro{}", env::consts::EXE_SUFFIX));
    let names = said(Command::new(&program))?;
    let mut counted = BTreeMap::new();
    for name in names.lines() {
        let repeats = if name.contains("1,000") { REPEATS_LARGE } else { REPEATS };
        let once = count(&program, name, repeats)?;
        let twice = count(&program, name, 2 * repeats)?;
        counted.insert(name.to_owned(), twice.saturating_sub(once) / u64::from(repeats));
    }
    if keep {
        let text = serde_json::to_string_pretty(&counted).map_err(|error| error.to_string())?;
        return fs::write(ACCEPTED, format!("{text}\n"))
            .map_err(|error| format!("cannot write {ACCEPTED}: {error}"));
    }
    compare(&counted)
}

fn compare(counted: &BTreeMap<String, u64>) -> Result<(), String> {
    let text = fs::read_to_string(ACCEPTED).map_err(|error| format!("cannot read {ACCEPTED}: {error}"))?;
    let accepted: BTreeMap<String, u64> = serde_json::from_str(&text)
        .map_err(|error| format!("{ACCEPTED} is not what it should be: {error}"))?;
    let mut grown = Vec::new();
    println!("{:45} {:>12} {:>12}", "instructions", "accepted", "now");
    for (name, now) in counted {
        let before = accepted.get(name).copied();
        let shown = before.map_or_else(|| "new".to_owned(), |before| before.to_string());
        println!("{name:45} {shown:>12} {now:>12}");
        let limit = before.map_or(f64::INFINITY, |before| before as f64 * (1.0 + GROWTH_PERCENT_MAX / 100.0));
        if *now as f64 > limit {
            grown.push(name.as_str());
        }
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more instructions than accepted, by over {GROWTH_PERCENT_MAX} %: {}. If that is worth it, \
         `cargo xtask bench --instructions --keep` accepts them",
        grown.join("; ")
    ))
}

/// Instructions of one run.
fn count(program: &Path, name: &str, repeats: u32) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.args([name, &repeats.to_string()]);
    let output = command.output().map_err(|error| format!("cannot run valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    let count = collected.and_then(|count| count.split(' ').next()?.parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind has not counted: {text}"))
}

fn said(mut command: Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
