//! The WebSocket of clients: several subscriptions, reads and writes on one connection.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rejoin::Node;
use rejoin_http::ServeOptions;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Server;

const PATIENCE: Duration = Duration::from_secs(20);

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(server: &Server) -> Socket {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let (socket, _) = client_async(format!("ws://{}/api/_ws", server.addr), stream).await.unwrap();
        Socket(socket)
    }

    async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message of the server; none when it has closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("the server is silent")?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Sends a message and reads its acknowledgement, which is the next message.
    async fn ask(&mut self, message: Value) -> Value {
        let id = message["id"].clone();
        self.send(message).await;
        let reply = self.next().await.unwrap();
        assert_eq!(reply["id"], id, "{reply}");
        reply
    }
}

#[tokio::test]
async fn values_are_written_read_and_deleted() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    let put = socket.ask(json!({"id": 1, "op": "put", "path": "users/é", "value": {"n": 1}})).await;
    assert_eq!((&put["ok"], &put["result"]["value"]), (&json!(true), &json!({"n": 1})));
    assert_eq!(server.get("/api/users/%C3%A9").await.json(), json!({"n": 1}));
    let got = socket.ask(json!({"id": "x", "op": "get", "path": "users/é"})).await;
    for member in ["version", "etag", "timestamp", "vectorClock", "value", "path"] {
        assert_eq!(got["result"][member], put["result"][member], "{member}");
    }
    // Text arrives as it was sent.
    socket.text("{\"id\":2,\"op\":\"put\",\"path\":\"exact\",\"value\":[1.0, 2e3,null]}").await;
    assert_eq!(socket.next().await.unwrap()["ok"], true);
    assert_eq!(server.get("/api/exact").await.text(), "[1.0,2e3,null]");
    let deleted = socket.ask(json!({"id": 3, "op": "delete", "path": "exact"})).await;
    assert_eq!((&deleted["result"]["deleted"], deleted["result"].get("value")), (&json!(true), None));
    assert_eq!(server.get("/api/exact").await.status, 404);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_answered_with_the_limit() {
    let server = Server::memory().await;
    let largest = (1 << 20) + 192 * 1024;
    for bytes in [largest + 1, 8 << 20] {
        let mut socket = Socket::open(&server).await;
        // The client sends all of it before it reads anything.
        socket.text(&"x".repeat(bytes)).await;
        let close = loop {
            match timeout(PATIENCE, socket.0.next()).await.expect("the server is silent") {
                Some(Ok(Message::Close(Some(close)))) => break close,
                Some(Ok(_)) => {}
                other => panic!("{bytes}: {other:?}"),
            }
        };
        assert_eq!(u16::from(close.code), 1009);
        assert_eq!(close.reason.as_str(), format!("a message has at most {largest} bytes"));
    }
    let mut socket = Socket::open(&server).await;
    let within = json!({"id": 1, "op": "put", "path": "a", "value": "x".repeat(1 << 20)});
    assert_eq!(socket.ask(within).await["error"], "too_large", "the value alone is answered as over HTTP");
    assert_eq!(socket.ask(json!({"id": 2, "op": "ping"})).await["ok"], true);
}

#[tokio::test]
async fn errors_have_the_one_shape_and_change_nothing() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    let etag =
        socket.ask(json!({"id": 1, "op": "put", "path": "a", "value": 1})).await["result"]["etag"].clone();
    let before = server.state();
    for (message, status, code) in [
        (json!({"id": 2, "op": "get", "path": "b"}), 404, "not_found"),
        (json!({"id": 3, "op": "delete", "path": "b"}), 404, "not_found"),
        (json!({"id": 4, "op": "put", "path": "_x/y", "value": 1}), 400, "reserved_path"),
        (json!({"id": 5, "op": "put", "path": "a//b", "value": 1}), 400, "invalid_path"),
        (
            json!({"id": 6, "op": "put", "path": "a", "value": 2, "ifNoneMatch": "*"}),
            412,
            "precondition_failed",
        ),
        (
            json!({"id": 7, "op": "put", "path": "a", "value": 2, "ifMatch": "nonsense"}),
            400,
            "invalid_header",
        ),
        (json!({"id": 8, "op": "subscribe", "prefixes": ["a//b"]}), 400, "invalid_path"),
        (json!({"id": 9, "op": "subscribe", "since": "?"}), 400, "invalid_token"),
        (json!({"id": 10, "op": "unsubscribe", "subscription": 9}), 400, "invalid_message"),
        (json!({"id": 11, "op": "put", "path": "a"}), 400, "invalid_message"),
        (json!({"id": 12, "op": "put", "path": "a", "value": "x".repeat(1 << 20)}), 413, "too_large"),
    ] {
        let reply = socket.ask(message.clone()).await;
        assert_eq!(
            (&reply["ok"], &reply["status"], &reply["error"]),
            (&json!(false), &json!(status), &json!(code))
        );
        assert!(reply["message"].as_str().unwrap().ends_with('.'), "{reply}");
        assert!(!reply["hint"].as_str().unwrap().is_empty() && reply["retryable"].is_boolean(), "{reply}");
        assert!(reply.get("path").is_some(), "{reply}");
    }
    socket.text("{\"id\":13,\"op\":\"put\",\"path\":\"a\",\"value\":{\"x\":1,\"x\":2}}").await;
    assert_eq!(socket.next().await.unwrap()["error"], "duplicate_member");
    socket.text("nonsense").await;
    assert_eq!(socket.next().await.unwrap()["id"], Value::Null);
    assert_eq!(server.state(), before, "nothing was written");
    // The condition that holds.
    let quoted = format!("\"{}\"", etag.as_str().unwrap());
    let reply = socket.ask(json!({"id": 14, "op": "put", "path": "a", "value": 2, "ifMatch": quoted})).await;
    assert_eq!(reply["ok"], true, "{reply}");
}

#[tokio::test]
async fn several_subscriptions_share_a_socket() {
    let server = Server::memory().await;
    server.put("/api/users/a", "1").await;
    let mut socket = Socket::open(&server).await;
    let users = json!({"id": "users", "op": "subscribe", "prefixes": ["users"], "snapshot": true});
    let reply = socket.ask(users.clone()).await;
    assert!(reply["result"]["token"].is_string(), "{reply}");
    let change = socket.next().await.unwrap();
    assert_eq!((&change["subscription"], &change["path"]), (&json!("users"), &json!("users/a")));
    let end = socket.next().await.unwrap();
    assert_eq!((&end["event"], &end["count"]), (&json!("snapshot-end"), &json!(1)));
    assert_eq!(socket.ask(users).await["error"], "invalid_message", "the id is taken");

    let rooms = json!({"id": 2, "op": "subscribe", "prefixes": ["rooms/1", "rooms/2"]});
    assert_eq!(socket.ask(rooms).await["ok"], true);
    server.put("/api/rooms/2/x", "1").await;
    let change = socket.next().await.unwrap();
    assert_eq!((&change["subscription"], &change["path"]), (&json!(2), &json!("rooms/2/x")));
    server.put("/api/users/b", "1").await;
    let change = socket.next().await.unwrap();
    assert_eq!((&change["subscription"], &change["path"]), (&json!("users"), &json!("users/b")));
    let token = change["token"].clone();
    assert_eq!(server.get("/api/status").await.json()["subscriptions"], 2);

    // Its own writes come back as events too, and none after leaving.
    let gone = socket.ask(json!({"id": 3, "op": "unsubscribe", "subscription": "users"})).await;
    assert_eq!((&gone["ok"], &gone["result"]), (&json!(true), &json!({})));
    assert_eq!(server.get("/api/status").await.json()["subscriptions"], 1);
    assert_eq!(socket.ask(json!({"id": 4, "op": "put", "path": "users/c", "value": 1})).await["ok"], true);
    // It goes on behind its last event.
    let again = json!({"id": "users", "op": "subscribe", "prefixes": ["users"], "since": token});
    assert_eq!(socket.ask(again).await["ok"], true);
    let change = socket.next().await.unwrap();
    assert_eq!((&change["subscription"], &change["path"]), (&json!("users"), &json!("users/c")));
    drop(socket);
    while server.get("/api/status").await.json()["subscriptions"] != 0 {}
}

#[tokio::test]
async fn requests_may_be_sent_without_waiting() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    for n in 0..200 {
        socket.send(json!({"id": n, "op": "put", "path": format!("k/{n}"), "value": n})).await;
    }
    let mut done = std::collections::BTreeSet::new();
    while done.len() < 200 {
        let reply = socket.next().await.unwrap();
        assert_eq!(reply["ok"], true, "{reply}");
        assert!(done.insert(reply["id"].as_u64().unwrap()), "each once");
    }
}

/// A client that does not read costs the room of one event, and is told the newest when it does.
#[tokio::test]
async fn a_socket_that_is_not_read_holds_nothing_up() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.ask(json!({"id": 1, "op": "subscribe"})).await["ok"], true);
    let filler = "x".repeat(50_000);
    for n in 0..400 {
        server.node.put(&format!("k/{}", n % 10), &json!([n, filler])).await.unwrap();
    }
    server.node.put("end", &0).await.unwrap();
    let mut changes = 0;
    let mut newest = 0;
    loop {
        let change = socket.next().await.unwrap();
        changes += 1;
        if change["path"] == "end" {
            break;
        }
        let n = change["value"][0].as_u64().unwrap();
        assert!(n >= newest, "{n} after {newest}");
        newest = n;
    }
    assert_eq!(newest, 399);
    // 20 MB were written; sockets hold some of it, and what they do not hold is told once.
    assert!(changes < 390, "{changes} of 401 writes were told one by one");
}

#[tokio::test]
async fn a_socket_is_told_when_the_server_stops() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    assert_eq!(socket.ask(json!({"id": 1, "op": "subscribe"})).await["ok"], true);
    let node = server.stopped().await;
    assert_eq!(socket.next().await.unwrap()["event"], "closing");
    assert_eq!(socket.next().await, None);
    node.close().await.unwrap();
}

#[tokio::test]
async fn only_those_who_may_can_open_one() {
    let server = Server::memory().await;
    server.get("/api/_ws").await.assert_problem(426, "upgrade_refused");
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let with = |header| [&upgrade[..], &[header]].concat();
    let foreign = server.send("GET", "/api/_ws", &with(("origin", "http://evil.example")), "").await;
    foreign.assert_problem(403, "origin_not_allowed");
    let own = format!("http://{}", server.addr);
    assert_eq!(server.send("GET", "/api/_ws", &with(("origin", &own)), "").await.status, 101);
    let options = ServeOptions { auth_token: Some("secret".to_owned()), ..ServeOptions::default() };
    let closed = Server::with(Node::builder().in_memory(), options).await;
    closed.send("GET", "/api/_ws", &upgrade, "").await.assert_problem(401, "unauthorized");
    let bearer = ("authorization", "Bearer secret");
    assert_eq!(closed.send("GET", "/api/_ws", &with(bearer), "").await.status, 101);

    // A page cannot send that header: it offers the token as a subprotocol, in base64url.
    let subprotocols = |text| with(("sec-websocket-protocol", text));
    let opened = closed.send("GET", "/api/_ws", &subprotocols("rejoin, rejoin.bearer.c2VjcmV0"), "").await;
    assert_eq!((opened.status, opened.header("sec-websocket-protocol")), (101, Some("rejoin")));
    for wrong in
        ["rejoin", "rejoin.bearer.c2VjcmV", "rejoin.bearer.c2VjcmV0,rejoin.bearer.c2VjcmV0", "c2VjcmV0"]
    {
        let refused = closed.send("GET", "/api/_ws", &subprotocols(wrong), "").await;
        refused.assert_problem(401, "unauthorized");
    }
    let elsewhere = [("sec-websocket-protocol", "rejoin.bearer.c2VjcmV0")];
    closed.send("GET", "/api/status", &elsewhere, "").await.assert_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_client_can_ask_for_a_sign_of_life() {
    let server = Server::memory().await;
    let mut socket = Socket::open(&server).await;
    let reply = socket.ask(json!({"id": 7, "op": "ping"})).await;
    assert_eq!((&reply["ok"], &reply["result"]), (&json!(true), &json!({})));
    assert_eq!(socket.ask(json!({"id": 8, "op": "ping", "path": "x"})).await["error"], "invalid_message");
}
