//! Bounds of size and time. Timeouts are short and injected; nothing here sleeps.

use std::time::Duration;

use rejoin::Node;
use rejoin_http::ServeOptions;

use crate::client::Server;

const SHORT: Duration = Duration::from_millis(100);

async fn with(change: impl FnOnce(&mut ServeOptions)) -> Server {
    let mut options = ServeOptions::default();
    change(&mut options);
    Server::with(Node::builder().in_memory(), options).await
}

#[tokio::test]
async fn too_large_is_refused_before_it_is_sent() {
    let server = Server::memory().await;
    let before = server.state();
    for length in ["1048577", "999999999999", "9223372036854775807"] {
        let mut client = server.connect().await;
        let headers =
            [("content-type", "application/json"), ("content-length", length), ("expect", "100-continue")];
        client.begin("PUT", "/api/a", &headers, "").await;
        let answer = client.answer(false).await;
        let body = answer.assert_problem(413, "too_large");
        assert_eq!(body["limit"], 1 << 20);
        assert_eq!(body["size"].to_string(), length);
    }
    // Without an announced length it is cut while it comes.
    let mut client = server.connect().await;
    let headers = [("content-type", "application/json"), ("transfer-encoding", "chunked")];
    client.begin("PUT", "/api/a", &headers, "").await;
    let piece = format!("20000\r\n{}\r\n", " ".repeat(0x20000));
    for _ in 0..9 {
        client.raw(piece.as_bytes()).await;
    }
    assert!(client.closed().await.starts_with("HTTP/1.1 413 "));
    assert_eq!(server.state(), before);
    let largest = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    assert_eq!(server.put("/api/a", &largest).await.status, 201);
    server.put("/api/a", &format!("{largest} ")).await.assert_problem(413, "too_large");
}

#[tokio::test]
async fn chunked_values_are_read() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    let headers = [("content-type", "application/json"), ("transfer-encoding", "chunked")];
    client.begin("PUT", "/api/a", &headers, "2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.status, 201);
    assert_eq!(client.send("GET", "/api/a", &[], "").await.text(), "[1,2]");
}

#[tokio::test]
async fn slow_heads_are_cut() {
    let server = with(|options| options.limits.head_timeout = SHORT).await;
    let mut silent = server.connect().await;
    assert_eq!(silent.closed().await, "");
    let mut slow = server.connect().await;
    slow.raw(b"GET /api/a HTTP/1.1\r\nhost: loc").await;
    assert_eq!(slow.closed().await, "");
    // An idle connection is not a slow head, whatever its age; the beginning of a head on it is.
    let mut idle = server.connect().await;
    assert_eq!(idle.send("GET", "/livez", &[], "").await.status, 200);
    let mut other = server.connect().await;
    assert_eq!(other.closed().await, "");
    assert_eq!(idle.send("GET", "/livez", &[], "").await.status, 200);
    idle.raw(b"GET /li").await;
    assert_eq!(idle.closed().await, "");
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server = with(|options| {
        options.limits.head_timeout = SHORT;
        options.limits.idle_timeout = SHORT * 2;
    })
    .await;
    let mut idle = server.connect().await;
    assert_eq!(idle.send("GET", "/livez", &[], "").await.status, 200);
    assert_eq!(idle.closed().await, "");
}

#[tokio::test]
async fn slow_bodies_are_cut_and_change_nothing() {
    let server = with(|options| {
        options.limits.body_grace = SHORT;
        options.limits.head_timeout = SHORT;
    })
    .await;
    let before = server.state();
    let mut slow = server.connect().await;
    let headers = [("content-type", "application/json"), ("content-length", "8")];
    slow.begin("PUT", "/api/a", &headers, "\"abc").await;
    slow.answer(false).await.assert_problem(408, "body_too_slow");
    assert_eq!(slow.closed().await, "");
    let mut short = server.connect().await;
    short.begin("PUT", "/api/a", &headers, "\"abc").await;
    drop(short);
    assert_eq!(server.state(), before);
}

#[tokio::test]
async fn bodies_share_a_budget() {
    let server = with(|options| options.limits.bodies_bytes = 1000).await;
    let mut holder = server.connect().await;
    let headers = [("content-type", "application/json"), ("content-length", "901")];
    holder.begin("PUT", "/api/a", &headers, &format!("\"{}", "x".repeat(899))).await;
    // The holder's bytes are claimed once somebody else is refused for them.
    let other = format!("\"{}\"", "y".repeat(198));
    let refused = loop {
        let answer = server.put("/api/b", &other).await;
        if answer.status == 503 {
            break answer;
        }
    };
    assert_eq!(refused.assert_problem(503, "overloaded")["retryable"], true);
    assert_eq!(refused.header("retry-after"), Some("1"));
    holder.raw(b"\"").await;
    assert_eq!(holder.answer(false).await.status, 201);
    assert!(matches!(server.put("/api/b", &other).await.status, 200 | 201));
}

#[tokio::test]
async fn long_heads_are_refused() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    client
        .raw(format!("GET /api/a HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(64 * 1024)).as_bytes())
        .await;
    assert!(client.closed().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let server = with(|options| options.limits.connections = 2).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    assert_eq!(first.send("GET", "/livez", &[], "").await.status, 200);
    assert_eq!(second.send("GET", "/livez", &[], "").await.status, 200);
    let refused = server.get("/livez").await;
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(first);
    // The place is free as soon as the server has seen the end of the first.
    while server.get("/livez").await.status != 200 {}
}

#[tokio::test]
async fn answers_that_nobody_reads_end_the_connection() {
    let server = with(|options| {
        options.limits.write_stall_timeout = SHORT;
        options.limits.connections = 1;
    })
    .await;
    let large = "x".repeat((1 << 20) - 2);
    for number in 0..16 {
        server.node.put(&format!("a/{number}"), &large).await.unwrap();
    }
    let mut lazy = server.connect().await;
    lazy.begin("GET", "/api/scan/", &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lazy.head().await.status, 200);
    // It reads no more, and the server has more to send than sockets hold. Its place is free when patience ends.
    while server.get("/livez").await.status != 200 {}
    let sent = lazy.closed().await;
    assert!(!sent.contains("\"cursor\""), "everything was sent: {} bytes", sent.len());
}

#[tokio::test]
async fn clients_that_send_before_they_read_learn_why_they_are_refused() {
    let server = Server::memory().await;
    let large = format!("\"{}\"", "x".repeat(6 << 20));
    for _ in 0..5 {
        server.put("/api/a", &large).await.assert_problem(413, "too_large");
        let wrong = [("content-type", "text/plain")];
        server.send("PUT", "/api/a", &wrong, &large).await.assert_problem(415, "unsupported_media_type");
        server.send("PUT", "/api/a//b", &wrong, &large).await.assert_problem(400, "invalid_path");
    }
}

#[tokio::test]
async fn a_stop_lets_requests_end() {
    let mut server = with(|options| options.limits.shutdown_grace = Duration::from_secs(15)).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.send("GET", "/livez", &[], "").await.status, 200);
    let mut writing = server.connect().await;
    let headers = [("content-type", "application/json"), ("content-length", "3"), ("expect", "100-continue")];
    writing.begin("PUT", "/api/a", &headers, "").await;
    assert_eq!(writing.head().await.status, 100);
    server.tell_to_stop();
    assert_eq!(idle.closed().await, "");
    writing.raw(b"[1]").await;
    assert_eq!(writing.answer(false).await.status, 201);
    let node = server.stopped().await;
    assert_eq!(node.get::<Vec<u8>>("a").await.unwrap(), Some(vec![1]));
    node.close().await.unwrap();
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let server = with(|options| options.limits.shutdown_grace = SHORT).await;
    let mut stuck = server.connect().await;
    let headers = [("content-type", "application/json"), ("content-length", "3"), ("expect", "100-continue")];
    stuck.begin("PUT", "/api/a", &headers, "").await;
    assert_eq!(stuck.head().await.status, 100);
    server.stopped().await.close().await.unwrap();
    assert_eq!(stuck.closed().await, "");
}
