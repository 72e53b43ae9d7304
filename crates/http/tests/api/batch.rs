//! Batches: several writes in one request, as JSON and as lines.

use serde_json::{Value, json};

use crate::client::{Answer, Server};

async fn batch(server: &Server, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    server.send("POST", "/api/_batch", &json, &body.to_string()).await
}

async fn lines(server: &Server, target: &str, body: &str) -> Vec<Value> {
    let answer = server.send("POST", target, &[("content-type", "application/x-ndjson")], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn statuses(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_operation_has_its_own_result() {
    let server = Server::memory().await;
    server.put("/api/there", "{\"a\":1,\"b\":2}").await;
    let etag = server.get("/api/there").await.header("etag").unwrap().to_owned();
    let body = json!({"operations": [
        {"op": "put", "path": "new", "value": null},
        {"op": "put", "path": "new", "value": 2},
        {"op": "patch", "path": "there", "value": {"b": null}, "ifMatch": etag},
        {"op": "put", "path": "there", "value": 3, "ifMatch": etag},
        {"op": "put", "path": "there", "value": 3, "ifNoneMatch": "*"},
        {"op": "delete", "path": "nothing"},
        {"op": "delete", "path": "new"},
        {"op": "put", "path": "a//b", "value": 1},
        {"op": "put", "path": "a"},
        {"op": "move", "path": "a", "value": 1},
        {"path": "plain", "value": [1]},
    ]});
    let answer = batch(&server, &body).await;
    assert_eq!(statuses(&answer), [201, 200, 200, 412, 412, 404, 200, 400, 400, 400, 201]);
    let body = answer.json();
    assert_eq!((&body["atomic"], &body["applied"], &body["refused"]), (&json!(false), &json!(5), &json!(6)));
    let results = &body["results"];
    assert_eq!(results[0]["path"], "new");
    assert_eq!(results[0]["applied"], true);
    assert!(results[0]["version"].is_string() && results[0]["etag"].is_string(), "{}", results[0]);
    assert_eq!(results[3]["error"], "precondition_failed");
    assert_eq!(results[3]["path"], "there");
    assert_eq!(results[3]["value"], json!({"a": 1}), "the current value");
    assert_eq!(results[5]["reason"], "missing");
    assert_eq!(results[6]["deleted"], true);
    assert_eq!(results[7]["error"], "invalid_path");
    assert_eq!(results[8]["error"], "invalid_operation");
    assert!(results[9]["message"].as_str().unwrap().contains("move"), "{}", results[9]);
    assert_eq!(server.get("/api/there").await.text(), "{\"a\":1}");
    assert_eq!(server.get("/api/plain").await.text(), "[1]");
    assert!(answer.header("rejoin-token").is_some());
}

#[tokio::test]
async fn an_atomic_batch_is_done_whole_or_not_at_all() {
    let server = Server::memory().await;
    server.put("/api/from", "{\"balance\":10}").await;
    server.put("/api/to", "{\"balance\":0}").await;
    let etag = server.get("/api/from").await.json();
    assert_eq!(etag["balance"], 10);
    let etag = server.get("/api/from").await.header("etag").unwrap().trim_matches('"').to_owned();
    let transfer = json!({"atomic": true, "operations": [
        {"op": "patch", "path": "to", "value": {"balance": 3}},
        {"op": "patch", "path": "from", "value": {"balance": 7}, "ifMatch": etag},
    ]});
    let answer = batch(&server, &transfer).await;
    assert_eq!(statuses(&answer), [200, 200]);
    assert_eq!(answer.json()["atomic"], true);
    let before = server.state();
    // The second operation no longer holds, so the first is not done either.
    let refused = batch(&server, &transfer).await.assert_problem(412, "precondition_failed");
    assert_eq!((&refused["operation"], &refused["path"]), (&json!(1), &json!("from")));
    assert_eq!(refused["value"], json!({"balance": 7}));
    for (operation, status, code) in [
        (json!({"op": "delete", "path": "nothing"}), 404, "not_found"),
        (json!({"op": "put", "path": "_x", "value": 1}), 400, "reserved_path"),
        (json!({"op": "put", "path": "x"}), 400, "invalid_operation"),
    ] {
        let body = json!({"atomic": true, "operations": [{"path": "first", "value": 1}, operation]});
        let refused = batch(&server, &body).await.assert_problem(status, code);
        assert_eq!(refused["operation"], 1);
    }
    assert_eq!(server.state(), before, "nothing is half-done");
    assert_eq!(server.get("/api/first").await.status, 404);
    let twice = json!({"atomic": true, "operations": [
        {"path": "first", "value": 1, "ifNoneMatch": "*"},
        {"path": "first", "value": 2, "ifMatch": "*"},
        {"op": "delete", "path": "to"},
    ]});
    assert_eq!(statuses(&batch(&server, &twice).await), [201, 200, 200]);
    assert_eq!(server.get("/api/first").await.text(), "2");
    let nothing = batch(&server, &json!({"atomic": true, "operations": []})).await;
    assert_eq!(nothing.json()["results"], json!([]));
}

#[tokio::test]
async fn batches_have_limits_that_say_what_to_do() {
    let server = Server::memory().await;
    let before = server.state();
    let operations = |count: usize, bytes: usize| -> Vec<Value> {
        (0..count).map(|number| json!({"path": format!("n/{number}"), "value": "x".repeat(bytes)})).collect()
    };
    for atomic in [true, false] {
        let body = json!({"atomic": atomic, "operations": operations(1_001, 1)});
        let refused = batch(&server, &body).await.assert_problem(413, "too_large");
        assert_eq!((&refused["limit"], &refused["size"]), (&json!(1_000), &json!(1_001)));
        assert!(refused["hint"].as_str().unwrap().contains("x-ndjson"), "{refused}");
    }
    let body = json!({"atomic": true, "operations": operations(5, 900_000)});
    let refused = batch(&server, &body).await.assert_problem(413, "too_large");
    assert_eq!(refused["limit"], 4 * 1024 * 1024);
    let body = json!({"operations": operations(10, 900_000)});
    batch(&server, &body).await.assert_problem(413, "too_large");
    for body in ["", "[]", "{\"operations\":1}", "{\"operations\":[],\"atomc\":true}", "{\"operations\":[}"] {
        let json = [("content-type", "application/json")];
        server.send("POST", "/api/_batch", &json, body).await.assert_problem(400, "invalid_json");
    }
    let get = server.get("/api/_batch").await;
    get.assert_problem(405, "method_not_allowed");
    assert_eq!(server.state(), before);
    let body = json!({"atomic": true, "operations": operations(1_000, 1)});
    assert_eq!(statuses(&batch(&server, &body).await).len(), 1_000);
}

#[tokio::test]
async fn lines_are_answered_in_order_and_end_with_a_sum() {
    let server = Server::memory().await;
    let body = "{\"path\":\"a\",\"value\":1}\n\n{\"op\":\"put\",\"path\":\"b\",\"value\":{\"x\":1}}\r\n\
                {\"op\":\"delete\",\"path\":\"c\"}\nnot json\n{\"op\":\"patch\",\"path\":\"b\",\"value\":{\"y\":2}}";
    let answers = lines(&server, "/api/_batch", body).await;
    let statuses: Vec<_> = answers.iter().map(|one| one["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(201), Some(201), Some(404), Some(400), Some(200), None]);
    assert_eq!(answers[3]["operation"], 3);
    assert_eq!(answers[5], json!({"done": true, "operations": 5, "applied": 3, "refused": 2}));
    assert_eq!(server.get("/api/b").await.text(), "{\"x\":1,\"y\":2}");
    let refused = lines(&server, "/api/_batch?results=refused", body).await;
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert_eq!((&refused[0]["operation"], &refused[0]["path"]), (&json!(2), &json!("c")));
    server
        .send("POST", "/api/_batch?results=some", &[("content-type", "application/x-ndjson")], "")
        .await
        .assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn what_a_scan_streams_can_be_sent_to_another_node() {
    let (server, other) = (Server::memory().await, Server::memory().await);
    let body: String =
        (0..3_000).map(|n| format!("{{\"path\":\"n/{n:04}\",\"value\":{{\"n\":{n}}}}}\n")).collect();
    let told = lines(&server, "/api/_batch?results=refused", &body).await;
    assert_eq!(
        told.last().unwrap(),
        &json!({"done": true, "operations": 3000, "applied": 3000, "refused": 0})
    );
    let accept = [("accept", "application/x-ndjson")];
    let all = server.send("GET", "/api/scan/", &accept, "").await.text();
    let told = lines(&other, "/api/_batch", &all).await;
    assert_eq!(told.len(), 3_001);
    assert_eq!(other.send("GET", "/api/scan/", &accept, "").await.text(), all);
}

#[tokio::test]
async fn lines_are_done_while_more_are_on_their_way() {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let headers = [("content-type", "application/x-ndjson"), ("transfer-encoding", "chunked")];
    client.begin("POST", "/api/_batch", &headers, "").await;
    client.raw(chunk("{\"path\":\"a\",\"value\":1}\n{\"path\":\"b\"").as_bytes()).await;
    assert_eq!(client.head().await.status, 200);
    let first = client.chunk().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&first).unwrap()["path"], "a");
    assert_eq!(server.get("/api/a").await.text(), "1");
    client.raw(chunk(",\"value\":2}\n").as_bytes()).await;
    client.raw(b"0\r\n\r\n").await;
    let mut rest = Vec::new();
    while let Some(piece) = client.chunk().await {
        rest.extend(piece);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.ends_with("{\"done\":true,\"operations\":2,\"applied\":2,\"refused\":0}\n"), "{rest}");
    // The connection goes on.
    assert_eq!(client.send("GET", "/api/b", &[], "").await.text(), "2");
}

#[tokio::test]
async fn a_line_beyond_every_value_ends_the_stream_with_a_problem() {
    let server = Server::memory().await;
    let long =
        format!("{{\"path\":\"a\",\"value\":1}}\n{{\"path\":\"b\",\"value\":\"{}\"}}", "x".repeat(1_200_000));
    let told = lines(&server, "/api/_batch", &long).await;
    assert_eq!(told[0]["status"], 201);
    assert_eq!(told[1]["error"], "too_large");
    assert_eq!(told.len(), 2, "there is no sum: it is not complete");
}
