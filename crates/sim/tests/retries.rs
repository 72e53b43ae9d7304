//! Requests that are sent again, as stories: done once, and answered as the first time.
//!
//! Each story ends with every check that a world has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use rejoin_replica::json::Json;
use rejoin_replica::{Change, Config, Refusal, Replay, View as _, Written};
use rejoin_sim::Cluster;

const HOUR_MS: u64 = 3_600_000;

fn put(json: &str) -> Change {
    Change::Put(Json::parse(json.as_bytes(), &Default::default()).unwrap())
}

fn patch(json: &str) -> Change {
    Change::Patch(Json::parse(json.as_bytes(), &Default::default()).unwrap())
}

/// Whether the second answer is the first again.
fn is_the_first_again(first: &Written, again: &Written) {
    assert_eq!(first.replay, Replay::No);
    assert_eq!(again.replay, Replay::Whole);
    assert_eq!(
        (again.dot, again.hlc, &again.vector_clock, again.etag, again.created),
        (first.dot, first.hlc, &first.vector_clock, first.etag, first.created)
    );
    assert_eq!(again.visible.value, first.visible.value);
    assert_eq!(again.visible.conflicts, first.visible.conflicts);
    assert_eq!(again.visible.expires_ms, first.visible.expires_ms);
}

/// Writes that a node knows, of all nodes.
fn writes(cluster: &Cluster, name: &str) -> u64 {
    cluster.world.snapshot(cluster.node(name)).unwrap().frontier().unwrap().len()
}

#[test]
fn a_write_that_is_sent_again_is_done_once_and_another_under_its_key_is_refused() {
    let mut cluster = Cluster::mesh(&["a"]);
    let first = cluster.once("a", "k1", "l/n", put(r#"{"n":1}"#));
    let again = cluster.once("a", "k1", "l/n", put(r#"{"n":1}"#));
    is_the_first_again(&first, &again);
    for (path, change) in [
        ("l/n", put(r#"{"n":2}"#)),
        ("l/m", put(r#"{"n":1}"#)),
        ("l/n", patch(r#"{"n":1}"#)),
        ("l/n", Change::Delete),
    ] {
        assert_eq!(cluster.attempt_once("a", "k1", path, change), Err(Box::new(Refusal::KeyReused)));
    }
    let all = cluster.attempt_all_once("a", "k1", &[("l/n", put("{}")), ("l/m", put("{}"))]);
    assert_eq!(all.unwrap_err().refusal, Refusal::KeyReused);
    assert_eq!(writes(&cluster, "a"), 1);
    // What was refused was not done, and its key stands for nothing.
    assert!(cluster.attempt_once("a", "k2", "l/gone", Change::Delete).is_err());
    cluster.once("a", "k2", "l/n", put(r#"{"n":3}"#));
    assert_eq!(writes(&cluster, "a"), 2);
}

#[test]
fn every_kind_of_write_is_answered_as_the_first_time_whatever_came_after_it() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    // Under last-write-wins and under merge-fields.
    for at in ["l/x", "m/x"] {
        let asked = [
            put(r#"{"a":1}"#),
            patch(r#"{"b":2}"#),
            Change::Replace(Json::parse(br#"{"c":3}"#, &Default::default()).unwrap()),
            Change::Delete,
        ];
        let mut first = Vec::new();
        for (number, change) in asked.iter().enumerate() {
            first.push(cluster.once("a", &format!("{at}{number}"), at, change.clone()));
        }
        cluster.put("a", at, r#"{"z":9}"#);
        cluster.agree();
        for name in ["a", "b"] {
            let before = writes(&cluster, name);
            for (number, (change, first)) in asked.iter().zip(&first).enumerate() {
                is_the_first_again(first, &cluster.once(name, &format!("{at}{number}"), at, change.clone()));
            }
            assert_eq!(writes(&cluster, name), before, "at {name}");
        }
        assert_eq!(cluster.get("b", at).as_deref(), Some(r#"{"z":9}"#));
    }
}

#[test]
fn a_node_that_stops_and_starts_knows_what_it_has_answered() {
    let mut cluster = Cluster::mesh(&["a"]);
    let first = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    cluster.down("a");
    cluster.up("a");
    is_the_first_again(&first, &cluster.once("a", "k", "l/n", put(r#"{"n":1}"#)));
    assert_eq!(writes(&cluster, "a"), 1);
}

#[test]
fn another_node_that_has_the_write_gives_the_first_answer() {
    let mut cluster = Cluster::line(&["a", "b", "c"]);
    let first = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    cluster.settle();
    for name in ["b", "c"] {
        is_the_first_again(&first, &cluster.once(name, "k", "l/n", put(r#"{"n":1}"#)));
    }
    cluster.agree();
    assert_eq!(writes(&cluster, "a"), 1);
}

#[test]
fn a_write_that_was_replaced_before_another_node_heard_of_it_is_known_there() {
    let mut cluster = Cluster::line(&["a", "b", "c"]);
    cluster.cut("a", "b");
    let first = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    cluster.put("a", "l/n", r#"{"n":2}"#);
    let deleted = cluster.once("a", "d", "l/n", Change::Delete);
    cluster.heal();
    cluster.agree();
    for name in ["b", "c"] {
        is_the_first_again(&first, &cluster.once(name, "k", "l/n", put(r#"{"n":1}"#)));
        is_the_first_again(&deleted, &cluster.once(name, "d", "l/n", Change::Delete));
        assert_eq!(cluster.get(name, "l/n"), None);
    }
    assert_eq!(writes(&cluster, "c"), 3);
}

#[test]
fn a_digest_session_brings_what_was_answered_too() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "l/old", "{}");
    cluster.put("b", "l/kept", "{}");
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    cluster.delete("a", "l/old");
    cluster.years_pass(i64::try_from(10 * 24 * HOUR_MS).unwrap());
    cluster.run_ms(200_000);
    let first = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    cluster.heal();
    cluster.agree();
    assert!(cluster.count("exchange") > 0, "no digest session");
    is_the_first_again(&first, &cluster.once("b", "k", "l/n", put(r#"{"n":1}"#)));
    assert_eq!(writes(&cluster, "a"), 4);
}

#[test]
fn a_batch_that_is_sent_again_is_done_once_here_and_elsewhere() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.cut("a", "b");
    let asked = [("l/x", put(r#"{"x":1}"#)), ("l/y", put(r#"{"y":1}"#)), ("l/x", put(r#"{"x":2}"#))];
    let first = cluster.attempt_all_once("a", "k", &asked).unwrap();
    // One of them is replaced before the other node hears of it.
    cluster.put("a", "l/y", r#"{"y":2}"#);
    cluster.heal();
    cluster.agree();
    for name in ["a", "b"] {
        let again = cluster.attempt_all_once(name, "k", &asked).unwrap();
        assert_eq!(again.len(), 3);
        first.iter().zip(&again).for_each(|(first, again)| is_the_first_again(first, again));
        let other = cluster.attempt_all_once(name, "k", &asked[..2]);
        assert_eq!(other.unwrap_err().refusal, Refusal::KeyReused);
    }
    cluster.agree();
    assert_eq!(writes(&cluster, "b"), 4);
}

#[test]
fn who_asks_two_nodes_that_are_cut_off_from_each_other_writes_twice_and_hears_one_answer_from_each() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.partition(&[&["a"], &["b"]]);
    let here = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    let there = cluster.once("b", "k", "l/n", put(r#"{"n":1}"#));
    assert_ne!(here.dot, there.dot);
    cluster.heal();
    cluster.agree();
    is_the_first_again(&here, &cluster.once("a", "k", "l/n", put(r#"{"n":1}"#)));
    is_the_first_again(&there, &cluster.once("b", "k", "l/n", put(r#"{"n":1}"#)));
}

#[test]
fn after_a_day_a_request_is_forgotten_and_its_rows_are_gone() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    let first = cluster.once("a", "k", "l/n", put(r#"{"n":1}"#));
    cluster.agree();
    cluster.years_pass(i64::try_from(23 * HOUR_MS).unwrap());
    cluster.run_ms(200_000);
    is_the_first_again(&first, &cluster.once("b", "k", "l/n", put(r#"{"n":1}"#)));
    cluster.years_pass(i64::try_from(2 * HOUR_MS).unwrap());
    cluster.run_ms(200_000);
    for name in ["a", "b"] {
        let status = cluster.status(name);
        assert_eq!((status.counters.kept, status.tally.forgotten_early), (0, 0), "at {name}");
    }
    let second = cluster.once("b", "k", "l/n", put(r#"{"n":1}"#));
    assert_eq!(second.replay, Replay::No);
}

#[test]
fn beyond_their_number_the_oldest_answers_go_first() {
    let mut cluster = Cluster::with(&["a"], Config { kept_max: 10, ..Config::default() });
    for number in 0..30 {
        cluster.once("a", &format!("k{number}"), "l/n", put(&format!(r#"{{"n":{number}}}"#)));
    }
    cluster.run_ms(1_000);
    let status = cluster.status("a");
    assert_eq!((status.counters.kept, status.tally.forgotten_early), (10, 20));
    let again = |cluster: &mut Cluster, number: usize| {
        cluster.once("a", &format!("k{number}"), "l/n", put(&format!(r#"{{"n":{number}}}"#))).replay
    };
    assert_ne!(again(&mut cluster, 29), Replay::No);
    assert_ne!(again(&mut cluster, 20), Replay::No);
    assert_eq!(again(&mut cluster, 19), Replay::No);
}
