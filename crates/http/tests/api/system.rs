//! Status, probes, unknown routes and methods.

use serde_json::Value;

use crate::client::Server;

#[tokio::test]
async fn the_status_has_its_shape() {
    let server = Server::on_disk().await;
    server.put("/api/a", "1").await;
    server.put("/api/a", "2").await;
    server.put("/api/b", "1").await;
    server.delete("/api/b").await;
    let status = server.get("/api/status").await.json();
    for (pointer, kind) in [
        ("/serverID", "string"),
        ("/port", "number"),
        ("/version", "string"),
        ("/uptime", "number"),
        ("/ready", "boolean"),
        ("/vectorClock", "object"),
        ("/peers", "array"),
        ("/peerCount", "number"),
        ("/storage/engine", "string"),
        ("/storage/entries", "number"),
        ("/storage/tombstones", "number"),
        ("/storage/historyEntries", "number"),
        ("/storage/bytes", "number"),
        ("/clock/hlc", "string"),
        ("/clock/maxSkewMs", "number"),
        ("/token", "string"),
        ("/conflicts/open", "number"),
        ("/conflicts/resolved24h", "number"),
        ("/policy/hash", "string"),
        ("/policy/mismatchedPeers", "array"),
        ("/convergence/digest", "string"),
        ("/convergence/lastRoundAt", "null"),
        ("/convergence/lastRoundMs", "null"),
        ("/subscriptions", "number"),
        ("/alarms", "array"),
        ("/limits/valueBytes", "number"),
        ("/limits/valueDepth", "number"),
    ] {
        let found = match status.pointer(pointer) {
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        };
        assert_eq!(found, kind, "{pointer} in {status}");
    }
    assert_eq!(status["serverID"], server.node.info().id.to_string());
    assert_eq!(status["port"], server.addr.port());
    assert_eq!(status["storage"]["entries"], 1);
    assert_eq!(status["storage"]["tombstones"], 1);
    assert_eq!(status["limits"]["valueBytes"], 1 << 20);
    assert_eq!(status["token"], server.state());
}

#[tokio::test]
async fn probes_answer() {
    let server = Server::memory().await;
    assert_eq!(server.get("/livez").await.json()["live"], true);
    assert_eq!(server.send("GET", "/livez", &[("host", "10.0.0.1:1")], "").await.status, 200);
    assert_eq!(server.get("/readyz").await.text(), "{\"ready\":true}");
    let verbose = server.get("/readyz?verbose").await.json();
    assert_eq!(verbose["checks"][0]["ok"], true);
    assert_eq!(server.get("/version").await.json()["version"], env!("CARGO_PKG_VERSION"));
    server.node.clone().close().await.unwrap();
    let closed = server.get("/readyz").await;
    closed.assert_problem(503, "not_ready");
    assert!(closed.header("retry-after").is_some());
    let put = server.put("/api/a", "1").await;
    assert_eq!(put.assert_problem(503, "closed")["retryable"], true);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told() {
    let server = Server::memory().await;
    for target in ["/", "/api", "/apis/a", "/api/_nothing", "/api/_peers/x", "/metrics/x", "/index.html"] {
        server.get(target).await.assert_problem(404, "unknown_route");
    }
    for (method, target, allow) in [
        ("POST", "/api/a", "GET, HEAD, PUT, PATCH, DELETE"),
        ("POST", "/api/scan/", "GET, HEAD"),
        ("POST", "/api/status", "GET, HEAD"),
        ("GET", "/api/_anti_entropy", "POST"),
        ("POST", "/api/_link", "GET"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("TRACE", "/api/a", "GET, HEAD, PUT, PATCH, DELETE"),
        ("BREW", "/api/a", "GET, HEAD, PUT, PATCH, DELETE"),
    ] {
        let answer = server.send(method, target, &[], "").await;
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {target}");
    }
    let options = server.send("OPTIONS", "/api/a", &[], "").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, PUT, PATCH, DELETE")));
}

#[tokio::test]
async fn connections_are_reused_after_errors() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(client.send("GET", "/api/none", &[], "").await.status, 404);
        assert_eq!(
            client.send("PUT", "/api/a", &[("content-type", "application/json")], "{").await.status,
            400
        );
        assert_eq!(client.send("GET", "/nothing", &[], "").await.status, 404);
    }
    // Two requests at once are answered in order.
    let request =
        "GET /api/none HTTP/1.1\r\nhost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.raw(request.as_bytes()).await;
    assert_eq!(client.answer(false).await.status, 404);
    assert_eq!(client.answer(false).await.status, 200);
}
