//! A store of before, opened by the code of today.

use std::fs;
use std::path::Path as File;

use rejoin::Node;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dump::{document, dump};
use crate::fixture;
use crate::make::{DELETED, level, settings};

/// The value whose hour is over by now.
const ENDS_NOW: &str = "ends/soon";

/// A copy of the store of a fixture, to be written to.
fn copy_of(format: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    copy(&fixture(format).join("store"), directory.path());
    directory
}

fn copy(from: &File, to: &File) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn open(directory: &TempDir) -> Node {
    settings().name("berlin").data_dir(directory.path()).open().await.unwrap()
}

fn expected(format: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(format).join("expected.json")).unwrap()).unwrap()
}

/// What a dump says, but for the value whose hour is over. Its delete follows within a minute and a half of a start, and
/// changes the sums: then they are left out too.
fn comparable(mut dump: Value, sums: bool) -> Value {
    dump["documents"].as_object_mut().unwrap().remove(ENDS_NOW);
    if !sums {
        dump.as_object_mut().unwrap().remove("store");
    }
    dump
}

async fn value(node: &Node, path: &str) -> Option<Value> {
    node.get(path).await.unwrap()
}

async fn everything_is_there(format: &str) {
    let directory = copy_of(format);
    for start in ["first", "second"] {
        let node = open(&directory).await;
        let found = dump(&node, &DELETED).await;
        let over = &found["documents"][ENDS_NOW];
        assert_eq!((&over["value"], &over["expired"]), (&Value::Null, &json!(true)));
        let sums = node.history(ENDS_NOW).await.unwrap().is_empty();
        let (found, expected) = (comparable(found, sums), comparable(expected(format), sums));
        for (path, was) in expected["documents"].as_object().unwrap() {
            assert_eq!(&found["documents"][path], was, "{path}, at the {start} start");
        }
        assert_eq!(found, expected, "at the {start} start");
        node.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_opens_with_everything_that_was_in_it() {
    everything_is_there("format-1").await;
}

/// The same by hand, of what matters most: a dump could be wrong then as now.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_shows_what_was_written() {
    let directory = copy_of("format-1");
    let node = open(&directory).await;
    assert_eq!(value(&node, "users/alice").await, Some(json!({ "name": "Alice", "version": 12 })));
    let kept = node.history("users/alice").await.unwrap();
    let kept =
        kept.iter().map(|past| past.value.as_ref().unwrap().get::<Value>().unwrap()["version"].clone());
    assert_eq!(kept.collect::<Vec<_>>(), [11, 10, 9, 8, 7], "over three starts");
    for deleted in DELETED {
        assert_eq!(value(&node, deleted).await, None, "{deleted}");
    }
    assert_eq!(value(&node, "ends/far").await, Some(json!("stays")));
    assert_eq!(value(&node, "accounts/debit").await, Some(json!(-5)));
    assert_eq!(value(&node, "accounts/credit").await, Some(json!(5)));
    assert_eq!(value(&node, "shared/of-bonn").await, Some(json!("bonn again")));
    assert_eq!(
        value(&node, "merged/both").await.unwrap().as_object().unwrap().keys().collect::<Vec<_>>(),
        ["berlin", "bonn", "by"]
    );
    let open = document(&node, "conflicts/open");
    assert_eq!(open["siblings"].as_array().unwrap().len(), 2);
    let settled = document(&node, "conflicts/settled");
    assert_eq!(settled["value"], r#"{"by":"both"}"#);
    let outcomes: Vec<_> =
        settled["history"].as_array().unwrap().iter().map(|past| &past["outcome"]).collect();
    assert_eq!(outcomes, ["won", "lost"], "the newer of the two was shown");
    node.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_format_1_syncs_with_a_new_node_and_takes_writes() {
    let directory = copy_of("format-1");
    let node = open(&directory).await;
    let new = settings().name("new").in_memory().listen("127.0.0.1:0").open().await.unwrap();
    node.add_peer(&format!("http://{}", new.local_addr().unwrap())).unwrap();
    level(&node, &new).await;
    let (here, there) = (dump(&node, &DELETED).await, dump(&new, &DELETED).await);
    for (path, here) in here["documents"].as_object().unwrap() {
        let there = &there["documents"][path];
        for member in ["value", "version", "etag", "expiresMs", "expired", "past", "siblings"] {
            assert_eq!(here[member], there[member], "{member} of {path}");
        }
    }
    assert_eq!(here["conflicts"]["open"], there["conflicts"]["open"]);
    // A write over every document of it, from the other side, and back.
    for (path, _) in here["documents"].as_object().unwrap() {
        if path != "first/claim" && path != "first/claimed-twice" {
            new.put(path, &json!({ "over": path })).await.unwrap();
        }
    }
    node.put("users/alice", &json!("once more")).await.unwrap();
    level(&node, &new).await;
    assert_eq!(value(&node, "conflicts/open").await, Some(json!({ "over": "conflicts/open" })));
    let digest = node.status().await.unwrap().digest;
    node.close().await.unwrap();
    let node = open(&directory).await;
    assert_eq!(node.status().await.unwrap().digest, digest, "over one more start");
    node.close().await.unwrap();
    new.close().await.unwrap();
}

/// History rows that were written in the older format are trimmed as they always were.
#[tokio::test(flavor = "multi_thread")]
async fn history_of_format_1_makes_room_for_new_versions() {
    let directory = copy_of("format-1");
    let node = open(&directory).await;
    for version in 13..=15 {
        node.put("users/alice", &json!({ "name": "Alice", "version": version })).await.unwrap();
    }
    let kept = node.history("users/alice").await.unwrap();
    let kept =
        kept.iter().map(|past| past.value.as_ref().unwrap().get::<Value>().unwrap()["version"].clone());
    assert_eq!(kept.collect::<Vec<_>>(), [14, 13, 12, 11, 10]);
    let before = node.status().await.unwrap().history_entries;
    node.close().await.unwrap();
    // Fewer are kept from now on: each path gives up its surplus with its next write.
    let settings = settings().max_versions(2).name("berlin").data_dir(directory.path());
    let node = settings.open().await.unwrap();
    node.put("users/alice", &json!({ "name": "Alice", "version": 16 })).await.unwrap();
    let kept = node.history("users/alice").await.unwrap();
    let kept =
        kept.iter().map(|past| past.value.as_ref().unwrap().get::<Value>().unwrap()["version"].clone());
    assert_eq!(kept.collect::<Vec<_>>(), [15, 14]);
    let ended = u64::from(!node.history(ENDS_NOW).await.unwrap().is_empty());
    assert!([before - 3, before - 3 + ended].contains(&node.status().await.unwrap().history_entries));
    node.close().await.unwrap();
}
