//! `?ack=` on writes, and where a document is.

use serde_json::json;

use crate::client::Server;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn link(one: &Server, other: &Server) {
    let body = format!("{{\"url\":\"http://{}\"}}", other.addr);
    assert_eq!(one.send("POST", "/api/_peers", &[JSON], &body).await.status, 201);
}

fn id(server: &Server) -> String {
    server.node.info().id.to_string()
}

#[tokio::test]
async fn a_write_is_answered_when_enough_other_nodes_hold_it() {
    let (a, b, c) = (Server::memory().await, Server::memory().await, Server::memory().await);
    link(&b, &a).await;
    link(&c, &b).await;
    let put = a.put("/api/x?ack=2&timeout=20s", "1").await;
    assert_eq!(put.status, 201, "{}", put.text());
    let receipt = &put.json()["receipt"];
    assert_eq!((&receipt["wanted"], &receipt["complete"]), (&json!(2), &json!(true)));
    let mut holders: Vec<&str> =
        receipt["holders"].as_array().unwrap().iter().map(|holder| holder.as_str().unwrap()).collect();
    holders.sort_unstable();
    let mut others = [id(&b), id(&c)];
    others.sort_unstable();
    assert_eq!(holders, others);
    assert_eq!(c.get("/api/x").await.text(), "1", "whoever gives a receipt has the write");

    let patch = [("content-type", "application/merge-patch+json")];
    assert_eq!(a.send("PATCH", "/api/x?ack=1&timeout=20s", &patch, "{\"n\":1}").await.status, 200);
    let deleted = b.send("DELETE", "/api/x?ack=2&timeout=20s", &[], "").await;
    assert_eq!((deleted.status, &deleted.json()["receipt"]["complete"]), (200, &json!(true)));
    assert_eq!(c.get("/api/x").await.status, 404);

    // A node that is not linked is known by what it wrote.
    let written = c.put("/api/y?ack=2&timeout=20s", "1").await;
    assert_eq!(written.status, 201);
    let places = a.get("/api/_where/x?timeout=20s").await.json();
    assert_eq!((&places["versions"], &places["heldBy"]), (&json!([deleted.json()["version"]]), &json!(2)));
    assert!(places["nodes"].as_array().unwrap().iter().all(|node| node["holds"] == true), "{places}");
    a.get("/api/_where/never").await.assert_problem(404, "not_found");
    a.get("/api/_where").await.assert_problem(400, "invalid_path");
}

#[tokio::test]
async fn a_write_whose_time_runs_out_says_how_far_it_got() {
    let (a, b) = (Server::memory().await, Server::memory().await);
    let alone = a.put("/api/x?ack=1&timeout=50ms", "1").await;
    assert_eq!(alone.status, 202, "{}", alone.text());
    assert_eq!(alone.json()["receipt"], json!({"wanted": 1, "complete": false, "holders": []}));
    assert_eq!(alone.json()["applied"], true);
    assert_eq!(a.get("/api/x").await.text(), "1", "it is done all the same");
    link(&b, &a).await;
    let one = a.put("/api/x?ack=1&timeout=20s", "2").await;
    assert_eq!(
        (one.status, &one.json()["receipt"]["holders"]),
        (200, &json!([id(&b)])),
        "a peer that came later"
    );
    let short = a.put("/api/x?ack=2&timeout=300ms", "3").await;
    assert_eq!((short.status, &short.json()["receipt"]["holders"]), (202, &json!([id(&b)])));
    let gone = a.send("DELETE", "/api/x?ack=2&timeout=300ms", &[], "").await;
    assert_eq!((gone.status, &gone.json()["deleted"]), (202, &json!(true)));

    let before = a.state();
    for bad in ["ack=0", "ack=65", "ack=x", "ack=1&timeout=31s", "ack=1&timeout=soon", "timeout=1s", "ack=-1"]
    {
        a.put(&format!("/api/x?{bad}"), "4").await.assert_problem(400, "invalid_parameter");
    }
    assert_eq!(a.state(), before);
    assert_eq!(a.put("/api/x", "4").await.json().get("receipt"), None);
}
