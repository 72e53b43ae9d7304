//! The deep runs behind docs/reliability.md, and the figures in it, which nobody else writes.
//!
//! Each run leaves its figures as JSON. They are kept in docs/reliability.json, with the commit they were measured at,
//! and rendered between two markers of docs/reliability.md.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::test::{cargo_path, run_command};

const FIGURES: &str = "docs/reliability.json";
const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- figures: written by `cargo xtask reliability` -->";
const END: &str = "<!-- end of figures -->";

const HELP: &str = "\
Runs the deep versions of the reliability tests and writes their figures into docs/reliability.md.

  cargo xtask reliability [--only RUN,...] [--seeds N] [--crash-seconds N] [--kills N] [--fuzz-factor N]
                          [--blackbox-seconds N]
  cargo xtask reliability --collect RUN,...   takes what runs at this commit left in target/figures;
                                              with an empty list it writes the page anew
  cargo xtask reliability --check     whether docs/reliability.md shows what docs/reliability.json says

Runs: sim, plants, crash, kills, fuzz, blackbox. Without --only, all of them; the others keep their figures.
";

/// How deep to go. The defaults take a few hours on two cores.
struct Depth {
    seeds: u64,
    crash_seconds: u64,
    kills: u64,
    fuzz_factor: u64,
    blackbox_seconds: u64,
}

const RUNS: [&str; 6] = ["sim", "plants", "crash", "kills", "fuzz", "blackbox"];

/// Does what the arguments say.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut depth =
        Depth { seeds: 100_000, crash_seconds: 300, kills: 500, fuzz_factor: 100, blackbox_seconds: 600 };
    let mut only: Vec<String> = RUNS.map(str::to_owned).into();
    let mut collect = false;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--check" {
            return check();
        }
        if argument == "--help" || argument == "-h" {
            print!("{HELP}");
            return Ok(());
        }
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{argument} needs a number, not '{value}'"));
        match argument.as_str() {
            "--collect" => {
                collect = true;
                only = names(&value);
            }
            "--only" => only = value.split(',').map(str::to_owned).collect(),
            "--seeds" => depth.seeds = number()?,
            "--crash-seconds" => depth.crash_seconds = number()?,
            "--kills" => depth.kills = number()?,
            "--fuzz-factor" => depth.fuzz_factor = number()?,
            "--blackbox-seconds" => depth.blackbox_seconds = number()?,
            _ => return Err(format!("'{argument}' is not an argument\n{HELP}")),
        }
    }
    if let Some(unknown) = only.iter().find(|run| !RUNS.contains(&run.as_str())) {
        return Err(format!("'{unknown}' is not a run; there are {}", RUNS.join(", ")));
    }
    for name in RUNS.iter().filter(|name| only.iter().any(|wanted| wanted == *name)) {
        println!("\n== {name}");
        let commit = commit()?;
        let figures = if collect { value(&figures_of(name)?)? } else { measure(name, &depth)? };
        let mut kept = kept()?;
        kept.insert((*name).to_owned(), json!({ "commit": commit, "figures": figures }));
        let text = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())?;
        write(Path::new(FIGURES), &format!("{text}\n"))?;
    }
    write(Path::new(PAGE), &page(&kept()?)?)
}

/// Whether the page shows the figures that are kept.
pub(crate) fn check() -> Result<(), String> {
    if read(Path::new(PAGE))? == page(&kept()?)? {
        return Ok(());
    }
    Err(format!(
        "the figures in {PAGE} are not those of {FIGURES}: only `cargo xtask reliability` writes them"
    ))
}

/// Does one run and takes its figures.
fn measure(name: &str, depth: &Depth) -> Result<Value, String> {
    let directory = directory()?;
    fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    let file = |name: &str| directory.join(format!("{name}.json"));
    let shown = |path: PathBuf| path.display().to_string();
    let mut cargo = Command::new(cargo_path());
    cargo.env("REJOIN_FIGURES", &directory);
    match name {
        "sim" => {
            let seeds = depth.seeds.to_string();
            let arguments = ["--seeds".into(), seeds, "--json".into(), shown(file("sim"))];
            // Its figures say how many worlds failed: they are not kept back.
            if let Err(error) = crate::sim::run(arguments.into_iter()) {
                println!("{error}");
            }
        }
        "plants" => {
            crate::sim::run(["--plants".into(), "--json".into(), shown(file("plants"))].into_iter())?;
        }
        "crash" => {
            cargo.args(["test", "--package", "rejoin-store", "--test", "crash", "--", "--nocapture"]);
            cargo.env("REJOIN_CRASH_SECONDS", depth.crash_seconds.to_string());
            run_command(cargo)?;
            return Ok(json!({ "disk": value(&file("crash-disk"))?, "os": value(&file("crash-os"))? }));
        }
        "kills" => {
            cargo.args(["test", "--package", "rejoin-cli", "--test", "faults", "kills", "--", "--nocapture"]);
            cargo.env("REJOIN_TEST_KILLS", depth.kills.to_string());
            run_command(cargo)?;
        }
        "fuzz" => {
            cargo.args(["test", "--package", "rejoin-fuzz"]);
            cargo.env("REJOIN_FUZZ_FACTOR", depth.fuzz_factor.to_string());
            run_command(cargo)?;
        }
        "blackbox" => {
            let seconds = depth.blackbox_seconds.to_string();
            crate::blackbox::run(&["--seconds".into(), seconds, "--json".into(), shown(file("blackbox"))])?;
        }
        other => return Err(format!("'{other}' is not a run")),
    }
    value(&file(name))
}

fn names(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn directory() -> Result<PathBuf, String> {
    Ok(std::env::current_dir().map_err(|error| error.to_string())?.join("target/figures"))
}

fn figures_of(name: &str) -> Result<PathBuf, String> {
    Ok(directory()?.join(format!("{name}.json")))
}

fn page(kept: &Map<String, Value>) -> Result<String, String> {
    let page = read(Path::new(PAGE))?;
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| format!("{PAGE} lacks {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("{PAGE} lacks {END}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", rendered(kept)))
}

/// The figures as Markdown.
fn rendered(kept: &Map<String, Value>) -> String {
    let mut text = String::new();
    for name in RUNS {
        let Some(run) = kept.get(name) else { continue };
        let commit = run["commit"].as_str().unwrap_or("?");
        let figures = &run["figures"];
        if name == "plants" {
            text.push_str(&plants(commit, figures));
            continue;
        }
        let title = match name {
            "sim" => "Simulation",
            "crash" => "Power cuts",
            "kills" => "kill -9",
            "fuzz" => "Fuzzing, executions by target",
            _ => "Black box",
        };
        writeln!(text, "### {title}\n\nAt {commit}.\n\n| Figure | |\n|---|---|").ok();
        rows(&mut text, "", figures);
        text.push('\n');
    }
    text
}

/// One row a number; members of objects with their way from the top.
fn rows(text: &mut String, prefix: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('_', " ");
                let name = if prefix.is_empty() { name } else { format!("{prefix}: {name}") };
                rows(text, &name, member);
            }
        }
        Value::Number(number) => {
            let shown = match number.as_f64() {
                Some(number) if number.fract() != 0.0 => format!("{number:.1}"),
                _ => grouped(&number.to_string()),
            };
            writeln!(text, "| {prefix} | {shown} |").ok();
        }
        Value::String(value) => {
            writeln!(text, "| {prefix} | {value} |").ok();
        }
        _ => {}
    }
}

fn plants(commit: &str, figures: &Value) -> String {
    let mut text = format!(
        "### Planted defects\n\nAt {commit}.\n\n| Defect | What is wrong | Seen in world | As |\n|---|---|---|---|\n"
    );
    for plant in figures["plants"].as_array().into_iter().flatten() {
        let field = |name: &str| match &plant[name] {
            Value::String(value) => value.clone(),
            Value::Null => "never".into(),
            other => other.to_string(),
        };
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            field("name"),
            field("wrong"),
            field("seed"),
            field("promise")
        )
        .ok();
    }
    text.push('\n');
    text
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(digits: &str) -> String {
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn kept() -> Result<Map<String, Value>, String> {
    match value(Path::new(FIGURES))? {
        Value::Object(kept) => Ok(kept),
        _ => Err(format!("{FIGURES} is not an object")),
    }
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

/// The commit that is measured, and its day.
pub(crate) fn commit() -> Result<String, String> {
    let output = Command::new("git").args(["show", "-s", "--format=%h of %cs"]).output();
    let output = output.map_err(|error| format!("cannot run git: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
