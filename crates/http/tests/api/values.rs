//! Values go out as they came in; bodies that are no values change nothing.

use serde_json::json;

use crate::client::Server;

#[tokio::test]
async fn values_round_trip_to_the_byte() {
    let server = Server::on_disk().await;
    for value in [
        "null",
        "false",
        "0",
        "-0",
        "1.0",
        "1e2",
        "1E+2",
        "100000000000000000000000001",
        "0.1000000000000000055511151231257827",
        "\"\"",
        "\"\\u0041\\/\"",
        "[]",
        "{}",
        "{\"b\":1,\"a\":2,\"0\":{\"z\":null,\"y\":[1.50,2]}}",
        "\"é\u{1F600}\"",
    ] {
        let put = server.put("/api/v", value).await;
        assert!(matches!(put.status, 200 | 201));
        assert!(put.text().contains(&format!("\"value\":{value},\"vectorClock\"")), "{}", put.text());
        let get = server.get("/api/v").await;
        assert_eq!((get.status, get.text().as_str()), (200, value));
        assert_eq!(get.header("content-type"), Some("application/json"));
        let scan = server.get("/api/scan/v").await;
        assert_eq!(
            scan.text(),
            format!("{{\"items\":[{{\"path\":\"v\",\"value\":{value}}}],\"cursor\":null}}")
        );
        let meta = server.get("/api/v?meta=true").await.text();
        assert!(meta.starts_with(&format!("{{\"path\":\"v\",\"value\":{value},")), "{meta}");
    }
    // Insignificant white space is not part of the value.
    server.put("/api/v", " { \"a\" : [ 1 , \" x \" ] }\n").await;
    assert_eq!(server.get("/api/v").await.text(), "{\"a\":[1,\" x \"]}");
}

#[tokio::test]
async fn a_write_says_what_it_did() {
    let server = Server::on_disk().await;
    let created = server.put("/api/users/alice", "{\"name\":\"Alice\"}").await;
    assert_eq!(created.status, 201);
    let first = created.json();
    assert_eq!(first["path"], "users/alice");
    assert_eq!(first["value"], json!({"name": "Alice"}));
    assert_eq!(first["applied"], true);
    assert_eq!(first["durable"], "disk");
    let node = server.node.info().id.to_string();
    let clock = first["vectorClock"].as_object().unwrap();
    assert_eq!(clock.keys().collect::<Vec<_>>(), [&node]);
    assert!(clock[&node].as_u64().unwrap() < 1 << 53);
    assert!(first["timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(first["version"].as_str().unwrap().starts_with(&node));
    let etag = format!("\"{}\"", first["etag"].as_str().unwrap());
    assert_eq!(created.header("etag"), Some(etag.as_str()));

    let read = server.get("/api/users/alice").await;
    assert_eq!(read.header("etag"), Some(etag.as_str()));
    assert_eq!(read.header("rejoin-version"), first["version"].as_str());
    assert_eq!(read.header("rejoin-conflicts"), None);
    assert_eq!(read.header("rejoin-token"), created.header("rejoin-token"));
    assert!(read.header("last-modified").unwrap().ends_with(" GMT"));

    let head = server.send("HEAD", "/api/users/alice", &[], "").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    assert_eq!(head.header("content-length"), Some("16"));

    let replaced = server.put("/api/users/alice", "{\"name\":\"Alicia\"}").await;
    assert_eq!(replaced.status, 200);
    assert_ne!(replaced.header("etag"), Some(etag.as_str()));

    let envelope = server.get("/api/users/alice?meta=true").await;
    assert_ne!(envelope.header("etag"), replaced.header("etag"));
    let body = envelope.json();
    assert_eq!(body["version"], replaced.json()["version"]);
    assert_eq!(body["etag"], replaced.json()["etag"]);
    assert_eq!(body["vectorClock"], replaced.json()["vectorClock"]);
    assert_eq!(body["origin"], json!(node));

    let history = server.get("/api/history/users/alice").await.json();
    assert_eq!(history["path"], "users/alice");
    assert_eq!(history["items"][0]["value"], json!({"name": "Alice"}));
    assert_eq!(history["items"][0]["supersededBy"], body["version"]);
    assert_eq!(history["cursor"], json!(null));
}

#[tokio::test]
async fn missing_and_deleted_are_told_apart() {
    let server = Server::memory().await;
    let missing = server.get("/api/a").await.assert_problem(404, "not_found");
    assert_eq!((&missing["reason"], &missing["path"]), (&json!("missing"), &json!("a")));
    server.delete("/api/a").await.assert_problem(404, "not_found");
    server.put("/api/a", "null").await;
    let deleted = server.delete("/api/a").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(deleted.json()["deleted"], true);
    assert_eq!(deleted.json()["path"], "a");
    let gone = server.get("/api/a").await.assert_problem(404, "not_found");
    assert_eq!(gone["reason"], "deleted");
    let again = server.delete("/api/a").await.assert_problem(404, "not_found");
    assert_eq!(again["reason"], "deleted");
    assert_eq!(server.put("/api/a", "1").await.status, 201);
}

#[tokio::test]
async fn patches_merge_fields() {
    let server = Server::memory().await;
    let merge = [("content-type", "application/merge-patch+json")];
    let created = server.send("PATCH", "/api/p", &merge, "{\"a\":1,\"x\":null}").await;
    assert_eq!((created.status, created.header("location")), (201, Some("/api/p")));
    assert_eq!(server.get("/api/p").await.text(), "{\"a\":1}");
    server.put("/api/p", "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}").await;
    let patched = server.send("PATCH", "/api/p", &merge, "{\"a\":null,\"b\":{\"c\":1.0}}").await;
    assert_eq!(patched.status, 200);
    assert_eq!(server.get("/api/p").await.text(), "{\"b\":{\"c\":1.0,\"d\":3}}");
    let json = [("content-type", "application/json; charset=UTF-8")];
    assert_eq!(server.send("PATCH", "/api/p", &json, "{\"e\":5}").await.status, 200);
}

#[tokio::test]
async fn malformed_bodies_are_refused_and_change_nothing() {
    let server = Server::memory().await;
    server.put("/api/v", "1").await;
    let before = server.state();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let bottomless = "[".repeat(200_000);
    for (body, code) in [
        ("", "invalid_json"),
        (" ", "invalid_json"),
        ("{", "invalid_json"),
        ("{\"a\":1,}", "invalid_json"),
        ("[1 2]", "invalid_json"),
        ("1 2", "invalid_json"),
        ("nul", "invalid_json"),
        ("NaN", "invalid_json"),
        ("01", "invalid_json"),
        ("+1", "invalid_json"),
        ("'a'", "invalid_json"),
        ("\"a", "invalid_json"),
        ("\"a\nb\"", "invalid_json"),
        ("\"\\x\"", "invalid_json"),
        ("\"\\ud800\"", "invalid_json"),
        ("1e999", "invalid_json"),
        ("\u{FEFF}1", "invalid_json"),
        ("{\"a\":1,\"a\":2}", "duplicate_member"),
        ("[{\"b\":{\"a\":1,\"\\u0061\":2}}]", "duplicate_member"),
        (&deep, "too_deep"),
        (&bottomless, "too_deep"),
    ] {
        let shown = &body[..body.len().min(40)];
        let answer = server.put("/api/v", body).await.assert_problem(400, code);
        assert_eq!(answer["path"], "v", "{shown}");
        let merge = [("content-type", "application/merge-patch+json")];
        server.send("PATCH", "/api/v", &merge, body).await.assert_problem(400, code);
    }
    let mut client = server.connect().await;
    client
        .raw(b"PUT /api/v HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n\"\xFF\"")
        .await;
    client.answer(false).await.assert_problem(400, "invalid_json");
    assert_eq!(server.state(), before);
    assert_eq!(server.get("/api/v").await.text(), "1");
    // 64 levels are legal.
    let deepest = format!("{}{}", "[".repeat(64), "]".repeat(64));
    assert_eq!(server.put("/api/v", &deepest).await.status, 200);
}

#[tokio::test]
async fn bodies_must_say_that_they_are_json() {
    let server = Server::memory().await;
    let before = server.state();
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/jsonp")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        &[("content-type", "")],
    ] {
        server.send("PUT", "/api/v", headers, "1").await.assert_problem(415, "unsupported_media_type");
        server.send("PATCH", "/api/v", headers, "1").await.assert_problem(415, "unsupported_media_type");
        server.send("POST", "/api/_peers", headers, "{}").await.assert_problem(415, "unsupported_media_type");
    }
    let merge = [("content-type", "application/merge-patch+json")];
    server.send("PUT", "/api/v", &merge, "1").await.assert_problem(415, "unsupported_media_type");
    assert_eq!(server.state(), before);
    let json = [("content-type", "Application/JSON;charset=\"UTF-8\"")];
    assert_eq!(server.send("PUT", "/api/v", &json, "1").await.status, 201);
}

#[tokio::test]
async fn many_clients_write_at_once() {
    let server = Server::memory().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let addr = server.addr;
        writers.spawn(async move {
            let mut client = crate::client::Client::connect(addr).await;
            for round in 0..20 {
                let json = [("content-type", "application/json")];
                let target = format!("/api/w/{writer:02}/{round:02}");
                assert_eq!(client.send("PUT", &target, &json, "[1]").await.status, 201);
                assert_eq!(client.send("PUT", "/api/shared", &json, "[2]").await.header("connection"), None);
                assert_eq!(client.send("GET", &target, &[], "").await.text(), "[1]");
            }
        });
    }
    writers.join_all().await;
    let count = server.send("HEAD", "/api/scan/w/", &[], "").await;
    assert_eq!(count.header("rejoin-count"), Some("320"));
    let conflicts = server.get("/api/shared").await;
    assert_eq!(conflicts.header("rejoin-conflicts"), None, "writes of one node follow each other");
}

#[tokio::test]
async fn explanations_name_the_winner() {
    let server = Server::memory().await;
    server.get("/api/_explain/a").await.assert_problem(404, "not_found");
    let put = server.put("/api/a", "1.0").await.json();
    let explained = server.get("/api/_explain/a").await.json();
    assert_eq!(explained["strategy"], "last-write-wins");
    assert_eq!(explained["winner"], put["version"]);
    assert_eq!(explained["versions"][0]["version"], put["version"]);
    assert_eq!(explained["versions"][0]["wins"], true);
    assert_eq!(explained["versions"][0]["value"], json!(1.0));
    assert!(explained["why"].as_str().unwrap().contains("only live version"));
}
