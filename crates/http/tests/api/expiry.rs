//! Values that end: `?ttl=`, `Rejoin-TTL`, and what every way of reading makes of them.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Client, Server};

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");

/// The next event of a stream of lines.
async fn event(client: &mut Client) -> Value {
    loop {
        let piece = client.chunk().await.expect("the stream ended");
        if piece != b"\n" {
            return serde_json::from_slice(&piece).unwrap();
        }
    }
}

async fn until_gone(server: &Server, target: &str) {
    let started = Instant::now();
    while server.get(target).await.status != 404 {
        assert!(started.elapsed().as_secs() < 20, "{target} does not end");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_write_says_when_its_value_ends_and_a_read_what_is_left() {
    let server = Server::memory().await;
    for (target, header) in [("/api/a?ttl=10m", None), ("/api/b", Some(("rejoin-ttl", "10m")))] {
        let headers: Vec<_> = [JSON].into_iter().chain(header).collect();
        let put = server.send("PUT", target, &headers, "1").await;
        assert_eq!(put.status, 201, "{}", put.text());
        let put = put.json();
        let expires = put["expires"].as_u64().unwrap();
        let written = put["timestamp"].as_u64().unwrap();
        assert_eq!(expires, written + 600_000, "{put}");
        let read = server.get(&target.replace("?ttl=10m", "")).await;
        let left = read.header("rejoin-ttl").unwrap().to_owned();
        let left: rejoin::Ttl = left.parse().unwrap();
        assert!(left.ms() <= 600_000, "{left}");
        let envelope = server.get(&format!("{}?meta=true", target.replace("?ttl=10m", ""))).await.json();
        assert_eq!(envelope["expires"], expires);
    }
    let patched = server.send("PATCH", "/api/a?ttl=1h", &[JSON], "2").await;
    assert!(patched.json()["expires"].is_u64(), "{}", patched.text());
    // Without a time of its own a write takes the time away.
    assert_eq!(server.put("/api/a", "3").await.json().get("expires"), None);
    assert_eq!(server.get("/api/a").await.header("rejoin-ttl"), None);
}

#[tokio::test]
async fn a_value_that_ended_is_gone_for_every_reader_and_told_as_expire() {
    let server = Server::memory().await;
    let mut watch = server.connect().await;
    watch.begin("GET", "/api/_changes?prefix=sessions/", &[LINES], "").await;
    watch.head().await;
    server.put("/api/sessions/b", "1").await;
    let put = server.send("PUT", "/api/sessions/a?ttl=2s", &[JSON], "{\"n\":1}").await.json();
    assert_eq!(event(&mut watch).await["path"], "sessions/b");
    let told = event(&mut watch).await;
    assert_eq!((&told["op"], &told["version"]), (&json!("put"), &put["version"]));
    let told = event(&mut watch).await;
    assert_eq!((&told["op"], &told["path"]), (&json!("expire"), &json!("sessions/a")));
    assert!(told["version"].is_string() && told.get("value").is_none(), "{told}");
    until_gone(&server, "/api/sessions/a").await;
    let gone = server.get("/api/sessions/a").await;
    assert_eq!(gone.json()["reason"], "deleted");
    assert_eq!(gone.header("rejoin-ttl"), None);
    assert_eq!(server.get("/api/scan/sessions/").await.json()["items"].as_array().unwrap().len(), 1);
    let count = server.send("HEAD", "/api/scan/sessions/", &[], "").await;
    assert_eq!(count.header("rejoin-count"), Some("1"));
    assert_eq!(server.delete("/api/sessions/a").await.status, 404);

    let started = Instant::now();
    let history = loop {
        let history = server.get("/api/history/sessions/a").await.json();
        if !history["items"].as_array().unwrap().is_empty() {
            break history;
        }
        assert!(started.elapsed().as_secs() < 20, "the delete is not written");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!(history["items"][0]["outcome"], "expired");
    assert_eq!(history["items"][0]["value"], json!({"n": 1}));
    let explained = server.get("/api/_explain/sessions/a").await.json();
    assert_eq!((&explained["deleted"], &explained["versions"][0]["op"]), (&json!(true), &json!("expire")));
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("rejoin_storage_expired_values_total 1"), "{metrics}");
    // What was there is in the way of nothing.
    let created = server.send("PUT", "/api/sessions/a", &[JSON, ("if-none-match", "*")], "2").await;
    assert_eq!(created.status, 201, "{}", created.text());
    let history = server.get("/api/history/sessions/a").await.json();
    assert_eq!(history["items"][0]["op"], "expire", "the delete is in history like any other");
}

#[tokio::test]
async fn operations_of_a_batch_have_times_of_their_own() {
    let server = Server::memory().await;
    for atomic in [false, true] {
        let body = json!({"atomic": atomic, "operations": [
            {"op": "put", "path": "short", "value": 1, "ttl": "200ms"},
            {"op": "put", "path": "long", "value": 2, "ttl": "1h"},
            {"op": "put", "path": "lasting", "value": 3},
        ]});
        let answer = server.send("POST", "/api/_batch", &[JSON], &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let results = answer.json()["results"].clone();
        assert!(results[0]["expires"].as_u64() < results[1]["expires"].as_u64(), "{results}");
        assert_eq!(results[2].get("expires"), None);
        until_gone(&server, "/api/short").await;
        for path in ["/api/long", "/api/lasting"] {
            assert_eq!(server.get(path).await.status, 200, "members of a batch end one by one");
        }
    }
    let lines = "{\"path\":\"line\",\"value\":1,\"ttl\":\"1h\"}\n";
    server.send("POST", "/api/_batch", &[("content-type", "application/x-ndjson")], lines).await;
    assert!(server.get("/api/line").await.header("rejoin-ttl").is_some());
    let body = json!({"operations": [
        {"op": "delete", "path": "long", "ttl": "1h"},
        {"op": "put", "path": "long", "value": 1, "ttl": "soon"},
    ]});
    let results =
        server.send("POST", "/api/_batch", &[JSON], &body.to_string()).await.json()["results"].clone();
    assert_eq!(
        (&results[0]["error"], &results[1]["error"]),
        (&json!("invalid_operation"), &json!("invalid_ttl"))
    );
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_and_nothing_is_written() {
    let server = Server::memory().await;
    let before = server.state();
    for ttl in ["", "10", "0s", "-1s", "1.5h", "10%20m", "1w", "3651d", "99999999999999999999d", "soon"] {
        let refused = server.send("PUT", &format!("/api/a?ttl={ttl}"), &[JSON], "1").await;
        let problem = refused.json();
        assert_eq!((refused.status, &problem["error"]), (400, &json!("invalid_ttl")), "{ttl}: {problem}");
        assert!(problem["message"].as_str().unwrap().contains("10m"), "it says how: {problem}");
    }
    let twice = server.send("PUT", "/api/a?ttl=1s", &[JSON, ("rejoin-ttl", "1s")], "1").await;
    assert_eq!(twice.status, 400, "{}", twice.text());
    for (method, target, body) in [
        ("DELETE", "/api/a", ""),
        ("POST", "/api/history/a", "{\"version\":\"x\"}"),
        ("POST", "/api/_conflicts/a", "{\"value\":1}"),
    ] {
        let refused = server.send(method, target, &[JSON, ("rejoin-ttl", "1s")], body).await;
        assert_eq!(refused.status, 400, "{method} {target}: {}", refused.text());
    }
    assert_eq!(server.send("DELETE", "/api/a?ttl=1s", &[], "").await.status, 400);
    assert_eq!(server.state(), before);
}
