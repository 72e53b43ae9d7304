//! After all faults: the nodes are equal, nothing acknowledged is missing, and scans show what reads show.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::facts::{Acked, Facts};
use super::reads::lost;
use crate::history::{Line, Past, State};

/// What the end of a record says of a path on a node.
struct Last<'a> {
    line: usize,
    state: Option<&'a State>,
    listed: Option<&'a State>,
    history: &'a [Past],
}

pub(super) fn check(lines: &[Line], facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let settled = (1..).zip(lines).find_map(|(line, what)| match what {
        Line::Settled { equal, detail, took_ms, .. } => Some((line, *equal, detail, *took_ms)),
        _ => None,
    });
    let mut nodes: BTreeMap<&str, BTreeMap<&str, Last<'_>>> = BTreeMap::new();
    for (line, what) in (1..).zip(lines) {
        if let Line::Final { node, path, state, listed, history } = what {
            let last = Last { line, state: state.as_ref(), listed: listed.as_ref(), history };
            nodes.entry(node).or_default().insert(path, last);
        }
    }
    match settled {
        Some((line, false, detail, took_ms)) => {
            let why = format!("the nodes were not equal after {took_ms} ms without faults: {detail}");
            found.push(Violation::new("not-converged", [line], why));
        }
        Some(_) if !nodes.is_empty() => {}
        _ => {
            found.push(Violation::new(
                "incomplete",
                [lines.len()],
                "the record ends before the nodes were compared",
            ));
            return;
        }
    }
    let kept = lines.iter().find_map(|line| match line {
        Line::Run { max_versions, .. } => Some(*max_versions),
        _ => None,
    });
    equal(&nodes, found);
    for (node, paths) in &nodes {
        for (path, last) in paths {
            scan_and_read(path, last, found);
            missing(path, last, facts, found);
            history(node, path, last, facts, kept.unwrap_or(0), found);
        }
        for path in facts.paths().filter(|path| !paths.contains_key(path)) {
            if let Some(write) = facts.acked(path).next() {
                let why = format!("{node} was not asked for {path} in the end");
                found.push(Violation::new("incomplete", [write.answer], why));
            }
        }
    }
}

fn equal(nodes: &BTreeMap<&str, BTreeMap<&str, Last<'_>>>, found: &mut Vec<Violation>) {
    let mut firsts: BTreeMap<&str, (&str, &Last<'_>)> = BTreeMap::new();
    for (node, paths) in nodes {
        for (path, last) in paths {
            let (first_node, first) = firsts.entry(path).or_insert((node, last));
            if first.state != last.state {
                let why = format!("{path} differs on {first_node} and {node}");
                found.push(Violation::new("unequal", [first.line, last.line], why));
            }
        }
    }
}

fn scan_and_read(path: &str, last: &Last<'_>, found: &mut Vec<Violation>) {
    let read = last.state.filter(|state| state.value.is_some());
    let shown =
        |state: &State| (state.value.clone(), state.version.clone(), state.etag.clone(), state.clock.clone());
    if read.map(shown) != last.listed.map(shown) {
        let why = format!("a scan of everything and a read of {path} differ");
        found.push(Violation::new("scan-differs", [last.line], why));
    }
}

/// Every acknowledged write is live, or a live version had seen it.
fn missing(path: &str, last: &Last<'_>, facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let live: Vec<&str> = match last.state {
        Some(state) => state.live.iter().flatten().map(|live| live.version.as_str()).collect(),
        None => Vec::new(),
    };
    if let Some(write) = lost(facts, path, &live, |_| true) {
        let why = format!(
            "{} was acknowledged, is not live at {path}, and no live version had seen it",
            write.write.what()
        );
        found.push(Violation::new("lost-write", [last.line, write.answer], why));
    }
}

/// What a node acknowledged and later replaced is in its history, as far as that reaches.
fn history(
    node: &str,
    path: &str,
    last: &Last<'_>,
    facts: &Facts<'_>,
    kept: usize,
    found: &mut Vec<Violation>,
) {
    let live =
        last.state.iter().flat_map(|state| state.live.iter().flatten()).map(|live| live.version.as_str());
    let listed: BTreeSet<&str> = live.chain(last.history.iter().map(|past| past.version.as_str())).collect();
    // A full history ends somewhere: what is older than its oldest may be gone.
    let oldest = last.history.iter().map(|past| past.timestamp).min().filter(|_| last.history.len() >= kept);
    let gone = |write: &Acked<'_>| {
        write.write.node == node
            && !listed.contains(write.version)
            && oldest.is_none_or(|oldest| write.write.timestamp.is_some_and(|at| at > oldest))
    };
    if let Some(write) = facts.acked(path).find(gone) {
        let why = format!("{} is neither live at {path} nor in the history of {node}", write.write.what());
        found.push(Violation::new("history-lost", [last.line, write.answer], why));
    }
}
