//! Values that end, as stories: what readers see, who writes the delete, and what a concurrent write has to fear.
//!
//! Each story ends with every check that a world has.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use rejoin_replica::{Alarm, Config, View as _};
use rejoin_sim::Cluster;

const MINUTE_MS: u64 = 60_000;

/// How long others wait for the writing node, and then for each other.
const PATIENCE_MS: u64 = 91_000;

fn nobody_sees(cluster: &Cluster, names: &[&str], path: &str) {
    for name in names {
        assert_eq!(cluster.get(name, path), None, "at {name}");
    }
}

fn everybody_sees(cluster: &Cluster, names: &[&str], path: &str, value: &str) {
    for name in names {
        assert_eq!(cluster.get(name, path).as_deref(), Some(value), "at {name}");
    }
}

/// Deletes that each node wrote because the time of a value had come.
fn ended_by(cluster: &mut Cluster, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| cluster.status(name).tally.expired).collect()
}

const ALL: [&str; 3] = ["a", "b", "c"];

#[test]
fn a_value_ends_everywhere_and_its_writer_deletes_it() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.put_for("a", "l/session", r#"{"user":7}"#, MINUTE_MS);
    cluster.agree();
    cluster.run_ms(MINUTE_MS - 10_000);
    everybody_sees(&cluster, &ALL, "l/session", r#"{"user":7}"#);
    cluster.run_ms(10_001);
    nobody_sees(&cluster, &ALL, "l/session");
    cluster.run_ms(1_000);
    cluster.agree();
    assert_eq!(ended_by(&mut cluster, &ALL), [1, 0, 0]);
    for name in ALL {
        assert_eq!(cluster.status(name).counters.tombstones, 1, "at {name}");
    }
    // The delete is one like any other, and is forgotten like any other.
    cluster.years_pass(30 * 24 * 3_600_000);
    cluster.run_ms(200_000);
    for name in ALL {
        assert_eq!(cluster.records(name), 0, "at {name}");
    }
}

#[test]
fn while_the_writer_is_away_one_of_the_others_deletes_it() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.put_for("a", "l/session", r#"{"user":7}"#, MINUTE_MS);
    cluster.agree();
    cluster.down("a");
    cluster.run_ms(MINUTE_MS);
    nobody_sees(&cluster, &["b", "c"], "l/session");
    cluster.run_ms(MINUTE_MS - 10_000);
    assert_eq!(ended_by(&mut cluster, &["b", "c"]), [0, 0], "the writer still has the time to do it");
    cluster.run_ms(PATIENCE_MS);
    assert_eq!(ended_by(&mut cluster, &["b", "c"]).iter().sum::<u64>(), 1, "and then one of them does");
    cluster.up("a");
    cluster.agree();
    nobody_sees(&cluster, &ALL, "l/session");
    assert_eq!(ended_by(&mut cluster, &["a"]), [0]);
    cluster.settle();
}

#[test]
fn a_writer_that_was_down_when_the_time_came_deletes_it_when_it_is_back() {
    let mut cluster = Cluster::mesh(&["a"]);
    cluster.put_for("a", "l/session", r#"{"user":7}"#, MINUTE_MS);
    cluster.down("a");
    cluster.run_ms(2 * MINUTE_MS);
    cluster.up("a");
    cluster.run_ms(1_000);
    nobody_sees(&cluster, &["a"], "l/session");
    assert_eq!(ended_by(&mut cluster, &["a"]), [0], "somebody else may have done it: it hears of that first");
    cluster.run_ms(PATIENCE_MS);
    assert_eq!(ended_by(&mut cluster, &["a"]), [1]);
    cluster.settle();
}

#[test]
fn a_node_that_was_away_all_the_time_comes_to_the_same() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.put_for("a", "l/session", r#"{"user":7}"#, MINUTE_MS);
    cluster.agree();
    cluster.partition(&[&["a", "b"], &["c"]]);
    cluster.run_ms(MINUTE_MS + 1_000);
    nobody_sees(&cluster, &ALL, "l/session");
    cluster.heal();
    cluster.agree();
    nobody_sees(&cluster, &ALL, "l/session");
    assert_eq!(ended_by(&mut cluster, &ALL), [1, 0, 0]);
}

#[test]
fn the_next_write_takes_the_end_away() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.put_for("a", "l/session", r#"{"user":7}"#, MINUTE_MS);
    cluster.agree();
    cluster.put("b", "l/session", r#"{"user":8}"#);
    cluster.agree();
    cluster.run_ms(MINUTE_MS + PATIENCE_MS);
    everybody_sees(&cluster, &ALL, "l/session", r#"{"user":8}"#);
    cluster.put_for("c", "l/session", r#"{"user":9}"#, MINUTE_MS);
    cluster.agree();
    cluster.put_for("c", "l/session", r#"{"user":9}"#, 5 * MINUTE_MS);
    cluster.agree();
    cluster.run_ms(2 * MINUTE_MS);
    everybody_sees(&cluster, &ALL, "l/session", r#"{"user":9}"#);
    assert_eq!(ended_by(&mut cluster, &ALL), [0, 0, 0]);
    cluster.settle();
}

#[test]
fn a_concurrent_write_that_won_is_not_lost_to_the_end_of_the_other() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, MINUTE_MS);
    cluster.run_ms(1_000);
    cluster.put("b", "l/x", r#"{"n":2}"#);
    // The end is written long after the other value, and on the other side.
    cluster.run_ms(MINUTE_MS);
    nobody_sees(&cluster, &["a"], "l/x");
    cluster.heal();
    cluster.agree();
    everybody_sees(&cluster, &ALL, "l/x", r#"{"n":2}"#);
    cluster.run_ms(PATIENCE_MS);
    everybody_sees(&cluster, &ALL, "l/x", r#"{"n":2}"#);
    cluster.settle();
}

#[test]
fn a_write_that_lost_stays_lost_and_listed_when_the_winner_ends() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.put("b", "l/x", r#"{"n":2}"#);
    cluster.run_ms(1_000);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, MINUTE_MS);
    cluster.heal();
    cluster.agree();
    everybody_sees(&cluster, &ALL, "l/x", r#"{"n":1}"#);
    cluster.run_ms(MINUTE_MS);
    nobody_sees(&cluster, &ALL, "l/x");
    cluster.agree();
    for name in ALL {
        assert_eq!(cluster.siblings(name, "l/x"), 2, "the losing write is not silent at {name}");
    }
}

#[test]
fn halves_that_both_deleted_it_have_no_conflict() {
    let mut cluster = Cluster::mesh(&ALL);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, MINUTE_MS);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"], &["c"]]);
    cluster.run_ms(MINUTE_MS + PATIENCE_MS + MINUTE_MS);
    assert_eq!(ended_by(&mut cluster, &ALL), [1, 1, 1]);
    cluster.heal();
    cluster.agree();
    for name in ALL {
        assert_eq!(cluster.siblings(name, "l/x"), 3, "at {name}");
        assert_eq!(cluster.status(name).counters.conflicts, 0, "nobody wrote them: {name}");
    }
    cluster.put("b", "l/x", r#"{"n":2}"#);
    cluster.agree();
    assert_eq!(cluster.siblings("c", "l/x"), 1);
    everybody_sees(&cluster, &ALL, "l/x", r#"{"n":2}"#);
}

#[test]
fn a_clock_that_is_far_ahead_ends_values_for_its_own_readers_only() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("b", 3_600_000);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, 10 * MINUTE_MS);
    cluster.run_ms(PATIENCE_MS + MINUTE_MS);
    nobody_sees(&cluster, &["b"], "l/x");
    assert_eq!(ended_by(&mut cluster, &["b"]), [1], "it takes the value for one that ended long ago");
    // The stamp of its delete is as far ahead as its clock.
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Quarantined { .. })));
    everybody_sees(&cluster, &["a"], "l/x", r#"{"n":1}"#);
    // Once the clock is right, what is written next is newer than the early delete, on both.
    cluster.clock_step("b", -3_600_000);
    cluster.put("a", "l/x", r#"{"n":2}"#);
    cluster.settle();
    everybody_sees(&cluster, &["a", "b"], "l/x", r#"{"n":2}"#);
}

#[test]
fn a_clock_that_is_behind_shows_a_value_until_its_delete_arrives() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("b", -30_000);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, MINUTE_MS);
    cluster.agree();
    cluster.partition(&[&["a"], &["b"]]);
    cluster.run_ms(MINUTE_MS);
    nobody_sees(&cluster, &["a"], "l/x");
    everybody_sees(&cluster, &["b"], "l/x", r#"{"n":1}"#);
    cluster.heal();
    cluster.agree();
    nobody_sees(&cluster, &["a", "b"], "l/x");
}

#[test]
fn fields_of_a_value_that_ended_do_not_come_back_with_the_next_write() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.partition(&[&["a"], &["b"]]);
    cluster.put_for("a", "m/x", r#"{"age":1}"#, MINUTE_MS);
    cluster.put("b", "m/x", r#"{"size":2}"#);
    cluster.heal();
    cluster.agree();
    assert!(cluster.get("b", "m/x").unwrap().contains("age"));
    cluster.run_ms(MINUTE_MS);
    everybody_sees(&cluster, &["a", "b"], "m/x", r#"{"size":2}"#);
    // The writer is gone, and its delete is not there yet.
    cluster.put_for("a", "m/y", r#"{"age":1}"#, 1_000);
    cluster.agree();
    cluster.down("a");
    cluster.run_ms(1_000);
    cluster.put("b", "m/y", r#"{"size":3}"#);
    cluster.up("a");
    cluster.settle();
    everybody_sees(&cluster, &["a", "b"], "m/y", r#"{"size":3}"#);
}

#[test]
fn many_that_end_together_are_deleted_in_small_steps() {
    let mut cluster = Cluster::with(&["a", "b"], Config { expire_batch_max: 2, ..Config::default() });
    for number in 0..20 {
        cluster.put_for("a", &format!("l/{number}"), r#"{"n":1}"#, 5 * MINUTE_MS);
    }
    cluster.put("a", "l/lasting", r#"{"n":1}"#);
    cluster.agree();
    cluster.run_ms(6 * MINUTE_MS);
    cluster.agree();
    assert_eq!(ended_by(&mut cluster, &["a", "b"]), [20, 0]);
    let node = cluster.node("b");
    let left = cluster.world.snapshot(node).unwrap().expiries(0, None, u64::MAX, 9).unwrap();
    assert_eq!(left, [], "nothing is left in the index");
    everybody_sees(&cluster, &["a", "b"], "l/lasting", r#"{"n":1}"#);
}

#[test]
fn a_restored_backup_brings_no_ended_value_back() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put_for("a", "l/x", r#"{"n":1}"#, MINUTE_MS);
    cluster.agree();
    let backup = cluster.backup("a");
    cluster.run_ms(MINUTE_MS + 1_000);
    cluster.agree();
    cluster.restore("a", &backup);
    nobody_sees(&cluster, &["a", "b"], "l/x");
    cluster.settle();
    nobody_sees(&cluster, &["a", "b"], "l/x");
}
