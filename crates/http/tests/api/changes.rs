//! The change feed: lines, server-sent events, one answer, and going on from a token.

use serde_json::{Value, json};

use crate::client::{Client, Server};

const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const SERVER_SENT: (&str, &str) = ("accept", "text/event-stream");

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
    for member in ["version", "etag", "timestamp", "value"] {
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
    client.begin("GET", "/api/_changes?since=now", &[LINES], "").await;
    assert_eq!(client.head().await.status, 200);
    server.put("/api/new", "1").await;
    assert_eq!(event(&mut client).await["path"], "new");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_subscription() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    client.begin("GET", "/api/_changes", &[LINES], "").await;
    client.head().await;
    assert_eq!(server.get("/api/status").await.json()["subscriptions"], 1);
    drop(client);
    while server.get("/api/status").await.json()["subscriptions"] != 0 {}
}

/// Opens a stream of lines.
async fn lines(server: &Server, query: &str) -> Client {
    let mut client = server.connect().await;
    client.begin("GET", &format!("/api/_changes?{query}"), &[LINES], "").await;
    assert_eq!(client.head().await.status, 200, "{query}");
    client
}

/// One answer with what there is.
async fn page(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/api/_changes?{query}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{query}");
    answer.json()
}

fn paths(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["path"].as_str().unwrap_or(item["event"].as_str().unwrap())).collect()
}

fn token(of: &Value) -> &str {
    of["token"].as_str().unwrap()
}

#[tokio::test]
async fn a_stream_goes_on_behind_any_token() {
    let server = Server::memory().await;
    server.put("/api/a", "1").await;
    server.put("/api/b", "2").await;
    let mut client = lines(&server, "since=0").await;
    let within = event(&mut client).await;
    assert_eq!(within["path"], "a");
    drop(client);

    // Within the snapshot.
    server.put("/api/c", "3").await;
    let mut client = lines(&server, &format!("since={}", token(&within))).await;
    assert_eq!(event(&mut client).await["path"], "b");
    assert_eq!(event(&mut client).await["path"], "c");
    assert_eq!(event(&mut client).await["count"], 3);
    // It was written while the values were being told: so it is told as a change as well.
    assert_eq!(event(&mut client).await["path"], "c");
    drop(client);

    // Behind it, with the header that browsers send, which wins over the URL.
    let now = page(&server, "since=now").await;
    server.put("/api/d", "4").await;
    let mut client = server.connect().await;
    let headers = [SERVER_SENT, ("last-event-id", token(&now))];
    client.begin("GET", "/api/_changes?since=0", &headers, "").await;
    assert_eq!(client.head().await.status, 200);
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        text += &String::from_utf8(client.chunk().await.unwrap()).unwrap();
    }
    assert!(text.starts_with("id: ") && text.contains("event: change\ndata: {\"path\":\"d\""), "{text}");
}

#[tokio::test]
async fn several_prefixes_are_one_stream() {
    let server = Server::memory().await;
    let mut client = lines(&server, "since=now&prefix=users/&prefix=rooms/1&prefix=users/x").await;
    for path in ["users/x", "rooms/1/seat", "rooms/2", "other", "rooms", "users"] {
        server.put(&format!("/api/{path}"), "1").await;
        if !matches!(path, "rooms/2" | "other") {
            assert_eq!(event(&mut client).await["path"], *path);
        }
    }
}

#[tokio::test]
async fn a_stream_ends_behind_as_many_changes_as_were_asked_for() {
    let server = Server::memory().await;
    for n in 0..5 {
        server.put(&format!("/api/k/{n}"), "1").await;
    }
    let mut client = lines(&server, "since=0&limit=2").await;
    let kinds = [event(&mut client).await, event(&mut client).await, event(&mut client).await];
    assert_eq!([&kinds[0]["path"], &kinds[1]["path"], &kinds[2]["event"]], ["k/0", "k/1", "closing"]);
    assert_eq!(client.chunk().await, None);
    // The end of a snapshot that fits is told.
    let mut client = lines(&server, "since=0&limit=5").await;
    for _ in 0..5 {
        assert_eq!(event(&mut client).await["event"], "change");
    }
    assert_eq!(event(&mut client).await["event"], "snapshot-end");
    assert_eq!(event(&mut client).await["event"], "closing");
}

#[tokio::test]
async fn one_answer_holds_what_there_is_and_where_to_go_on() {
    let server = Server::memory().await;
    let empty = page(&server, "since=0").await;
    assert_eq!((paths(&empty), &empty["more"]), (vec!["snapshot-end"], &json!(false)));
    for n in 0..7 {
        server.put(&format!("/api/k/{n}"), &n.to_string()).await;
    }
    // The current values, page by page, while they change.
    let first = page(&server, "since=0&limit=4&prefix=k").await;
    assert_eq!((paths(&first), &first["more"]), (vec!["k/0", "k/1", "k/2", "k/3"], &json!(true)));
    server.delete("/api/k/1").await;
    server.put("/api/other", "1").await;
    let rest = page(&server, &format!("since={}&prefix=k", token(&first))).await;
    assert_eq!(paths(&rest), ["k/4", "k/5", "k/6", "snapshot-end", "k/1"]);
    assert_eq!((&rest["items"][3]["count"], &rest["items"][4]["op"]), (&json!(7), &json!("delete")));
    let nothing = page(&server, &format!("feed=normal&since={}&prefix=k", token(&rest))).await;
    assert_eq!((paths(&nothing), &nothing["more"]), (vec![], &json!(false)));
    // What was answered is there at once.
    for round in 0..20 {
        let put = server.put("/api/k/9", &round.to_string()).await.json();
        let page = page(&server, &format!("since={}&prefix=k", token(&nothing))).await;
        assert_eq!((paths(&page), &page["items"][0]["version"]), (vec!["k/9"], &put["version"]));
    }
}

#[tokio::test]
async fn a_long_poll_waits_for_the_first_change() {
    let server = Server::memory().await;
    server.put("/api/old", "1").await;
    let now = page(&server, "since=now").await;
    let poll = format!("/api/_changes?feed=longpoll&heartbeat=1000&since={}", token(&now));
    let quiet = server.get(&poll).await;
    assert_eq!((quiet.status, paths(&quiet.json())), (200, vec![]), "nothing came");
    let mut client = server.connect().await;
    client.begin("GET", &poll.replace("1000", "20000"), &[], "").await;
    server.put("/api/new", "2").await;
    let answer = client.answer(false).await.json();
    assert_eq!(paths(&answer), ["new"]);
    // What is there already is answered at once.
    let again = server.get(&poll.replace("1000", "300000")).await.json();
    assert_eq!(paths(&again), ["new"]);
    // One that waits is answered when the server stops.
    let mut client = server.connect().await;
    client.begin("GET", "/api/_changes?feed=longpoll&heartbeat=300000", &[], "").await;
    while server.get("/api/status").await.json()["subscriptions"] != 1 {}
    let node = server.stopped().await;
    assert_eq!(paths(&client.answer(false).await.json()), Vec::<&str>::new());
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_token_that_leads_nowhere_is_told_so() {
    let (server, other) = (Server::memory().await, Server::memory().await);
    for server in [&server, &other] {
        server.put("/api/a", "1").await;
    }
    let foreign = page(&other, "since=now").await;
    for feed in ["normal", "longpoll"] {
        let answer = server.get(&format!("/api/_changes?feed={feed}&since={}", token(&foreign))).await;
        let body = answer.assert_problem(410, "token_too_old");
        assert_eq!(body["retryable"], false);
        assert!(body["oldest"].is_string(), "{body}");
    }
    let mut client = lines(&server, &format!("since={}", token(&foreign))).await;
    let resync = event(&mut client).await;
    assert_eq!((&resync["event"], resync["oldest"].is_string()), (&json!("resync"), true));
    assert!(resync["reason"].as_str().unwrap().contains("another node"), "{resync}");
    assert_eq!(event(&mut client).await["path"], "a");
    assert_eq!(event(&mut client).await["event"], "snapshot-end");
    let status = server.get("/api/status").await.json();
    assert_eq!(status["feed"], json!({"slow": 0, "coalesced": 0, "resyncs": 3}));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let server = Server::memory().await;
    let many = "&prefix=a".repeat(65);
    for (target, headers, code, hint) in [
        ("/api/_changes?since=abc", &[][..], "invalid_token", "since=0"),
        ("/api/_changes", &[("last-event-id", "7")], "invalid_token", "since=0"),
        ("/api/_changes?limit=0", &[], "invalid_parameter", "1 to 1000"),
        ("/api/_changes?limit=1001", &[], "invalid_parameter", "1 to 1000"),
        ("/api/_changes?feed=x", &[], "invalid_parameter", "feed=normal"),
        ("/api/_changes?heartbeat=1", &[], "invalid_parameter", "1000 to 300000"),
        ("/api/_changes?prefx=a", &[], "invalid_parameter", "`prefix`"),
        ("/api/_changes?since=0&since=now", &[], "invalid_parameter", "once"),
        (&format!("/api/_changes?{many}"), &[], "invalid_parameter", "several feeds"),
    ] {
        let body = server.send("GET", target, headers, "").await.assert_problem(400, code);
        assert!(body["hint"].as_str().unwrap().contains(hint), "{target}: {body}");
    }
    server.get("/api/_changes?prefix=b&prefix=a//b").await.assert_problem(400, "invalid_path");
}
