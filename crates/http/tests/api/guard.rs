//! Who may ask.

use rejoin::Node;
use rejoin_http::ServeOptions;

use crate::client::Server;

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_before_anything_happens() {
    let options = ServeOptions {
        allowed_hosts: vec!["node.example.com".to_owned()],
        allowed_origins: vec!["https://app.example.com".to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::with(Node::builder().in_memory(), options).await;
    let before = server.state();
    let json = ("content-type", "application/json");
    for host in ["evil.example.com", "0.0.0.0:80", "localhost.evil.example.com"] {
        let answer = server.send("PUT", "/api/a", &[json, ("host", host)], "1").await;
        answer.assert_problem(421, "host_not_allowed");
        for target in ["/api/status", "/readyz", "/version", "/api/_link", "/nothing"] {
            assert_eq!(server.send("GET", target, &[("host", host)], "").await.status, 421, "{target}");
        }
    }
    for origin in ["https://evil.example.com", "null", "http://localhost:1"] {
        let answer = server.send("PUT", "/api/a", &[json, ("origin", origin)], "1").await;
        answer.assert_problem(403, "origin_not_allowed");
        let preflight = [("origin", origin), ("access-control-request-method", "PUT")];
        assert_eq!(server.send("OPTIONS", "/api/a", &preflight, "").await.status, 403);
    }
    assert_eq!(server.state(), before);

    let same = format!("http://{}", server.addr);
    assert_eq!(server.send("PUT", "/api/a", &[json, ("origin", &same)], "1").await.status, 201);
    assert_eq!(server.send("GET", "/api/a", &[("host", "node.example.com")], "").await.status, 200);
    let listed = [("origin", "https://app.example.com")];
    let answer = server.send("GET", "/api/a", &listed, "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    let preflight = [listed[0], ("access-control-request-method", "PUT")];
    let answer = server.send("OPTIONS", "/api/a", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PUT"));
    // What a page needs to write over what it read.
    let allowed = answer.header("access-control-allow-headers").unwrap();
    // Those of fetch libraries, tracing and retries, too.
    for name in
        ["rejoin-context", "x-request-id", "traceparent", "cache-control", "authorization", "idempotency-key"]
    {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}");
    }
    let answer = server.send("GET", "/api/a", &listed, "").await;
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["rejoin-context", "rejoin-ttl", "location", "etag", "retry-after", "idempotency-replayed"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name}");
    }
}

#[tokio::test]
async fn requests_name_one_host() {
    let server = Server::memory().await;
    for head in [
        "GET /api/status HTTP/1.1\r\n\r\n",
        "GET /api/status HTTP/1.1\r\nhost: localhost\r\nhost: evil.example.com\r\n\r\n",
        "GET http://evil.example.com/api/status HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.raw(head.as_bytes()).await;
        client.answer(false).await.assert_problem(400, "invalid_header");
    }
    let mut client = server.connect().await;
    client.raw(b"GET http://localhost/version HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(client.answer(false).await.status, 200);
}

#[tokio::test]
async fn with_a_token_nothing_works_without_it() {
    let options = ServeOptions { auth_token: Some("s3cret".to_owned()), ..ServeOptions::default() };
    assert!(!format!("{options:?}").contains("s3cret"));
    let server = Server::with(Node::builder().in_memory(), options).await;
    let before = server.state();
    for (method, target) in [
        ("GET", "/api/a"),
        ("PUT", "/api/a"),
        ("DELETE", "/api/a"),
        ("GET", "/api/scan/"),
        ("GET", "/api/status"),
        ("GET", "/api/_changes"),
        ("GET", "/api/_peers"),
        ("POST", "/api/_anti_entropy"),
        ("GET", "/api/_link"),
        ("GET", "/readyz"),
        ("GET", "/version"),
        ("GET", "/nothing"),
    ] {
        for wrong in ["Bearer wrong", "Bearer ", "Basic s3cret"] {
            let answer = server.send(method, target, &[("authorization", wrong)], "").await;
            answer.assert_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"rejoin\""));
        }
        assert_eq!(server.send(method, target, &[], "").await.status, 401);
    }
    assert_eq!(server.state(), before);
    assert_eq!(server.get("/livez").await.status, 200);
    let headers = [("authorization", "Bearer s3cret"), ("content-type", "application/json")];
    assert_eq!(server.send("PUT", "/api/a", &headers, "1").await.status, 201);
    // The token proves more than the host.
    let headers = [headers[0], ("host", "node-b:3000")];
    assert_eq!(server.send("GET", "/api/a", &headers, "").await.status, 200);
}
