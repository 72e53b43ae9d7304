//! Conflicts, contexts, history and receipts through the embedded API, over real stores and real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rejoin::{
    Candidate, Change, Condition, ConflictState, Custom, Error, Json, JsonLimits, Node, Observed, Outcome,
    Path, Settlement, Strategy, Write,
};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

async fn node(name: &str) -> Node {
    Node::builder().in_memory().name(name).listen("127.0.0.1:0").open().await.unwrap()
}

fn link(one: &Node, other: &Node) {
    one.add_peer(&format!("http://{}", other.local_addr().unwrap())).unwrap();
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn raw(text: &str) -> Json {
    Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap()
}

fn siblings(node: &Node, at: &str) -> usize {
    node.entry(&path(at)).unwrap().map_or(0, |entry| entry.siblings.len())
}

/// Two nodes that wrote `1` and `2` to `x` apart, and met.
async fn disagreement() -> (Node, Node) {
    let (a, b) = (node("a").await, node("b").await);
    a.put("x", &1).await.unwrap();
    b.put("x", &2).await.unwrap();
    link(&a, &b);
    eventually("both have both", async || siblings(&a, "x") == 2 && siblings(&b, "x") == 2).await;
    (a, b)
}

async fn put_over(node: &Node, at: &str, value: &str, observed: Observed) {
    let change = Change::Put(raw(value));
    node.write(Write {
        path: path(at),
        change,
        condition: Condition::Always,
        observed,
        ttl: None,
        once: None,
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_open_conflict_is_listed_and_a_settled_one_stays_in_history() {
    let (a, b) = disagreement().await;
    a.put("calm", &0).await.unwrap();
    let open = b.conflicts("").unwrap().state(ConflictState::Open).page().unwrap();
    assert_eq!(open.items.len(), 1, "only what is in conflict is listed");
    let entry = open.items[0].open.clone().unwrap();
    assert_eq!((entry.path.as_str(), entry.siblings.len()), ("x", 2));
    let loser = entry.siblings.iter().find(|sibling| !sibling.wins).unwrap().version;

    let settled = b.settle("x", Settlement::Keep(loser), Observed::All).await.unwrap();
    eventually("both have one", async || siblings(&a, "x") == 1 && siblings(&b, "x") == 1).await;
    for node in [&a, &b] {
        assert!(node.conflicts("").unwrap().state(ConflictState::Open).page().unwrap().items.is_empty());
        let all = node.conflicts("").unwrap().page().unwrap().items;
        assert_eq!((all.len(), all[0].settled.len()), (1, 1));
        let past = &all[0].settled[0];
        assert_eq!(past.by, Some(settled.dot));
        let outcomes: Vec<_> = past.versions.iter().map(|row| (row.outcome(), row.version)).collect();
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.contains(&(Outcome::Lost, loser)), "{outcomes:?}");
        assert!(outcomes.contains(&(Outcome::Won, entry.version)), "{outcomes:?}");
    }
    let again = a.settle("x", Settlement::Value(raw("5")), Observed::All).await;
    assert!(matches!(again, Err(Error::NoConflict(_))), "{again:?}");
}

#[tokio::test]
async fn a_list_of_conflicts_has_pages_in_path_order() {
    let (a, b) = (node("a").await, node("b").await);
    for n in 0..30 {
        for node in [&a, &b] {
            node.put(&format!("p/{n:02}"), &n).await.unwrap();
            node.put(&format!("q/{n:02}"), &n).await.unwrap();
        }
        a.put(&format!("calm/{n}"), &n).await.unwrap();
    }
    link(&a, &b);
    eventually("all are in conflict", async || a.status().await.unwrap().conflicts == 60).await;
    // Half of them are settled, so the two indexes are read side by side.
    for n in (0..30).step_by(2) {
        a.settle(&format!("p/{n:02}"), Settlement::Value(raw("0")), Observed::All).await.unwrap();
    }
    for (state, count) in [(ConflictState::All, 30), (ConflictState::Open, 15), (ConflictState::Settled, 15)]
    {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut list = a.conflicts("p/").unwrap().state(state).limit(4);
            if let Some(cursor) = &cursor {
                list = list.cursor(cursor);
            }
            let page = list.page().unwrap();
            assert!(page.items.len() <= 4);
            seen.extend(page.items.iter().map(|item| item.path.as_str().to_owned()));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert!(seen.is_sorted() && seen.iter().all(|path| path.starts_with("p/")), "{seen:?}");
        assert_eq!(seen.len(), count, "{state:?}");
    }
    assert!(matches!(a.conflicts("").unwrap().cursor("!").page(), Err(Error::BadCursor)));
}

#[tokio::test]
async fn a_settlement_that_has_not_seen_all_versions_is_refused() {
    let (a, b) = disagreement().await;
    let context = a.context(&path("x")).unwrap();
    // A third version that its writer put beside the two.
    put_over(&b, "x", "3", Observed::These(Vec::new())).await;
    eventually("the third is there", async || siblings(&a, "x") == 3).await;
    let seen = a.observed(&path("x"), &context, Duration::ZERO).await.unwrap();
    let refused = a.settle("x", Settlement::Value(raw("9")), seen).await;
    assert!(matches!(refused, Err(Error::Unseen(_))), "{refused:?}");
    assert_eq!(siblings(&a, "x"), 3, "nothing changed");
    let seen = a.context(&path("x")).unwrap();
    let seen = a.observed(&path("x"), &seen, Duration::ZERO).await.unwrap();
    a.settle("x", Settlement::Value(raw("9")), seen).await.unwrap();
    assert_eq!(siblings(&a, "x"), 1);
}

#[tokio::test]
async fn a_write_with_an_old_context_leaves_newer_siblings() {
    let a = node("a").await;
    let nothing = a.context(&path("x")).unwrap();
    put_over(&a, "x", "1", Observed::All).await;
    let one = a.entry(&path("x")).unwrap().unwrap().context();
    assert_eq!(one, a.context(&path("x")).unwrap());
    let seen = a.observed(&path("x"), &nothing, Duration::ZERO).await.unwrap();
    put_over(&a, "x", "2", seen).await;
    assert_eq!(siblings(&a, "x"), 2, "whoever saw nothing replaces nothing");
    let seen = a.observed(&path("x"), &one, Duration::ZERO).await.unwrap();
    put_over(&a, "x", "3", seen).await;
    let left: Vec<Value> = a
        .entry(&path("x"))
        .unwrap()
        .unwrap()
        .siblings
        .iter()
        .map(|sibling| sibling.value.clone().unwrap().get().unwrap())
        .collect();
    assert_eq!(left, [json!(3), json!(2)]);
    let both = a.context(&path("x")).unwrap();
    let seen = a.observed(&path("x"), &both, Duration::ZERO).await.unwrap();
    put_over(&a, "x", "4", seen).await;
    assert_eq!(siblings(&a, "x"), 1);
    for bad in [one.replace('A', "B"), "!".to_owned(), String::new(), a.token().to_string(), "A".repeat(9000)]
    {
        let refused = a.observed(&path("x"), &bad, Duration::ZERO).await;
        assert!(matches!(refused, Err(Error::BadContext(_))), "{bad}: {refused:?}");
    }
    let other = a.observed(&path("y"), &one, Duration::ZERO).await;
    assert!(matches!(other, Err(Error::BadContext(_))), "a context is of one path");
}

#[tokio::test]
async fn a_context_of_another_node_is_waited_for() {
    let (a, b) = (node("a").await, node("b").await);
    a.put("x", &1).await.unwrap();
    let context = a.context(&path("x")).unwrap();
    let early = b.observed(&path("x"), &context, Duration::from_millis(20)).await;
    assert!(matches!(&early, Err(Error::ContextAhead(dots)) if dots.len() == 1), "{early:?}");
    let x = path("x");
    let (seen, ()) = tokio::join!(b.observed(&x, &context, DEADLINE), async { link(&b, &a) });
    put_over(&b, "x", "2", seen.unwrap()).await;
    assert_eq!(siblings(&b, "x"), 1);
}

#[tokio::test]
async fn an_old_version_can_be_brought_back() {
    let a = Node::builder().in_memory().strategy("m", Strategy::MergeFields).open().await.unwrap();
    for value in [json!({"a": 1, "b": 1}), json!({"a": 2, "c": 3})] {
        a.put("m/x", &value).await.unwrap();
        a.put("l/x", &value).await.unwrap();
    }
    for at in ["m/x", "l/x"] {
        let first = a.history(at).await.unwrap().last().unwrap().version;
        let written = a.revert(at, first).await.unwrap();
        assert_eq!(a.get::<Value>(at).await.unwrap(), Some(json!({"a": 1, "b": 1})), "{at}");
        let history = a.history(at).await.unwrap();
        assert_eq!((history.len(), history[0].superseded_by), (2, Some(written.dot)));
        assert_eq!(history[0].outcome(), Outcome::Replaced);
    }
    assert!(a.delete("l/x").await.unwrap());
    let before = a.history("l/x").await.unwrap()[0].version;
    a.revert("l/x", before).await.unwrap();
    let deleted = a.history("l/x").await.unwrap()[0].clone();
    assert_eq!(deleted.value, None);
    a.revert("l/x", deleted.version).await.unwrap();
    assert_eq!(a.get::<Value>("l/x").await.unwrap(), None, "going back to a delete deletes");
    let unknown = rejoin::Dot { seq: 999, ..before };
    assert!(matches!(a.revert("l/x", unknown).await, Err(Error::NoSuchVersion)));
}

#[tokio::test]
async fn a_receipt_tells_who_holds_a_write() {
    let (a, b, c) = (node("a").await, node("b").await, node("c").await);
    link(&b, &a);
    link(&c, &b);
    let written = a.put("x", &1).await.unwrap();
    let receipt = a.receipt(&[written.dot], 2, DEADLINE).await.unwrap();
    assert!(receipt.complete);
    let mut holders = receipt.holders;
    holders.sort_unstable();
    let mut others = vec![b.info().id, c.info().id];
    others.sort_unstable();
    assert_eq!(holders, others, "the node behind the peer counts too");
    assert_eq!(c.get::<i64>("x").await.unwrap(), Some(1), "who gives a receipt has the write");
    let short = a.receipt(&[written.dot], 3, Duration::from_millis(200)).await.unwrap();
    assert_eq!((short.complete, short.holders.len()), (false, 2));
    assert!(a.receipt(&[written.dot], 0, Duration::ZERO).await.unwrap().complete);

    // A node that is not linked is known by what it wrote.
    let other = c.put("y", &1).await.unwrap();
    assert!(c.receipt(&[other.dot], 2, DEADLINE).await.unwrap().complete);
    let places = a.whereabouts(&path("x"), DEADLINE).await.unwrap();
    assert_eq!(places.versions, [written.dot]);
    assert!(places.nodes.iter().all(|node| node.holds), "{places:?}");
    assert!(places.nodes.iter().any(|node| node.name.as_deref() == Some("b") && node.linked));
    let none = a.whereabouts(&path("none"), Duration::ZERO).await;
    assert!(matches!(none, Err(Error::NotFound { deleted: false })), "{none:?}");
}

#[tokio::test]
async fn a_receipt_waits_for_a_peer_that_comes_later() {
    let (a, b) = (node("a").await, node("b").await);
    let written = a.put("x", &1).await.unwrap();
    let alone = a.receipt(&[written.dot], 1, Duration::from_millis(50)).await.unwrap();
    assert_eq!((alone.complete, alone.holders.is_empty()), (false, true));
    let writes = [written.dot];
    let (receipt, ()) = tokio::join!(a.receipt(&writes, 1, DEADLINE), async { link(&b, &a) });
    assert_eq!(receipt.unwrap().holders, [b.info().id]);
}

/// A function of the program must not bring the node down: what it panics over is there again after every start.
#[tokio::test]
async fn a_resolver_that_panics_has_failed_and_the_node_goes_on() {
    let panics = Custom::new("panics 1", |_: &Path, local: &Candidate, _: &Candidate| match &local.value {
        Some(_) => panic!("unwrapped what was not there"),
        None => Ok(local.clone()),
    });
    let strategy = Strategy::Custom(panics);
    let builder = Node::builder().in_memory().name("a").listen("127.0.0.1:0");
    let a = builder.strategy("x", strategy).open().await.unwrap();
    put_over(&a, "x", "1", Observed::All).await;
    put_over(&a, "x", "2", Observed::These(Vec::new())).await;

    let entry = a.entry(&path("x")).unwrap().unwrap();
    assert!(entry.resolver_failed);
    assert_eq!((entry.value, entry.siblings.len()), (Some(raw("2")), 2), "the newest is shown");
    assert!(a.metrics().resolver_failures.load(Ordering::Relaxed) > 0);

    a.put("y", &1).await.unwrap();
    put_over(&a, "x", "3", Observed::All).await;
    assert_eq!(a.entry(&path("x")).unwrap().unwrap().value, Some(raw("3")));
    a.close().await.unwrap();
}
