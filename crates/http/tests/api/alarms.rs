//! What an operator must hear of is shown wherever an operator looks.

use rejoin::{Candidate, Custom, Node, Path, ResolverError, Strategy};
use rejoin_http::ServeOptions;

use crate::client::Server;

/// A node whose resolver fails, with a conflict on `x`.
async fn node_with_a_failed_resolver() -> Server {
    let fails = Custom::new("fails 1", |_: &Path, _: &Candidate, _: &Candidate| {
        Err::<Candidate, ResolverError>(ResolverError("on purpose".to_owned()))
    });
    let builder = Node::builder().in_memory().default_strategy(Strategy::Custom(fails));
    let server = Server::with(builder, ServeOptions::default()).await;
    let unread = server.get("/api/x").await.header("rejoin-context").unwrap().to_owned();
    let blind = [("content-type", "application/json"), ("rejoin-context", unread.as_str())];
    for value in ["1", "2"] {
        server.send("PUT", "/api/x", &blind, value).await;
    }
    server
}

#[tokio::test]
async fn an_alarm_stands_in_the_status_the_metrics_and_the_probe() {
    let server = node_with_a_failed_resolver().await;

    let status = server.get("/api/status").await.json();
    let alarms = status["alarms"].as_array().unwrap();
    assert_eq!(alarms.len(), 1, "{status}");
    assert_eq!((&alarms[0]["kind"], &alarms[0]["subject"]), (&"resolver-failed".into(), &"x".into()));
    assert!(alarms[0]["hint"].as_str().unwrap().contains("rejoin resolver test"));
    assert!(alarms[0]["since"].as_u64() <= alarms[0]["last"].as_u64());

    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("rejoin_alarms{kind=\"resolver-failed\"} 1"), "{metrics}");

    let ready = server.get("/readyz?verbose").await;
    assert_eq!(ready.status, 200, "the node serves all the same");
    let checks = ready.json()["checks"].clone();
    let alarms = checks.as_array().unwrap().iter().find(|check| check["name"] == "alarms").unwrap();
    assert_eq!(alarms["ok"], false);
    assert!(alarms["note"].as_str().unwrap().contains("resolver"), "{alarms}");
}

#[tokio::test]
async fn a_node_without_trouble_has_no_alarm() {
    let server = Server::memory().await;
    assert_eq!(server.get("/api/status").await.json()["alarms"], serde_json::json!([]));
    assert!(!server.get("/metrics").await.text().contains("rejoin_alarms{"));
}
