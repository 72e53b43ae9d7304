//! Nodes that are parted, write to the same paths, and meet again: one result everywhere, and every loser listed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Launch, Proxy, Server, agree, eventually, linked, ms};

const HEALED_MAX: Duration = Duration::from_secs(40);

const STRATEGIES: &str = r#"
[conflict.path_strategies]
"last" = "last-write-wins"
"first" = "first-write-wins"
"fields" = "merge-fields"
"#;

/// Writes, and returns only when every later write anywhere has a later timestamp.
fn put(server: &Server, path: &str, value: &Value) {
    pass(&server.put(path, &value.to_string()));
}

fn delete(server: &Server, path: &str) {
    pass(&server.delete(path));
}

/// Clocks of one machine are one clock: once it has moved on, stamps are in the order of the story.
fn pass(written: &Value) {
    let stamp = written["timestamp"].as_u64().unwrap();
    eventually("the clock moves", Duration::from_secs(5), || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        if now > u128::from(stamp) { Ok(()) } else { Err(format!("{now} ms")) }
    });
}

/// Waits until a server has seen that its links are gone.
fn parted(server: &Server) {
    eventually(&format!("{} is alone", server.name()), HEALED_MAX, || {
        let peers = server.peers();
        match peers.iter().all(|peer| peer["state"] != "connected") {
            true => Ok(()),
            false => Err(format!("{peers:?}")),
        }
    });
}

/// What is expected of one path after the parted nodes have met.
struct Expected {
    path: &'static str,
    /// None: deleted.
    value: Option<Value>,
    /// The values of the versions that do not win; null for a delete.
    losers: Vec<Value>,
}

/// Checks a path on every server: value, entity tag, number of conflicts, and the losers in `_explain`.
#[track_caller]
fn check(servers: &[&Server], expected: &Expected) {
    let Expected { path, value, losers } = expected;
    let mut etags = Vec::new();
    for server in servers {
        let answer = server.send("GET", &format!("/api/{path}"), None);
        match value {
            Some(value) => {
                assert_eq!(answer.status, 200, "{path} on {}: {}", server.name(), answer.text());
                assert_eq!(answer.json(), *value, "{path} on {}", server.name());
                let conflicts = (!losers.is_empty()).then(|| losers.len().to_string());
                assert_eq!(answer.header("rejoin-conflicts"), conflicts.as_deref(), "{path}");
                etags.push(answer.header("etag").expect("a value has an entity tag").to_owned());
            }
            None => {
                assert_eq!(answer.status, 404, "{path} on {}: {}", server.name(), answer.text());
                assert_eq!(answer.json()["reason"], "deleted", "{path} on {}", server.name());
            }
        }
        let explained = server.explain(path);
        etags.push(format!("\"{}\"", explained["etag"].as_str().unwrap()));
        let versions = explained["versions"].as_array().unwrap();
        let mut listed: Vec<Value> =
            versions.iter().filter(|version| version["wins"] == false).map(shown).collect();
        let mut wanted = losers.clone();
        listed.sort_by_key(Value::to_string);
        wanted.sort_by_key(Value::to_string);
        assert_eq!(listed, wanted, "losers of {path} on {}: {explained}", server.name());
    }
    etags.dedup();
    assert_eq!(etags.len(), 1, "one entity tag of {path} everywhere: {etags:?}");
}

/// The value of a version; null for a delete.
fn shown(version: &Value) -> Value {
    match version["op"].as_str() {
        Some("delete") => Value::Null,
        _ => version["value"].clone(),
    }
}

/// Resolves a conflict by a write on one server and finds every former version in the history of all.
#[track_caller]
fn resolve(servers: &[&Server], at: usize, path: &str) {
    let versions = servers[at].explain(path)["versions"].clone();
    let mut competing: Vec<Value> = versions.as_array().unwrap().iter().map(shown).collect();
    let resolution = json!({"resolved": path});
    // A path that only takes first writes has to be deleted first.
    if servers[at].send("PUT", &format!("/api/{path}"), Some(&resolution.to_string())).status == 409 {
        delete(servers[at], path);
        put(servers[at], path, &resolution);
    }
    agree(servers, None, HEALED_MAX);
    for server in servers {
        let answer = server.ask("GET", &format!("/api/{path}"), None);
        let value = answer.json();
        assert_eq!(value["resolved"], path, "{path} on {}: {value}", server.name());
        assert_eq!(answer.header("rejoin-conflicts"), None, "{path} on {}", server.name());
        let history = server.history(path);
        let concurrent = history.iter().filter(|version| version["concurrent"] == true);
        let mut past: Vec<Value> = concurrent.map(shown).collect();
        past.sort_by_key(Value::to_string);
        competing.sort_by_key(Value::to_string);
        assert_eq!(past, competing, "history of {path} on {}: {history:?}", server.name());
    }
}

#[test]
fn two_parted_nodes_agree_again_under_every_strategy() {
    let a = Launch::new("a").quick().config(STRATEGIES).start();
    let proxy = Proxy::to(a.port());
    let b = Launch::new("b").quick().config(STRATEGIES).peer(proxy.url()).start();
    let both = [&a, &b];
    linked(&a, 1, HEALED_MAX);
    linked(&b, 1, HEALED_MAX);
    for (path, value) in [
        ("last/deleted-then-updated", json!("base")),
        ("last/updated-then-deleted", json!("base")),
        ("last/seen", json!("base")),
        ("first/deleted-then-updated", json!("base")),
        ("fields/x", json!({"one": 0, "two": 0, "three": 0})),
        ("fields/updated-then-deleted", json!({"one": 0})),
    ] {
        put(&a, path, &value);
    }
    agree(&both, None, HEALED_MAX);

    proxy.cut();
    both.iter().for_each(|server| parted(server));
    // In the order of time: whoever writes later has the later stamp.
    put(&a, "last/x", &json!({"by": "a"}));
    put(&b, "last/x", &json!({"by": "b"}));
    put(&b, "last/y", &json!([1, "b"]));
    put(&a, "last/y", &json!(null));
    put(&a, "first/x", &json!("a"));
    put(&b, "first/x", &json!("b"));
    put(&b, "first/y", &json!("b"));
    put(&a, "first/y", &json!("a"));
    put(&a, "fields/x", &json!({"one": 1, "three": "a"}));
    put(&b, "fields/x", &json!({"two": 2, "three": "b"}));
    delete(&a, "last/deleted-then-updated");
    put(&b, "last/deleted-then-updated", &json!("b"));
    put(&b, "last/updated-then-deleted", &json!("b"));
    delete(&a, "last/updated-then-deleted");
    delete(&a, "first/deleted-then-updated");
    // First-write-wins takes no second put, so the other side deletes and writes anew.
    delete(&b, "first/deleted-then-updated");
    put(&b, "first/deleted-then-updated", &json!("b"));
    put(&b, "fields/updated-then-deleted", &json!({"one": 1}));
    delete(&a, "fields/updated-then-deleted");
    // No conflict: only one side wrote.
    put(&b, "last/seen", &json!("b"));
    // Parted, each shows its own.
    assert_eq!(a.get("last/x").unwrap(), r#"{"by":"a"}"#);
    assert_eq!(b.get("last/x").unwrap(), r#"{"by":"b"}"#);
    assert_ne!(a.status()["convergence"]["digest"], b.status()["convergence"]["digest"]);

    let healed = std::time::Instant::now();
    proxy.heal();
    agree(&both, None, HEALED_MAX);
    let healed_ms = ms(healed);

    let expected = [
        Expected { path: "last/x", value: Some(json!({"by": "b"})), losers: vec![json!({"by": "a"})] },
        Expected { path: "last/y", value: Some(json!(null)), losers: vec![json!([1, "b"])] },
        Expected { path: "last/seen", value: Some(json!("b")), losers: vec![] },
        Expected { path: "last/deleted-then-updated", value: Some(json!("b")), losers: vec![json!(null)] },
        Expected { path: "last/updated-then-deleted", value: None, losers: vec![json!("b")] },
        Expected { path: "first/x", value: Some(json!("a")), losers: vec![json!("b")] },
        Expected { path: "first/y", value: Some(json!("b")), losers: vec![json!("a")] },
        Expected { path: "first/deleted-then-updated", value: Some(json!("b")), losers: vec![json!(null)] },
        Expected {
            path: "fields/updated-then-deleted",
            value: Some(json!({"one": 1})),
            losers: vec![json!(null)],
        },
    ];
    expected.iter().for_each(|expected| check(&both, expected));
    // Merged from both; the versions are whole objects, each with what its writer knew.
    for server in both {
        let merged: Value = serde_json::from_str(&server.get("fields/x").unwrap()).unwrap();
        assert_eq!(merged, json!({"one": 1, "two": 2, "three": "b"}), "{}", server.name());
        let explained = server.explain("fields/x");
        let shown: Vec<Value> = explained["versions"].as_array().unwrap().iter().map(shown).collect();
        assert_eq!(shown.len(), 2, "{explained}");
        assert!(shown.contains(&json!({"one": 1, "two": 0, "three": "a"})), "{explained}");
        assert!(shown.contains(&json!({"one": 0, "two": 2, "three": "b"})), "{explained}");
    }
    assert_eq!(a.status()["conflicts"]["open"], b.status()["conflicts"]["open"]);
    let open = a.status()["conflicts"]["open"].as_u64().unwrap();

    for (number, path) in
        ["last/x", "last/y", "last/updated-then-deleted", "first/x", "first/y"].into_iter().enumerate()
    {
        resolve(&both, number % 2, path);
    }
    assert_eq!(a.status()["conflicts"]["open"].as_u64().unwrap(), open - 5);
    println!(
        "2 parted nodes: 9 conflicting paths and 1 without conflict under 3 strategies, equal values and entity tags \
         {healed_ms} ms after the link healed; {open} open conflicts listed, 5 resolved by a write with all their \
         versions in the history of both"
    );
}

#[test]
fn three_parted_nodes_list_two_losers() {
    // Everybody dials everybody else through a way of its own.
    let plans = ["a", "b", "c"].map(|name| Launch::new(name).quick().config(STRATEGIES));
    let to = |from: usize, to: usize| (from, Proxy::to(plans[to].port()));
    let ways = [to(0, 1), to(1, 2), to(2, 0)];
    let mut servers = Vec::new();
    for (node, plan) in plans.into_iter().enumerate() {
        let dialed = ways.iter().filter(|(from, _)| *from == node);
        servers.push(dialed.fold(plan, |plan, (_, proxy)| plan.peer(proxy.url())).start());
    }
    let all: Vec<&Server> = servers.iter().collect();
    all.iter().for_each(|server| linked(server, 2, HEALED_MAX));
    put(all[0], "fields/x", &json!({"base": true}));
    agree(&all, None, HEALED_MAX);

    ways.iter().for_each(|(_, proxy)| proxy.cut());
    all.iter().for_each(|server| parted(server));
    for server in &all {
        put(server, "last/x", &json!(server.name()));
        put(server, "first/x", &json!(server.name()));
        put(server, "fields/x", &json!({"shared": server.name(), server.name(): 1}));
    }
    let healed = std::time::Instant::now();
    ways.iter().for_each(|(_, proxy)| proxy.heal());
    all.iter().for_each(|server| linked(server, 2, HEALED_MAX));
    agree(&all, None, HEALED_MAX);
    let healed_ms = ms(healed);

    let text = |text: &str| json!(text);
    check(&all, &Expected { path: "last/x", value: Some(text("c")), losers: vec![text("a"), text("b")] });
    check(&all, &Expected { path: "first/x", value: Some(text("a")), losers: vec![text("b"), text("c")] });
    for server in &all {
        let answer = server.ask("GET", "/api/fields/x", None);
        assert_eq!(answer.json(), json!({"base": true, "shared": "c", "a": 1, "b": 1, "c": 1}));
        assert_eq!(answer.header("rejoin-conflicts"), Some("2"));
    }
    resolve(&all, 1, "last/x");
    resolve(&all, 2, "first/x");
    println!(
        "3 parted nodes: 3 versions a path under 3 strategies, equal values and entity tags {healed_ms} ms after the \
         links healed, 2 losers listed each, all in the history of all after a write resolved them"
    );
}
