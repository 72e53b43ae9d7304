//! Values that end, through the embedded API and in real time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use rejoin::{
    Change, Condition, Error, Event, From, Json, JsonLimits, Node, Observed, Outcome, Path, Scope,
    Subscription, Ttl, Write,
};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3_600);

async fn memory(name: &str) -> Node {
    Node::builder().in_memory().name(name).listen("127.0.0.1:0").open().await.unwrap()
}

fn wall_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn change(events: &mut Subscription) -> Box<rejoin::Entry> {
    loop {
        match tokio::time::timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap() {
            Event::Change { entry, .. } => return entry,
            Event::SnapshotEnd { .. } => {}
            other => panic!("not a change: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_value_ends_on_every_node_and_subscribers_hear_why() {
    let (a, b) = (memory("a").await, memory("b").await);
    a.add_peer(&format!("http://{}", b.local_addr().unwrap())).unwrap();
    let mut events = b.subscribe_scope(Scope::parse("sessions").unwrap(), From::Snapshot).unwrap();
    let written = a.put_for("sessions/7", &1, Duration::from_secs(2)).await.unwrap();
    let expires_ms = written.visible.expires_ms.unwrap();
    let put = change(&mut events).await;
    assert_eq!((put.version, put.expires_ms, put.expired), (written.dot, Some(expires_ms), false));
    let end = change(&mut events).await;
    assert!(wall_ms() >= expires_ms, "not before its time");
    assert_eq!((&end.value, end.expired), (&None, true));
    assert_eq!(end.origin(), a.info().id, "the node that wrote the value wrote its delete");
    for node in [&a, &b] {
        assert_eq!(node.get::<u8>("sessions/7").await.unwrap(), None);
        let history = node.history("sessions/7").await.unwrap();
        assert_eq!(history.iter().map(|past| past.outcome()).collect::<Vec<_>>(), [Outcome::Expired]);
        assert_eq!(history[0].superseded_by, Some(end.version));
    }
    assert_eq!(a.status().await.unwrap().tally.expired, 1);
    assert_eq!(b.status().await.unwrap().tally.expired, 0);
}

#[tokio::test]
async fn no_read_shows_a_value_whose_time_has_come() {
    let node = memory("a").await;
    let written = node.put_for("x", &1, Duration::from_millis(300)).await.unwrap();
    node.put("y", &2).await.unwrap();
    let expires_ms = written.visible.expires_ms.unwrap();
    // Whatever is shown was read before its time, by the same clock, however slow this test is.
    eventually("the value ends", async || {
        let gone = node.get::<u8>("x").await.unwrap().is_none();
        assert!(!gone || wall_ms() >= expires_ms);
        gone
    })
    .await;
    assert_eq!(node.scan("").unwrap().count().unwrap(), 1);
    let page = node.scan("").unwrap().page().unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["y"]);
    let mut events = node.subscribe_scope(Scope::parse("").unwrap(), From::Snapshot).unwrap();
    let entry = change(&mut events).await;
    assert_eq!(entry.path.as_str(), "y", "nor does a snapshot");
    // What ended is not there, so a write that wants nothing there is done.
    let absent = Write {
        path: Path::parse("x").unwrap(),
        change: Change::Put(Json::parse(b"3", &JsonLimits::default()).unwrap()),
        condition: Condition::Absent,
        observed: Observed::All,
        ttl: Some(Ttl::of(HOUR).unwrap()),
        once: None,
    };
    assert!(node.write(absent).await.unwrap().created);
}

#[tokio::test]
async fn the_end_of_a_value_survives_a_restart() {
    let directory = TempDir::new().unwrap();
    let open = async || Node::builder().data_dir(directory.path()).open().await.unwrap();
    let node = open().await;
    let written = node.put_for("x", &1, HOUR).await.unwrap();
    node.close().await.unwrap();
    let node = open().await;
    let entry = node.entry(&Path::parse("x").unwrap()).unwrap().unwrap();
    assert!(entry.value.is_some());
    assert_eq!(entry.expires_ms, written.visible.expires_ms);
    node.put("x", &2).await.unwrap();
    let entry = node.entry(&Path::parse("x").unwrap()).unwrap().unwrap();
    assert_eq!(entry.expires_ms, None, "a write without a time of its own takes it away");
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_time_out_of_bounds_is_refused_and_says_what_would_do() {
    let node = memory("a").await;
    for ttl in [Duration::ZERO, Duration::from_micros(999), HOUR * 24 * 3_651, Duration::MAX] {
        let refused = node.put_for("x", &1, ttl).await.unwrap_err();
        assert!(matches!(refused, Error::Ttl(_)), "{refused:?}");
        assert!(refused.to_string().contains("3650d"), "{refused}");
    }
    assert_eq!(node.get::<u8>("x").await.unwrap(), None, "nothing was written");
    node.put_for("x", &1, HOUR * 24 * 3_650).await.unwrap();
    for (text, ms) in
        [("1ms", 1), ("30s", 30_000), ("10m", 600_000), ("24h", 86_400_000), ("7d", 604_800_000)]
    {
        assert_eq!(text.parse::<Ttl>().unwrap().ms(), ms);
    }
    for text in ["", "10", "m", "1.5h", "-1s", "+1s", "0s", "10 m", "3651d", "99999999999999999999s", "1w"] {
        assert!(text.parse::<Ttl>().is_err(), "{text}");
    }
}
