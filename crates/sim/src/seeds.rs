//! Worlds that once failed, in `seeds.txt`: replayed by the tests, and added to by `cargo xtask sim`.
//!
//! A line is `arguments | promise | what it showed | when fixed`; lines that begin with `#` are for readers.

use crate::minimise::Minimised;
use crate::plant::Plant;
use crate::scenario::{Fault, Options};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The seed.
    pub seed: u64,
    /// What makes its world small.
    pub options: Options,
    /// The promise that it broke, by name.
    pub promise: String,
    /// What it showed.
    pub showed: String,
    /// It still breaks it.
    pub open: bool,
}

/// The lines of the file; an error names the line.
pub fn parse(text: &str) -> Result<Vec<Seed>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| parse_line(line).map_err(|error| format!("line {}: {error}", at + 1))).collect()
}

/// A new line for a world that failed.
pub fn line(seed: u64, minimised: &Minimised) -> String {
    let Minimised { options, violation, .. } = minimised;
    let detail: String = violation.detail.replace(['\n', '|'], " ").chars().take(160).collect();
    format!("{} | {:?} | {detail} | open\n", options.arguments(seed), violation.promise)
}

fn parse_line(line: &str) -> Result<Seed, String> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [arguments, promise, showed, fixed] = fields.as_slice() else {
        return Err("not 'arguments | promise | what it showed | when fixed'".into());
    };
    let (seed, options) = arguments_of(arguments)?;
    let (promise, showed, open) = ((*promise).into(), (*showed).into(), *fixed == "open");
    Ok(Seed { seed, options, promise, showed, open })
}

/// A seed and options from the text that [`Options::arguments`] makes.
pub fn arguments_of(text: &str) -> Result<(u64, Options), String> {
    let mut words = text.split_whitespace();
    let mut seed = None;
    let mut options = Options::default();
    while let Some(name) = words.next() {
        if name == "--control" {
            options.control = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{name} has no value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("'{value}' is not a number"));
        let small = || value.parse::<usize>().map_err(|_| format!("'{value}' is not a number"));
        match name {
            "--seed" => seed = Some(number()?),
            "--nodes" => options.nodes_max = Some(small()?),
            "--steps" => options.steps_max = Some(number()?),
            "--paths" => options.paths_max = Some(small()?),
            "--without" => {
                for fault in value.split(',') {
                    let fault = Fault::of_name(fault).ok_or_else(|| format!("'{fault}' is not a fault"))?;
                    options.without = options.without.with(fault);
                }
            }
            "--plant" => {
                let plant = Plant::of_name(value).ok_or_else(|| format!("'{value}' is not a defect"))?;
                options.plant = Some(plant);
            }
            _ => return Err(format!("'{name}' is not an argument")),
        }
    }
    Ok((seed.ok_or("there is no --seed")?, options))
}
