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
async fn imports_that_drip_hold_no_room_of_others() {
    // Room for two lines of the greatest length, and forty streams that have sent one byte each.
    let server = with(|options| options.limits.bodies_bytes = 2 << 20).await;
    let headers = [("content-type", "application/x-ndjson"), ("transfer-encoding", "chunked")];
    let mut dripping = Vec::new();
    for _ in 0..40 {
        let mut client = server.connect().await;
        client.begin("POST", "/api/_batch", &headers, "1\r\n{\r\n").await;
        assert_eq!(client.head().await.status, 200);
        dripping.push(client);
    }
    let line = r#"{"op":"put","path":"a","value":1}"#;
    let ndjson = [("content-type", "application/x-ndjson")];
    let answer = server.send("POST", "/api/_batch", &ndjson, &format!("{line}\n")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"applied\":1"), "{}", answer.text());
    let large = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    assert_eq!(server.put("/api/b", &large).await.status, 201);
}

#[tokio::test]
async fn a_line_of_an_import_that_drips_ends_it() {
    let server = with(|options| options.limits.body_grace = SHORT).await;
    let headers = [("content-type", "application/x-ndjson"), ("transfer-encoding", "chunked")];
    let mut slow = server.connect().await;
    slow.begin("POST", "/api/_batch", &headers, "4\r\n{\"op\r\n").await;
    let said = slow.closed().await;
    assert!(said.contains("body_too_slow"), "{said}");
}

#[tokio::test]
async fn messages_that_are_not_whole_share_the_budget_of_bodies() {
    let server = with(|options| options.limits.bodies_bytes = 256 * 1024).await;
    // A frame of 100 KiB of which all but the last byte comes, three times: there is room for two.
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..6 {
        let mut client = server.connect().await;
        let headers = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        client.begin("GET", "/api/_ws", &headers, "").await;
        assert_eq!(client.head().await.status, 101);
        let length: u64 = 100 * 1024;
        let mut frame = vec![0x81, 0x80 | 127];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.resize(frame.len() + 100 * 1024 - 1, b' ');
        client.raw(&frame).await;
        held.push(client);
    }
    // Those for which there is no room are told to come again later, and closed.
    while refused < 4 {
        let mut client = held.remove(0);
        let said = tokio::time::timeout(Duration::from_millis(500), client.closed()).await;
        match said {
            Ok(said) => {
                assert!(said.contains("overloaded"), "{said:?}");
                refused += 1;
            }
            Err(_) => held.push(client),
        }
    }
    assert_eq!(held.len(), 2);
    let large = format!("\"{}\"", "x".repeat(200 * 1024));
    server.put("/api/a", &large).await.assert_problem(503, "overloaded");
    drop(held);
    while server.put("/api/a", &large).await.status == 503 {}
}

#[tokio::test]
async fn a_message_that_drips_ends_its_socket() {
    let server = with(|options| options.limits.body_grace = SHORT).await;
    let mut client = server.connect().await;
    let headers = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    client.begin("GET", "/api/_ws", &headers, "").await;
    assert_eq!(client.head().await.status, 101);
    client.raw(&[0x81, 0x80 | 100, 0, 0, 0, 0, b'{']).await;
    client.closed().await;
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

/// A client that has been answered goes on sending, as most do: none of it may be met with a reset, which would take the
/// answer away.
#[tokio::test]
async fn whoever_is_refused_may_finish_and_then_reads_why() {
    let options = ServeOptions {
        auth_token: Some("s3cret".to_owned()),
        allowed_origins: vec!["https://app.example.com".to_owned()],
        ..ServeOptions::default()
    };
    let with_token = Server::with(Node::builder().in_memory(), options).await;
    let open = Server::memory().await;
    let json = ("content-type", "application/json");
    let long = format!("/api/a?{}", "x".repeat(40_000));
    for (server, method, target, header, status, code) in [
        (&open, "PUT", "/api/a", json, 413, "too_large"),
        (&open, "PUT", "/api/a", ("content-type", "text/plain"), 415, "unsupported_media_type"),
        (&with_token, "PUT", "/api/a", json, 401, "unauthorized"),
        (&open, "PUT", "/api/a", ("origin", "https://evil.example.com"), 403, "origin_not_allowed"),
        (&open, "POST", "/api/a", json, 405, "method_not_allowed"),
        (&open, "PUT", "/api/a", ("host", "evil.example.com"), 421, "host_not_allowed"),
        (&open, "PUT", "/api/a//b", json, 400, "invalid_path"),
        (&open, "PUT", "/api/a b HTTP/1.1\r\nx: y", json, 400, "malformed_request"),
        (&open, "PUT", &long, json, 431, "head_too_large"),
        (&open, "POST", "/api/_peers", json, 413, "too_large"),
        (&open, "DELETE", "/api/_batch", json, 400, "reserved_path"),
    ] {
        let mut client = server.connect().await;
        client.begin(method, target, &[header, ("content-length", "8000000")], "").await;
        let answer = client.answer(false).await;
        answer.assert_problem(status, code);
        assert_eq!(answer.header("connection"), Some("close"), "{code}");
        for piece in 0..8 {
            client
                .all_of(&vec![b' '; 1_000_000])
                .await
                .unwrap_or_else(|error| panic!("{code}, {piece}: {error}"));
        }
        assert_eq!(client.closed().await, "", "{code}");
    }
}

#[tokio::test]
async fn whoever_is_refused_and_never_stops_is_cut_off() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    let headers = [("content-type", "text/plain"), ("content-length", "900000000")];
    client.begin("PUT", "/api/a", &headers, "").await;
    client.answer(false).await.assert_problem(415, "unsupported_media_type");
    let piece = vec![b' '; 1 << 20];
    let mut sent = 0;
    while client.all_of(&piece).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "it reads for ever");
    }
    assert!(sent >= 15, "{sent} MiB");
}

#[tokio::test]
async fn pages_read_what_the_library_and_the_door_refuse() {
    let page = "https://app.example.com";
    let server = with(|options| {
        options.allowed_origins = vec![page.to_owned(), "https://other.example.com".to_owned()];
        options.limits.connections = 1;
    })
    .await;
    for head in
        ["GET /api/a HTTP/1.1\r\nbad header\r\n", &format!("GET / HTTP/1.1\r\nx: {}\r\n", "x".repeat(40_000))]
    {
        let mut client = server.connect().await;
        client.raw(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(client.answer(false).await.status, 200);
        let (first, rest) = head.split_once("\r\n").unwrap();
        client.raw(format!("{first}\r\norigin: {page}\r\n{rest}\r\n").as_bytes()).await;
        let answer = client.answer(false).await;
        assert!(matches!(answer.status, 400 | 431), "{answer:?}");
        assert!(answer.json()["hint"].is_string());
        assert_eq!(answer.header("access-control-allow-origin"), Some(page), "{answer:?}");
        client.closed().await;
    }
    let mut holder = server.connect().await;
    while holder.send("GET", "/livez", &[], "").await.status != 200 {
        holder = server.connect().await;
    }
    let refused = server.send("GET", "/livez", &[("origin", page)], "").await;
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("access-control-allow-origin"), Some(page));
    assert!(refused.header("access-control-expose-headers").unwrap().contains("retry-after"));
    // Where the target alone is too long, its origin is behind it.
    let server = with(|options| options.allowed_origins = vec![page.to_owned()]).await;
    let mut client = server.connect().await;
    client.begin("GET", &format!("/{}", "x".repeat(40_000)), &[("origin", page)], "").await;
    let answer = client.answer(false).await;
    answer.assert_problem(431, "head_too_large");
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
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

#[tokio::test]
async fn a_small_patch_that_makes_its_document_too_large_is_told_so() {
    let builder = Node::builder().in_memory().strategy("users", rejoin::Strategy::MergeFields);
    let server = Server::with(builder, ServeOptions::default()).await;
    let half = "x".repeat(600 << 10);
    for path in ["users/alice", "other"] {
        assert_eq!(server.put(&format!("/api/{path}"), &format!("{{\"a\":\"{half}\"}}")).await.status, 201);
        let patch = [("content-type", "application/merge-patch+json")];
        let target = format!("/api/{path}");
        let refused = server.send("PATCH", &target, &patch, &format!("{{\"b\":\"{half}\"}}")).await;
        let problem = refused.assert_problem(413, "too_large");
        assert!(problem["message"].as_str().unwrap().contains("the document would have"), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("remove members"), "{problem}");
        assert!(problem["size"].as_u64().unwrap() > problem["limit"].as_u64().unwrap());
    }
}
