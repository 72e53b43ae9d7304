//! Names name one thing for ever: versions, values, entity tags. And nothing is shown that nobody wrote.

use std::collections::BTreeMap;

use super::Violation;
use super::facts::{Facts, shown, states};
use super::versions::covers;
use crate::history::{Line, Outcome, Verb};

pub(super) fn check(lines: &[Line], facts: &Facts<'_>, found: &mut Vec<Violation>) {
    versions(lines, found);
    etags(lines, found);
    phantoms(lines, facts, found);
}

fn versions(lines: &[Line], found: &mut Vec<Violation>) {
    let mut calls = BTreeMap::new();
    let mut writes: BTreeMap<&str, (usize, &str, Option<&str>)> = BTreeMap::new();
    let mut values: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for (line, what) in (1..).zip(lines) {
        let mut named = shown(what);
        match what {
            Line::Call { op, verb: Verb::Put | Verb::Delete, path, value, .. } => {
                calls.insert(op, (path.as_str(), value.as_deref()));
            }
            Line::Answer { op, outcome: Outcome::Written { version, .. }, .. } => {
                named.extend(calls.get(op).map(|&(path, value)| (path, value, version.as_str())));
            }
            _ => {}
        }
        for (path, value, version) in named {
            let (first, known_path, known_value) = *writes.entry(version).or_insert((line, path, value));
            if (known_path, known_value) != (path, value) {
                let why = format!(
                    "{version} is {known_value:?} at {known_path} in line {first} and {value:?} at {path} in line {line}"
                );
                found.push(Violation::new("version-reused", [first, line], why));
            }
            let Some(value) = value else { continue };
            let (first, known) = *values.entry((path, value)).or_insert((line, version));
            if known != version {
                let why =
                    format!("{value:?} at {path} is {known} in line {first} and {version} in line {line}");
                found.push(Violation::new("written-twice", [first, line], why));
            }
        }
    }
}

fn etags(lines: &[Line], found: &mut Vec<Violation>) {
    let mut known = BTreeMap::new();
    for (line, what) in (1..).zip(lines) {
        for state in states(what) {
            let said = (&state.path, &state.version, &state.value, state.conflicts);
            let (first, before) = *known.entry(state.etag.as_str()).or_insert((line, said));
            if before != said {
                let why =
                    format!("etag {} is {before:?} in line {first} and {said:?} in line {line}", state.etag);
                found.push(Violation::new("bad-etag", [first, line], why));
            }
        }
    }
}

fn phantoms(lines: &[Line], facts: &Facts<'_>, found: &mut Vec<Violation>) {
    for (line, what) in (1..).zip(lines) {
        for (path, value, version) in shown(what) {
            let wrote = |write: &super::facts::Write<'_>| {
                write.call < line
                    && write.value == value
                    && (value.is_some() || write.version.is_none_or(|known| known == version))
            };
            if !facts.writes(path).iter().any(wrote) {
                let why = match value {
                    Some(value) => format!("{path} shows {value:?}, which nobody had begun to write there"),
                    None => format!("{path} shows a delete, {version}, which nobody had begun"),
                };
                found.push(Violation::new("phantom", [line], why));
            }
        }
        for state in states(what) {
            if let Some(live) = &state.live {
                let newest = live.iter().map(|live| live.timestamp).max();
                let shown = live.iter().find(|live| live.version == state.version);
                if shown.map(|shown| shown.timestamp) != newest || shown.is_none() {
                    let why = format!("{} shows {} of the live versions {live:?}", state.path, state.version);
                    found.push(Violation::new("wrong-winner", [line], why));
                }
            }
            let live = state.live.iter().flatten().map(|live| &live.version);
            for version in live.chain([&state.version]) {
                if !covers(&state.clock, version) {
                    let why = format!(
                        "{} shows {version}, and its clock {:?} does not cover that",
                        state.path, state.clock
                    );
                    found.push(Violation::new("bad-clock", [line], why));
                }
            }
        }
    }
}
