//! A short run of real servers under faults from a fixed seed, as CI does it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rejoin_blackbox::check::check;
use rejoin_blackbox::history::{Line, Live, Outcome, Past, State, read};
use rejoin_blackbox::run::{Plan, places, run};

/// Builds the server beside this test and gives its place; quick when it is there already.
fn server() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "rejoin-cli", "--bin", "rejoin"]);
    build.arg("--target-dir").arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the server does not build");
    folder.join(format!("rejoin{}", std::env::consts::EXE_SUFFIX))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_failing_cluster_see_what_was_promised() {
    let folder = tempfile::Builder::new().prefix("rejoin-blackbox-").tempdir().unwrap();
    let path = folder.path().to_owned();
    let plan = Plan { program: server(), folder: path, seed: 7, nodes: 3, time: Duration::from_secs(20) };
    let figures = match run(&plan).await {
        Ok(figures) => figures,
        Err(error) => panic!("{error}\n{}", places(&folder.keep())),
    };
    let lines = read(&plan.history()).unwrap();
    let violations = check(&lines);
    println!("{figures:?}");
    if !violations.is_empty() {
        let said: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{}\n{figures:?}\n{}", said.join("\n"), places(&folder.keep()));
    }
    // A run in which little happened proves little.
    assert!(figures.acknowledged > 100, "{figures:?}");
    assert!(
        figures.kills > 0 && figures.pauses > 0 && figures.links > 0 && figures.partitions > 0,
        "{figures:?}"
    );

    // And a checker that accepts what it should not proves nothing: the same record with a lie in it.
    for (spoiled, expected) in [
        (vec![without_a_live_write(&lines)], &["lost-write"][..]),
        (with_a_replaced_write_live(&lines), &["resurrection", "superseded-shown"]),
        (vec![with_an_old_answer(&lines)], &["read-your-writes", "monotonic-reads", "node-went-back"]),
    ] {
        let found: Vec<_> = spoiled.iter().flat_map(|spoiled| check(spoiled)).collect();
        assert!(
            found.iter().any(|found| expected.contains(&found.kind)),
            "none of {expected:?} in {found:#?}"
        );
    }
}

/// No node holds anything at a path where a live version was acknowledged.
fn without_a_live_write(lines: &[Line]) -> Vec<Line> {
    let versions: Vec<&str> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Answer { outcome: Outcome::Written { version, .. }, .. } => Some(version.as_str()),
            _ => None,
        })
        .collect();
    let lost = lines.iter().find_map(|line| match line {
        Line::Final { path, state: Some(state), .. } if versions.contains(&&*state.version) => Some(path),
        _ => None,
    });
    let (lost, mut spoiled) = (lost.unwrap(), lines.to_vec());
    for line in &mut spoiled {
        if let Line::Final { path, state, listed, history, .. } = line
            && path == lost
        {
            (*state, *listed) = (None, None);
            history.clear();
        }
    }
    spoiled
}

/// Lies, one for each path: on every node, a version that the winner's writer had replaced is live again. Where other
/// versions are live as well, it may have been replaced by a writer that nobody heard of, so not every one is seen.
fn with_a_replaced_write_live(lines: &[Line]) -> Vec<Vec<Line>> {
    let versions: Vec<&str> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Answer { outcome: Outcome::Written { version, .. }, .. } => Some(&**version),
            _ => None,
        })
        .collect();
    let again = lines.iter().filter_map(|line| match line {
        Line::Final { path, state: Some(state), history, .. } => {
            let known = versions.contains(&&*state.version);
            Some((path, history.first().filter(|_| known)?))
        }
        _ => None,
    });
    let lie = |(again, past): (&String, &Past)| {
        let mut spoiled = lines.to_vec();
        for line in &mut spoiled {
            if let Line::Final { path, state: Some(state), .. } = line
                && path == again
            {
                let Past { version, value, timestamp } = past.clone();
                state.live.as_mut().unwrap().push(Live { version, value, timestamp });
            }
        }
        spoiled
    };
    again.map(lie).collect()
}

/// A session is answered with what it had been answered before, though it has seen more since.
fn with_an_old_answer(lines: &[Line]) -> Vec<Line> {
    let mut spoiled = lines.to_vec();
    let mut asked = BTreeMap::new();
    let mut first: BTreeMap<(&str, &str), &State> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        match line {
            Line::Call { op, session: Some(session), .. } => {
                asked.insert(op, session.as_str());
            }
            Line::Answer { op, outcome: Outcome::Read { state }, .. } => {
                let Some(session) = asked.get(op) else { continue };
                let old = *first.entry((session, &state.path)).or_insert(state);
                if old.clock != state.clock {
                    // The answer after this one that reads the path again goes back to the first.
                    let mut later = lines[at + 1..].iter().enumerate();
                    let again = later.find(|(_, line)| match line {
                        Line::Answer { op, outcome: Outcome::Read { state: again }, .. } => {
                            asked_by(lines, *op) == Some(session) && again.path == state.path
                        }
                        _ => false,
                    });
                    let Some((offset, _)) = again else { continue };
                    if let Line::Answer { outcome, .. } = &mut spoiled[at + 1 + offset] {
                        *outcome = Outcome::Read { state: old.clone() };
                        return spoiled;
                    }
                }
            }
            _ => {}
        }
    }
    panic!("no session read a path three times");
}

fn asked_by(lines: &[Line], asked: u64) -> Option<&str> {
    lines.iter().find_map(|line| match line {
        Line::Call { op, session, .. } if *op == asked => session.as_deref(),
        _ => None,
    })
}
