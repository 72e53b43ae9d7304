//! Who wrote what, as far as the record tells.

use std::collections::BTreeMap;

use crate::history::{Clock, Line, Outcome, State, Verb};

/// A put or a delete that may have been done.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) call: usize,
    /// Of its acknowledgement; none when it may or may not have been done.
    pub(super) answer: Option<usize>,
    pub(super) node: &'a str,
    /// None: a delete.
    pub(super) value: Option<&'a str>,
    /// Its version: as answered, or as it was seen later.
    pub(super) version: Option<&'a str>,
    /// What it had seen, itself included, when that was answered.
    pub(super) clock: Option<&'a Clock>,
    pub(super) timestamp: Option<u64>,
}

impl Write<'_> {
    pub(super) fn what(&self) -> String {
        match self.value {
            Some(value) => format!("the put of {value:?} on {}", self.node),
            None => format!("the delete on {}", self.node),
        }
    }
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked<'a> {
    pub(super) write: &'a Write<'a>,
    pub(super) answer: usize,
    pub(super) version: &'a str,
    pub(super) clock: &'a Clock,
}

#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    /// By path, in the order of their calls. Refused ones are not there.
    writes: BTreeMap<&'a str, Vec<Write<'a>>>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(lines: &'a [Line]) -> Facts<'a> {
        let answers: BTreeMap<u64, (usize, &Outcome)> = (1..)
            .zip(lines)
            .filter_map(|(line, what)| match what {
                Line::Answer { op, outcome, .. } => Some((*op, (line, outcome))),
                _ => None,
            })
            .collect();
        let seen = seen_versions(lines);
        let mut facts = Facts::default();
        for (call, what) in (1..).zip(lines) {
            let Line::Call { op, node, verb, path, value, .. } = what else { continue };
            if !matches!(verb, Verb::Put | Verb::Delete) {
                continue;
            }
            let value = value.as_deref();
            let later = value.and_then(|value| seen.get(&(path.as_str(), value)).copied());
            let mut write =
                Write { call, answer: None, node, value, version: later, clock: None, timestamp: None };
            match answers.get(op) {
                Some((line, Outcome::Written { version, clock, timestamp })) => {
                    write.answer = Some(*line);
                    (write.version, write.clock) = (Some(version.as_str()), Some(clock));
                    write.timestamp = Some(*timestamp);
                }
                None | Some((_, Outcome::Unknown { .. })) => {}
                Some(_) => continue,
            }
            facts.writes.entry(path).or_default().push(write);
        }
        facts
    }

    pub(super) fn writes(&self, path: &str) -> &[Write<'a>] {
        self.writes.get(path).map_or(&[], Vec::as_slice)
    }

    pub(super) fn acked(&self, path: &str) -> impl Iterator<Item = Acked<'_>> {
        self.writes(path).iter().filter_map(|write| {
            Some(Acked { write, answer: write.answer?, version: write.version?, clock: write.clock? })
        })
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.writes.keys().copied()
    }

    /// The acknowledged write of a version.
    pub(super) fn acked_as(&self, path: &str, version: &str) -> Option<Acked<'_>> {
        self.acked(path).find(|acked| acked.version == version)
    }
}

/// The version under which each value was shown, which tells the version of a put that had no answer.
fn seen_versions(lines: &[Line]) -> BTreeMap<(&str, &str), &str> {
    let mut seen = BTreeMap::new();
    for what in lines {
        for (path, value, version) in shown(what) {
            if let Some(value) = value {
                seen.entry((path, value)).or_insert(version);
            }
        }
    }
    seen
}

/// Every version that a line shows, with its path and value.
pub(super) fn shown(line: &Line) -> Vec<(&str, Option<&str>, &str)> {
    let mut shown = Vec::new();
    for state in states(line) {
        shown.push((state.path.as_str(), state.value.as_deref(), state.version.as_str()));
        for live in state.live.iter().flatten() {
            shown.push((&state.path, live.value.as_deref(), &live.version));
        }
    }
    if let Line::Final { path, history, .. } = line {
        shown
            .extend(history.iter().map(|past| (path.as_str(), past.value.as_deref(), past.version.as_str())));
    }
    shown
}

/// Every state that a line shows.
pub(super) fn states(line: &Line) -> Vec<&State> {
    match line {
        Line::Answer { outcome: Outcome::Read { state }, .. } => vec![state],
        Line::Answer { outcome: Outcome::Listed { items }, .. } => items.iter().collect(),
        Line::Final { state, listed, .. } => state.iter().chain(listed).collect(),
        _ => Vec::new(),
    }
}
