//! Peers at run time, and links through the upgrade of this server.

use serde_json::json;

use crate::client::Server;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test]
async fn nodes_sync_through_the_http_port() {
    let (a, b) = (Server::memory().await, Server::memory().await);
    a.put("/api/x", "{\"n\":1.0}").await;
    let body = format!("{{\"url\":\"http://{}\"}}", a.addr);
    let mut watch = b.connect().await;
    watch.begin("GET", "/api/_changes?snapshot=true", &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(watch.head().await.status, 200);
    assert_eq!(b.send("POST", "/api/_peers", &JSON, &body).await.status, 201);
    let mut seen = String::new();
    while !seen.contains("\"path\":\"x\"") {
        seen += &String::from_utf8(watch.chunk().await.unwrap()).unwrap();
    }
    assert_eq!(b.get("/api/x").await.text(), "{\"n\":1.0}");
    let round = b.send("POST", "/api/_anti_entropy", &[], "").await;
    assert_eq!(round.status, 200, "{}", round.text());
    assert_eq!((&round.json()["links"], &round.json()["equal"]), (&json!(1), &json!(1)));
    let part = b.send("POST", "/api/_anti_entropy?prefix=x", &[], "").await.json();
    assert_eq!((&part["links"], &part["equal"], &part["repaired"]), (&json!(1), &json!(1), &json!(0)));
    b.send("POST", "/api/_anti_entropy?prefix=x//", &[], "").await.assert_problem(400, "invalid_path");
    let (left, right) = (a.get("/api/status").await.json(), b.get("/api/status").await.json());
    assert_eq!(left["convergence"]["digest"], right["convergence"]["digest"]);
    assert_eq!(left["peers"][0]["direction"], "in");
    assert_eq!(right["peers"][0]["direction"], "out");
    assert_eq!(right["peers"][0]["state"], "connected");
    assert_eq!(right["peers"][0]["id"], left["serverID"]);
    assert_eq!(right["peerCount"], 1);

    // A stop of the server leaves its links to the node, which ends them.
    let node = a.stopped().await;
    node.close().await.unwrap();
}

#[tokio::test]
async fn concurrent_writes_are_shown_alike_on_both_nodes() {
    let (a, b) = (Server::memory().await, Server::memory().await);
    a.put("/api/x", "\"left\"").await;
    b.put("/api/x", "\"right\"").await;
    let (left, right) = (a.state(), b.state());
    let body = format!("{{\"url\":\"http://{}\"}}", a.addr);
    assert_eq!(b.send("POST", "/api/_peers", &JSON, &body).await.status, 201);
    let at_a = a.send("GET", "/api/x", &[("rejoin-token", &right), ("rejoin-wait", "20s")], "").await;
    let at_b = b.send("GET", "/api/x", &[("rejoin-token", &left), ("rejoin-wait", "20s")], "").await;
    assert_eq!((at_a.status, at_b.status), (200, 200));
    assert_eq!(at_a.header("rejoin-conflicts"), Some("1"));
    assert_eq!(at_a.body, at_b.body);
    for header in ["etag", "last-modified", "rejoin-version", "rejoin-conflicts"] {
        assert_eq!(at_a.header(header), at_b.header(header), "{header}");
    }
    let explained = a.get("/api/_explain/x").await;
    assert_eq!(explained.body, b.get("/api/_explain/x").await.body);
    let explained = explained.json();
    assert_eq!(explained["versions"].as_array().unwrap().len(), 2);
    assert_eq!(explained["versions"][0]["value"], at_a.json());
    assert_eq!(
        (&explained["versions"][0]["wins"], &explained["versions"][1]["wins"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(a.get("/api/status").await.json()["conflicts"]["open"], 1);
    // A write here has seen both.
    assert_eq!(a.put("/api/x", "3").await.header("rejoin-conflicts"), None);
    assert_eq!(a.get("/api/x").await.header("rejoin-conflicts"), None);
}

#[tokio::test]
async fn peers_come_and_go() {
    let server = Server::memory().await;
    let body = "{\"url\":\"http://127.0.0.1:9\"}";
    let added = server.send("POST", "/api/_peers", &JSON, body).await;
    assert_eq!((added.status, &added.json()["added"]), (201, &json!(true)));
    let again = server.send("POST", "/api/_peers", &JSON, body).await;
    assert_eq!((again.status, &again.json()["added"]), (200, &json!(false)));
    let list = server.get("/api/_peers").await.json();
    assert_eq!(list["peers"].as_array().unwrap().len(), 1);
    for bad in ["", "[]", "{}", "{\"url\":1}", "{\"url\":\"http://x\",\"y\":1}", "\"http://x\""] {
        server.send("POST", "/api/_peers", &JSON, bad).await.assert_problem(400, "invalid_json");
    }
    server
        .send("POST", "/api/_peers", &JSON, "{\"url\":\"ftp://x\"}")
        .await
        .assert_problem(400, "invalid_peer");
    let target = "/api/_peers?url=http%3A%2F%2F127.0.0.1%3A9";
    assert_eq!(server.delete(target).await.status, 200);
    server.delete(target).await.assert_problem(404, "not_found");
    server.delete("/api/_peers").await.assert_problem(415, "unsupported_media_type");
    assert_eq!(server.get("/api/_peers").await.json(), json!({"peers": []}));
}

#[tokio::test]
async fn only_upgrades_become_links() {
    let server = Server::memory().await;
    let plain = server.get("/api/_link").await;
    plain.assert_problem(426, "upgrade_refused");
    assert_eq!(plain.header("upgrade"), Some("websocket"));
    let own = format!("http://{}", server.addr);
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", own.as_str()),
    ];
    server.send("GET", "/api/_link", &upgrade, "").await.assert_problem(403, "upgrade_refused");
    let switched = server.send("GET", "/api/_link", &upgrade[..4], "").await;
    assert_eq!(switched.status, 101);
    // The example of RFC 6455, 1.3.
    assert_eq!(switched.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}
