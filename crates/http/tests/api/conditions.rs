//! If-Match, If-None-Match, and strategies that refuse.

use rejoin::{Node, Strategy};
use rejoin_http::ServeOptions;
use serde_json::json;

use crate::client::Server;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn writes_happen_only_under_their_condition() {
    let server = Server::memory().await;
    let create = [JSON, ("if-none-match", "*")];
    let created = server.send("PUT", "/api/a", &create, "1.0").await;
    assert_eq!(created.status, 201);
    let first = created.header("etag").unwrap().to_owned();

    let before = server.state();
    let failed = server.send("PUT", "/api/a", &create, "2").await;
    let body = failed.assert_problem(412, "precondition_failed");
    assert!(failed.text().contains("\"value\":1.0"), "{}", failed.text());
    assert_eq!(body["etag"], created.json()["etag"]);
    assert_eq!(failed.header("etag"), Some(first.as_str()));
    server
        .send("PUT", "/api/a", &[JSON, ("if-match", "\"0\"")], "2")
        .await
        .assert_problem(412, "precondition_failed");
    let absent = server.send("PUT", "/api/none", &[JSON, ("if-match", "*")], "2").await;
    let body = absent.assert_problem(412, "precondition_failed");
    assert_eq!((&body["etag"], body.get("value")), (&json!(null), None));
    server
        .send("PUT", "/api/a", &[JSON, ("if-match", "*"), ("if-none-match", "*")], "2")
        .await
        .assert_problem(400, "invalid_header");
    server
        .send("PUT", "/api/a", &[JSON, ("if-match", "abc")], "2")
        .await
        .assert_problem(400, "invalid_header");
    server
        .send("DELETE", "/api/a", &[("if-match", "\"0\"")], "")
        .await
        .assert_problem(412, "precondition_failed");
    assert_eq!(server.state(), before);

    let replaced = server.send("PUT", "/api/a", &[JSON, ("if-match", &first)], "2").await;
    assert_eq!(replaced.status, 200);
    let second = replaced.header("etag").unwrap().to_owned();
    server
        .send("PUT", "/api/a", &[JSON, ("if-match", &first)], "3")
        .await
        .assert_problem(412, "precondition_failed");
    // The envelope's tag names the same version.
    let envelope = server.get("/api/a?meta=true").await.header("etag").unwrap().to_owned();
    assert_ne!(envelope, second);
    let patch = [("content-type", "application/merge-patch+json"), ("if-match", &envelope)];
    let third = server.send("PATCH", "/api/a", &patch, "3").await;
    assert_eq!(third.status, 200);
    assert_eq!(
        server.send("DELETE", "/api/a", &[("if-match", third.header("etag").unwrap())], "").await.status,
        200
    );
    assert_eq!(server.send("PUT", "/api/a", &create, "4").await.status, 201);
}

#[tokio::test]
async fn reads_answer_only_what_is_new() {
    let server = Server::memory().await;
    server.put("/api/a", "1").await;
    let etag = server.get("/api/a").await.header("etag").unwrap().to_owned();
    let weak = format!("W/{etag}");
    for tag in [etag.as_str(), "*", &weak] {
        let answer = server.send("GET", "/api/a", &[("if-none-match", tag)], "").await;
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert!(answer.header("rejoin-token").is_some());
    }
    let bare = [("if-none-match", etag.as_str())];
    assert_eq!(server.send("GET", "/api/a?meta=true", &bare, "").await.status, 200);
    assert_eq!(server.send("GET", "/api/a", &[("if-match", &etag)], "").await.status, 200);
    let failed = server.send("GET", "/api/a", &[("if-match", "\"0\"")], "").await;
    assert_eq!(failed.assert_problem(412, "precondition_failed")["value"], 1);
    server.put("/api/a", "2").await;
    assert_eq!(server.send("GET", "/api/a", &bare, "").await.text(), "2");
}

#[tokio::test]
async fn first_write_wins_refuses_the_second() {
    let builder = Node::builder().in_memory().strategy("locks", Strategy::FirstWriteWins);
    let server = Server::with(builder, ServeOptions::default()).await;
    let first = server.put("/api/locks/a", "\"mine\"").await;
    assert_eq!(first.status, 201);
    let before = server.state();
    let second = server.put("/api/locks/a", "\"no, mine\"").await;
    let body = second.assert_problem(409, "rejected_by_strategy");
    assert_eq!(body["value"], "mine");
    assert_eq!(body["applied"], false);
    assert_eq!(body["etag"], first.json()["etag"]);
    assert_eq!(server.state(), before);
}

#[tokio::test]
async fn tokens_wait_for_what_they_name() {
    let (a, b) = (Server::memory().await, Server::memory().await);
    let written = a.put("/api/x", "1").await;
    let token = written.header("rejoin-token").unwrap().to_owned();
    assert_eq!(a.send("GET", "/api/x", &[("rejoin-token", &token)], "").await.status, 200);
    let behind = b.send("GET", "/api/x", &[("rejoin-token", &token), ("rejoin-wait", "10ms")], "").await;
    let body = behind.assert_problem(503, "not_caught_up");
    assert_eq!(behind.header("retry-after"), Some("1"));
    assert_eq!(body["retryable"], true);
    assert_eq!(body["missing"]["count"], 1);
    assert_eq!(body["missing"]["writes"][0]["first"], written.json()["version"]);

    // The request waits while the peer's write arrives.
    let wait = [("rejoin-token", token.as_str()), ("rejoin-wait", "20s")];
    let mut reader = b.connect().await;
    reader.begin("GET", "/api/x", &wait, "").await;
    let url = format!("{{\"url\":\"http://{}\"}}", a.addr);
    assert_eq!(b.send("POST", "/api/_peers", &[JSON], &url).await.status, 201);
    let read = reader.answer(false).await;
    assert_eq!((read.status, read.text().as_str()), (200, "1"));
    assert_eq!(read.header("etag"), written.header("etag"), "the same on every node");

    // Absence is an answer too: whoever saw the delete does not see the value again.
    let gone = a.delete("/api/x").await;
    let absent = a.get("/api/x").await;
    absent.assert_problem(404, "not_found");
    let token = absent.header("rejoin-token").expect("an absence is read in a session").to_owned();
    assert_eq!(gone.header("rejoin-token"), Some(token.as_str()));
    let wait = [("rejoin-token", token.as_str()), ("rejoin-wait", "20s")];
    let read = b.send("GET", "/api/x", &wait, "").await;
    assert_eq!(read.assert_problem(404, "not_found")["reason"], "deleted");
    assert!(b.send("GET", "/api/scan/", &wait, "").await.json()["items"].as_array().unwrap().is_empty());
    let refused = b.send("PUT", "/api/x", &[JSON, ("if-match", "*"), wait[0], wait[1]], "2").await;
    refused.assert_problem(412, "precondition_failed");
    assert!(refused.header("rejoin-token").is_some());

    // Answers that crossed each other leave several tokens: all of them count.
    let lonely = Server::memory().await;
    let other = lonely.put("/api/y", "1").await.header("rejoin-token").unwrap().to_owned();
    let both = format!("{token}, {other}");
    b.send("GET", "/api/x", &[("rejoin-token", &both)], "").await.assert_problem(503, "not_caught_up");
    let both = [("rejoin-token", token.as_str()), ("rejoin-token", other.as_str())];
    let behind = b.send("GET", "/api/x", &both, "").await;
    behind.assert_problem(503, "not_caught_up");
    assert_eq!(behind.header("rejoin-token"), None, "nothing was read");

    b.send("GET", "/api/x", &[("rejoin-token", "!")], "").await.assert_problem(400, "invalid_token");
    b.send("GET", "/api/x", &[("rejoin-token", &token), ("rejoin-wait", "soon")], "")
        .await
        .assert_problem(400, "invalid_header");
}
