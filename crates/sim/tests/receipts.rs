//! Receipts and settled conflicts, as stories over real replicas in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story fails by panicking")]

use rejoin_replica::json::Json;
use rejoin_replica::{Change, Condition, Refusal};
use rejoin_sim::{Cluster, CrashPoint};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), &Default::default()).unwrap()
}

#[test]
fn peers_that_hold_a_write_say_so() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    assert_eq!(cluster.holders("a", &written, 500), ["b", "c"]);
    cluster.settle();
}

#[test]
fn nodes_behind_a_peer_are_heard_of() {
    let mut cluster = Cluster::line(&["a", "b", "c", "d", "e", "f"]);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    // Four links away is as far as a question goes; f is five away.
    assert_eq!(cluster.holders("a", &written, 2_000), ["b", "c", "d", "e"]);
    cluster.settle();
}

#[test]
fn a_peer_that_is_cut_off_gives_its_receipt_when_it_is_back() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.partition(&[&["a", "b"], &["c"]]);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    let a = cluster.node("a");
    let request = cluster.world.ask_for_holders(a, vec![written.dot], 60_000);
    cluster.run_ms(2_000);
    assert_eq!(cluster.held(request), ["b"]);
    cluster.heal();
    cluster.agree();
    cluster.run_ms(1_000);
    assert_eq!(cluster.held(request), ["b", "c"], "the question goes out on links that come up later");
    cluster.settle();
}

#[test]
fn a_node_that_joins_while_a_client_waits_is_counted() {
    let mut cluster = Cluster::mesh(&["a"]);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    let a = cluster.node("a");
    let request = cluster.world.ask_for_holders(a, vec![written.dot], 60_000);
    cluster.run_ms(500);
    assert!(cluster.held(request).is_empty());
    cluster.join("b", &["a"]);
    cluster.agree();
    cluster.run_ms(500);
    assert_eq!(cluster.held(request), ["b"]);
    cluster.settle();
}

#[test]
fn a_peer_that_dies_before_its_commit_gives_no_receipt() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    let (a, b) = (cluster.node("a"), cluster.node("b"));
    cluster.world.kill_at(b, CrashPoint::BeforeCommit);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    let request = cluster.world.ask_for_holders(a, vec![written.dot], 60_000);
    cluster.run_ms(3_000);
    assert_eq!(cluster.count("crash before commit"), 1, "b must have died with the write in its hands");
    assert!(cluster.held(request).is_empty(), "what was not committed is not held");
    cluster.up("b");
    cluster.agree();
    cluster.run_ms(1_000);
    assert_eq!(cluster.held(request), ["b"], "it has the write now, and says so");
    cluster.settle();
}

#[test]
fn a_write_in_quarantine_is_not_held() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("a", 3_600_000);
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    cluster.run_ms(1_000);
    assert!(cluster.holders("a", &written, 1_000).is_empty());
}

#[test]
fn nobody_asks_and_nothing_is_said() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    for n in 0..20 {
        cluster.put("a", &format!("x/{n}"), r#"{"n":1}"#);
    }
    cluster.settle();
    assert_eq!((cluster.sent("question"), cluster.sent("holders")), (0, 0));
}

#[test]
fn settling_a_conflict_is_one_write_over_all_siblings() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.partition(&[&["a"], &["b"], &["c"]]);
    let first = cluster.put("a", "x", r#"{"n":1}"#);
    cluster.run_ms(50);
    cluster.put("b", "x", r#"{"n":2}"#);
    cluster.run_ms(50);
    cluster.put("c", "x", r#"{"n":3}"#);
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.siblings("b", "x"), 3);
    let unknown = rejoin_causal::Dot { seq: 99, ..first.dot };
    let refused = cluster.attempt("b", "x", Change::Keep(unknown), Condition::Always).unwrap_err();
    assert!(matches!(*refused, Refusal::NotLive(_)));
    cluster.attempt("b", "x", Change::Keep(first.dot), Condition::Always).unwrap();
    cluster.agree();
    for node in ["a", "b", "c"] {
        assert_eq!(cluster.get(node, "x").unwrap(), r#"{"n":1}"#);
        assert_eq!(cluster.siblings(node, "x"), 1);
    }
    let again = cluster.attempt("a", "x", Change::Resolve(json("{}")), Condition::Always).unwrap_err();
    assert!(matches!(*again, Refusal::NoConflict(_)), "a second settlement finds nothing to settle");
    cluster.settle();
}

#[test]
fn a_conflict_under_first_write_wins_can_be_settled() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put("a", "f/seat", r#"{"taken":1}"#);
    cluster.run_ms(50);
    let second = cluster.put("b", "f/seat", r#"{"taken":2}"#);
    cluster.heal();
    cluster.agree();
    assert_eq!(cluster.get("b", "f/seat").unwrap(), r#"{"taken":1}"#);
    cluster.attempt("a", "f/seat", Change::Keep(second.dot), Condition::Always).unwrap();
    cluster.agree();
    assert_eq!(cluster.get("b", "f/seat").unwrap(), r#"{"taken":2}"#);
    assert_eq!(cluster.siblings("b", "f/seat"), 1);
    cluster.settle();
}

#[test]
fn a_delete_that_hides_an_update_can_be_kept_or_undone() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "x", r#"{"n":1}"#);
    cluster.put("a", "y", r#"{"n":1}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    let updated = cluster.put("a", "x", r#"{"n":2}"#);
    cluster.put("a", "y", r#"{"n":2}"#);
    cluster.run_ms(50);
    cluster.delete("b", "x");
    let deleted = cluster.delete("b", "y");
    cluster.heal();
    cluster.agree();
    assert_eq!((cluster.get("a", "x"), cluster.siblings("a", "x")), (None, 2));
    cluster.attempt("a", "x", Change::Keep(updated.dot), Condition::Always).unwrap();
    cluster.attempt("b", "y", Change::Keep(deleted.dot), Condition::Always).unwrap();
    cluster.agree();
    assert_eq!(cluster.get("b", "x").unwrap(), r#"{"n":2}"#);
    assert_eq!((cluster.get("a", "y"), cluster.siblings("a", "y")), (None, 1));
    cluster.settle();
}

#[test]
fn a_patch_over_what_was_read_does_not_take_in_what_was_not() {
    let mut cluster = Cluster::mesh(&["a"]);
    let read = cluster.put("a", "x", r#"{"a":1}"#);
    let unread = cluster.put_over("a", "x", r#"{"b":2}"#, vec![]);
    assert_eq!(cluster.siblings("a", "x"), 2);
    let written = cluster.patch_over("a", "x", r#"{"c":3}"#, vec![read.dot]);
    assert_eq!(written.visible.value.unwrap().as_str(), r#"{"a":1,"c":3}"#);
    assert_eq!(cluster.siblings("a", "x"), 2, "what was not read stays: {:?}", unread.dot);
    cluster.settle();
}
