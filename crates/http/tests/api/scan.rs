//! Scans: pages both ways, bounds, lines, counts.

use serde_json::{Value, json};

use crate::client::{Answer, Server};

async fn filled(count: usize) -> Server {
    let server = Server::memory().await;
    let mut client = server.connect().await;
    for number in 0..count {
        let target = format!("/api/n/{number:04}");
        let json = [("content-type", "application/json")];
        assert_eq!(client.send("PUT", &target, &json, &number.to_string()).await.status, 201);
    }
    server
}

fn paths(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
}

async fn all_pages(server: &Server, target: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("{target}{cursor}")).await;
        all.extend(paths(&page));
        match &page.json()["cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return all,
        }
    }
}

#[tokio::test]
async fn pages_join_to_everything_both_ways() {
    let server = filled(25).await;
    let expected: Vec<String> = (0..25).map(|number| format!("n/{number:04}")).collect();
    for limit in [1, 7, 25, 1000] {
        assert_eq!(all_pages(&server, &format!("/api/scan/n/?limit={limit}")).await, expected);
        let mut back = all_pages(&server, &format!("/api/scan/n/?reverse=true&limit={limit}")).await;
        back.reverse();
        assert_eq!(back, expected);
    }
    assert_eq!(paths(&server.get("/api/scan/").await), expected);
    assert_eq!(paths(&server.get("/api/scan").await), expected);
    assert_eq!(paths(&server.get("/api/scan/n/001?limit=3").await), expected[10..13]);
    assert_eq!(paths(&server.get("/api/scan/n/?start=n/0003&end=n/0005").await), expected[3..5]);
    assert_eq!(paths(&server.get("/api/scan/other").await), [""; 0]);
}

#[tokio::test]
async fn the_default_page_has_a_hundred() {
    let server = filled(101).await;
    let page = server.get("/api/scan/").await;
    assert_eq!(paths(&page).len(), 100);
    assert!(page.json()["cursor"].is_string());
}

#[tokio::test]
async fn keys_meta_and_counts() {
    let server = filled(3).await;
    let keys = server.get("/api/scan/n?keys_only=true").await;
    assert_eq!(keys.json()["items"][0], json!({"path": "n/0000"}));
    let meta = server.get("/api/scan/n?meta=true").await.json();
    let envelope = server.get("/api/n/0001?meta=true").await.json();
    assert_eq!(meta["items"][1], envelope);
    let head = server.send("HEAD", "/api/scan/n", &[], "").await;
    assert_eq!((head.status, head.header("rejoin-count")), (200, Some("3")));
    server.delete("/api/n/0001").await;
    let head = server.send("HEAD", "/api/scan/n", &[], "").await;
    assert_eq!(head.header("rejoin-count"), Some("2"));
    assert_eq!(paths(&server.get("/api/scan/n").await), ["n/0000", "n/0002"]);
}

#[tokio::test]
async fn lines_stream_everything() {
    let server = filled(600).await;
    let accept = [("accept", "application/x-ndjson")];
    let answer = server.send("GET", "/api/scan/", &accept, "").await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 601);
    assert_eq!(lines[0], "{\"path\":\"n/0000\",\"value\":0}");
    assert_eq!(lines[600], "{\"cursor\":null}");
    let page = server.send("GET", "/api/scan/?limit=2", &accept, "").await.text();
    assert_eq!(page.lines().count(), 3);
    let last: Value = serde_json::from_str(page.lines().last().unwrap()).unwrap();
    assert!(last["cursor"].is_string());
    server.send("GET", "/api/scan/?cursor=!!", &accept, "").await.assert_problem(400, "invalid_cursor");
    let nothing = server.send("GET", "/api/scan/none", &accept, "").await.text();
    assert_eq!(nothing, "{\"cursor\":null}\n");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let server = Server::memory().await;
    for (target, code, hint) in [
        ("/api/scan/?limt=3", "invalid_parameter", "`limit`"),
        ("/api/scan/?limit=0", "invalid_parameter", "1 to 1000"),
        ("/api/scan/?limit=1001", "invalid_parameter", "1 to 1000"),
        ("/api/scan/?limit=1e3", "invalid_parameter", "1 to 1000"),
        ("/api/scan/?limit=2&limit=2", "invalid_parameter", "once"),
        ("/api/scan/?reverse=yes", "invalid_parameter", "reverse=true"),
        ("/api/scan/?depth=x", "invalid_parameter", "1 to 64"),
        ("/api/scan/?where=a==", "invalid_parameter", "age>=18"),
        ("/api/scan/?cursor=%21", "invalid_cursor", "cursor"),
        ("/api/scan/?start=%FF", "invalid_parameter", "UTF-8"),
        ("/api/a?metta=true", "invalid_parameter", "`meta`"),
        ("/api/history/a?cursor=x", "invalid_cursor", "cursor"),
        ("/api/status?x=1", "invalid_parameter", "no parameters"),
        ("/api/scan//a", "invalid_path", "segments"),
        ("/api/scan/a/../b", "invalid_path", "`..`"),
    ] {
        let body = server.get(target).await.assert_problem(400, code);
        assert!(body["hint"].as_str().unwrap().contains(hint), "{target}: {body}");
    }
    let put = server.put("/api/a?meta=true", "1").await;
    put.assert_problem(400, "invalid_parameter");
    assert_eq!(server.get("/api/a").await.status, 404);
}
