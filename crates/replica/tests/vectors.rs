//! tests/vectors: clocks and conflicts whose outcomes every implementation of this project agrees on. The Node.js package
//! runs the same files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use rejoin_causal::{Dot, Epoch, Frontier, Hlc, NodeId, VersionVector};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::Path;
use rejoin_replica::{Body, Document, Policy, Strategy, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

const CLOCKS: &str = include_str!("../../../tests/vectors/clocks.json");
const CONFLICTS: &str = include_str!("../../../tests/vectors/conflicts.json");

type Clock = BTreeMap<String, u64>;

#[derive(Deserialize)]
struct Clocks {
    name: String,
    a: Clock,
    b: Clock,
    compare: i32,
    merged: Clock,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conflict {
    name: String,
    path: String,
    conflict: Strategies,
    local: Data,
    remote: Data,
    expected: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Strategies {
    default_strategy: String,
    #[serde(default)]
    path_strategies: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    value: Box<RawValue>,
    timestamp: u64,
    origin: String,
    vector_clock: Clock,
}

/// When it is looked at; nothing here has an end.
const NOW_MS: u64 = 10_000;

/// The one life of a node in these vectors.
const EPOCH: Epoch = Epoch(1);

fn dot(node: &str, seq: u64) -> Dot {
    Dot { node: node.parse().unwrap(), epoch: EPOCH, seq }
}

fn vector(clock: &Clock) -> VersionVector {
    clock.iter().filter(|(_, seq)| **seq > 0).map(|(node, seq)| dot(node, *seq)).collect()
}

impl Data {
    fn json(&self) -> Option<Json> {
        let text = self.value.get();
        (text != "null").then(|| Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap())
    }

    fn document(&self) -> Document {
        let body = self.json().map_or(Body::Tombstone, Body::Value);
        let dot = dot(&self.origin, self.vector_clock[&self.origin]);
        let version = Version { dot, hlc: Hlc::of_wall(self.timestamp), body: body.into() };
        Document::from_parts(vector(&self.vector_clock), vec![version]).unwrap()
    }
}

fn strategy(name: &str) -> Strategy {
    // The first server's name for it.
    let name = if name == "vector-dominance" { "last-write-wins" } else { name };
    Strategy::of_name(name).unwrap()
}

#[test]
fn clocks_compare_and_merge() {
    let cases: Vec<Clocks> = serde_json::from_str(CLOCKS).unwrap();
    assert!(cases.len() >= 13, "{}", cases.len());
    for Clocks { name, a, b, compare, merged } in cases {
        let (a, b) = (vector(&a), vector(&b));
        let found = match (a.dominates(&b), b.dominates(&a)) {
            (true, true) => 2,
            (true, false) => 1,
            (false, true) => -1,
            (false, false) => 0,
        };
        assert_eq!(found, compare, "{name}");
        let mut joined = a;
        joined.join(&b);
        assert_eq!(joined, vector(&merged), "{name}");
    }
}

#[test]
fn conflicts_come_to_the_same_value() {
    let cases: Vec<Conflict> = serde_json::from_str(CONFLICTS).unwrap();
    assert!(cases.len() >= 30, "{}", cases.len());
    let none = Frontier::new();
    for Conflict { name, path, conflict, local, remote, expected } in cases {
        let rules = conflict.path_strategies.iter();
        let policy =
            rules.fold(Policy::new(strategy(&conflict.default_strategy)), |policy, (prefix, rule)| {
                policy.with(&Path::parse(prefix.trim_end_matches('/')).unwrap(), strategy(rule))
            });
        let met = local.document().merge(remote.document(), &none, None).document;
        let visible = policy.visible(&Path::parse(&path).unwrap(), &met, NOW_MS).unwrap();
        assert_eq!(visible.value, expected.json(), "{name}");
        assert_eq!(visible.hlc.unix_ms(), expected.timestamp, "{name}");
        assert_eq!(visible.version.node, expected.origin.parse::<NodeId>().unwrap(), "{name}");
        assert_eq!(*met.vv(), vector(&expected.vector_clock), "{name}");
    }
}
