//! `Idempotency-Key`: a request that is sent again is done once, and gets the first answer.

use std::time::Duration;

use rejoin::Node;
use rejoin_http::ServeOptions;
use serde_json::{Value, json};

use crate::client::{Answer, Server};

const JSON: (&str, &str) = ("content-type", "application/json");
const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

fn key(key: &str) -> (&'static str, &str) {
    ("idempotency-key", key)
}

/// Method, target, headers and body.
type Request<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str);

/// Whether the second answer is the first again, and says so.
fn is_the_first_again(first: &Answer, again: &Answer) {
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    for name in ["etag", "last-modified", "location", "rejoin-version", "rejoin-context", "rejoin-conflicts"]
    {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
}

/// Times that a path was written: what it shows, and what is in its history.
async fn writes(server: &Server, path: &str) -> usize {
    let history = server.get(&format!("/api/history/{path}")).await.json();
    history["items"].as_array().unwrap().len() + 1
}

#[tokio::test]
async fn every_kind_of_write_is_done_once_and_answered_as_the_first_time() {
    let server = Server::memory().await;
    let requests: [Request<'_>; 6] = [
        ("PUT", "/api/a", vec![JSON, ("rejoin-ttl", "1h")], r#"{"n":1}"#),
        ("PATCH", "/api/a", vec![PATCH], r#"{"m":2}"#),
        ("PUT", "/api/a", vec![JSON, ("if-match", "*")], "[3]"),
        ("DELETE", "/api/a", vec![], ""),
        ("PUT", "/api/a", vec![JSON, ("if-none-match", "*")], "null"),
        ("PUT", "/api/b", vec![JSON], "1"),
    ];
    let mut first = Vec::new();
    for (at, (method, target, headers, body)) in requests.iter().enumerate() {
        let name = format!("request-{at}");
        let headers = [headers.as_slice(), &[key(&name)]].concat();
        first.push(server.send(method, target, &headers, body).await);
    }
    assert_eq!(first.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 200, 200, 200, 201, 201]);
    let state = server.state();
    for (at, (method, target, headers, body)) in requests.iter().enumerate() {
        let name = format!("request-{at}");
        let headers = [headers.as_slice(), &[key(&name)]].concat();
        is_the_first_again(&first[at], &server.send(method, target, &headers, body).await);
    }
    assert_eq!(server.state(), state);
    assert_eq!(server.get("/api/a").await.text(), "null");
    let metrics = server.get("/metrics").await.text();
    for line in ["rejoin_storage_kept_answers 6", "rejoin_storage_replayed_writes_total 6"] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test]
async fn a_key_stands_for_one_request_and_for_none_that_was_refused() {
    let server = Server::memory().await;
    let first = server.send("PUT", "/api/a", &[JSON, key("k")], r#"{"n": 1}"#).await;
    let before = server.state();
    for (method, target, headers, body) in [
        ("PUT", "/api/a", vec![JSON], r#"{"n":2}"#),
        ("PUT", "/api/b", vec![JSON], r#"{"n":1}"#),
        ("PATCH", "/api/a", vec![PATCH], r#"{"n":1}"#),
        ("PUT", "/api/a", vec![JSON, ("if-match", "*")], r#"{"n":1}"#),
        ("PUT", "/api/a?ttl=1h", vec![JSON], r#"{"n":1}"#),
        ("DELETE", "/api/a", vec![], ""),
    ] {
        let headers = [headers.as_slice(), &[key("k")]].concat();
        let refused = server.send(method, target, &headers, body).await;
        refused.assert_problem(422, "idempotency_key_reused");
    }
    assert_eq!(server.state(), before);
    // White space is not part of a value.
    let again = server.send("PUT", "/api/a", &[JSON, key("k")], r#" {"n":1} "#).await;
    is_the_first_again(&first, &again);

    // What was refused may be asked for again, and is done then.
    let only_if = [JSON, ("if-match", "*"), key("later")];
    server.send("PUT", "/api/c", &only_if, "1").await.assert_problem(412, "precondition_failed");
    server.put("/api/c", "0").await;
    let done = server.send("PUT", "/api/c", &only_if, "1").await;
    assert_eq!((done.status, done.header("idempotency-replayed")), (200, None));
}

#[tokio::test]
async fn a_key_has_1_to_64_visible_characters() {
    let server = Server::memory().await;
    let before = server.state();
    let long = "k".repeat(65);
    for bad in ["", " ", "two words", "schl\u{fc}ssel", &long] {
        for (method, target, kind, body) in
            [("PUT", "/api/a", JSON, "1"), ("POST", "/api/_batch", JSON, r#"{"operations":[]}"#)]
        {
            let refused = server.send(method, target, &[kind, key(bad)], body).await;
            refused.assert_problem(400, "invalid_idempotency_key");
        }
    }
    let twice = server.send("PUT", "/api/a", &[JSON, key("a"), key("b")], "1").await;
    twice.assert_problem(400, "invalid_header");
    assert_eq!(server.state(), before);
    assert_eq!(server.send("PUT", "/api/a", &[JSON, key(&long[1..])], "1").await.status, 201);
}

#[tokio::test]
async fn twins_that_come_at_the_same_moment_are_done_once() {
    let server = Server::memory().await;
    for round in 0..20 {
        let name = format!("twin-{round}");
        let headers = [PATCH, key(&name)];
        let body = format!(r#"{{"round":{round}}}"#);
        let (one, other) = tokio::join!(
            server.send("PATCH", "/api/a", &headers, &body),
            server.send("PATCH", "/api/a", &headers, &body)
        );
        let replayed = [&one, &other].map(|answer| answer.header("idempotency-replayed").is_some());
        assert!(replayed[0] != replayed[1], "{replayed:?}");
        assert_eq!((one.status, one.text()), (other.status, other.text()));
    }
    assert_eq!(writes(&server, "a").await, 11, "ten in history");
    assert!(server.state().len() > 1);
}

#[tokio::test]
async fn a_batch_is_one_request_and_one_of_single_writes_is_done_where_it_was_not() {
    let server = Server::memory().await;
    let atomic = json!({"atomic": true, "operations": [
        {"path": "a", "value": 1}, {"op": "patch", "path": "b", "value": {"x": 1}}, {"path": "a", "value": 2},
    ]})
    .to_string();
    let first = server.send("POST", "/api/_batch", &[JSON, key("all")], &atomic).await;
    assert_eq!(first.json()["applied"], 3);
    server.put("/api/b", "0").await;
    is_the_first_again(&first, &server.send("POST", "/api/_batch", &[JSON, key("all")], &atomic).await);
    let other = json!({"atomic": true, "operations": [{"path": "a", "value": 1}]}).to_string();
    let refused = server.send("POST", "/api/_batch", &[JSON, key("all")], &other).await;
    refused.assert_problem(422, "idempotency_key_reused");

    // One of these cannot be done yet.
    let each = json!({"operations": [
        {"path": "c", "value": 1}, {"op": "delete", "path": "d"}, {"path": "e", "value": 1},
    ]})
    .to_string();
    let first = server.send("POST", "/api/_batch", &[JSON, key("each")], &each).await;
    let statuses = |answer: &Answer| -> Vec<Value> {
        let results = answer.json()["results"].clone();
        results.as_array().unwrap().iter().map(|result| result["status"].clone()).collect()
    };
    assert_eq!(statuses(&first), [json!(201), json!(404), json!(201)]);
    is_the_first_again(&first, &server.send("POST", "/api/_batch", &[JSON, key("each")], &each).await);
    server.put("/api/d", "1").await;
    let again = server.send("POST", "/api/_batch", &[JSON, key("each")], &each).await;
    assert_eq!(again.header("idempotency-replayed"), None, "something was done");
    assert_eq!(statuses(&again), [json!(201), json!(200), json!(201)]);
    assert_eq!(again.json()["results"][0], first.json()["results"][0]);

    // As lines: each by its place.
    let lines = "{\"path\":\"f\",\"value\":1}\n{\"path\":\"g\",\"value\":1}\n";
    let kind = ("content-type", "application/x-ndjson");
    let first = server.send("POST", "/api/_batch", &[kind, key("lines")], lines).await;
    let state = server.state();
    let again = server.send("POST", "/api/_batch", &[kind, key("lines")], lines).await;
    assert_eq!(again.text(), first.text());
    assert_eq!(server.state(), state);
}

#[tokio::test]
async fn conflicts_and_old_versions_are_settled_once() {
    let server = Server::memory().await;
    let first = server.put("/api/a", "1").await;
    // A client that has read the first writes beside the second.
    let read = first.header("rejoin-context").unwrap().to_owned();
    server.put("/api/a", "2").await;
    let beside = server.send("PUT", "/api/a", &[JSON, ("rejoin-context", &read)], "3").await;
    assert_eq!(beside.header("rejoin-conflicts"), Some("1"));
    let settle = r#"{"value":4}"#;
    let settled = server.send("POST", "/api/_conflicts/a", &[JSON, key("settle")], settle).await;
    assert_eq!(settled.status, 200);
    let again = server.send("POST", "/api/_conflicts/a", &[JSON, key("settle")], settle).await;
    is_the_first_again(&settled, &again);

    let version = json!({"version": first.header("rejoin-version").unwrap()}).to_string();
    let reverted = server.send("POST", "/api/history/a", &[JSON, key("revert")], &version).await;
    assert_eq!(reverted.status, 200);
    server.put("/api/a", "5").await;
    let again = server.send("POST", "/api/history/a", &[JSON, key("revert")], &version).await;
    is_the_first_again(&reverted, &again);
    assert_eq!(server.get("/api/a").await.text(), "5");
}

#[tokio::test]
async fn another_node_that_has_the_write_gives_the_first_answer() {
    let one = Server::memory().await;
    let url = format!("http://{}", one.addr);
    let first = one.send("PUT", "/api/a", &[JSON, key("k")], r#"{"n":1}"#).await;
    // Replaced before the other hears of it.
    let last = one.put("/api/a", r#"{"n":2}"#).await;
    let other = Server::with(Node::builder().in_memory().peer(url), ServeOptions::default()).await;
    let token = last.header("rejoin-token").unwrap();
    let waited = other.send("GET", "/api/a", &[("rejoin-token", token), ("rejoin-wait", "15s")], "").await;
    assert_eq!(waited.status, 200, "{}", waited.text());
    let again = other.send("PUT", "/api/a", &[JSON, key("k")], r#"{"n":1}"#).await;
    is_the_first_again(&first, &again);
    other
        .send("PUT", "/api/a", &[JSON, key("k")], r#"{"n":3}"#)
        .await
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(other.get("/api/a").await.text(), r#"{"n":2}"#);
    assert!(other.node.wait_for(&one.node.token(), Duration::from_secs(15)).await.is_ok());
}
