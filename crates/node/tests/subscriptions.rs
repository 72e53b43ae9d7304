//! What a subscriber is promised: no hole, no step back, and an explicit word where that cannot be kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as Directory;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use rejoin::{Dot, Entry, Event, FeedToken, From, Node, ResyncReason, Scope, Subscription};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

async fn open(directory: &Directory) -> Node {
    Node::builder().data_dir(directory).open().await.unwrap()
}

async fn memory() -> Node {
    Node::builder().in_memory().open().await.unwrap()
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

async fn next(events: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, events.next()).await.expect("an event is due").unwrap().unwrap()
}

async fn change(events: &mut Subscription) -> (Entry, FeedToken) {
    match next(events).await {
        Event::Change { entry, token } => (*entry, token),
        other => panic!("not a change: {other:?}"),
    }
}

/// The path and the value of the next change.
async fn told(events: &mut Subscription) -> (String, Option<String>) {
    let (entry, _) = change(events).await;
    (entry.path.to_string(), entry.value.map(|value| value.as_str().to_owned()))
}

async fn resync(events: &mut Subscription) -> ResyncReason {
    match next(events).await {
        Event::Resync { reason, .. } => reason,
        other => panic!("not a resync: {other:?}"),
    }
}

async fn snapshot_end(events: &mut Subscription) -> (u64, FeedToken) {
    match next(events).await {
        Event::SnapshotEnd { count, token } => (count, token),
        other => panic!("not the end of a snapshot: {other:?}"),
    }
}

fn is_silent(events: &mut Subscription) -> bool {
    events.next().now_or_never().is_none()
}

/// What a node holds in these scopes: version and value by path.
fn held(node: &Node, scopes: &[Scope]) -> BTreeMap<String, (Dot, String)> {
    let entries = node.scan("").unwrap().entries().map(Result::unwrap);
    let covered = entries.filter(|entry| scopes.iter().any(|scope| scope.covers(&entry.path)));
    covered.map(|entry| (entry.path.to_string(), shown(&entry).unwrap())).collect()
}

fn shown(entry: &Entry) -> Option<(Dot, String)> {
    entry.value.as_ref().map(|value| (entry.version, value.as_str().to_owned()))
}

#[tokio::test]
async fn a_subscriber_goes_on_where_it_was_after_every_restart() {
    let directory = TempDir::new().unwrap();
    let node = open(directory.path()).await;
    let mut events = node.subscribe("").unwrap();
    node.put("a", &0).await.unwrap();
    let (_, mut token) = change(&mut events).await;
    drop(events);
    node.close().await.unwrap();
    for round in 1..4 {
        let node = open(directory.path()).await;
        node.put("b", &round).await.unwrap();
        let text = token.to_string();
        let mut events = node.subscribe_scope(scope(""), From::Token(text.parse().unwrap())).unwrap();
        let (entry, reached) = change(&mut events).await;
        assert_eq!(entry.path.as_str(), "b");
        assert_eq!(entry.get::<i32>().unwrap(), round);
        assert!(is_silent(&mut events), "nothing is told again");
        token = reached;
        drop(events);
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_token_of_another_node_is_told_so_and_gets_everything() {
    let (a, b) = (memory().await, memory().await);
    for node in [&a, &b] {
        node.put("x", &1).await.unwrap();
        node.put("y", &2).await.unwrap();
    }
    let token = a.subscribe("").unwrap().token();
    let mut events = b.subscribe_scope(scope(""), From::Token(token)).unwrap();
    assert_eq!(resync(&mut events).await, ResyncReason::OtherFeed);
    assert_eq!(told(&mut events).await, ("x".into(), Some("1".into())));
    assert_eq!(told(&mut events).await, ("y".into(), Some("2".into())));
    let (count, token) = snapshot_end(&mut events).await;
    assert_eq!(count, 2);
    assert!(is_silent(&mut events));
    // The token it was given instead is good.
    let mut events = b.subscribe_scope(scope(""), From::Token(token)).unwrap();
    b.put("x", &3).await.unwrap();
    assert_eq!(told(&mut events).await, ("x".into(), Some("3".into())));
    assert_eq!(b.status().await.unwrap().feed.resyncs, 1);
}

#[tokio::test]
async fn a_token_from_before_a_restore_does_not_hide_what_the_restored_node_does() {
    let directory = TempDir::new().unwrap();
    let live = directory.path().join("live");
    let backup = directory.path().join("backup");
    let node = open(&live).await;
    node.put("kept", &1).await.unwrap();
    let at_backup = node.subscribe("").unwrap().token();
    node.close().await.unwrap();
    copy(&live, &backup);

    // Life goes on after the backup, and a subscriber follows it.
    let node = open(&live).await;
    for n in 0..5 {
        node.put(&format!("lost/{n}"), &n).await.unwrap();
    }
    let beyond = node.subscribe("").unwrap().token();
    node.close().await.unwrap();

    // The backup is restored, and gives the same sequence numbers to other changes.
    fs::remove_dir_all(&live).unwrap();
    copy(&backup, &live);
    let node = open(&live).await;
    for n in 0..9 {
        node.put(&format!("new/{n}"), &n).await.unwrap();
    }
    let mut events = node.subscribe_scope(scope("new"), From::Token(beyond)).unwrap();
    assert_eq!(resync(&mut events).await, ResyncReason::OtherFeed);
    for n in 0..9 {
        assert_eq!(told(&mut events).await.0, format!("new/{n}"));
    }
    assert_eq!(snapshot_end(&mut events).await.0, 9);

    // Up to the backup both are the same feed: whoever was there then has missed nothing but what is new.
    let mut events = node.subscribe_scope(scope(""), From::Token(at_backup)).unwrap();
    for n in 0..9 {
        assert_eq!(told(&mut events).await.0, format!("new/{n}"));
    }
    assert!(is_silent(&mut events));
    drop(events);
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_goes_on_where_it_was_cut() {
    let node = memory().await;
    for n in 0..1_000 {
        node.put(&format!("k/{n:04}"), &n).await.unwrap();
    }
    let mut mine = BTreeMap::new();
    let mut from = From::Snapshot;
    let (mut rounds, mut changes) = (0, 0);
    let count = 'told: loop {
        rounds += 1;
        let mut events = node.subscribe_scopes([scope("k"), scope("late")], from.clone()).unwrap();
        for _ in 0..150 {
            match next(&mut events).await {
                Event::Change { entry, token } => {
                    apply(&mut mine, &entry);
                    changes += 1;
                    from = From::Token(token);
                    continue;
                }
                Event::SnapshotEnd { count, token } => {
                    from = From::Token(token);
                    break 'told count;
                }
                other => panic!("{other:?}"),
            }
        }
        // Behind the reader, before it and at its place.
        node.put("k/0000", &format!("again {rounds}")).await.unwrap();
        node.put("late", &rounds).await.unwrap();
        assert!(node.delete(&format!("k/{:04}", 900 + rounds)).await.unwrap());
        assert!(node.delete(&format!("k/{:04}", rounds * 150 - 1)).await.unwrap());
    };
    assert!(rounds > 5 && count > 980 && changes == count, "{rounds} {changes} {count}");
    let mut events = node.subscribe_scopes([scope("late"), scope("k")], from).unwrap();
    while let Some(event) = events.try_next().unwrap() {
        let Event::Change { entry, .. } = event else { panic!("{event:?}") };
        apply(&mut mine, &entry);
    }
    assert_eq!(mine, held(&node, &[scope("")]));
}

#[tokio::test]
async fn a_cut_snapshot_of_other_prefixes_starts_over() {
    let node = memory().await;
    for path in ["a/1", "b/1", "c/1"] {
        node.put(path, &1).await.unwrap();
    }
    let mut events = node.subscribe_scopes([scope("b"), scope("c")], From::Snapshot).unwrap();
    let (_, within) = change(&mut events).await;
    let mut events = node.subscribe_scopes([scope("a"), scope("c")], From::Token(within.clone())).unwrap();
    assert_eq!(resync(&mut events).await, ResyncReason::OtherScopes);
    assert_eq!(told(&mut events).await.0, "a/1");
    let mut events = node.subscribe_scopes([scope("c"), scope("b")], From::Token(within)).unwrap();
    assert_eq!(told(&mut events).await.0, "c/1");
    assert_eq!(snapshot_end(&mut events).await.0, 2, "values told before the cut count");
}

#[tokio::test]
async fn a_change_is_told_once_to_whom_it_concerns() {
    let node = memory().await;
    let mut both = node.subscribe_scopes([scope("a/b"), scope("a/c/"), scope("a/b/x")], From::Now).unwrap();
    let mut below = node.subscribe("a/b/x/y").unwrap();
    let mut beside = node.subscribe("a/bb").unwrap();
    let paths = ["a/b/x", "a/c", "a/d", "a", "a/bb/1", "a/b/x/y/z", "ab"];
    for path in paths {
        node.put(path, &path).await.unwrap();
    }
    node.put("a/c", &"the end").await.unwrap();
    node.put("a", &"the end").await.unwrap();
    let mut heard: [Vec<String>; 3] = Default::default();
    for (events, heard) in [&mut both, &mut below, &mut beside].into_iter().zip(&mut heard) {
        loop {
            let (entry, _) = change(events).await;
            let is_end = entry.path.as_str() == "a" && entry.get::<String>().unwrap() == "the end";
            heard.push(entry.path.to_string());
            if is_end {
                break;
            }
        }
        heard.sort();
        heard.dedup();
    }
    assert_eq!(heard[0], ["a", "a/b/x", "a/b/x/y/z", "a/c"]);
    assert_eq!(heard[1], ["a", "a/b/x", "a/b/x/y/z"]);
    assert_eq!(heard[2], ["a", "a/bb/1"]);
    assert_eq!(node.status().await.unwrap().subscriptions, 3);
    drop((both, below, beside));
    assert_eq!(node.status().await.unwrap().subscriptions, 0);
}

#[tokio::test]
async fn a_snapshot_of_nothing_ends_too() {
    let node = memory().await;
    node.put("other", &1).await.unwrap();
    let mut events = node.subscribe_scope(scope("empty"), From::Snapshot).unwrap();
    assert_eq!(snapshot_end(&mut events).await.0, 0);
    node.put("empty/now", &1).await.unwrap();
    assert_eq!(told(&mut events).await.0, "empty/now");
}

#[tokio::test]
async fn a_quiet_subscriber_keeps_a_recent_token() {
    let node = memory().await;
    let mut quiet = node.subscribe("quiet").unwrap();
    let first = quiet.token();
    for n in 0..500 {
        node.put(&format!("noise/{n}"), &n).await.unwrap();
    }
    let started = Instant::now();
    while quiet.token() != node.subscribe("").unwrap().token() {
        assert!(is_silent(&mut quiet) && started.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
    assert_ne!(first, quiet.token());
}

#[tokio::test]
async fn a_reader_that_does_not_come_is_told_the_newest_and_counted() {
    let node = memory().await;
    let (mut one, mut many) = (node.subscribe("one").unwrap(), node.subscribe("many").unwrap());
    for n in 0..300 {
        node.put("one", &n).await.unwrap();
        node.put(&format!("many/{}", n % 150), &n).await.unwrap();
    }
    let mut last = None;
    while last != Some(299) {
        let number = change(&mut one).await.0.get::<i32>().unwrap();
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
    let mut seen = Vec::new();
    while seen.len() < 150 {
        seen.push(change(&mut many).await.0.get::<i32>().unwrap());
    }
    assert_eq!(
        seen,
        (150..300).collect::<Vec<_>>(),
        "each path once, at its newest, in the order of the feed"
    );
    let feed = node.status().await.unwrap().feed;
    assert!(feed.slow >= 1 && feed.coalesced >= 1 && feed.resyncs == 0, "{feed:?}");
}

#[tokio::test]
async fn whoever_missed_a_removal_that_is_forgotten_starts_over() {
    let directory = TempDir::new().unwrap();
    let node = open(directory.path()).await;
    node.put("gone", &1).await.unwrap();
    node.put("stays", &1).await.unwrap();
    let token = node.subscribe("").unwrap().token();
    assert!(node.delete("gone").await.unwrap());
    node.close().await.unwrap();
    // Deletes are forgotten at once from here on.
    let builder = Node::builder()
        .data_dir(directory.path())
        .tombstone_retention(Duration::ZERO)
        .collect_interval(Duration::from_millis(20));
    let node = builder.open().await.unwrap();
    let started = Instant::now();
    while node.status().await.unwrap().tombstones != 0 {
        assert!(started.elapsed() < DEADLINE, "the tombstone is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut events = node.subscribe_scope(scope(""), From::Token(token.clone())).unwrap();
    let Event::Resync { reason, oldest } = next(&mut events).await else { panic!("no resync") };
    assert_eq!(reason, ResyncReason::Forgotten);
    assert_ne!(oldest, token);
    assert_eq!(told(&mut events).await.0, "stays");
    assert_eq!(snapshot_end(&mut events).await.0, 1);
    // The oldest place that is told is one to go on from.
    let mut events = node.subscribe_scope(scope(""), From::Token(oldest)).unwrap();
    node.put("stays", &2).await.unwrap();
    assert_eq!(told(&mut events).await, ("stays".into(), Some("2".into())));
    drop(events);
    node.close().await.unwrap();
}

/// Writers, and readers that leave and come back at random places. In the end each holds what the store holds, and on
/// the way no path ever went back.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_that_come_and_go_end_with_what_the_store_holds() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let node = memory().await;
        let writers: Vec<_> = (0..3)
            .map(|me| {
                let (node, mut random) = (node.clone(), Random(seed * 100 + me));
                tokio::spawn(async move {
                    for number in 0..400_u64 {
                        let path = match random.below(10) {
                            0 => format!("w/{me}"),
                            _ => format!("w/{me}/{}", random.below(90)),
                        };
                        if random.below(4) == 0 {
                            node.delete(&path).await.unwrap();
                        } else {
                            node.put(&path, &number).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        let readers: Vec<_> = [&[""][..], &["w/0"], &["w/1", "w/2/7"], &["w/1/3", "w/0/5", "w/2"]]
            .iter()
            .map(|texts| {
                let (node, mut random) = (node.clone(), Random(random.next()));
                let scopes: Vec<Scope> = texts.iter().map(|text| scope(text)).collect();
                tokio::spawn(async move {
                    let mut mine = BTreeMap::new();
                    let mut from = From::Snapshot;
                    let mut newest: BTreeMap<String, Dot> = BTreeMap::new();
                    loop {
                        let mut events = node.subscribe_scopes(scopes.clone(), from).unwrap();
                        let stay = 1 + random.below(120);
                        let mut is_over = false;
                        for _ in 0..stay {
                            let event = match random.below(3) {
                                0 => events.try_next().unwrap(),
                                _ => Some(next(&mut events).await),
                            };
                            if let Some(Event::Change { entry, .. }) = &event {
                                let path = entry.path.to_string();
                                let before = newest.insert(path, entry.version);
                                assert!(before.is_none_or(|before| before <= entry.version), "{entry:?}");
                                apply(&mut mine, entry);
                                is_over |= entry.path.as_str() == "w";
                            }
                            assert!(!matches!(event, Some(Event::Resync { .. })), "nothing was lost");
                        }
                        from = From::Token(events.token());
                        if is_over {
                            while let Some(Event::Change { entry, .. }) = events.try_next().unwrap() {
                                apply(&mut mine, &entry);
                            }
                            return (scopes, mine);
                        }
                        if random.below(3) == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        // An ancestor of everything: each reader hears of it, again and again until all have.
        let ending = async {
            let mut number = 0;
            loop {
                node.put("w", &number).await.unwrap();
                number += 1;
            }
        };
        let finished = async {
            let mut held_by = Vec::new();
            for reader in readers {
                held_by.push(reader.await.unwrap());
            }
            held_by
        };
        let held_by = tokio::select! {
            held_by = tokio::time::timeout(DEADLINE, finished) => held_by.expect("readers end"),
            () = ending => unreachable!(),
        };
        for (scopes, mut mine) in held_by {
            let mut stored = held(&node, &scopes);
            // The one path that was still being written.
            assert!(mine.remove("w").is_some() && stored.remove("w").is_some());
            assert_eq!(mine, stored, "seed {seed}, {scopes:?}");
        }
    }
}

fn apply(mine: &mut BTreeMap<String, (Dot, String)>, entry: &Entry) {
    match shown(entry) {
        Some(shown) => mine.insert(entry.path.to_string(), shown),
        None => mine.remove(entry.path.as_str()),
    };
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn copy(from: &Directory, to: &Directory) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}
