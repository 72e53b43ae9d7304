//! Members that lie, as stories: what they cannot do, and what it costs when they can.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a story fails by panicking")]

use rejoin_causal::{Dot, Epoch, Floor, Frontier};
use rejoin_replica::message::Entry;
use rejoin_replica::path::Path;
use rejoin_replica::{Alarm, Config, Document, Message, Reason, Removal, View as _};
use rejoin_sim::Cluster;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn filled(names: &[&str], config: Config, documents: usize) -> Cluster {
    let mut cluster = Cluster::with(names, config);
    for number in 0..documents {
        cluster.put(names[0], &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.agree();
    cluster
}

/// `liar` says something to `victim`, over their link, that its replica would not.
fn say(cluster: &mut Cluster, liar: &str, victim: &str, message: &Message) {
    let (liar, victim) = (cluster.node(liar), cluster.node(victim));
    let (connection, from) = cluster.world.connection_from(liar, victim).expect("a link");
    cluster.world.slip_in(connection, from, message);
}

fn frontier(cluster: &Cluster, name: &str) -> Frontier {
    cluster.world.snapshot(cluster.node(name)).unwrap().frontier().unwrap()
}

fn removals(cluster: &Cluster, name: &str) -> Vec<Removal> {
    cluster.world.snapshot(cluster.node(name)).unwrap().removals(0, u64::MAX, usize::MAX).unwrap()
}

/// A digest session in which the liar says that these documents are gone.
fn gone(cluster: &mut Cluster, liar: &str, victim: &str, numbers: std::ops::Range<usize>) {
    let (liar, victim) = (cluster.node(liar), cluster.node(victim));
    let (connection, from) = cluster.world.connection_from(liar, victim).expect("a link");
    let paths = numbers.map(|number| path(&format!("doc/{number}"))).collect();
    assert!(cluster.world.say_gone(connection, from, paths, false));
    cluster.run_ms(200);
}

#[test]
fn claims_that_nobody_asked_for_remove_nothing_and_are_told() {
    let mut cluster = filled(&["a", "b", "liar"], Config::default(), 60);
    for exchange in [0, 1, 2, 3, 4, 1_000, 1_001] {
        let claims = frontier(&cluster, "a");
        say(&mut cluster, "liar", "a", &Message::CaughtUp { exchange, claims });
    }
    cluster.run_ms(10_000);
    for name in ["a", "b"] {
        assert_eq!(cluster.records(name), 60, "on {name}");
    }
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Unasked { what: "claims", .. })));
    assert!(removals(&cluster, "a").is_empty());
    cluster.settle();
}

#[test]
fn a_claim_that_nobody_asked_for_ends_no_catch_up() {
    let mut cluster = Cluster::with(&["a", "b"], Config { chunk_bytes_max: 64, ..Config::default() });
    cluster.partition(&[&["a"], &["b"]]);
    for number in 0..40 {
        cluster.put("b", &format!("doc/{number}"), r#"{"n":1}"#);
    }
    cluster.heal();
    while cluster.records("a") < 20 {
        cluster.run_ms(1);
    }
    assert!(cluster.records("a") < 40, "the catch-up is under way");
    say(&mut cluster, "b", "a", &Message::CaughtUp { exchange: 1 << 40, claims: Frontier::new() });
    cluster.agree();
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Unasked { what: "claims", .. })));
    assert_eq!(removals(&cluster, "a"), [], "what b then claims to have brought is all there");
    for name in ["a", "b"] {
        assert_eq!(cluster.records(name), 40, "on {name}");
    }
}

#[test]
fn whoever_goes_on_saying_what_nobody_asked_for_is_cut_off() {
    let mut cluster = filled(&["a", "b", "liar"], Config::default(), 5);
    let closed = cluster.count("closed by a replica");
    for _ in 0..5 {
        say(&mut cluster, "liar", "a", &Message::Graft);
    }
    cluster.run_ms(1_000);
    assert_eq!(cluster.count("closed by a replica"), closed, "a few of them may be a mistake");
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::Unasked { .. })));
    assert_eq!(cluster.records("a"), 5);
}

#[test]
fn a_frame_that_removes_too_much_removes_nothing() {
    let config = Config { removals_max: 10, ..Config::default() };
    let mut cluster = filled(&["a", "b", "liar"], config, 40);
    gone(&mut cluster, "liar", "a", 0..30);
    assert_eq!(cluster.records("a"), 40, "not the ten that would have been allowed either");
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::RemovalsStopped { removed: 30, .. })));
    let stopped = cluster.status("a").removals.stopped;
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].word.peer, cluster.world.id(cluster.node("liar")));
}

#[test]
fn sessions_share_one_budget_and_what_they_remove_is_in_history() {
    let config = Config { removals_max: 10, anti_entropy_interval_ms: None, ..Config::default() };
    let mut cluster = filled(&["a", "liar"], config, 40);
    cluster.cut("a", "liar");
    cluster.run_ms(2_000);
    gone(&mut cluster, "liar", "a", 0..8);
    let (liar, removed) = (cluster.world.id(cluster.node("liar")), removals(&cluster, "a"));
    assert_eq!(removed.len(), 8);
    let snapshot = cluster.world.snapshot(cluster.node("a")).unwrap();
    for row in &removed {
        let mut history = snapshot.history(&row.path);
        let kept = history.find(|kept| kept.as_ref().unwrap().version.dot == row.dot).unwrap().unwrap();
        let word = kept.word.unwrap();
        assert_eq!((word.peer, word.reason), (liar, Reason::Digest));
        assert_eq!(kept.version.body.json().unwrap().as_str(), r#"{"n":1}"#);
    }
    let named = |alarm: &Alarm| matches!(alarm, Alarm::OwnWriteRemoved { word, .. } if word.peer == liar);
    assert!(cluster.alarmed("a", named), "a node hears that its own writes go");
    // A link made anew begins no new budget.
    cluster.cut("a", "liar");
    cluster.run_ms(2_000);
    gone(&mut cluster, "liar", "a", 10..18);
    assert_eq!(removals(&cluster, "a").len(), 8);
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::RemovalsStopped { .. })));
}

#[test]
fn what_a_lie_removes_others_lose_within_their_own_budgets_and_histories() {
    let config = Config { anti_entropy_interval_ms: None, ..Config::default() };
    let mut cluster = filled(&["a", "b", "liar"], config, 20);
    gone(&mut cluster, "liar", "a", 0..4);
    cluster.cut("a", "liar");
    cluster.partition(&[&["a", "b"], &["liar"]]);
    let edge = cluster.world.edge_between(cluster.node("a"), cluster.node("b")).expect("an edge");
    cluster.world.open_edge(edge);
    cluster.run_ms(2_000);
    cluster.anti_entropy("a");
    cluster.run_ms(2_000);
    for (name, told_by) in [("a", "liar"), ("b", "a")] {
        let teller = cluster.world.id(cluster.node(told_by));
        assert_eq!(cluster.status(name).removals.count, 4, "of the budget of {name}");
        assert_eq!(cluster.records(name), 16, "on {name}");
        let snapshot = cluster.world.snapshot(cluster.node(name)).unwrap();
        for row in removals(&cluster, name) {
            let kept = snapshot.history(&row.path).find(|kept| kept.as_ref().unwrap().version.dot == row.dot);
            let kept = kept.unwrap().unwrap();
            assert_eq!(kept.word.unwrap().peer, teller, "{name} names {told_by}");
            assert_eq!(kept.version.body.json().unwrap().as_str(), r#"{"n":1}"#);
        }
    }
    // Whoever brings them back writes them anew, over nothing.
    cluster.put("b", "doc/0", r#"{"n":1}"#);
    cluster.heal();
    cluster.run_ms(2_000);
    cluster.anti_entropy("b");
    cluster.agree();
    assert_eq!(cluster.get("liar", "doc/0").unwrap(), r#"{"n":1}"#);
}

#[test]
fn what_may_not_be_removed_yet_keeps_what_replaced_it_unknown() {
    let config = Config {
        removals_max: 10,
        removals_window_ms: 600_000,
        anti_entropy_interval_ms: Some(2_000),
        ..Config::default()
    };
    let mut cluster = filled(&["a", "b", "liar"], config, 40);
    cluster.partition(&[&["a", "liar"], &["b"]]);
    let deleted: Vec<Dot> =
        (30..33).map(|number| cluster.delete("b", &format!("doc/{number}")).dot).collect();
    cluster.years_pass(8 * 86_400_000);
    cluster.run_ms(150_000);
    assert_eq!(cluster.records("b"), 37, "the deletes are forgotten");
    gone(&mut cluster, "liar", "a", 0..8);
    assert_eq!(
        removals(&cluster, "a").len(),
        8,
        "what the lie leaves of the budget is too little for three more"
    );
    cluster.cut("a", "liar");
    cluster.partition(&[&["a", "b"], &["liar"]]);
    let edge = cluster.world.edge_between(cluster.node("a"), cluster.node("b")).expect("an edge");
    cluster.world.open_edge(edge);
    cluster.run_ms(20_000);
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::RemovalsHeld { .. })));
    for (number, deleted) in (30..33).zip(deleted) {
        assert!(cluster.get("a", &format!("doc/{number}")).is_some(), "nothing was removed");
        assert!(!frontier(&cluster, "a").contains(deleted), "so {deleted:?} is not applied");
    }
    cluster.run_ms(600_000);
    assert!(cluster.get("a", "doc/30").is_none(), "they go in the next window");
    assert_eq!(removals(&cluster, "a").len(), 11);
}

#[test]
fn what_was_removed_is_forgotten_when_a_tombstone_would_be() {
    let config = Config { anti_entropy_interval_ms: None, ..Config::default() };
    let mut cluster = filled(&["a", "liar"], config, 10);
    gone(&mut cluster, "liar", "a", 0..4);
    assert_eq!(removals(&cluster, "a").len(), 4);
    cluster.years_pass(30 * 86_400_000);
    cluster.run_ms(150_000);
    assert_eq!(removals(&cluster, "a").len(), 0);
}

#[test]
fn a_past_with_writes_that_we_never_made_hides_none_of_ours_and_closes_no_link() {
    let mut cluster = filled(&["a", "b", "liar"], Config::default(), 3);
    let a = cluster.node("a");
    let (id, before) = (cluster.world.id(a), cluster.status("a"));
    let closed = cluster.count("closed by a replica");
    for epoch in [before.epoch, Epoch(before.epoch.0 + 1)] {
        let unmade = Dot { node: id, epoch, seq: 1_000 };
        let record = cluster.world.snapshot(a).unwrap().record(&path("doc/1")).unwrap().unwrap();
        let past = record.document.vv().tops().chain([unmade]).collect();
        let document = Document::from_parts(past, record.document.versions().to_vec()).unwrap();
        let entry = Entry { path: path("doc/1"), document, superseded: vec![unmade] };
        say(&mut cluster, "liar", "a", &Message::Push(vec![entry]));
        cluster.run_ms(200);
    }
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::UnmadeWrite { .. })));
    assert!(
        !frontier(&cluster, "a")
            .rows()
            .any(|(node, epoch, set)| { node == id && (epoch > before.epoch || set.last() > Some(3)) })
    );
    cluster.put("a", "doc/1", r#"{"n":2}"#);
    cluster.agree();
    for name in ["a", "b"] {
        assert_eq!(cluster.get(name, "doc/1").unwrap(), r#"{"n":2}"#, "on {name}");
    }
    assert_eq!(cluster.world.id(a), id, "nobody takes a new identity for what is not signed");
    assert_eq!(cluster.count("closed by a replica"), closed);
}

#[test]
fn claims_of_lives_that_nobody_has_seen_are_bounded() {
    let config = Config { unexplained_rows_max: 16, ..Config::default() };
    let mut cluster = filled(&["a", "b"], config, 3);
    // It answers what it was asked, with lives that never were.
    let invented = |count: u64| -> Frontier {
        let node = rejoin_causal::NodeId([0xee; 16]);
        (1..=count).map(|epoch| Dot { node, epoch: Epoch(epoch), seq: 1 }).collect()
    };
    let rows = frontier(&cluster, "a").rows().count();
    say(
        &mut cluster,
        "b",
        "a",
        &Message::Probe { exchange: 1_000_000, frontier: [9; 16], values: Default::default() },
    );
    say(
        &mut cluster,
        "b",
        "a",
        &Message::Probe { exchange: 1_000_001, frontier: [9; 16], values: Default::default() },
    );
    let nodes = invented(1).nodes().collect();
    say(&mut cluster, "b", "a", &Message::Ask { nodes, rows: invented(5_000), documents: 3 });
    for exchange in [1_000_000, 1_000_001] {
        say(&mut cluster, "b", "a", &Message::CaughtUp { exchange, claims: invented(5_000) });
    }
    cluster.run_ms(500);
    assert_eq!(frontier(&cluster, "a").rows().count(), rows + 16);
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::UnexplainedRows { rows: 4_984, .. })));
}

#[test]
fn floors_of_lives_that_nobody_has_seen_are_bounded_and_do_not_spread() {
    let config = Config { unexplained_rows_max: 16, ..Config::default() };
    let mut cluster = filled(&["a", "b", "liar"], config, 3);
    let rows = |cluster: &Cluster, name: &str| {
        cluster.world.snapshot(cluster.node(name)).unwrap().floor().unwrap().rows().count()
    };
    let before = rows(&cluster, "a");
    let node = rejoin_causal::NodeId([0xee; 16]);
    for turn in 0..5 {
        let mut floor = Floor::new();
        for epoch in 1..=1_000 {
            floor.raise(Dot { node, epoch: Epoch(turn * 1_000 + epoch), seq: 1 });
        }
        say(&mut cluster, "liar", "a", &Message::Floor(floor));
    }
    cluster.run_ms(500);
    cluster.put("a", "doc/1", r#"{"n":2}"#);
    cluster.agree();
    for name in ["a", "b"] {
        assert!(rows(&cluster, name) <= before + 16, "{} rows on {name}", rows(&cluster, name));
    }
    assert!(cluster.alarmed("a", |alarm| matches!(alarm, Alarm::UnexplainedRows { rows: 984, .. })));
}

#[test]
fn a_receipt_that_its_node_has_not_signed_does_not_count() {
    let mut cluster = Cluster::mesh(&["a", "liar", "c"]);
    cluster.cut("a", "c");
    cluster.cut("liar", "c");
    cluster.down("c");
    let (a, c) = (cluster.node("a"), cluster.world.id(cluster.node("c")));
    let written = cluster.put("a", "x", r#"{"n":1}"#);
    let request = cluster.world.ask_for_holders(a, vec![written.dot], 60_000);
    cluster.run_ms(500);
    let epoch = cluster.status("a").epoch;
    let id = Dot { node: cluster.world.id(a), epoch, seq: request.0 };
    let digest = rejoin_replica::message::Question::digest(&[written.dot]);
    let holder = rejoin_replica::message::Holder { id, digest, node: c, key: [1; 32], signature: [1; 64] };
    say(&mut cluster, "liar", "a", &Message::Holders(vec![holder]));
    cluster.run_ms(500);
    assert_eq!(cluster.held(request), ["liar"], "it speaks for itself, and for nobody else");
}
