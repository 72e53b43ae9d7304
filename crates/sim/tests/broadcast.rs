//! Stories of the tree that live updates take: little comes twice, and nothing waits for a round when the tree breaks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has to stop")]

use rejoin_replica::Config;
use rejoin_sim::Cluster;

/// Nodes of a mesh where each is linked to each.
const NODES: usize = 16;

fn names() -> Vec<String> {
    (0..NODES).map(|number| format!("n{number}")).collect()
}

/// No rounds: what arrives has come by pushes and announcements.
fn without_rounds() -> Config {
    Config { anti_entropy_interval_ms: None, ..Config::default() }
}

fn mesh(config: Config) -> Cluster {
    let names = names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Cluster::with(&names, config)
}

/// Updates by different nodes, one after the other; pushes per update and node that needs it.
fn pushes_per_node(cluster: &mut Cluster, updates: usize) -> f64 {
    let before = cluster.sent("push");
    for update in 0..updates {
        cluster.put(&format!("n{}", update % NODES), "doc", &format!(r#"{{"update":{update}}}"#));
        cluster.run_ms(100);
    }
    cluster.run_ms(2_000);
    cluster.agree();
    let pushes = cluster.sent("push") - before;
    f64::from(u32::try_from(pushes).unwrap()) / f64::from(u32::try_from(updates * (NODES - 1)).unwrap())
}

#[test]
fn in_a_mesh_an_update_comes_little_more_than_once() {
    let mut cluster = mesh(without_rounds());
    let first = pushes_per_node(&mut cluster, 1);
    pushes_per_node(&mut cluster, 30);
    let steady = pushes_per_node(&mut cluster, 100);
    println!("pushes per update and node: {first:.2} at first, {steady:.2} in steady state");
    assert!(first > 2.0, "a mesh that nobody has used pushes everywhere: {first:.2}");
    assert!(steady <= 1.3, "{steady:.2} pushes per update and node");
}

#[test]
fn who_has_few_links_keeps_all_of_them() {
    let mut cluster = Cluster::with(&["a", "b", "c"], without_rounds());
    for round in 0..10 {
        cluster.put("a", "doc", &format!(r#"{{"round":{round}}}"#));
        cluster.run_ms(100);
    }
    assert_eq!(cluster.sent("prune"), 0);
    cluster.agree();
}

#[test]
fn a_tree_that_loses_a_node_is_mended_within_a_second() {
    let mut cluster = mesh(without_rounds());
    pushes_per_node(&mut cluster, 40);
    for lost in 1..6 {
        cluster.down(&format!("n{lost}"));
        cluster.put("n0", "doc", &format!(r#"{{"without":{lost}}}"#));
        cluster.run_ms(1_000);
        for name in names().iter().skip(lost + 1) {
            let seen = cluster.get(name, "doc").unwrap();
            assert_eq!(seen, format!(r#"{{"without":{lost}}}"#), "{name}");
        }
    }
    for lost in 1..6 {
        cluster.up(&format!("n{lost}"));
    }
    cluster.settle();
}

#[test]
fn everybody_writing_at_once_leaves_nobody_out() {
    let mut cluster = mesh(without_rounds());
    for round in 0..20 {
        for name in names() {
            cluster.put(&name, &format!("of/{name}"), &format!(r#"{{"round":{round}}}"#));
        }
    }
    cluster.run_ms(3_000);
    cluster.agree();
}
