//! Makes a fixture of the format of the day: `cargo test -p rejoin --test formats -- --ignored make_a_fixture`, with
//! `REJOIN_FIXTURE` naming a directory that is not there yet.

use std::path::PathBuf;
use std::time::Duration;

use rejoin::{Builder, Change, Condition, Json, JsonLimits, Node, Observed, Path, Strategy, Write};
use serde_json::{Value, json};

use crate::dump::dump;
use crate::eventually;
use crate::record::{self, Recorder};

/// The paths that read as deleted in the fixture, or will.
pub(crate) const DELETED: [&str; 6] = [
    "conflicts/lost-to-a-delete",
    "ends/gone",
    "ends/soon",
    "shared/deleted-by-bonn",
    "users/bob",
    "users/dora",
];

/// Documents beside those that have a story: enough for two levels of digest rows.
const BULK: u32 = 150;

const HOUR: Duration = Duration::from_secs(3_600);
const FAR: Duration = Duration::from_secs(3_650 * 86_400);

/// Settings of the nodes of the fixture, then and now.
pub(crate) fn settings() -> Builder {
    Node::builder()
        .cluster("fixture")
        .max_versions(5)
        .anti_entropy_interval(None)
        .strategy("merged", Strategy::MergeFields)
        .strategy("first", Strategy::FirstWriteWins)
        // The tombstones of the fixture get old.
        .tombstone_retention(100 * FAR)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes a fixture of the format of the day"]
async fn make_a_fixture() {
    let out = PathBuf::from(std::env::var("REJOIN_FIXTURE").unwrap());
    std::fs::create_dir(&out).unwrap();
    let berlin = || settings().name("berlin").data_dir(out.join("store"));

    // The first start: alone.
    let node = berlin().open().await.unwrap();
    for version in 1..=9 {
        node.put("users/alice", &json!({ "name": "Alice", "version": version })).await.unwrap();
    }
    node.put("users/bob", &json!({ "name": "Bob" })).await.unwrap();
    assert!(node.delete("users/bob").await.unwrap());
    node.put("first/claim", &json!("berlin")).await.unwrap();
    node.put("merged/profile", &json!({ "name": "Ada", "city": "Berlin", "age": 36 })).await.unwrap();
    node.put_for("ends/gone", &json!("gone"), Duration::from_millis(50)).await.unwrap();
    node.put_for("ends/far", &json!("stays"), FAR).await.unwrap();
    let bulk = (0..BULK).map(|n| put(&format!("bulk/{n:03}"), &json!(n)));
    for written in node.write_many(bulk.collect()).await {
        written.unwrap();
    }
    let ended = Path::parse("ends/gone").unwrap();
    eventually("the value ends", async || !node.history(ended.as_str()).await.unwrap().is_empty()).await;
    node.close().await.unwrap();

    // The second start: together with another node, after writes that did not see each other.
    let node = berlin().open().await.unwrap();
    let bonn = settings().name("bonn").in_memory().listen("127.0.0.1:0").open().await.unwrap();
    for (node, name) in [(&node, "berlin"), (&bonn, "bonn")] {
        for path in ["conflicts/open", "conflicts/settled", "first/claimed-twice"] {
            node.put(path, &json!({ "by": name })).await.unwrap();
        }
        node.put_for("conflicts/ends", &json!({ "by": name }), FAR).await.unwrap();
        node.patch("merged/both", &json!({ name: true, "by": name })).await.unwrap();
    }
    node.put("conflicts/lost-to-a-delete", &json!("berlin")).await.unwrap();
    bonn.put("conflicts/lost-to-a-delete", &json!("bonn")).await.unwrap();
    bonn.delete("conflicts/lost-to-a-delete").await.unwrap();
    bonn.put("shared/of-bonn", &json!("bonn")).await.unwrap();

    let recorder = Recorder::to(bonn.local_addr().unwrap());
    node.add_peer(&recorder.url()).unwrap();
    level(&node, &bonn).await;
    // Linked: what is written on one is pushed to the other.
    node.put("conflicts/settled", &json!({ "by": "both" })).await.unwrap();
    bonn.put("shared/of-bonn", &json!("bonn again")).await.unwrap();
    bonn.put("shared/deleted-by-bonn", &json!("soon gone")).await.unwrap();
    level(&node, &bonn).await;
    assert!(bonn.delete("shared/deleted-by-bonn").await.unwrap());
    let batch =
        [("accounts/debit", json!(-5)), ("accounts/credit", json!(5)), ("accounts/note", json!("rent"))];
    let written =
        node.write_atomic(batch.iter().map(|(path, value)| put(path, value)).collect()).await.unwrap();
    let receipt = node.receipt(&[written[0].dot], 1, crate::DEADLINE).await.unwrap();
    assert!(receipt.complete);
    level(&node, &bonn).await;
    node.anti_entropy().await.unwrap();
    std::fs::write(out.join("catch-up.frames"), record::write(&recorder.said())).unwrap();
    node.close().await.unwrap();
    bonn.close().await.unwrap();

    // The third start: alone again.
    let node = berlin().open().await.unwrap();
    for version in 10..=12 {
        node.put("users/alice", &json!({ "name": "Alice", "version": version })).await.unwrap();
    }
    node.put("users/dora", &json!({ "name": "Dora" })).await.unwrap();
    assert!(node.delete("users/dora").await.unwrap());
    node.put_for("ends/soon", &json!("an hour"), HOUR).await.unwrap();
    node.put("users/carol", &json!({ "name": "Carol \u{1f600}", "big": 12_345_678_901_234_567_u64 }))
        .await
        .unwrap();
    let expected = dump(&node, &DELETED).await;
    node.close().await.unwrap();
    std::fs::write(out.join("expected.json"), lines(&expected)).unwrap();

    digest_session(&out).await;
}

/// A node that missed a delete which others have collected: its documents are compared one by one.
async fn digest_session(out: &std::path::Path) {
    let soon = Duration::from_millis(1);
    let kiel = settings().tombstone_retention(soon).collect_interval(soon);
    let kiel = kiel.name("kiel").in_memory().open().await.unwrap();
    let mainz = settings().name("mainz").in_memory().listen("127.0.0.1:0").open().await.unwrap();
    for n in 0..BULK {
        kiel.put(&format!("bulk/{n:03}"), &json!(n)).await.unwrap();
    }
    let url = format!("http://{}", mainz.local_addr().unwrap());
    kiel.add_peer(&url).unwrap();
    level(&kiel, &mainz).await;
    kiel.remove_peer(&url);
    eventually("the link ends", async || mainz.peers().is_empty()).await;
    kiel.delete("bulk/007").await.unwrap();
    mainz.put("bulk/011", &json!("meanwhile")).await.unwrap();
    mainz.put("bulk/new", &json!("meanwhile")).await.unwrap();
    eventually("the delete is collected", async || kiel.status().await.unwrap().tombstones == 0).await;
    let recorder = Recorder::to(mainz.local_addr().unwrap());
    kiel.add_peer(&recorder.url()).unwrap();
    level(&kiel, &mainz).await;
    assert_eq!(mainz.get::<u32>("bulk/007").await.unwrap(), None);
    std::fs::write(out.join("digest-session.frames"), record::write(&recorder.said())).unwrap();
}

/// A document a line: short, and still to be read by people.
fn lines(dump: &Value) -> String {
    let documents = dump["documents"].as_object().unwrap().iter();
    let documents = documents.map(|(path, document)| format!("{}: {document}", json!(path)));
    let documents = documents.collect::<Vec<_>>().join(",\n");
    format!(
        "{{\"documents\": {{\n{documents}\n}},\n\"conflicts\": {},\n\"store\": {}}}\n",
        dump["conflicts"], dump["store"]
    )
}

/// Waits until both have applied what the other has, and show the same.
pub(crate) async fn level(one: &Node, other: &Node) {
    eventually("both have the same", async || {
        let (here, there) = (one.status().await.unwrap(), other.status().await.unwrap());
        one.has_applied(&there.token) && other.has_applied(&here.token) && here.digest == there.digest
    })
    .await;
}

fn put(path: &str, value: &Value) -> Write {
    Write {
        path: Path::parse(path).unwrap(),
        change: Change::Put(Json::parse(value.to_string().as_bytes(), &JsonLimits::default()).unwrap()),
        condition: Condition::Always,
        observed: Observed::All,
        ttl: None,
        once: None,
    }
}
