//! The simple change stream: lines and server-sent events.

use serde_json::{Value, json};

use crate::client::{Client, Server};

/// The next event of a stream of lines.
async fn event(client: &mut Client) -> Value {
    loop {
        let piece = client.chunk().await.expect("the stream ended");
        if piece != b"\n" {
            return serde_json::from_slice(&piece).unwrap();
        }
    }
}

#[tokio::test]
async fn lines_tell_values_then_changes() {
    let server = Server::memory().await;
    server.put("/api/users/a", "1.0").await;
    server.put("/api/rooms/a", "2").await;
    let mut client = server.connect().await;
    client
        .begin("GET", "/api/_changes?prefix=users/&snapshot=true", &[("accept", "application/x-ndjson")], "")
        .await;
    let head = client.head().await;
    assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
    let first = event(&mut client).await;
    assert_eq!(
        (&first["event"], &first["path"], &first["op"]),
        (&json!("change"), &json!("users/a"), &json!("put"))
    );
    assert_eq!(first["value"], json!(1.0));
    let end = event(&mut client).await;
    assert_eq!((&end["event"], &end["count"]), (&json!("snapshot-end"), &json!(1)));
    assert!(end["token"].is_string());
    server.put("/api/rooms/b", "3").await;
    let put = server.put("/api/users/b", "{\"x\":null}").await.json();
    let change = event(&mut client).await;
    assert_eq!(change["path"], "users/b");
    for member in ["version", "timestamp", "value"] {
        assert_eq!(change[member], put[member]);
    }
    assert_eq!(change["origin"], server.node.info().id.to_string());
    assert_eq!(change["conflicts"], 0);
    server.delete("/api/users/b").await;
    let change = event(&mut client).await;
    assert_eq!((&change["op"], change.get("value")), (&json!("delete"), None));
    // An ancestor's change matters to what is below it.
    server.put("/api/users", "0").await;
    assert_eq!(event(&mut client).await["path"], "users");

    let node = server.stopped().await;
    assert_eq!(event(&mut client).await["event"], "closing");
    assert_eq!(client.chunk().await, None);
    node.close().await.unwrap();
}

#[tokio::test]
async fn events_tell_the_same() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    client
        .begin("GET", "/api/_changes?snapshot=true&heartbeat=1000", &[("accept", "text/event-stream")], "")
        .await;
    assert_eq!(client.head().await.header("content-type"), Some("text/event-stream"));
    let mut text = String::new();
    while !text.contains("event: snapshot-end\ndata: {\"token\":") {
        text += &String::from_utf8(client.chunk().await.unwrap()).unwrap();
    }
    // Quiet streams show that they live.
    assert_eq!(client.chunk().await.unwrap(), b":\n\n");
    server.put("/api/a", "[1.0]").await;
    text.clear();
    while !text.contains("event: change\n") {
        text += &String::from_utf8(client.chunk().await.unwrap()).unwrap();
    }
    assert!(text.contains("data: {\"path\":\"a\",\"op\":\"put\",\"value\":[1.0],\"version\":"), "{text}");
}

#[tokio::test]
async fn without_a_snapshot_only_what_comes_is_told() {
    let server = Server::memory().await;
    server.put("/api/old", "1").await;
    let mut client = server.connect().await;
    client.begin("GET", "/api/_changes?since=now", &[], "").await;
    assert_eq!(client.head().await.status, 200);
    server.put("/api/new", "1").await;
    assert_eq!(event(&mut client).await["path"], "new");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_subscription() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    client.begin("GET", "/api/_changes", &[], "").await;
    client.head().await;
    assert_eq!(server.get("/api/status").await.json()["subscriptions"], 1);
    drop(client);
    while server.get("/api/status").await.json()["subscriptions"] != 0 {}
}

#[tokio::test]
async fn what_is_not_there_yet_is_named() {
    let server = Server::memory().await;
    for (target, headers, hint) in [
        ("/api/_changes?feed=longpoll", &[][..], "feed=normal"),
        ("/api/_changes?since=abc", &[], "snapshot=true"),
        ("/api/_changes?limit=3", &[], "enough"),
        ("/api/_changes", &[("last-event-id", "7")], "snapshot=true"),
        ("/api/_changes?feed=x", &[], "feed=normal"),
        ("/api/_changes?heartbeat=1", &[], "1000 to 300000"),
        ("/api/_changes?prefx=a", &[], "`prefix`"),
        ("/api/_changes?prefix=a&prefix=b", &[], "once"),
    ] {
        let body = server.send("GET", target, headers, "").await.assert_problem(400, "invalid_parameter");
        assert!(body["hint"].as_str().unwrap().contains(hint), "{target}: {body}");
    }
    server.get("/api/_changes?prefix=a//b").await.assert_problem(400, "invalid_path");
}
