//! Conflicts, explanations, history and contexts.

use rejoin::{Node, Strategy};
use rejoin_http::ServeOptions;
use serde_json::{Value, json};

use crate::client::{Answer, Server};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn link(one: &Server, other: &Server) {
    let body = format!("{{\"url\":\"http://{}\"}}", other.addr);
    assert_eq!(one.send("POST", "/api/_peers", &[JSON], &body).await.status, 201);
}

/// Waits until `one` has applied what `other` has.
async fn catch_up(one: &Server, other: &Server) {
    let token = other.state();
    let wait = [("rejoin-token", token.as_str()), ("rejoin-wait", "20s")];
    assert_eq!(one.send("GET", "/api/scan/", &wait, "").await.status, 200);
}

async fn post(server: &Server, target: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers: Vec<_> = [JSON].iter().chain(headers).copied().collect();
    server.send("POST", target, &headers, &body.to_string()).await
}

/// Two servers that wrote `left` and `right` to each of these paths apart, and met.
async fn disagreement(paths: &[&str]) -> (Server, Server) {
    let (a, b) = (Server::memory().await, Server::memory().await);
    for path in paths {
        a.put(&format!("/api/{path}"), "\"left\"").await;
        b.put(&format!("/api/{path}"), "\"right\"").await;
    }
    link(&b, &a).await;
    catch_up(&a, &b).await;
    catch_up(&b, &a).await;
    (a, b)
}

fn loser(item: &Value) -> &str {
    let versions = item["versions"].as_array().unwrap();
    versions.iter().find(|version| version["wins"] == false).unwrap()["version"].as_str().unwrap()
}

#[tokio::test]
async fn conflicts_are_listed_with_every_losing_value_and_resolved_by_one_write() {
    let (a, b) = disagreement(&["x", "y/1", "y/2"]).await;
    a.put("/api/calm", "1").await;
    let all = a.get("/api/_conflicts").await;
    let items = all.json()["items"].as_array().unwrap().clone();
    let paths: Vec<&str> = items.iter().map(|item| item["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["x", "y/1", "y/2"]);
    for item in &items {
        assert_eq!(
            (&item["state"], &item["conflicts"], &item["resolved"]),
            (&json!("open"), &json!(1), &json!([]))
        );
        let mut values: Vec<&str> = item["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["value"].as_str().unwrap())
            .collect();
        values.sort_unstable();
        assert_eq!(values, ["left", "right"]);
        assert_eq!(item["value"], item["versions"][0]["value"]);
        assert!(item["why"].as_str().unwrap().contains("greatest timestamp"), "{item}");
    }
    let page = a.get("/api/_conflicts/y/?limit=1").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let next = a
        .get(&format!("/api/_conflicts/y/?limit=1&cursor={}", page["cursor"].as_str().unwrap()))
        .await
        .json();
    assert_eq!((&next["items"][0]["path"], &next["cursor"]), (&json!("y/2"), &Value::Null));
    let lines = a.send("GET", "/api/_conflicts/", &[("accept", "application/x-ndjson")], "").await.text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..3], items[..]);
    assert_eq!(lines[3], json!({"cursor": null}));

    let kept = post(&a, "/api/_conflicts/x", &[], &json!({"keep": loser(&items[0])})).await;
    assert_eq!(kept.status, 200, "{}", kept.text());
    assert_eq!(kept.header("rejoin-conflicts"), None);
    let valued = post(&b, "/api/_conflicts/y/1", &[], &json!({"value": null})).await;
    assert_eq!((valued.status, &valued.json()["value"]), (200, &Value::Null));
    catch_up(&a, &b).await;
    catch_up(&b, &a).await;
    for server in [&a, &b] {
        let open = server.get("/api/_conflicts?state=open").await.json();
        assert_eq!(open["items"].as_array().unwrap().len(), 1);
        let resolved = server.get("/api/_conflicts?state=resolved").await.json();
        let resolved = &resolved["items"];
        assert_eq!(resolved.as_array().unwrap().len(), 2);
        assert_eq!((&resolved[0]["path"], &resolved[0]["state"]), (&json!("x"), &json!("resolved")));
        assert_eq!(resolved[0]["resolved"][0]["by"], kept.json()["version"]);
        let outcomes: Vec<(&Value, &Value)> = resolved[0]["resolved"][0]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| (&version["outcome"], &version["value"]))
            .collect();
        let lost = items[0]["versions"][1]["value"].clone();
        assert!(outcomes.contains(&(&json!("lost"), &lost)), "{outcomes:?}");
        assert!(outcomes.contains(&(&json!("won"), &items[0]["value"])), "{outcomes:?}");
        assert_eq!(server.get("/api/x").await.json(), lost);
        assert_eq!(server.get("/api/y/1").await.text(), "null");
    }
    let again = post(&a, "/api/_conflicts/x", &[], &json!({"value": 1})).await;
    let body = again.assert_problem(409, "no_conflict");
    assert_eq!((&body["etag"], &body["applied"]), (&kept.json()["etag"], &json!(false)));
    post(&a, "/api/_conflicts/none", &[], &json!({"value": 1})).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_status_counts_what_was_settled_in_the_last_day() {
    let (a, _b) = disagreement(&["x", "y", "z"]).await;
    for path in ["x", "z"] {
        let settled = post(&a, &format!("/api/_conflicts/{path}"), &[], &json!({"value": path})).await;
        assert_eq!(settled.status, 200, "{}", settled.text());
    }
    // What settled a conflict may have been replaced since.
    assert_eq!(a.put("/api/x", "1").await.status, 200);
    let conflicts = a.get("/api/status").await.json()["conflicts"].clone();
    assert_eq!(conflicts, json!({"open": 1, "resolved24h": 2}));
}

#[tokio::test]
async fn a_resolution_can_insist_on_what_was_read() {
    let (a, _b) = disagreement(&["x"]).await;
    let read = a.get("/api/_conflicts").await.json()["items"][0].clone();
    let (context, etag) =
        (read["context"].as_str().unwrap(), format!("\"{}\"", read["etag"].as_str().unwrap()));
    let nothing = a.get("/api/never").await;
    let _ = nothing.assert_problem(404, "not_found");
    // Someone writes a third version, without having seen the two.
    let other = a.get("/api/_explain/x").await.json();
    let seen_one = other["versions"][0]["version"].clone();
    let third = a.send("PUT", "/api/x", &[JSON, ("rejoin-context", &only(&a, &seen_one).await)], "3").await;
    assert_eq!(third.header("rejoin-conflicts"), Some("1"));
    let refused = post(&a, "/api/_conflicts/x", &[], &json!({"value": 9, "context": context})).await;
    assert_eq!(refused.assert_problem(409, "conflict_changed")["value"], 3);
    let refused = post(&a, "/api/_conflicts/x", &[("rejoin-context", context)], &json!({"value": 9})).await;
    refused.assert_problem(409, "conflict_changed");
    let refused = post(&a, "/api/_conflicts/x", &[("if-match", &etag)], &json!({"value": 9})).await;
    refused.assert_problem(412, "precondition_failed");
    let refused = post(&a, "/api/_conflicts/x", &[], &json!({"keep": seen_one})).await;
    refused.assert_problem(409, "version_not_live");
    let now = a.get("/api/x?meta=true").await.json();
    let done = post(&a, "/api/_conflicts/x", &[], &json!({"value": 9, "context": now["context"]})).await;
    assert_eq!(done.status, 200);
    for bad in [
        json!({}),
        json!({"value": 1, "keep": "x"}),
        json!({"keep": "x"}),
        json!({"value": 1, "y": 1}),
        json!([]),
    ] {
        post(&a, "/api/_conflicts/x", &[], &bad).await.assert_problem(400, "invalid_json");
    }
    let twice = a.send("POST", "/api/_conflicts/x", &[JSON], "{\"value\":{\"a\":1,\"a\":2}}").await;
    twice.assert_problem(400, "duplicate_member");
    a.get("/api/_conflicts?state=closed").await.assert_problem(400, "invalid_parameter");
    a.get("/api/_conflicts?cursor=x").await.assert_problem(400, "invalid_cursor");
    post(&a, "/api/_conflicts", &[], &json!({"value": 1})).await.assert_problem(400, "invalid_path");
}

/// The context of a client that has read one version of `x` only.
async fn only(server: &Server, version: &Value) -> String {
    let path = rejoin::Path::parse("x").unwrap();
    let dot: rejoin::Dot = version.as_str().unwrap().parse().unwrap();
    assert!(server.node.entry(&path).unwrap().is_some());
    rejoin::Context::new([dot]).encode(&path)
}

#[tokio::test]
async fn a_write_replaces_exactly_what_its_context_names() {
    let server = Server::memory().await;
    let never = server.get("/api/x").await;
    never.assert_problem(404, "not_found");
    let nothing = never.header("rejoin-context").unwrap().to_owned();
    let first = server.put("/api/x", "{\"a\":1}").await;
    let read = server.get("/api/x").await;
    let seen = read.header("rejoin-context").unwrap().to_owned();
    assert_eq!(first.header("rejoin-context"), Some(seen.as_str()), "a writer has read what it wrote");
    assert_eq!(server.get("/api/x?meta=true").await.json()["context"], json!(seen));

    let beside = server.send("PUT", "/api/x", &[JSON, ("rejoin-context", &nothing)], "{\"b\":2}").await;
    assert_eq!((beside.status, beside.header("rejoin-conflicts")), (200, Some("1")));
    let patch = [("content-type", "application/merge-patch+json"), ("rejoin-context", seen.as_str())];
    let patched = server.send("PATCH", "/api/x", &patch, "{\"c\":3}").await;
    assert_eq!(patched.json()["value"], json!({"a": 1, "c": 3}), "a patch is of what was read");
    assert_eq!(patched.header("rejoin-conflicts"), Some("1"), "what was not read stays");
    let mine = patched.header("rejoin-context").unwrap().to_owned();
    let deleted = server.send("DELETE", "/api/x", &[("rejoin-context", &mine)], "").await;
    assert_eq!((deleted.status, deleted.header("rejoin-conflicts")), (200, Some("1")));
    let explained = server.get("/api/_explain/x").await.json();
    let ops: Vec<&str> = explained["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["op"].as_str().unwrap())
        .collect();
    assert_eq!(ops, ["delete", "put"]);
    assert!(explained["why"].as_str().unwrap().ends_with("So the document reads as deleted."), "{explained}");
    // A reader of a deleted document has read something, too.
    let gone = server.get("/api/x").await;
    assert_eq!(gone.assert_problem(404, "not_found")["reason"], "deleted");
    let all = gone.header("rejoin-context").unwrap().to_owned();
    let over = server.send("PUT", "/api/x", &[JSON, ("rejoin-context", &all)], "4").await;
    assert_eq!((over.status, over.header("rejoin-conflicts")), (201, None));

    let token = server.state();
    let long = "A".repeat(9_000);
    for bad in ["", "!", "AAAA", token.as_str(), long.as_str()] {
        for method in ["PUT", "DELETE"] {
            let refused = server.send(method, "/api/x", &[JSON, ("rejoin-context", bad)], "5").await;
            assert!(
                refused.assert_problem(400, "invalid_context")["hint"].as_str().unwrap().contains("read")
            );
        }
    }
    let elsewhere = server.send("PUT", "/api/y", &[JSON, ("rejoin-context", &all)], "5").await;
    assert!(
        elsewhere.assert_problem(400, "invalid_context")["message"]
            .as_str()
            .unwrap()
            .contains("another path")
    );
    assert_eq!(server.state(), token);
}

#[tokio::test]
async fn a_context_from_a_node_that_is_ahead_is_refused_or_waited_for() {
    let (a, b) = (Server::memory().await, Server::memory().await);
    a.put("/api/x", "1").await;
    let context = a.get("/api/x").await.header("rejoin-context").unwrap().to_owned();
    let headers = [JSON, ("rejoin-context", context.as_str())];
    let refused = b.send("PUT", "/api/x", &headers, "2").await;
    assert_eq!(refused.assert_problem(503, "not_caught_up")["missing"]["count"], 1);
    let mut waiting = b.connect().await;
    let headers = [JSON, ("rejoin-context", context.as_str()), ("rejoin-wait", "20s")];
    waiting.begin("PUT", "/api/x", &headers, "2").await;
    link(&b, &a).await;
    let written = waiting.answer(false).await;
    assert_eq!((written.status, written.header("rejoin-conflicts")), (200, None));
}

#[tokio::test]
async fn history_tells_outcomes_and_versions_come_back() {
    let builder = Node::builder().in_memory().strategy("m", Strategy::MergeFields);
    let server = Server::with(builder, ServeOptions::default()).await;
    for number in 1..=5 {
        server.put("/api/m/x", &format!("{{\"n\":{number},\"only{number}\":true}}")).await;
    }
    let page = server.get("/api/history/m/x?limit=2&values=false").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    for item in page["items"].as_array().unwrap() {
        assert_eq!(
            (item.get("value"), &item["outcome"], &item["op"]),
            (None, &json!("replaced"), &json!("put"))
        );
    }
    let rest =
        server.get(&format!("/api/history/m/x?cursor={}", page["cursor"].as_str().unwrap())).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["cursor"]), (2, &Value::Null));
    let first = rest["items"][1].clone();
    assert_eq!(first["value"], json!({"n": 1, "only1": true}));

    let back = post(&server, "/api/history/m/x", &[], &json!({"version": first["version"]})).await;
    assert_eq!((back.status, &back.json()["value"]), (200, &first["value"]), "{}", back.text());
    assert_ne!(back.json()["version"], first["version"], "it is a write of its own");
    let newest = server.get("/api/history/m/x?limit=1").await.json();
    assert_eq!(newest["items"][0]["supersededBy"], back.json()["version"]);

    let condition = [("if-match", "\"0\"")];
    let refused = post(&server, "/api/history/m/x", &condition, &json!({"version": first["version"]})).await;
    refused.assert_problem(412, "precondition_failed");
    let other = post(&server, "/api/history/m/y", &[], &json!({"version": first["version"]})).await;
    other.assert_problem(404, "no_such_version");
    for bad in [
        json!({}),
        json!({"version": "x"}),
        json!({"version": 1}),
        json!({"version": first["version"], "y": 1}),
    ] {
        post(&server, "/api/history/m/x", &[], &bad).await.assert_problem(400, "invalid_json");
    }
    server.get("/api/history/m/x?values=maybe").await.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn a_failed_condition_tells_what_is_there_for_every_kind_of_write() {
    let server = Server::memory().await;
    let put = server.put("/api/x", "{\"n\":1}").await;
    let before = server.state();
    let patch = ("content-type", "application/merge-patch+json");
    let etag = put.header("etag").unwrap().to_owned();
    for (method, headers) in [
        ("PUT", vec![JSON, ("if-match", "\"0\"")]),
        ("PUT", vec![JSON, ("if-none-match", "*")]),
        ("PUT", vec![JSON, ("if-none-match", etag.as_str())]),
        ("PATCH", vec![patch, ("if-match", "\"0\"")]),
        ("PATCH", vec![patch, ("if-none-match", "*")]),
        ("DELETE", vec![("if-match", "\"0\"")]),
        ("DELETE", vec![("if-none-match", etag.as_str())]),
    ] {
        let body = if method == "DELETE" { "" } else { "{\"n\":2}" };
        let failed = server.send(method, "/api/x", &headers, body).await;
        let said = failed.assert_problem(412, "precondition_failed");
        assert_eq!(
            (&said["value"], &said["etag"]),
            (&json!({"n": 1}), &put.json()["etag"]),
            "{method} {headers:?}"
        );
        assert_eq!(failed.header("etag"), Some(etag.as_str()));
    }
    for method in ["PATCH", "DELETE"] {
        let absent = server.send(method, "/api/none", &[patch, ("if-match", "*")], "{}").await;
        assert_eq!(absent.assert_problem(412, "precondition_failed")["etag"], Value::Null);
    }
    assert_eq!(server.state(), before);
    assert_eq!(server.send("PATCH", "/api/x", &[patch, ("if-match", "*")], "{\"n\":3}").await.status, 200);
    assert_eq!(
        server.send("PATCH", "/api/new", &[patch, ("if-none-match", "*")], "{\"n\":3}").await.status,
        201
    );
    assert_eq!(server.send("DELETE", "/api/x", &[("if-match", "*")], "").await.status, 200);
}
