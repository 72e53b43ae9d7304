//! Strategies: the same siblings give the same value, in whatever order they arrived.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use rejoin_causal::{Dot, Epoch, Frontier, Hlc, NodeId};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::Path;
use rejoin_replica::strategy::merge_fields::{self, Unmentioned};
use rejoin_replica::strategy::{Candidate, Custom, ResolverError};
use rejoin_replica::{Body, Content, Document, Expiry, Policy, Strategy as Rule, Version, Visible, as_of};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap()
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// A write by node `node` at time `at`; "-" deletes.
fn version(node: u8, at: u64, text: &str) -> Version {
    let dot = Dot { node: NodeId([node; 16]), epoch: Epoch(1), seq: 1 };
    let body = if text == "-" { Body::Tombstone } else { Body::Value(json(text)) };
    Version { dot, hlc: Hlc(at), body: body.into() }
}

/// The document that replicas come to when these writes meet in this order.
fn meet(versions: &[Version]) -> Document {
    let none = Frontier::new();
    versions.iter().fold(Document::new(), |document, version| {
        let incoming = Document::new().written(version.clone(), |_| true);
        document.merge(incoming, &none, None).document
    })
}

fn seen(rule: &Rule, versions: &[Version]) -> Visible {
    seen_at(rule, versions, 0)
}

fn seen_at(rule: &Rule, versions: &[Version], wall_ms: u64) -> Visible {
    rule.visible(&path("x"), &meet(versions), wall_ms).unwrap()
}

/// The same write with an end.
fn until(expires_ms: u64, version: Version) -> Version {
    let expiry = Some(Expiry::At(expires_ms));
    Version { body: Content { expiry, ..version.body }, ..version }
}

fn value(rule: &Rule, versions: &[Version]) -> String {
    seen(rule, versions).value.map_or("-".into(), |value| value.as_str().into())
}

#[test]
fn last_write_wins_even_against_a_delete() {
    let rule = Rule::LastWriteWins;
    assert_eq!(value(&rule, &[version(1, 10, "1"), version(2, 20, "2")]), "2");
    assert_eq!(value(&rule, &[version(1, 10, "1"), version(2, 20, "-")]), "-");
    assert_eq!(value(&rule, &[version(1, 30, "1"), version(2, 20, "-")]), "1");
    assert_eq!(
        value(&rule, &[version(1, 10, "1"), version(2, 10, "2")]),
        "2",
        "equal stamps: the greater dot"
    );
    assert_eq!(seen(&rule, &[version(1, 10, "1"), version(2, 20, "2")]).conflicts, 1);
}

#[test]
fn the_first_write_wins_and_survives_a_concurrent_delete() {
    let rule = Rule::FirstWriteWins;
    assert_eq!(value(&rule, &[version(1, 10, "1"), version(2, 20, "2")]), "1");
    assert_eq!(value(&rule, &[version(1, 10, "-"), version(2, 20, "2")]), "2");
    assert_eq!(value(&rule, &[version(1, 10, "-"), version(2, 20, "-")]), "-");
}

#[test]
fn fields_merge_and_an_update_survives_a_concurrent_delete() {
    let rule = Rule::MergeFields;
    let (older, newer) = (version(1, 10, r#"{"a":1,"b":1}"#), version(2, 20, r#"{"b":2,"c":2}"#));
    assert_eq!(value(&rule, &[older.clone(), newer.clone()]), r#"{"b":2,"c":2,"a":1}"#);
    assert_eq!(value(&rule, &[older.clone(), version(2, 20, "-")]), r#"{"a":1,"b":1}"#);
    assert_eq!(value(&rule, &[older, version(2, 20, "7")]), "7", "what is no object is last-write-wins");
    assert_eq!(value(&rule, &[version(1, 10, "7"), newer]), r#"{"b":2,"c":2}"#);
}

#[test]
fn a_put_under_merge_fields_is_a_merge_and_a_replace_is_not() {
    let stamp = |at| (Hlc(at), Dot { node: NodeId([9; 16]), epoch: Epoch(1), seq: at });
    let body = |body: &Body| body.json().unwrap().as_str().to_string();
    let old = version(1, 10, r#"{"a":1,"b":1}"#);
    let put = merge_fields::put([&old], &json(r#"{"b":2}"#), Unmentioned::Keep, stamp(20));
    assert_eq!(body(&put), r#"{"b":2,"a":1}"#);
    let Body::Fields(fields) = &put else { panic!("an object has fields") };
    assert_eq!(fields.get("a").unwrap().hlc, Hlc(10), "what was not changed keeps its stamp");
    assert_eq!(fields.get("b").unwrap().hlc, Hlc(20));
    let same = merge_fields::put([&old], &json(r#"{"a":1,"b":1}"#), Unmentioned::Keep, stamp(20));
    let Body::Fields(fields) = &same else { panic!("an object has fields") };
    assert!(fields.0.iter().all(|field| field.hlc == Hlc(10)), "nor does what was repeated get a new one");
    let replaced = merge_fields::put([&old], &json(r#"{"b":2}"#), Unmentioned::Remove, stamp(20));
    assert_eq!(body(&replaced), r#"{"b":2}"#);
    let patched = merge_fields::patch([&old], &json(r#"{"a":null,"c":{"d":1,"e":null}}"#), stamp(20));
    assert_eq!(body(&patched), r#"{"b":1,"c":{"d":1}}"#);
    let Body::Fields(fields) = &patched else { panic!("an object has fields") };
    assert_eq!(fields.get("a").unwrap().value, None, "a removed field is remembered");
}

#[test]
fn a_removed_field_stays_removed_against_an_older_write_and_not_against_a_newer() {
    let dot = |node| Dot { node: NodeId([node; 16]), epoch: Epoch(1), seq: 1 };
    let base = version(1, 10, r#"{"a":1,"b":1}"#);
    let removal = |at| Version {
        dot: dot(2),
        hlc: Hlc(at),
        body: merge_fields::patch([&base], &json(r#"{"a":null}"#), (Hlc(at), dot(2))).into(),
    };
    let write = version(3, 20, r#"{"a":3}"#);
    assert_eq!(value(&Rule::MergeFields, &[removal(30), write.clone()]), r#"{"b":1}"#);
    assert_eq!(value(&Rule::MergeFields, &[removal(15), write]), r#"{"a":3,"b":1}"#);
}

#[test]
fn a_resolver_decides_from_the_oldest_to_the_newest() {
    let least = Custom::new("least stock", |_: &Path, local: &Candidate, remote: &Candidate| {
        let stock = |candidate: &Candidate| candidate.value.as_ref().unwrap().get::<i64>().unwrap();
        assert!(local.hlc <= remote.hlc);
        let least = if stock(local) <= stock(remote) { local } else { remote };
        Ok(Candidate { value: least.value.clone(), ..remote.clone() })
    });
    let rule = Rule::Custom(least);
    assert_eq!(value(&rule, &[version(1, 10, "7"), version(2, 20, "3"), version(3, 30, "5")]), "3");
    let broken =
        Custom::new("broken", |_: &Path, _: &Candidate, _: &Candidate| Err(ResolverError("no".into())));
    let view = seen(&Rule::Custom(broken), &[version(1, 10, "7"), version(2, 20, "3")]);
    assert!(view.resolver_failed);
    assert_eq!(view.value.unwrap().as_str(), "3", "the last-write-wins view instead");
}

#[test]
fn the_longest_prefix_rules_on_segment_boundaries() {
    let policy = Policy::new(Rule::LastWriteWins)
        .with(&path("users"), Rule::MergeFields)
        .with(&path("users/admin/settings"), Rule::FirstWriteWins);
    let name = |text: &str| policy.strategy(&path(text)).name();
    assert_eq!(name("users"), "merge-fields");
    assert_eq!(name("users/alice"), "merge-fields");
    assert_eq!(name("users2/alice"), "last-write-wins");
    assert_eq!(name("users/admin/settings/x/y"), "first-write-wins");
    assert_eq!(name("users/admin/settings2"), "merge-fields");
    assert_eq!(name("x/users"), "last-write-wins");
    let other = Policy::new(Rule::LastWriteWins).with(&path("users"), Rule::FirstWriteWins);
    assert_ne!(policy.hash(), other.hash());
    assert_eq!(policy.hash(), policy.clone().hash());
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        writes in proptest::collection::btree_map(0u8..6, (0u64..4, 0usize..7), 1..6),
        order in any::<prop::sample::Index>(),
    ) {
        let texts = ["-", "1", "null", r#"{"a":1}"#, r#"{"a":2,"b":1}"#, r#"{"b":3}"#, r#"[1]"#];
        let versions: Vec<Version> =
            writes.iter().map(|(node, (at, text))| version(*node, *at, texts[*text])).collect();
        let mut shuffled = versions.clone();
        shuffled.rotate_left(order.index(versions.len()));
        shuffled.reverse();
        for rule in [Rule::LastWriteWins, Rule::FirstWriteWins, Rule::MergeFields] {
            prop_assert_eq!(seen(&rule, &versions), seen(&rule, &shuffled));
        }
    }
}

#[test]
fn a_value_whose_time_has_come_reads_as_deleted_and_keeps_its_place() {
    let rule = Rule::LastWriteWins;
    let versions = [version(1, 10, "1"), until(100, version(2, 20, "2"))];
    let before = seen_at(&rule, &versions, 99);
    assert_eq!((before.value, before.expires_ms, before.expired), (Some(json("2")), Some(100), false));
    let after = seen_at(&rule, &versions, 100);
    assert_eq!(
        (after.value, after.expires_ms, after.expired),
        (None, None, true),
        "the older write lost to it"
    );
    let loser = [version(1, 30, "1"), until(100, version(2, 20, "2"))];
    assert_eq!(seen_at(&rule, &loser, 100).value, Some(json("1")), "the end of a loser takes nothing away");
}

#[test]
fn an_end_competes_like_the_version_that_it_ended() {
    // Stamped long after both, and still older than the one and newer than the other.
    let ended = version(2, 20, "2");
    let expiry = Some(Expiry::Of(ended.hlc, ended.dot));
    let end = Version { body: Content { expiry, ..Body::Tombstone.into() }, ..version(3, 1_000, "-") };
    for rule in [Rule::LastWriteWins, newest()] {
        assert_eq!(value(&rule, &[version(1, 30, "1"), end.clone()]), "1");
        assert_eq!(value(&rule, &[version(1, 10, "1"), end.clone()]), "-");
        // Equal stamps: the order of the dots of the two values decides, not that of the end.
        assert_eq!(value(&rule, &[version(1, 20, "1"), end.clone()]), "-");
        assert_eq!(value(&rule, &[version(4, 20, "4"), end.clone()]), "4");
    }
}

/// A resolver that takes the newer of two.
fn newest() -> Rule {
    let newer = |_: &Path, _: &Candidate, newer: &Candidate| -> Result<Candidate, ResolverError> {
        Ok(newer.clone())
    };
    Rule::Custom(Custom::new("newer", newer))
}

#[test]
fn fields_that_ended_are_gone_and_the_others_stay() {
    let rule = Rule::MergeFields;
    let versions = [until(100, version(1, 20, r#"{"a":1}"#)), version(2, 10, r#"{"b":2}"#)];
    let before = seen_at(&rule, &versions, 99);
    assert_eq!(before.value, Some(json(r#"{"a":1,"b":2}"#)));
    assert_eq!(before.expires_ms, None, "part of it has no end");
    assert_eq!(seen_at(&rule, &versions, 100).value, Some(json(r#"{"b":2}"#)));
    let both = [until(100, version(1, 20, r#"{"a":1}"#)), until(200, version(2, 10, r#"{"b":2}"#))];
    assert_eq!(seen_at(&rule, &both, 99).expires_ms, Some(200), "the latest");
    assert_eq!(seen_at(&rule, &both, 200).value, None);
}

proptest! {
    #[test]
    fn reading_at_a_time_is_the_same_twice_and_changes_no_name(
        ends in prop::collection::vec((1u8..9, 1u64..50, prop::option::of(0u64..9)), 1..5),
        wall_ms in 0u64..10,
    ) {
        let versions: Vec<Version> = ends
            .iter()
            .map(|(node, at, end)| {
                let version = version(*node, *at, "1");
                end.map_or(version.clone(), |end| until(end, version))
            })
            .collect();
        let document = meet(&versions);
        let once = as_of(&document, wall_ms).into_owned();
        prop_assert_eq!(&*as_of(&once, wall_ms), &once);
        prop_assert_eq!(once.vv(), document.vv());
        let names = |document: &Document| document.versions().iter().map(|version| version.dot).collect::<Vec<_>>();
        prop_assert_eq!(names(&once), names(&document));
        for version in once.versions() {
            prop_assert!(!version.body.has_ended(wall_ms));
        }
    }
}
