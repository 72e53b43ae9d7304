//! What users are promised, as stories: a few nodes, a few writes, one thing that goes wrong.
//!
//! Each story runs real replicas over real stores in virtual time, and ends with every check that a world has:
//! equal everywhere, nothing lost, no zombie, all rows in agreement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rejoin_replica::json::Json;
use rejoin_replica::path::Prefix;
use rejoin_replica::{Alarm, Audit, Change, Condition, Config, Message, Refusal, View as _};
use rejoin_sim::Cluster;

const DAY_MS: i64 = 24 * 3_600_000;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), &Default::default()).unwrap()
}

#[test]
fn a_write_reaches_everyone() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.put("a", "users/alice", r#"{"age":30}"#);
    cluster.agree();
    assert_eq!(cluster.get("c", "users/alice").unwrap(), r#"{"age":30}"#);
}

#[test]
fn under_last_write_wins_the_newest_of_two_conflicting_writes_is_seen() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.put("a", "users/alice", r#"{"age":1}"#);
    cluster.run_ms(100);
    cluster.put("b", "users/alice", r#"{"age":2}"#);
    cluster.heal();
    cluster.agree();
    for node in ["a", "b", "c"] {
        assert_eq!(cluster.get(node, "users/alice").unwrap(), r#"{"age":2}"#);
        assert_eq!(cluster.siblings(node, "users/alice"), 2, "the losing write is not silent");
    }
    cluster.put("a", "users/alice", r#"{"age":3}"#);
    cluster.agree();
    assert_eq!(cluster.siblings("c", "users/alice"), 1, "a write that saw both replaces both");
}

#[test]
fn under_first_write_wins_the_oldest_stays_and_later_ones_are_refused() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put("a", "f/seat", r#"{"taken":1}"#);
    cluster.run_ms(100);
    cluster.put("b", "f/seat", r#"{"taken":2}"#);
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.get("b", "f/seat").unwrap(), r#"{"taken":1}"#);
    let refused = cluster.attempt("b", "f/seat", Change::Put(json(r#"{"taken":3}"#)), Condition::Always);
    assert!(matches!(*refused.unwrap_err(), Refusal::RejectedByStrategy(_)));
    cluster.delete("a", "f/seat");
    cluster.agree();
    cluster.put("b", "f/seat", r#"{"taken":4}"#);
    cluster.agree();
    assert_eq!(cluster.get("a", "f/seat").unwrap(), r#"{"taken":4}"#);
}

#[test]
fn under_merge_fields_writes_of_different_fields_both_count() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "m/alice", r#"{"age":1,"size":1}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put("a", "m/alice", r#"{"age":2}"#);
    cluster.put("b", "m/alice", r#"{"size":3}"#);
    cluster.heal();
    cluster.agree();
    for node in ["a", "b"] {
        let seen: std::collections::BTreeMap<String, i64> =
            json(&cluster.get(node, "m/alice").unwrap()).get().unwrap();
        assert_eq!(seen["age"], 2);
        assert_eq!(seen["size"], 3);
    }
}

#[test]
fn under_merge_fields_a_removed_field_stays_removed() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "m/alice", r#"{"age":1,"size":1,"eyes":2}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    cluster.patch("a", "m/alice", r#"{"age":null}"#);
    cluster.put("b", "m/alice", r#"{"eyes":1}"#);
    cluster.heal();
    cluster.agree();
    let seen: std::collections::BTreeMap<String, i64> =
        json(&cluster.get("b", "m/alice").unwrap()).get().unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [("eyes".into(), 1), ("size".into(), 1)]);
    cluster.replace("a", "m/alice", r#"{"age":9}"#);
    cluster.agree();
    assert_eq!(cluster.get("b", "m/alice").unwrap(), r#"{"age":9}"#);
}

#[test]
fn a_custom_resolver_decides_alike_on_every_node() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.partition(&[&["a"], &["b"], &["c"]]);
    cluster.put("a", "c/score", r#"{"best":7}"#);
    cluster.put("b", "c/score", r#"{"best":9}"#);
    cluster.put("c", "c/score", r#"{"best":8}"#);
    cluster.heal();
    cluster.agree();
    for node in ["a", "b", "c"] {
        assert_eq!(cluster.get(node, "c/score").unwrap(), r#"{"best":9}"#);
        assert_eq!(cluster.siblings(node, "c/score"), 3);
    }
}

#[test]
fn a_newer_delete_wins_and_a_newer_update_survives_under_last_write_wins() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "doc/1", r#"{"n":1}"#);
    cluster.put("a", "doc/2", r#"{"n":1}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put("a", "doc/1", r#"{"n":2}"#);
    cluster.delete("a", "doc/2");
    cluster.run_ms(100);
    cluster.delete("b", "doc/1");
    cluster.put("b", "doc/2", r#"{"n":2}"#);
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.get("a", "doc/1"), None);
    assert_eq!(cluster.get("a", "doc/2").unwrap(), r#"{"n":2}"#);
}

#[test]
fn a_late_joiner_gets_everything_there_is_and_no_more() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    for number in 0..200 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
        cluster.put("a", &format!("doc/{number}"), r#"{"n":2}"#);
    }
    cluster.agree();
    let pushed = cluster.sent("push");
    cluster.join("c", &["a", "b"]);
    cluster.run_ms(1_000);
    cluster.agree();
    assert_eq!(cluster.records("c"), 200);
    assert_eq!(cluster.sent("push"), pushed, "what a catch-up brought from one peer is no news to the other");
}

#[test]
fn an_overwrite_that_arrives_before_the_original_replaces_it() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.slow("a", "c", 5_000);
    cluster.partition(&[&["a", "c"], &["b"]]);
    // The original takes the slow way to c; the overwrite will overtake it by way of b.
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.heal();
    cluster.run_ms(500);
    cluster.put("b", "doc", r#"{"n":2}"#);
    cluster.run_ms(100);
    assert_eq!(cluster.get("c", "doc").unwrap(), r#"{"n":2}"#);
    cluster.run_ms(10_000);
    assert_eq!(cluster.get("c", "doc").unwrap(), r#"{"n":2}"#);
    cluster.settle();
}

#[test]
fn a_forwarder_that_restarts_forwards_what_it_missed() {
    let mut cluster = Cluster::line(&["a", "b", "c"]);
    cluster.put("a", "doc/1", r#"{"n":1}"#);
    cluster.agree();
    cluster.down("b");
    cluster.put("a", "doc/2", r#"{"n":2}"#);
    cluster.put("c", "doc/3", r#"{"n":3}"#);
    cluster.up("b");
    cluster.agree();
    assert_eq!(cluster.get("c", "doc/2").unwrap(), r#"{"n":2}"#);
    assert_eq!(cluster.get("a", "doc/3").unwrap(), r#"{"n":3}"#);
}

#[test]
fn a_restored_backup_loses_nothing_that_others_have() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "doc/1", r#"{"n":1}"#);
    cluster.agree();
    let backup = cluster.backup("a");
    for number in 0..20 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":2}"#);
    }
    cluster.agree();
    cluster.restore("a", &backup);
    // As many writes again: were dots reused, these would hide the ones before.
    for number in 100..120 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":3}"#);
    }
    cluster.settle();
    for node in ["a", "b"] {
        assert_eq!(cluster.get(node, "doc/7").unwrap(), r#"{"n":2}"#);
        assert_eq!(cluster.get(node, "doc/107").unwrap(), r#"{"n":3}"#);
    }
}

#[test]
fn a_clone_is_noticed_and_takes_another_identity() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "doc/1", r#"{"n":1}"#);
    cluster.agree();
    let identity = cluster.world.id(cluster.node("a"));
    cluster.clone_of("a", "twin", &["b"]);
    cluster.put("twin", "doc/2", r#"{"n":2}"#);
    cluster.run_ms(1_000);
    cluster.put("a", "doc/3", r#"{"n":3}"#);
    cluster.settle();
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Clone { .. })));
    assert_ne!(cluster.world.id(cluster.node("a")), identity, "the one that learns of a newer one gives way");
    assert_eq!(cluster.world.id(cluster.node("twin")), identity);
    assert_eq!(cluster.get("twin", "doc/3").unwrap(), r#"{"n":3}"#);
    assert_eq!(cluster.get("a", "doc/2").unwrap(), r#"{"n":2}"#);
}

#[test]
fn a_year_of_absence_brings_no_delete_back_and_loses_no_concurrent_write() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    for number in 0..10 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    cluster.partition(&[&["a", "b"], &["c"]]);
    for number in 0..5 {
        cluster.delete("a", &format!("doc/{number}"));
    }
    cluster.put("c", "doc/4", r#"{"n":2}"#);
    cluster.put("c", "doc/20", r#"{"n":2}"#);
    cluster.years_pass(365 * DAY_MS);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("a"), 5, "deletes are forgotten in the end");
    cluster.heal();
    cluster.agree();
    assert!(cluster.count("audit-done") > 0, "the returning node meets the fence");
    for node in ["a", "b", "c"] {
        assert_eq!(cluster.get(node, "doc/0"), None, "no zombie");
        assert_eq!(
            cluster.get(node, "doc/4").unwrap(),
            r#"{"n":2}"#,
            "written without knowing of the delete"
        );
        assert_eq!(cluster.get(node, "doc/9").unwrap(), r#"{"n":1}"#);
        assert_eq!(cluster.get(node, "doc/20").unwrap(), r#"{"n":2}"#);
    }
}

#[test]
fn a_stale_copy_that_arrives_while_a_peer_catches_up_is_no_zombie() {
    // c is new and asks a, which has forgotten a delete, and d, which never heard of it.
    let mut cluster = Cluster::mesh(&["a", "d"]);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["d"]]);
    cluster.delete("a", "doc");
    cluster.years_pass(30 * DAY_MS);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("a"), 0);
    cluster.join("c", &["a", "d"]);
    cluster.slow("c", "a", 500);
    cluster.run_ms(20_000);
    assert_eq!(cluster.get("c", "doc"), None);
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.get("d", "doc"), None);
}

#[test]
fn a_write_from_the_future_waits_and_comes_out_in_time() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("b", "doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.clock_step("a", 600_000);
    cluster.put("a", "doc", r#"{"n":2}"#);
    cluster.put("a", "other", r#"{"n":2}"#);
    cluster.run_ms(5_000);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#);
    assert!(cluster.alarmed("b", |alarm| matches!(alarm, Alarm::Quarantined { .. })));
    assert!(cluster.status("b").quarantined > 0);
    cluster.put("b", "mine", r#"{"n":3}"#);
    let stamp = cluster.put("b", "mine", r#"{"n":4}"#).hlc.unix_ms();
    let ahead = stamp - u64::try_from(rejoin_sim::WALL_BASE_MS).unwrap();
    assert!(ahead < 60_000, "a clock far ahead drags nobody along");
    cluster.run_ms(600_000);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":2}"#);
    assert_eq!(cluster.status("b").quarantined, 0);
    cluster.settle();
}

#[test]
fn a_clock_that_steps_back_does_not_hide_later_writes() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.clock_step("b", -3_600_000);
    cluster.put("b", "doc", r#"{"n":2}"#);
    cluster.run_ms(1_000);
    assert_eq!(cluster.get("a", "doc").unwrap(), r#"{"n":2}"#, "a write that saw another replaces it");
    cluster.settle();
}

#[test]
fn a_slow_link_turns_push_into_catch_up() {
    let config = Config { push_queue_bytes_max: 500, chunk_bytes_max: 300, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    cluster.slow("a", "b", 400);
    for number in 0..100 {
        cluster.put("a", &format!("doc/{}", number % 10), &format!(r#"{{"n":{number}}}"#));
    }
    let pushed = cluster.sent("push");
    assert!(pushed < 60, "{pushed} pushes into a full queue");
    cluster.agree();
    assert!(cluster.sent("chunk") > 0);
    for number in 90..100 {
        let path = format!("doc/{}", number % 10);
        assert_eq!(cluster.get("b", &path).unwrap(), format!(r#"{{"n":{number}}}"#));
    }
}

#[test]
fn a_broken_catch_up_goes_on_where_it_was() {
    let config = Config { chunk_bytes_max: 300, credit_bytes: 600, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    cluster.partition(&[&["a"], &["b"]]);
    for number in 0..300 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.slow("a", "b", 50);
    cluster.heal();
    let mut cuts = 0;
    while cluster.records("b") < 300 {
        cluster.run_ms(700);
        if cuts < 5 {
            cluster.cut("a", "b");
            cuts += 1;
        }
    }
    assert_eq!(cuts, 5);
    cluster.agree();
    let chunks = cluster.sent("chunk");
    assert!(chunks < 75, "300 documents of 40 bytes took {chunks} chunks of 300 bytes");
}

#[test]
fn credit_does_not_grow_however_long_a_catch_up_takes() {
    // Chunks of about 400 bytes against 300 of credit: each goes a little beyond it.
    let config = Config { chunk_bytes_max: 400, credit_bytes: 300, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    cluster.partition(&[&["a"], &["b"]]);
    for number in 0..300 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.slow("a", "b", 50);
    cluster.heal();
    // Every chunk is checked against what is uncommitted when it is sent.
    cluster.agree();
    assert!(cluster.count("catch-up waits for credit") > 20);
}

#[test]
fn a_damaged_store_is_repaired_in_one_round_at_the_cost_of_the_difference() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    for number in 0..1_000 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    let backup = cluster.backup("b");
    for number in [3, 500, 777] {
        cluster.delete("a", &format!("doc/{number}"));
    }
    cluster.years_pass(30 * DAY_MS);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("b"), 997);
    cluster.forget("b", &backup);
    assert_eq!(cluster.get("b", "doc/500").unwrap(), r#"{"n":1}"#, "the damage is done");
    let before = cluster.world.sent_bytes;
    cluster.run_ms(2_000);
    let report = cluster.anti_entropy("b");
    assert_eq!((report.links, report.equal), (1, 1));
    assert_eq!(cluster.get("b", "doc/500"), None);
    let cost = cluster.world.sent_bytes - before;
    assert!(cost < 10_000, "three of a thousand documents cost {cost} bytes");
    cluster.settle();
}

#[test]
fn a_round_over_a_part_compares_that_part_and_nothing_else() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    for number in 0..300 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
        cluster.put("a", &format!("else/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    let report = cluster.anti_entropy_below("b", "doc/");
    assert_eq!((report.links, report.equal, report.repaired), (1, 1, 0));

    cluster.partition(&[&["a"], &["b"]]);
    for path in ["doc/7", "else/7", "other"] {
        cluster.put("a", path, r#"{"n":2}"#);
    }
    cluster.delete("b", "doc/8");
    assert_eq!(compared(&cluster, "b", "a", "doc/"), ["doc/7", "doc/8"]);
    assert_eq!(compared(&cluster, "b", "a", "els"), ["else/7"]);
    assert_eq!(compared(&cluster, "b", "a", ""), ["doc/7", "doc/8", "else/7", "other"]);
    assert!(compared(&cluster, "b", "a", "nothing").is_empty());
    let unheard = cluster.anti_entropy_below("b", "doc/");
    assert_eq!((unheard.links, unheard.equal), (0, 0), "there is nobody to ask");
    cluster.heal();
    cluster.agree();
}

/// The paths whose states go from one node to another in a digest session over a part.
fn compared(cluster: &Cluster, opener: &str, other: &str, prefix: &str) -> Vec<String> {
    let snapshot = |name| cluster.world.snapshot(cluster.node(name)).unwrap();
    let prefix = Prefix::parse(prefix).unwrap();
    let (mut opener, _) = Audit::open(snapshot(opener), &prefix, 1 << 20).unwrap();
    let (mut other, _) = Audit::accept(snapshot(other), 1 << 20).unwrap();
    let (mut said, mut paths) = (opener.go_on().unwrap(), Vec::new());
    while let Some(message) = said.pop() {
        let answers = match message {
            Message::AuditDone => break,
            Message::Exchange(states) => {
                paths.extend(states.iter().map(|(path, _)| path.to_string()));
                opener.go_on()
            }
            message => {
                let answer = other.compare(message).unwrap().pop().unwrap();
                opener.compare(answer)
            }
        };
        said = answers.unwrap();
    }
    paths.sort();
    paths
}

#[test]
fn a_session_that_would_remove_too_much_stops_and_alarms() {
    let config = Config { removals_max: 10, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], config);
    for number in 0..100 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    cluster.partition(&[&["a", "b"], &["c"]]);
    for number in 0..100 {
        cluster.delete("b", &format!("doc/{number}"));
    }
    cluster.years_pass(30 * DAY_MS);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("a"), 0);
    cluster.heal();
    cluster.run_ms(300_000);
    assert!(cluster.alarmed("c", |alarm| matches!(alarm, Alarm::RemovalsStopped { .. })));
    let left = cluster.records("c");
    assert!(left >= 75, "{left} of 100 documents are left after the stop");
    assert_eq!(cluster.get("a", "doc/99"), None, "and none of them comes back elsewhere");
    // The stopped link is dialed again and again: some round has it.
    let rounds = (0..60).map(|_| {
        cluster.run_ms(500);
        cluster.anti_entropy("a").links
    });
    assert_eq!(rounds.max(), Some(2), "a round ends where a session is stopped, too");
}

#[test]
fn a_request_for_anti_entropy_answers_with_what_it_did() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.put("a", "doc/1", r#"{"n":1}"#);
    cluster.agree();
    let report = cluster.anti_entropy("a");
    assert_eq!((report.links, report.equal, report.unequal), (2, 2, 0));
    assert_eq!((report.documents_sent, report.documents_received, report.repaired), (0, 0, 0));
    let alone = Cluster::mesh(&["z"]).anti_entropy("z");
    assert_eq!(alone.links, 0);
}

#[test]
fn conditions_hold_where_the_write_is_made() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    let put = |json_text: &str| Change::Put(json(json_text));
    let etag = cluster.put("a", "doc", r#"{"n":1}"#).etag;
    cluster.agree();
    assert!(cluster.attempt("b", "doc", put(r#"{"n":2}"#), Condition::Absent).is_err());
    assert!(cluster.attempt("b", "doc", put(r#"{"n":2}"#), Condition::NoneOf(vec![etag])).is_err());
    let written = cluster.attempt("b", "doc", put(r#"{"n":2}"#), Condition::Matches(vec![etag])).unwrap();
    assert_ne!(written.etag, etag);
    cluster.agree();
    let stale = cluster.attempt("a", "doc", put(r#"{"n":3}"#), Condition::Matches(vec![etag]));
    assert!(matches!(*stale.unwrap_err(), Refusal::Precondition(_)));
    assert!(cluster.attempt("a", "none", put(r#"{"n":3}"#), Condition::Present).is_err());
    assert!(cluster.attempt("a", "none", put(r#"{"n":3}"#), Condition::Absent).unwrap().created);
    let missing = cluster.attempt("a", "nothing", Change::Delete, Condition::Always);
    assert_eq!(*missing.unwrap_err(), Refusal::NotFound { deleted: false });
    cluster.delete("a", "doc");
    let gone = cluster.attempt("a", "doc", Change::Delete, Condition::Always);
    assert_eq!(*gone.unwrap_err(), Refusal::NotFound { deleted: true });
    cluster.settle();
}

#[test]
fn a_write_replaces_what_its_client_read_and_nothing_else() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    let first = cluster.put("a", "doc", r#"{"n":1}"#).dot;
    cluster.agree();
    cluster.put("b", "doc", r#"{"n":2}"#);
    cluster.agree();
    // The client still holds what it read before.
    cluster.put_over("a", "doc", r#"{"n":3}"#, vec![first]);
    cluster.agree();
    assert_eq!(cluster.siblings("b", "doc"), 2);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":3}"#);
    cluster.settle();
}

#[test]
fn a_write_crosses_each_link_at_most_once_in_each_direction() {
    for shape in ["ring", "mesh"] {
        let names = ["a", "b", "c", "d", "e"];
        let mut cluster = if shape == "mesh" { Cluster::mesh(&names) } else { Cluster::line(&names) };
        if shape == "ring" {
            let (first, last) = (cluster.node("a"), cluster.node("e"));
            cluster.world.connect(first, last);
        }
        cluster.run_ms(1_000);
        cluster.agree();
        cluster.world.crossings = Some(Default::default());
        for number in 0..50 {
            cluster.put(names[number % names.len()], &format!("doc/{number}"), r#"{"n":1}"#);
        }
        cluster.agree();
        let crossings = cluster.world.crossings.take().unwrap();
        assert!(crossings.values().all(|times| *times == 1), "{shape}: {crossings:?}");
        let (dots, links) = (50, if shape == "mesh" { 10 } else { 5 });
        assert!(crossings.len() <= dots * links * 2, "{shape}");
    }
}

#[test]
fn equal_nodes_reconnect_for_a_few_hundred_bytes_however_much_they_hold() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    for number in 0..500 {
        cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    let before = cluster.world.sent_bytes;
    cluster.cut("a", "b");
    cluster.run_ms(3_000);
    cluster.agree();
    let cost = cluster.world.sent_bytes - before;
    assert!(cost < 300, "{cost} bytes");
}

#[test]
fn writes_made_while_a_link_says_hello_are_not_left_to_the_next_round() {
    let config = Config { anti_entropy_interval_ms: None, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    for number in 0..20 {
        cluster.cut("a", "b");
        for _ in 0..100 {
            cluster.run_ms(23);
            cluster.put("a", &format!("doc/{number}"), r#"{"n":1}"#);
            cluster.put("b", &format!("doc/{number}"), r#"{"n":2}"#);
        }
    }
    cluster.agree();
}

#[test]
fn both_ends_may_ask_at_once() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.slow("a", "b", 300);
    for _ in 0..20 {
        let (a, b) = (cluster.node("a"), cluster.node("b"));
        let asked = [a, b].map(|node| cluster.world.ask_for_round(node, Prefix::default()));
        cluster.run_ms(5_000);
        for request in asked {
            let report = cluster.world.round(request).expect("the round ends");
            assert_eq!((report.links, report.equal), (1, 1));
        }
    }
    assert_eq!(cluster.count("link cut"), 0);
}

#[test]
fn a_quiet_cluster_says_nothing_but_probes() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.settle();
    cluster.world.check_silence(600_000).unwrap();
}

#[test]
fn a_collected_delete_is_not_claimed_where_the_value_still_lives() {
    let mut cluster = Cluster::line(&["a", "e", "d", "c"]);
    cluster.join("b", &["a", "c"]);
    cluster.put("c", "doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.partition(&[&["a", "b", "e"], &["c", "d"]]);
    cluster.delete("b", "doc");
    cluster.run_ms(100);
    // A sibling that has seen neither the value nor its delete.
    cluster.put_over("d", "doc", r#"{"n":2}"#, Vec::new());
    // For a the delete is old, for the others it is not.
    cluster.clock_step("a", 30 * DAY_MS);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("a"), 0, "a has collected the delete");
    // e has the delete and gets the sibling. What it sends on covers the delete, which a no longer has ...
    cluster.heal();
    cluster.partition(&[&["a", "b"], &["c"], &["d", "e"]]);
    cluster.run_ms(30_000);
    assert_eq!(cluster.siblings("e", "doc"), 2);
    // ... so that what a sends on takes it out of b's document and puts nothing in its place.
    cluster.heal();
    cluster.partition(&[&["a", "b", "e"], &["c"], &["d"]]);
    cluster.run_ms(30_000);
    assert_eq!(cluster.siblings("b", "doc"), 1);
    // c still has the value, and knows the sibling.
    cluster.heal();
    cluster.partition(&[&["a"], &["b", "c"], &["d"], &["e"]]);
    cluster.run_ms(30_000);
    assert_eq!(cluster.get("c", "doc").unwrap(), r#"{"n":2}"#);
    assert_eq!(cluster.siblings("c", "doc"), 1, "the deleted value is gone");
    cluster.heal();
    cluster.agree();
}

/// What a reader sees of ten accounts, which every batch sets to one number.
fn accounts(cluster: &Cluster, node: &str) -> Vec<Option<String>> {
    (0..10).map(|number| cluster.get(node, &format!("account/{number}"))).collect()
}

fn set_accounts(cluster: &mut Cluster, node: &str, number: usize) {
    let value = format!(r#"{{"n":{number}}}"#);
    let paths: Vec<String> = (0..10).map(|account| format!("account/{account}")).collect();
    let values: Vec<_> = paths.iter().map(|path| (path.as_str(), value.as_str())).collect();
    cluster.put_all(node, &values);
}

#[test]
fn a_reader_anywhere_sees_all_of_a_batch_or_nothing() {
    // A frame holds two of the ten documents, and a catch-up is cut in the middle again and again.
    let config = Config { chunk_bytes_max: 100, credit_bytes: 200, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], config);
    cluster.partition(&[&["a"], &["b", "c"]]);
    for number in 0..100 {
        cluster.put("a", &format!("before/{number}"), r#"{"n":1}"#);
    }
    set_accounts(&mut cluster, "a", 1);
    for number in 0..100 {
        cluster.put("a", &format!("behind/{number}"), r#"{"n":1}"#);
    }
    cluster.heal();
    cluster.slow("a", "b", 40);
    cluster.slow("a", "c", 60);
    let (mut cuts, mut seen_part_of_all) = (0, false);
    let until = cluster.world.now_ms() + 120_000;
    while !cluster.world.is_converged() {
        assert!(cluster.world.now_ms() < until, "the nodes do not become equal");
        cluster.run_ms(7);
        for node in ["b", "c"] {
            let seen = accounts(&cluster, node);
            assert!(seen.iter().all(|one| *one == seen[0]), "{node} shows half of a batch: {seen:?}");
            let records = cluster.records(node);
            seen_part_of_all |= records > 20 && records < 200;
            if records > 40 * (cuts + 1) && cuts < 4 {
                cluster.cut("a", node);
                cuts += 1;
            }
        }
    }
    assert!(cuts == 4 && seen_part_of_all, "the catch-up was met in the middle, and cut {cuts} times");
    cluster.settle();
    assert_eq!(accounts(&cluster, "c"), vec![Some(r#"{"n":1}"#.to_string()); 10]);
}

#[test]
fn a_batch_is_one_unit_in_live_push_and_forwarding() {
    let config = Config { chunk_bytes_max: 100, ..Config::default() };
    // c hears of everything through b.
    let mut cluster = Cluster::with(&["a", "b"], config);
    cluster.join("c", &["b"]);
    cluster.run_ms(2_000);
    for number in 1..20 {
        set_accounts(&mut cluster, "a", number);
        cluster.put("b", "other", r#"{"n":1}"#);
        for _ in 0..20 {
            cluster.run_ms(3);
            for node in ["b", "c"] {
                let seen = accounts(&cluster, node);
                assert!(seen.iter().all(|one| *one == seen[0]), "{node} shows half of a batch: {seen:?}");
            }
        }
    }
    cluster.settle();
    assert_eq!(accounts(&cluster, "c"), vec![Some(r#"{"n":19}"#.to_string()); 10]);
}

#[test]
fn a_batch_from_the_future_waits_whole() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("a", 100_000);
    set_accounts(&mut cluster, "a", 1);
    for _ in 0..60 {
        cluster.run_ms(1_000);
        let seen = accounts(&cluster, "b");
        assert!(seen.iter().all(|one| *one == seen[0]), "b shows half of a batch: {seen:?}");
    }
    cluster.run_ms(60_000);
    assert_eq!(accounts(&cluster, "b"), vec![Some(r#"{"n":1}"#.to_string()); 10]);
    cluster.settle();
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    let put = |number: i64| Change::Put(json(&format!(r#"{{"n":{number}}}"#)));
    cluster.put("a", "there", r#"{"n":0}"#);
    let before = cluster.world.snapshot(cluster.node("a")).unwrap().counters().unwrap();
    let refused = cluster.attempt_all(
        "a",
        &[
            ("one", put(1), Condition::Always),
            ("there", put(1), Condition::Present),
            ("two", put(1), Condition::Present),
        ],
    );
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.at, 2);
    assert!(matches!(refusal.refusal, Refusal::Precondition(_)));
    let after = cluster.world.snapshot(cluster.node("a")).unwrap().counters().unwrap();
    assert_eq!((after.sequence, after.values), (before.sequence, before.values), "nothing is half-done");
    // Conditions see what the batch did before.
    let done = cluster.attempt_all(
        "a",
        &[
            ("one", put(1), Condition::Absent),
            ("one", put(2), Condition::Present),
            ("there", Change::Delete, Condition::Present),
            ("there", put(3), Condition::Absent),
            ("two", put(4), Condition::Always),
            ("two", Change::Delete, Condition::Always),
        ],
    );
    let seqs: Vec<u64> = done.unwrap().iter().map(|written| written.dot.seq).collect();
    assert_eq!(seqs, (seqs[0]..seqs[0] + 6).collect::<Vec<_>>());
    cluster.agree();
    for node in ["a", "b"] {
        assert_eq!(cluster.get(node, "one").unwrap(), r#"{"n":2}"#);
        assert_eq!(cluster.get(node, "there").unwrap(), r#"{"n":3}"#);
        assert_eq!(cluster.get(node, "two"), None);
    }
    let many: Vec<_> = (0..1_001).map(|_| ("many", put(1), Condition::Always)).collect();
    let refusal = cluster.attempt_all("a", &many).unwrap_err();
    assert!(matches!(refusal.refusal, Refusal::BatchTooLarge { size: 1_001, limit: 1_000, of: "writes" }));
    cluster.settle();
}

#[test]
fn a_document_too_large_to_travel_holds_nothing_back_and_is_named() {
    let config = Config { document_bytes_max: 400, ..Config::default() };
    let mut cluster = Cluster::with(&["a"], config);
    for number in 0..4 {
        cluster.put_over("a", "l/large", &format!(r#"{{"a":{number}}}"#), Vec::new());
        cluster.put("a", &format!("l/{number}"), r#"{"a":1}"#);
    }
    cluster.join("b", &["a"]);
    cluster.run_ms(5_000);
    for number in 0..4 {
        assert!(cluster.get("b", &format!("l/{number}")).is_some(), "it does not wait for the large one");
    }
    assert_eq!(cluster.get("b", "l/large"), None);
    let named =
        |alarm: &Alarm| matches!(alarm, Alarm::Undeliverable { path, .. } if path.as_str() == "l/large");
    assert!(cluster.alarmed("a", named), "the operator knows which");
    let ahead: u64 = cluster.status("a").links.iter().map(|link| link.ahead).sum();
    assert!(ahead >= 4, "what was not sent is counted: {ahead}");
    assert!(cluster.status("b").links.iter().all(|link| link.caught_up));

    // A write that saw them all makes it small.
    cluster.put("a", "l/large", r#"{"a":9}"#);
    cluster.agree();
    assert_eq!(cluster.get("b", "l/large").unwrap(), r#"{"a":9}"#);
    cluster.settle();
}

#[test]
fn a_client_that_never_reads_is_stopped_and_whoever_has_read_is_not() {
    let config = Config { siblings_max: 4, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    for number in 0..4 {
        cluster.put_over("a", "l/x", &format!(r#"{{"a":{number}}}"#), Vec::new());
    }
    assert!(
        cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Siblings { versions: 3, .. })),
        "well before"
    );
    let refused = cluster.attempt_over("a", "l/x", Change::Put(json(r#"{"a":9}"#)), Vec::new()).unwrap_err();
    assert!(
        matches!(*refused, Refusal::TooManySiblings { size: 5, limit: 4, of: "versions", .. }),
        "{refused:?}"
    );
    cluster.agree();
    assert_eq!(cluster.siblings("b", "l/x"), 4);
    // What comes from peers is taken: concurrent writes of another node make more of them.
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put("a", "l/y", r#"{"a":1}"#);
    for node in ["a", "b"] {
        for number in 0..3 {
            cluster.put_over(node, "l/y", &format!(r#"{{"a":{number}}}"#), Vec::new());
        }
    }
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.siblings("a", "l/y"), 7);
    // Whoever has read all of them may write, and delete.
    cluster.put("a", "l/y", r#"{"a":5}"#);
    cluster.delete("b", "l/x");
    cluster.agree();
    assert_eq!(cluster.siblings("b", "l/y"), 1);
    assert_eq!(cluster.get("a", "l/x"), None);
}
