//! The embedded API, over real stores and real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rejoin::{
    Change, Condition, Durability, Error, Event, From, Json, JsonLimits, Node, Observed, Path, Scope,
    Strategy, Token, Write,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

async fn open(directory: &TempDir) -> Node {
    Node::builder().data_dir(directory.path()).open().await.unwrap()
}

async fn memory(name: &str) -> Node {
    Node::builder().in_memory().name(name).listen("127.0.0.1:0").open().await.unwrap()
}

fn url(node: &Node) -> String {
    format!("http://{}", node.local_addr().unwrap())
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn read(node: &Node, path: &str) -> Option<Value> {
    node.get(path).await.unwrap()
}

fn raw(text: &str) -> Json {
    Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap()
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let node = open(&directory).await;
    for age in [40, 41, 42] {
        node.put("users/alice", &json!({"age": age})).await.unwrap();
    }
    node.put("users/bob", &json!({"age": 1})).await.unwrap();
    assert!(node.delete("users/bob").await.unwrap());
    node.close().await.unwrap();

    let node = open(&directory).await;
    assert_eq!(read(&node, "users/alice").await, Some(json!({"age": 42})));
    assert_eq!(read(&node, "users/bob").await, None);
    let bob = node.entry(&Path::parse("users/bob").unwrap()).unwrap().unwrap();
    assert_eq!(bob.value, None, "a delete is remembered, and told apart from a path that never was");
    let ages: Vec<_> = node.history("users/alice").await.unwrap();
    let ages: Vec<Value> = ages.into_iter().map(|old| old.value.unwrap().get().unwrap()).collect();
    assert_eq!(ages, [json!({"age": 41}), json!({"age": 40})], "newest first, superseded versions only");
    node.close().await.unwrap();
}

#[tokio::test]
async fn history_keeps_the_newest_versions_and_no_more() {
    let node = Node::builder().in_memory().max_versions(3).open().await.unwrap();
    for n in 0..20 {
        node.put("counter", &n).await.unwrap();
    }
    let kept: Vec<_> = node.history("counter").await.unwrap();
    let kept: Vec<i64> = kept.into_iter().map(|old| old.value.unwrap().get().unwrap()).collect();
    assert_eq!(kept, [18, 17, 16]);
    assert_eq!(node.status().await.unwrap().history_entries, 3);
}

#[tokio::test]
async fn numbers_and_member_order_stay_as_written() {
    let node = Node::builder().in_memory().open().await.unwrap();
    for text in
        ["1.0", "-0", "1E5", "123456789012345678901234567890", r#"{"z":1,"a":2,"m":1.50}"#, "null", r#""""#]
    {
        let path = Path::parse("values/x").unwrap();
        let change = Change::Put(raw(text));
        let write = Write {
            path: path.clone(),
            change,
            condition: Condition::Always,
            observed: Observed::All,
            ttl: None,
            once: None,
        };
        node.write(write).await.unwrap();
        assert_eq!(node.entry(&path).unwrap().unwrap().value.unwrap().as_str(), text);
    }
}

#[tokio::test]
async fn one_data_directory_serves_one_node_at_a_time() {
    let directory = TempDir::new().unwrap();
    let first = open(&directory).await;
    let second = Node::builder().data_dir(directory.path()).open().await;
    assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
    first.close().await.unwrap();
    open(&directory).await.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_node_lets_its_directory_go() {
    let directory = TempDir::new().unwrap();
    let node = open(&directory).await;
    node.put("a", &1).await.unwrap();
    drop(node);
    eventually("the directory is free again", async || {
        Node::builder().data_dir(directory.path()).open().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_identity_stays_and_an_epoch_does_not() {
    let directory = TempDir::new().unwrap();
    let node = open(&directory).await;
    let (id, epoch) = (node.info().id, node.info().epoch);
    node.close().await.unwrap();
    let node = open(&directory).await;
    assert_eq!(node.info().id, id);
    assert!(node.info().epoch > epoch);
}

#[tokio::test]
async fn a_chain_passes_writes_and_deletes_on() {
    let a = memory("a").await;
    let b = Node::builder().in_memory().listen("127.0.0.1:0").peer(url(&a)).open().await.unwrap();
    let c = Node::builder().in_memory().peer(url(&b)).open().await.unwrap();
    a.put("rooms/1/topic", &"tea").await.unwrap();
    c.put("rooms/2/topic", &"coffee").await.unwrap();
    eventually("both writes are everywhere", async || {
        read(&c, "rooms/1/topic").await.is_some() && read(&a, "rooms/2/topic").await.is_some()
    })
    .await;
    assert!(c.delete("rooms/1/topic").await.unwrap());
    eventually("the delete is everywhere", async || read(&a, "rooms/1/topic").await.is_none()).await;
    let digest = async |node: &Node| node.status().await.unwrap().digest;
    eventually("digests are equal", async || {
        digest(&a).await == digest(&b).await && digest(&b).await == digest(&c).await
    })
    .await;
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_keep_one_link() {
    let a = memory("a").await;
    let b = memory("b").await;
    a.add_peer(&url(&b)).unwrap();
    b.add_peer(&url(&a)).unwrap();
    a.put("x", &1).await.unwrap();
    eventually("the write is there", async || read(&b, "x").await.is_some()).await;
    eventually("one link is left, and each side knows the other by its URL", async || {
        let (at_a, at_b) = (a.peers(), b.peers());
        at_a.len() == 1
            && at_b.len() == 1
            && at_a[0].state == rejoin::PeerState::Connected
            && at_b[0].state == rejoin::PeerState::Connected
            && at_a[0].direction != at_b[0].direction
    })
    .await;
    b.put("y", &2).await.unwrap();
    eventually("and it carries writes back", async || read(&a, "y").await.is_some()).await;
}

#[tokio::test]
async fn an_anti_entropy_round_finds_equal_nodes_equal() {
    let a = memory("a").await;
    let b = Node::builder().in_memory().peer(url(&a)).open().await.unwrap();
    a.put("x", &1).await.unwrap();
    eventually("the write is there", async || read(&b, "x").await.is_some()).await;
    let report = b.anti_entropy().await.unwrap();
    assert_eq!((report.links, report.equal, report.unequal), (1, 1, 0));
    assert_eq!(Node::builder().in_memory().open().await.unwrap().anti_entropy().await.unwrap().links, 0);
}

#[tokio::test]
async fn fields_written_apart_merge() {
    let builder = || Node::builder().in_memory().strategy("users", Strategy::MergeFields);
    let a = builder().listen("127.0.0.1:0").open().await.unwrap();
    let b = builder().open().await.unwrap();
    a.put("users/alice", &json!({"name": "Alice"})).await.unwrap();
    b.put("users/alice", &json!({"age": 41})).await.unwrap();
    b.add_peer(&url(&a)).unwrap();
    let both = json!({"name": "Alice", "age": 41});
    eventually("both fields are on both nodes", async || {
        read(&a, "users/alice").await == Some(both.clone())
            && read(&b, "users/alice").await == Some(both.clone())
    })
    .await;
    let entry = a.entry(&Path::parse("users/alice").unwrap()).unwrap().unwrap();
    assert_eq!((entry.conflicts, entry.siblings.len()), (1, 2));
    a.patch("users/alice", &json!({"age": null})).await.unwrap();
    let left = json!({"name": "Alice"});
    eventually("a removed field is removed everywhere", async || {
        read(&b, "users/alice").await == Some(left.clone())
    })
    .await;
    assert_eq!(a.entry(&Path::parse("users/alice").unwrap()).unwrap().unwrap().conflicts, 0);
}

#[tokio::test]
async fn the_first_write_stays() {
    let node =
        Node::builder().in_memory().strategy("settings", Strategy::FirstWriteWins).open().await.unwrap();
    node.put("settings/color", &"red").await.unwrap();
    let refused = node.put("settings/color", &"blue").await;
    assert!(matches!(refused, Err(Error::RejectedByStrategy(_))), "{refused:?}");
    assert_eq!(read(&node, "settings/color").await, Some(json!("red")));
    node.delete("settings/color").await.unwrap();
    node.put("settings/color", &"blue").await.unwrap();
}

#[tokio::test]
async fn conditions_are_checked_and_nothing_happens_when_they_fail() {
    let node = Node::builder().in_memory().open().await.unwrap();
    let path = Path::parse("x").unwrap();
    let put = async |condition: Condition, value: &str| {
        let change = Change::Put(raw(value));
        node.write(Write {
            path: path.clone(),
            change,
            condition,
            observed: Observed::All,
            ttl: None,
            once: None,
        })
        .await
    };
    let first = put(Condition::Absent, "1").await.unwrap();
    assert!(first.created);
    assert!(matches!(put(Condition::Absent, "2").await, Err(Error::Precondition(_))));
    let second = put(Condition::Matches(vec![first.etag]), "2").await.unwrap();
    assert!(matches!(put(Condition::Matches(vec![first.etag]), "3").await, Err(Error::Precondition(_))));
    assert!(matches!(put(Condition::NoneOf(vec![second.etag]), "3").await, Err(Error::Precondition(_))));
    assert_eq!(read(&node, "x").await, Some(json!(2)));
}

#[tokio::test]
async fn a_subscriber_sees_the_snapshot_then_every_change() {
    let node = Node::builder().in_memory().open().await.unwrap();
    node.put("users/alice", &1).await.unwrap();
    node.put("rooms/1", &1).await.unwrap();
    let mut events = node.subscribe_scope(Scope::parse("users").unwrap(), From::Snapshot).unwrap();
    let change = |event: Event| match event {
        Event::Change { entry, .. } => {
            (entry.path.to_string(), entry.value.map(|value| value.as_str().to_string()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(change(events.next().await.unwrap().unwrap()), ("users/alice".into(), Some("1".into())));
    assert!(matches!(events.next().await.unwrap().unwrap(), Event::SnapshotEnd { count: 1, .. }));
    node.put("rooms/1", &2).await.unwrap();
    node.put("users/bob", &2).await.unwrap();
    assert_eq!(change(events.next().await.unwrap().unwrap()), ("users/bob".into(), Some("2".into())));
    node.delete("users/alice").await.unwrap();
    assert_eq!(change(events.next().await.unwrap().unwrap()), ("users/alice".into(), None));
    node.put("users", &"an ancestor").await.unwrap();
    assert_eq!(change(events.next().await.unwrap().unwrap()).0, "users");
    node.close().await.unwrap();
    assert!(events.next().await.is_none(), "the stream ends with the node");
}

#[tokio::test]
async fn a_slow_subscriber_holds_in_the_end_what_the_store_holds() {
    let node = Node::builder().in_memory().open().await.unwrap();
    let mut events = node.subscribe("").unwrap();
    for n in 0..3_000 {
        let path = format!("k/{}", n % 701);
        if n % 5 == 4 {
            let _ = node.delete(&path).await.unwrap();
        } else {
            node.put(&path, &n).await.unwrap();
        }
    }
    let last = node.put("the/end", &true).await.unwrap();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut told = Vec::new();
    loop {
        let Event::Change { entry, .. } = events.next().await.unwrap().unwrap() else { panic!("a resync") };
        told.push(entry.path.to_string());
        match &entry.value {
            Some(value) => seen.insert(entry.path.to_string(), value.as_str().to_string()),
            None => seen.remove(entry.path.as_str()),
        };
        if entry.version == last.dot {
            break;
        }
    }
    let stored: BTreeMap<String, String> = node
        .scan("")
        .unwrap()
        .entries()
        .map(|entry| {
            entry.map(|entry| (entry.path.to_string(), entry.value.unwrap().as_str().to_string())).unwrap()
        })
        .collect();
    assert_eq!(seen, stored);
    let times = told.len();
    told.sort();
    told.dedup();
    assert_eq!((times, told.len()), (702, 702), "each path is told once, at its newest change");
}

#[tokio::test]
async fn scans_page_in_both_directions() {
    let node = Node::builder().in_memory().open().await.unwrap();
    let paths: Vec<String> = (0..25).map(|n| format!("p/{n:02}")).collect();
    for path in &paths {
        node.put(path, &path).await.unwrap();
    }
    node.put("pq", &"beside").await.unwrap();
    node.delete("p/07").await.unwrap();
    let expected: Vec<String> = paths.iter().filter(|path| *path != "p/07").cloned().collect();
    for reverse in [false, true] {
        let mut cursor: Option<String> = None;
        let mut found = Vec::new();
        loop {
            let scan = node.scan("p/").unwrap().limit(7).reverse(reverse);
            let scan = match &cursor {
                Some(cursor) => scan.cursor(cursor),
                None => scan,
            };
            let page = scan.page().unwrap();
            assert!(page.entries.len() <= 7);
            found.extend(page.entries.into_iter().map(|entry| entry.path.to_string()));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        if reverse {
            found.reverse();
        }
        assert_eq!(found, expected);
    }
    assert_eq!(node.scan("").unwrap().count().unwrap(), 25);
    assert_eq!(node.scan("p/1").unwrap().start("p/12").end("p/15").count().unwrap(), 3);
    assert!(matches!(node.scan("").unwrap().cursor("not one").page(), Err(Error::BadCursor)));
}

#[tokio::test]
async fn wrong_settings_say_what_is_wrong() {
    let refused = |result: Result<Node, Error>| result.map(drop).unwrap_err();
    let no_directory = refused(Node::builder().open().await);
    assert!(no_directory.to_string().contains("data_dir"), "{no_directory}");
    let peer = refused(Node::builder().in_memory().peer("ftp://x").open().await);
    assert_eq!(peer.code(), "invalid_peer");
    let prefix = refused(Node::builder().in_memory().strategy("a//b", Strategy::MergeFields).open().await);
    assert_eq!(prefix.code(), "invalid_path");
    assert!("fast".parse::<Durability>().is_err());
}

#[tokio::test]
async fn a_token_of_one_node_is_met_on_another_once_it_has_caught_up() {
    let a = memory("a").await;
    let b = Node::builder().in_memory().open().await.unwrap();
    a.put("x", &1).await.unwrap();
    let token = a.token();
    assert!(!b.has_applied(&token));
    b.add_peer(&url(&a)).unwrap();
    b.wait_for(&token, DEADLINE).await.unwrap();
    assert!(b.has_applied(&token));
    assert_eq!(read(&b, "x").await, Some(json!(1)));
    assert_eq!(token.as_str().parse::<Token>().unwrap(), token, "a token survives being text");
    assert!(matches!("nonsense".parse::<Token>(), Err(Error::BadToken)));
}

#[tokio::test]
async fn a_session_with_a_token_reads_its_writes_and_deletes_on_every_node() {
    let a = memory("a").await;
    let b = Node::builder().in_memory().peer(url(&a)).open().await.unwrap();
    for n in 0..50 {
        let written = a.put("x", &n).await.unwrap();
        b.wait_for(written.token(), DEADLINE).await.unwrap();
        assert_eq!(read(&b, "x").await, Some(json!(n)));

        let written = b.put("x", &json!({"back": n})).await.unwrap();
        a.wait_for(written.token(), DEADLINE).await.unwrap();
        let page = a.scan("").unwrap().page().unwrap();
        assert_eq!(page.entries[0].get::<Value>().unwrap(), json!({"back": n}));
        b.wait_for(&page.token, DEADLINE).await.unwrap();

        assert!(b.delete("x").await.unwrap());
        a.wait_for(&b.token(), DEADLINE).await.unwrap();
        assert_eq!(read(&a, "x").await, None);
    }
}

#[tokio::test]
async fn a_delete_that_wins_over_a_concurrent_value_is_deleted_and_not_missing() {
    let a = memory("a").await;
    let b = Node::builder().in_memory().open().await.unwrap();
    let delete = async |node: &Node, path: &str| {
        let (condition, observed) = (Condition::Always, Observed::All);
        let path = Path::parse(path).unwrap();
        node.write(Write { path, change: Change::Delete, condition, observed, ttl: None, once: None }).await
    };
    b.put("x", &1).await.unwrap();
    a.put("x", &2).await.unwrap();
    delete(&a, "x").await.unwrap();
    let token = a.token();
    b.add_peer(&url(&a)).unwrap();
    b.wait_for(&token, DEADLINE).await.unwrap();
    let x = b.entry(&Path::parse("x").unwrap()).unwrap().unwrap();
    assert_eq!((x.value, x.conflicts), (None, 1), "the delete is newer than the put of b");
    assert!(matches!(delete(&b, "x").await, Err(Error::NotFound { deleted: true })));
    assert!(matches!(delete(&b, "y").await, Err(Error::NotFound { deleted: false })));
}

#[tokio::test]
async fn a_token_that_names_replaced_writes_is_met_when_their_successor_has_arrived() {
    let a = memory("a").await;
    for n in 0..20 {
        a.put("x", &n).await.unwrap();
    }
    let token = a.token();
    let b = Node::builder().in_memory().peer(url(&a)).open().await.unwrap();
    b.wait_for(&token, DEADLINE).await.unwrap();
    assert_eq!(read(&b, "x").await, Some(json!(19)));
    assert_eq!(b.history("x").await.unwrap(), [], "the writes before were claimed, not sent");
}

#[tokio::test]
async fn waiting_for_a_token_ends_with_the_time_or_the_node() {
    let (a, b) = (memory("a").await, memory("b").await);
    let token = a.put("x", &1).await.unwrap().token().clone();
    let Err(Error::NotCaughtUp { missing, .. }) = b.wait_for(&token, Duration::from_millis(20)).await else {
        panic!("b cannot have what it never got");
    };
    assert_eq!(missing.len(), 1);
    let waiting = tokio::spawn({
        let (b, token) = (b.clone(), token.clone());
        async move { b.wait_for(&token, DEADLINE).await }
    });
    b.close().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Closed)));
}

/// Strategies are how a node looks at its data: they can be changed while it runs, without losing anything.
#[tokio::test]
async fn strategies_change_while_a_node_runs() {
    let a = memory("a").await;
    let b = memory("b").await;
    // Neither has seen the other's write.
    let older = a.put("stock/apples", &json!({"count": 7})).await.unwrap().hlc;
    eventually("the clock has moved on", async || {
        b.put("stock/apples", &json!({"count": 3})).await.unwrap().hlc.unix_ms() > older.unix_ms()
    })
    .await;
    a.add_peer(&url(&b)).unwrap();
    for node in [&a, &b] {
        eventually("the conflict is on both", async || {
            node.entry(&Path::parse("stock/apples").unwrap()).unwrap().unwrap().conflicts == 1
        })
        .await;
        assert_eq!(read(node, "stock/apples").await, Some(json!({"count": 3})), "the newest wins");
    }

    let least =
        rejoin::Custom::new("least 1", |_: &Path, local: &rejoin::Candidate, remote: &rejoin::Candidate| {
            let count = |candidate: &rejoin::Candidate| {
                let value: Value = candidate.value.as_ref().unwrap().get().unwrap();
                value["count"].as_u64().unwrap()
            };
            let (local, remote) = (local.clone(), remote.clone());
            Ok(if count(&local) < count(&remote) { local } else { remote })
        });
    for (strategy, shown) in
        [(Strategy::FirstWriteWins, json!({"count": 7})), (Strategy::Custom(least), json!({"count": 3}))]
    {
        for node in [&a, &b] {
            node.set_strategies(Strategy::LastWriteWins, [("stock/".to_owned(), strategy.clone())]).unwrap();
            assert_eq!(read(node, "stock/apples").await, Some(shown.clone()), "{}", strategy.name());
        }
        for node in [&a, &b] {
            eventually("the two are linked and know of each other's strategies", async || {
                let peers = node.peers();
                peers.iter().any(|peer| peer.id.is_some() && !peer.policy_differs)
            })
            .await;
        }
    }

    // Writes go by it too: the next ones, and no others.
    a.set_strategies(Strategy::FirstWriteWins, []).unwrap();
    let refused = a.put("stock/apples", &json!({"count": 1})).await;
    assert!(matches!(refused, Err(Error::RejectedByStrategy(_))), "{refused:?}");
    a.set_strategies(Strategy::LastWriteWins, []).unwrap();
    a.put("stock/apples", &json!({"count": 1})).await.unwrap();

    let wrong = a.set_strategies(Strategy::FirstWriteWins, [("a//b".to_owned(), Strategy::MergeFields)]);
    assert!(matches!(wrong, Err(Error::Path(_))), "{wrong:?}");
    a.put("stock/apples", &json!({"count": 2})).await.unwrap();
    for node in [a, b] {
        node.close().await.unwrap();
    }
}

/// A change during a handshake is one that the peer has not heard of: such a link is made anew as well.
#[tokio::test]
async fn strategies_that_change_during_a_handshake_are_told() {
    for round in 0..60 {
        let (a, b) = (memory("a").await, memory("b").await);
        b.add_peer(&url(&a)).unwrap();
        // Each round a little later in the handshake.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        for node in [&a, &b] {
            node.set_strategies(Strategy::FirstWriteWins, []).unwrap();
        }
        for node in [&a, &b] {
            eventually("they are linked and know of each other's strategies", async || {
                node.peers().iter().any(|peer| peer.id.is_some() && !peer.policy_differs)
            })
            .await;
        }
        a.close().await.unwrap();
        b.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_can_be_waited_for_in_a_task_of_its_own() {
    let node = memory("a").await;
    let waiting = tokio::spawn({
        let node = node.clone();
        async move { node.failed().await }
    });
    node.put("a", &1).await.unwrap();
    node.close().await.unwrap();
    assert!(!waiting.is_finished(), "closing is no failure");
    waiting.abort();
}

/// What a node has is told without asking its replica, and is what a status says.
#[tokio::test]
async fn the_vector_clock_is_at_hand() {
    let node = memory("a").await;
    assert!(node.vector_clock().is_empty());
    let written = node.put("a", &1).await.unwrap();
    assert!(node.vector_clock().covers(written.dot));
    assert_eq!(node.vector_clock(), node.status().await.unwrap().vector_clock);
    node.close().await.unwrap();
}
