//! Every malformed path of the contract, and the odd ones that are legal.

use crate::client::Server;

/// A generated client encodes a path as it does any parameter.
#[tokio::test]
async fn a_path_with_all_its_slashes_encoded_is_the_same_path() {
    let server = Server::memory().await;
    assert_eq!(server.put("/api/users%2Falice", "1").await.json()["path"], "users/alice");
    assert_eq!(server.get("/api/users/alice").await.text(), "1");
    assert_eq!(server.put("/api/users/alice", "2").await.status, 200);
    assert_eq!(server.get("/api/users%2falice").await.text(), "2");
    assert_eq!(server.get("/api/history/users%2Falice").await.json()["items"][0]["value"], 1);
    assert_eq!(server.get("/api/scan/users%2F").await.json()["items"][0]["path"], "users/alice");
    assert_eq!(server.get("/api/_explain/users%2Falice").await.json()["path"], "users/alice");
    assert_eq!(server.delete("/api/users%2Falice").await.status, 200);
    assert_eq!(server.get("/api/users/alice").await.status, 404);
}

#[tokio::test]
async fn malformed_paths_are_refused_and_change_nothing() {
    let server = Server::memory().await;
    let long_segment = format!("/api/{}", "a".repeat(513));
    let long_path = format!("/api/{}", ["b"; 64].map(|segment| segment.repeat(40)).join("/"));
    let deep_path = format!("/api/{}", ["c"; 65].join("/"));
    let refused = [
        ("/api/", "invalid_path"),
        ("/api//a", "invalid_path"),
        ("/api/a//b", "invalid_path"),
        ("/api/a/", "invalid_path"),
        ("/api/.", "invalid_path"),
        ("/api/..", "invalid_path"),
        ("/api/a/../b", "invalid_path"),
        ("/api/a/%2e%2e/b", "invalid_path"),
        ("/api/a/%2E", "invalid_path"),
        ("/api/a/b%2Fc", "invalid_path"),
        ("/api/a%2fb/c", "invalid_path"),
        ("/api/a%2F%2Fb", "invalid_path"),
        ("/api/a%2F..", "invalid_path"),
        ("/api/a%00b", "invalid_path"),
        ("/api/a%0Ab", "invalid_path"),
        ("/api/a%7Fb", "invalid_path"),
        ("/api/a%C2%80b", "invalid_path"),
        ("/api/a%", "invalid_path"),
        ("/api/a%4", "invalid_path"),
        ("/api/a%zz", "invalid_path"),
        ("/api/%FF", "invalid_path"),
        ("/api/%C3", "invalid_path"),
        ("/api/%ED%A0%80", "invalid_path"),
        ("/api/%C0%AF", "invalid_path"),
        (&long_segment, "invalid_path"),
        (&long_path, "invalid_path"),
        (&deep_path, "invalid_path"),
        ("/api/scan/x", "reserved_path"),
        ("/api/scan", "reserved_path"),
        ("/api/history/x", "reserved_path"),
        ("/api/status", "reserved_path"),
        ("/api/status/x", "reserved_path"),
        ("/api/_anything", "reserved_path"),
        ("/api/_peers/x", "reserved_path"),
        ("/api/%5Fpeers", "reserved_path"),
        ("/api/%73can/x", "reserved_path"),
        ("/api/_", "reserved_path"),
    ];
    let before = server.state();
    for (target, code) in refused {
        for method in ["PUT", "PATCH", "DELETE"] {
            let json = [("content-type", "application/json")];
            let answer = server.send(method, target, &json, "1").await;
            // DELETE /api/_peers is a route; everything else is refused for its path.
            let body = answer.assert_problem(400, code);
            assert_eq!(body["retryable"], false, "{method} {target}");
        }
        if code == "invalid_path" {
            server.get(target).await.assert_problem(400, code);
            let below_history = target.replacen("/api/", "/api/history/", 1);
            server.get(&below_history).await.assert_problem(400, code);
            let below_explain = target.replacen("/api/", "/api/_explain/", 1);
            server.get(&below_explain).await.assert_problem(400, code);
        }
    }
    assert_eq!(server.state(), before);
}

#[tokio::test]
async fn bytes_that_are_no_target_are_refused() {
    let server = Server::memory().await;
    let before = server.state();
    for target in [&b"/api/a\xFFb"[..], b"/api/a\x01b", b"/api/a b", b"/api/a\x7Fb"] {
        let mut client = server.connect().await;
        let request = [b"PUT ", target, b" HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat();
        client.raw(&request).await;
        let answer = client.closed().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(server.state(), before);
}

#[tokio::test]
async fn odd_but_legal_paths_hold_values() {
    let server = Server::memory().await;
    for (target, path) in [
        ("/api/users/alice@example.com/inbox", "users/alice@example.com/inbox"),
        ("/api/donn%C3%A9es/%C3%A9", "données/é"),
        ("/api/a%2525", "a%25"),
        ("/api/a%20b", "a b"),
        ("/api/a+b", "a+b"),
        ("/api/a%3Fb%23c", "a?b#c"),
        ("/api/...", "..."),
        ("/api/.hidden", ".hidden"),
        ("/api/a/scan", "a/scan"),
        ("/api/a/_b", "a/_b"),
        ("/api/scanner", "scanner"),
        ("/api/Scan", "Scan"),
        ("/api/a;b=c", "a;b=c"),
        ("/api/a\\b", "a\\b"),
    ] {
        let put = server.put(target, "7").await;
        assert_eq!(put.status, 201, "{target}: {}", put.text());
        assert_eq!(put.json()["path"], path);
        let location = put.header("location").unwrap().to_owned();
        assert_eq!(server.get(target).await.text(), "7");
        assert_eq!(server.get(&location).await.text(), "7", "{location}");
    }
    // Bytes compare: neither case nor Unicode form is folded.
    assert_eq!(server.get("/api/donne%CC%81es/%C3%A9").await.status, 404);
    assert_eq!(server.get("/api/SCANNER").await.status, 404);
    // Unencoded UTF-8 is the same path.
    assert_eq!(server.get("/api/données/é").await.text(), "7");
}

#[tokio::test]
async fn the_limits_themselves_are_legal() {
    let server = Server::memory().await;
    let segment = format!("/api/{}", "a".repeat(512));
    let deep = format!("/api/{}", ["c"; 64].join("/"));
    let long =
        format!("/api/{}", ["b".repeat(511), "c".repeat(511), "d".repeat(511), "e".repeat(512)].join("/"));
    for target in [segment, deep, long] {
        assert_eq!(server.put(&target, "1").await.status, 201);
        assert_eq!(server.get(&target).await.text(), "1");
    }
}
