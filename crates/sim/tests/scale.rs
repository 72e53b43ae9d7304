//! Many nodes: every update arrives, little more than once, and about as fast as the links allow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has to stop")]

use rejoin_sim::scale::{self, Graph, Plan};

fn plan(graph: Graph, churn_per_mille: u64) -> Plan {
    Plan { graph, nodes: 120, warm_up: 20, updates: 20, pause_ms: 1_200, churn_per_mille }
}

#[test]
fn an_update_reaches_every_node_once_in_any_graph() {
    for graph in Graph::ALL {
        let measured = scale::measure(plan(graph, 0), 7);
        assert_eq!(measured.missed, 0, "{measured:?}");
        assert!(measured.pushes <= 1.3, "{measured:?}");
        assert!(measured.pushes_first > 2.0, "nothing is pruned before the first update: {measured:?}");
        assert!(measured.most_ms.median >= measured.half_ms.median, "{measured:?}");
    }
}

#[test]
fn nodes_that_come_and_go_keep_nobody_from_hearing() {
    let measured = scale::measure(plan(Graph::Regular, 200), 7);
    assert!(measured.churned > 5, "{measured:?}");
    assert_eq!(measured.missed, 0, "{measured:?}");
    assert!(measured.pushes <= 1.3, "{measured:?}");
}

#[test]
fn the_shortest_way_bounds_what_can_be_reached() {
    let neighbours = vec![vec![(1, 10), (2, 50)], vec![(0, 10), (2, 10)], vec![(0, 50), (1, 10)]];
    assert_eq!(scale::times_from(0, &neighbours, 1), vec![0, 11, 22]);
}
