//! Stories of clocks that were wrong, and of deletes that are forgotten in time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rejoin_replica::{Alarm, Change, Condition, Config};
use rejoin_sim::{Cluster, Tells, WALL_BASE_MS};

const TEN_YEARS_MS: i64 = 315_360_000_000;
const DAY_MS: i64 = 86_400_000;

fn ahead_ms(cluster: &Cluster, stamp_ms: u64) -> i64 {
    let now = u64::try_from(WALL_BASE_MS).unwrap() + cluster.world.now_ms();
    i64::try_from(stamp_ms).unwrap() - i64::try_from(now).unwrap()
}

fn recovers(ahead: i64, restart: bool) {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.put("b", "doc", r#"{"n":1}"#);
    cluster.put("b", "fields/doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.clock_step("a", ahead);
    cluster.put("a", "doc", r#"{"n":2}"#);
    cluster.put("a", "gone", r#"{"n":2}"#);
    cluster.delete("a", "gone");
    cluster.put("a", "fields/doc", r#"{"m":2}"#);
    cluster.put_for("a", "short", r#"{"n":2}"#, 3_600_000);
    cluster.run_ms(3_000);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#, "what is from the future waits");
    assert!(
        cluster.alarmed("a", |alarm| matches!(alarm, Alarm::ClockDiffers { .. })),
        "the node itself says so"
    );
    assert!(
        cluster
            .alarmed("b", |alarm| matches!(alarm, Alarm::PeerClock { ahead_ms, .. } if *ahead_ms > 500_000))
    );
    assert!(cluster.alarmed("b", |alarm| matches!(alarm, Alarm::Quarantined { .. })));
    if restart {
        cluster.down("a");
    }
    cluster.clock_step("a", -ahead);
    if restart {
        cluster.up("a");
    }
    cluster.run_ms(70_000);
    cluster.agree();
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":2}"#, "its author has minted it again");
    assert_eq!(cluster.get("c", "short").unwrap(), r#"{"n":2}"#);
    assert_eq!(cluster.status("b").quarantined, 0);
    assert!(
        cluster.alarmed("a", |alarm| matches!(alarm, Alarm::ClockRecovered { restamped } if *restamped >= 4))
    );
    let stamp = cluster.put("a", "later", r#"{"n":3}"#).hlc.unix_ms();
    assert!(ahead_ms(&cluster, stamp) < 1_000, "stamps follow the wall clock again");
    // Concurrent with nothing: a later write of another node wins everywhere, now and after a cut.
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.put("a", "doc", r#"{"n":4}"#);
    cluster.run_ms(1_000);
    cluster.put("b", "doc", r#"{"n":5}"#);
    cluster.heal();
    cluster.run_ms(5_000);
    cluster.agree();
    assert_eq!(cluster.get("a", "doc").unwrap(), r#"{"n":5}"#, "the later of two concurrent writes wins");
    cluster.run_ms(3_600_000);
    cluster.agree();
    assert_eq!(cluster.get("b", "short"), None, "a value lives for as long as it was to live");
}

#[test]
fn a_clock_ten_years_ahead_once_recovers_when_it_is_right() {
    recovers(TEN_YEARS_MS, false);
}

#[test]
fn what_a_wrong_clock_stamped_is_minted_again_under_an_identity_taken_since() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("a", TEN_YEARS_MS);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.run_ms(1_000);
    assert_eq!(cluster.get("b", "doc"), None, "it waits");
    let old = cluster.world.id(cluster.node("a"));
    cluster.copy_machine("a", "a2", &["b"], Tells::Nothing);
    cluster.run_ms(1_000);
    assert_ne!(cluster.world.id(cluster.node("a")), old);
    cluster.clock_step("a", -TEN_YEARS_MS);
    cluster.run_ms(70_000);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#);
    cluster.settle();
}

#[test]
fn a_clock_ten_minutes_ahead_once_recovers_after_a_restart() {
    recovers(600_000, true);
}

#[test]
fn a_clock_that_starts_in_1970_mints_nothing_again() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.agree();
    cluster.down("a");
    cluster.clock_step("a", -WALL_BASE_MS + 1_000);
    cluster.up("a");
    cluster.run_ms(5_000);
    let stamp = cluster.put("a", "other", r#"{"n":1}"#).hlc.unix_ms();
    assert!(ahead_ms(&cluster, stamp) > -60_000, "its stamps go on from where they were");
    cluster.clock_step("a", WALL_BASE_MS - 1_000);
    cluster.run_ms(70_000);
    cluster.agree();
    assert_eq!(cluster.count("a version was minted again"), 0);
}

#[test]
fn what_a_wrong_clock_ended_too_early_comes_back() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.put_for("b", "doc", r#"{"n":1}"#, 30 * 86_400_000);
    cluster.agree();
    cluster.clock_step("a", TEN_YEARS_MS);
    cluster.run_ms(200_000);
    assert_eq!(cluster.get("a", "doc"), None, "by its own clock it has ended");
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#);
    cluster.clock_step("a", -TEN_YEARS_MS);
    cluster.run_ms(70_000);
    cluster.agree();
    assert_eq!(cluster.get("a", "doc").unwrap(), r#"{"n":1}"#);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#);
}

#[test]
fn what_waits_is_not_sent_again_and_holds_nothing_else_back() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    cluster.clock_step("a", TEN_YEARS_MS);
    for number in 0..40 {
        cluster.put("a", &format!("far/{number}"), r#"{"n":1}"#);
    }
    cluster.run_ms(2_000);
    cluster.overwrite_behind("c", "b", "doc");
    let b = cluster.status("b").frontier;
    let c = cluster.status("c").frontier;
    assert!(c.is_superset(&b), "what b has, c has: {b:?} {c:?}");
    assert_eq!(cluster.status("c").quarantined, 40);
    let (chunks, alarms) = (cluster.sent("chunk"), cluster.world.alarms(cluster.node("b")).len());
    cluster.run_ms(600_000);
    assert_eq!(cluster.sent("chunk"), chunks, "rounds bring what waits a second time");
    assert_eq!(cluster.world.alarms(cluster.node("b")).len(), alarms, "and tell of it again");
}

#[test]
fn an_operator_takes_what_waits_and_no_clock_follows_it() {
    let mut cluster = Cluster::mesh(&["a", "b"]);
    cluster.clock_step("a", TEN_YEARS_MS);
    cluster.put("a", "doc", r#"{"n":1}"#);
    cluster.run_ms(2_000);
    let b = cluster.node("b");
    cluster.world.release_all(b);
    cluster.run_ms(1_000);
    assert_eq!(cluster.get("b", "doc").unwrap(), r#"{"n":1}"#);
    let written = cluster.put("b", "doc", r#"{"n":2}"#);
    assert!(ahead_ms(&cluster, written.hlc.unix_ms()) < 1_000);
    cluster.run_ms(2_000);
    assert_eq!(cluster.get("a", "doc").unwrap(), r#"{"n":2}"#, "a write that saw it replaces it");
}

/// Writes and deletes so many documents, lets them grow old, and tells how long it takes until they are forgotten at a.
#[test]
fn two_that_were_wrong_together_recover_over_one_that_was_right() {
    let mut cluster = Cluster::mesh(&["middle", "one", "other"]);
    cluster.clock_step("one", 600_000);
    cluster.clock_step("other", 600_000);
    cluster.partition(&[&["middle"], &["one"], &["other"]]);
    cluster.put("one", "doc", r#"{"n":1}"#);
    cluster.put("other", "doc", r#"{"n":2}"#);
    cluster.heal();
    cluster.partition(&[&["middle"], &["one", "other"]]);
    cluster.run_ms(3_000);
    assert_eq!(cluster.siblings("one", "doc"), 2, "each has the other's write of the future");
    assert_eq!(cluster.siblings("other", "doc"), 2);
    // From now on they hear of each other over the third only, which holds what either brings: beside its own write, minted
    // again, is the other's of the future.
    cluster.partition(&[&["middle"], &["one"], &["other"]]);
    cluster.clock_step("one", -600_000);
    cluster.clock_step("other", -600_000);
    for with in ["one", "other", "one"] {
        cluster.heal();
        let apart = if with == "one" { "other" } else { "one" };
        cluster.partition(&[&["middle", with], &[apart]]);
        cluster.run_ms(70_000);
    }
    assert_eq!(cluster.status("middle").quarantined, 0, "what each waits for is in the other");
    assert_eq!(cluster.siblings("middle", "doc"), 2);
    assert_eq!(cluster.siblings("one", "doc"), 2);
}

fn collected_after_ms(cluster: &mut Cluster, count: usize) -> u64 {
    let paths: Vec<String> = (0..count).map(|number| format!("doc/{number}")).collect();
    for paths in paths.chunks(500) {
        let put = || Change::Put(rejoin_replica::json::Json::trusted("{}"));
        let writes: Vec<_> = paths.iter().map(|path| (path.as_str(), put(), Condition::Always)).collect();
        assert!(cluster.attempt_all("a", &writes).is_ok());
    }
    // One by one: what is left of a batch that is being forgotten is no batch.
    for path in &paths {
        cluster.delete("a", path);
    }
    cluster.run_ms(30_000);
    let edge = cluster.world.edge_between(cluster.node("a"), cluster.node("c")).unwrap();
    // From now on nothing comes back over this link, and nobody notices: what a asks is never answered.
    cluster.world.stall_edge(edge, 1);
    cluster.run_ms(80_000);
    cluster.years_pass(8 * DAY_MS);
    let from = cluster.world.now_ms();
    while cluster.records("a") > 0 {
        assert!(cluster.world.now_ms() < from + 600_000, "{} deletes are still there", cluster.records("a"));
        cluster.run_ms(100);
    }
    cluster.world.now_ms() - from
}

#[test]
fn deletes_are_collected_as_fast_as_they_come_though_a_link_is_never_quiet() {
    let config = Config { session_silence_max_ms: 3_600_000, collect_batch_max: 8, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b", "c"], config);
    cluster.world.settings.commits_per_scan = 1_000_000;
    let took_ms = collected_after_ms(&mut cluster, 400);
    assert!(took_ms < 70_000, "400 deletes took {took_ms} ms");
    println!("400 deletes in turns of 8: {took_ms} ms");
}

#[test]
fn a_link_that_answers_nothing_is_closed_with_a_reason() {
    let config = Config { session_silence_max_ms: 20_000, ..Config::default() };
    let mut cluster = Cluster::with(&["a", "b"], config);
    let edge = cluster.world.edge_between(cluster.node("a"), cluster.node("b")).unwrap();
    cluster.world.stall_edge(edge, 1);
    cluster.run_ms(200_000);
    assert!(cluster.count("closed by a replica") > 0);
}
