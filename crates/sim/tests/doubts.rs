//! Machines that are copied or set back with their memory, as stories: it is seen, everybody is told, and nothing more
//! goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story fails by panicking")]

use rejoin_replica::{Alarm, DoubtReason};
use rejoin_sim::{Cluster, Tells};

fn doubts(cluster: &Cluster, name: &str, why: DoubtReason) -> bool {
    cluster.alarmed(name, |alarm| matches!(alarm, Alarm::LifeDoubted { reason, .. } if *reason == why))
}

/// What `name` wrote at `prefix` that some node does not show.
fn missing(cluster: &Cluster, nodes: &[&str], prefix: &str, count: usize) -> usize {
    let shown = |node: &&str, number: usize| cluster.get(node, &format!("{prefix}/{number}")).is_some();
    (0..count).filter(|number| !nodes.iter().all(|node| shown(node, *number))).count()
}

fn write_some(cluster: &mut Cluster, name: &str, prefix: &str, count: usize) {
    for number in 0..count {
        cluster.put(name, &format!("{prefix}/{number}"), r#"{"n":1}"#);
    }
}

#[test]
fn a_copied_machine_that_shares_a_peer_with_its_original_is_seen_by_all() {
    let mut cluster = Cluster::line(&["a", "b", "c", "d"]);
    write_some(&mut cluster, "a", "before", 5);
    cluster.agree();
    let old = cluster.world.id(cluster.node("a"));
    cluster.copy_machine("a", "a2", &["b"], Tells::Nothing);
    cluster.run_ms(1_000);
    write_some(&mut cluster, "a", "original", 10);
    write_some(&mut cluster, "a2", "copy", 10);
    cluster.settle();
    let all = ["a", "a2", "b", "c", "d"];
    for name in all {
        assert!(doubts(&cluster, name, DoubtReason::Twin), "{name} was told");
    }
    let (one, other) = (cluster.world.id(cluster.node("a")), cluster.world.id(cluster.node("a2")));
    assert!(one != old && other != old && one != other, "both have taken a new identity");
    assert_eq!(missing(&cluster, &all, "original", 10), 0);
    assert_eq!(missing(&cluster, &all, "copy", 10), 0);
    assert_eq!(missing(&cluster, &all, "before", 5), 0);
    let status = cluster.status("d");
    assert_eq!(status.doubted.len(), 1, "{:?}", status.doubted);
}

#[test]
fn a_machine_that_is_told_to_be_set_back_writes_on_under_a_new_identity() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    write_some(&mut cluster, "a", "before", 5);
    cluster.agree();
    let image = cluster.image("a");
    write_some(&mut cluster, "a", "lost", 20);
    cluster.agree();
    cluster.set_back("a", &image, Tells::Generation(0));
    cluster.run_ms(100);
    write_some(&mut cluster, "a", "later", 20);
    cluster.settle();
    for name in ["a", "b", "c"] {
        assert!(doubts(&cluster, name, DoubtReason::Generation), "{name} was told");
    }
    let all = ["a", "b", "c"];
    assert_eq!(missing(&cluster, &all, "lost", 20), 0, "what it had written and forgotten comes back");
    assert_eq!(missing(&cluster, &all, "later", 20), 0);
}

#[test]
fn what_was_written_before_it_was_seen_stays_where_it_is() {
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    write_some(&mut cluster, "a", "before", 5);
    cluster.agree();
    let image = cluster.image("a");
    write_some(&mut cluster, "a", "one", 30);
    cluster.agree();
    cluster.partition(&[&["a"], &["b", "c"]]);
    // It gives the numbers of the writes that it has forgotten to others, before it looks.
    cluster.set_back("a", &image, Tells::Generation(60_000));
    write_some(&mut cluster, "a", "other", 30);
    cluster.run_ms(61_000);
    cluster.heal();
    cluster.settle();
    cluster.run_ms(200_000);
    assert_eq!(missing(&cluster, &["b", "c"], "one", 30), 0);
    assert_eq!(missing(&cluster, &["a"], "other", 30), 0);
    assert!(cluster.status("a").removals.held > 0, "and was held back from going");
    for name in ["a", "b", "c"] {
        assert!(doubts(&cluster, name, DoubtReason::Generation), "{name} was told");
    }
}

#[test]
fn a_doubt_outlives_the_processes_that_heard_of_it() {
    let mut cluster = Cluster::line(&["a", "b", "c"]);
    write_some(&mut cluster, "a", "x", 3);
    cluster.agree();
    cluster.down("c");
    let image = cluster.image("a");
    cluster.set_back("a", &image, Tells::ClockJump(10));
    cluster.run_ms(2_000);
    cluster.down("a");
    cluster.down("b");
    cluster.up("b");
    cluster.up("c");
    cluster.run_ms(5_000);
    assert_eq!(
        cluster.status("c").doubted.len(),
        1,
        "told by one that was started since, about one that is gone"
    );
    cluster.up("a");
    cluster.settle();
}

#[test]
fn one_number_with_two_contents_is_an_alarm_and_holds_removals_back_for_a_day() {
    let mut cluster = Cluster::line(&["a", "b", "c"]);
    cluster.put("a", "before", r#"{"n":1}"#);
    cluster.agree();
    cluster.partition(&[&["a"], &["b", "c"]]);
    // Linked to c alone, so that nobody has links with both.
    cluster.copy_machine("a", "a2", &["c"], Tells::Nothing);
    cluster.put("a", "one", r#"{"n":1}"#);
    cluster.put("a2", "other", r#"{"n":2}"#);
    cluster.heal();
    cluster.run_ms(130_000);
    let twice = |name: &str| cluster.alarmed(name, |alarm| matches!(alarm, Alarm::SameDotTwice { .. }));
    assert!(twice("b") || twice("c"), "whoever has one meets the other");
    assert!(cluster.get("a", "one").is_some() && cluster.get("a2", "other").is_some());
    let suspects =
        |cluster: &mut Cluster| cluster.status("b").suspected.len() + cluster.status("c").suspected.len();
    assert!(suspects(&mut cluster) > 0);
    assert!(cluster.status("b").doubted.is_empty(), "nobody has signed anything");
}

/// The rules of before: what this is all for.
#[cfg(feature = "plant")]
#[test]
fn without_doubts_acknowledged_writes_vanish_in_silence() {
    rejoin_causal::plant::set(Some("ignore-doubt"));
    let mut cluster = Cluster::mesh(&["a", "b", "c"]);
    write_some(&mut cluster, "a", "before", 5);
    cluster.run_ms(2_000);
    let image = cluster.image("a");
    write_some(&mut cluster, "a", "one", 60);
    cluster.run_ms(2_000);
    cluster.partition(&[&["a"], &["b", "c"]]);
    cluster.set_back("a", &image, Tells::Nothing);
    write_some(&mut cluster, "a", "other", 70);
    cluster.heal();
    cluster.run_ms(300_000);
    let gone = |prefix: &str, count: usize| {
        (0..count)
            .filter(|number| {
                let path = format!("{prefix}/{number}");
                ["a", "b", "c"].iter().all(|node| cluster.get(node, &path).is_none())
            })
            .count()
    };
    let (one, other) = (gone("one", 60), gone("other", 70));
    rejoin_causal::plant::set(None);
    println!("gone on all three nodes: {one} of 60, {other} of 70");
    assert!(one + other > 0, "gone on all three nodes: {one} of 60, {other} of 70");
    let told = |alarm: &Alarm| matches!(alarm, Alarm::LifeDoubted { .. } | Alarm::SameDotTwice { .. });
    assert!(!["a", "b", "c"].iter().any(|name| cluster.alarmed(name, told)), "and nobody says so");
}
