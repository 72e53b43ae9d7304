//! Tickets: how a browser's `EventSource` follows a server that wants a token.

use rejoin::Node;
use rejoin_http::ServeOptions;

use crate::client::Server;

const STREAM: (&str, &str) = ("accept", "text/event-stream");
const TOKEN: (&str, &str) = ("authorization", "Bearer s3cret");

async fn ticket(server: &Server) -> String {
    let answer = server.send("POST", "/api/_ticket", &[TOKEN], "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, Some("no-store")), "{}", answer.text());
    assert!(answer.json()["expiresInMs"].as_u64().unwrap() > 1_000);
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ticket_opens_one_stream_without_the_token() {
    let page = "https://app.example.com";
    let options = ServeOptions {
        auth_token: Some("s3cret".to_owned()),
        allowed_origins: vec![page.to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::with(Node::builder().in_memory(), options).await;
    assert_eq!(server.send("POST", "/api/_ticket", &[], "").await.status, 401);
    let first = ticket(&server).await;
    let target = format!("/api/_changes?prefix=a&ticket={first}");
    // What comes from a foreign page opens nothing.
    assert_eq!(
        server.send("GET", &target, &[STREAM, ("origin", "https://evil.example.com")], "").await.status,
        403
    );
    let second = ticket(&server).await;
    let target = format!("/api/_changes?prefix=a&ticket={second}");
    let mut stream = server.connect().await;
    stream.begin("GET", &target, &[STREAM, ("origin", page)], "").await;
    let head = stream.head().await;
    assert_eq!((head.status, head.header("access-control-allow-origin")), (200, Some(page)));
    server.node.put("a", &1).await.unwrap();
    let event = String::from_utf8(stream.chunk().await.unwrap()).unwrap();
    assert!(event.contains("event: change"), "{event}");

    // It is used up, and never was good for anything else.
    server.send("GET", &target, &[STREAM], "").await.assert_problem(401, "unauthorized");
    let third = ticket(&server).await;
    for target in ["/api/a", "/api/scan/", "/api/status", "/api/_ws"] {
        let answer = server.send("GET", &format!("{target}?ticket={third}"), &[], "").await;
        assert_eq!(answer.status, 401, "{target}");
    }
    assert_eq!(server.send("POST", &format!("/api/_ticket?ticket={third}"), &[], "").await.status, 401);
    assert_eq!(server.send("GET", "/api/_changes?ticket=", &[STREAM], "").await.status, 401);
}

#[tokio::test]
async fn streams_ask_proxies_not_to_gather_them() {
    let server = Server::memory().await;
    for (target, accept) in [
        ("/api/_changes", "text/event-stream"),
        ("/api/_changes", "application/x-ndjson"),
        ("/api/_changes?feed=longpoll&heartbeat=1000", "*/*"),
        ("/api/scan/", "application/x-ndjson"),
        ("/api/_conflicts", "application/x-ndjson"),
    ] {
        let mut client = server.connect().await;
        client.begin("GET", target, &[("accept", accept)], "").await;
        let head = client.head().await;
        assert_eq!(head.header("x-accel-buffering"), Some("no"), "{target} {accept}");
        assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"), "{target} {accept}");
    }
    assert_eq!(server.get("/api/scan/").await.header("x-accel-buffering"), None);
    // A weight of nothing is a no.
    let plain = server.send("GET", "/api/scan/", &[("accept", "application/x-ndjson;q=0")], "").await;
    assert_eq!(plain.header("content-type"), Some("application/json"));
}
