//! Queries: filters, projections, listings, and pages of bounded work.

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::client::{Answer, Server};

const PEOPLE: [(&str, &str); 5] = [
    ("people/alice", r#"{"name":"Alice","age":41,"address":{"city":"Berlin","zip":"10115"}}"#),
    ("people/bob", r#"{"name":"Bob","age":17,"address":{"city":"Paris"}}"#),
    ("people/carol", r#"{"age":18,"name":"Carol","status":"open"}"#),
    ("people/dave", r#"{"name":"Dave","age":"41"}"#),
    ("people/eve/notes/1", r#""a text""#),
];

async fn people() -> Server {
    let server = Server::memory().await;
    for (path, value) in PEOPLE {
        assert_eq!(server.put(&format!("/api/{path}"), value).await.status, 201);
    }
    server
}

/// What a request target cannot hold as it is.
fn encoded(text: &str) -> String {
    text.replace('<', "%3C").replace('>', "%3E").replace('"', "%22")
}

fn paths(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn filters_choose_by_members_and_types() {
    let server = people().await;
    for (filter, expected) in [
        ("age>=18", &["people/alice", "people/carol"][..]),
        ("age==\"41\"", &["people/dave"]),
        ("address.city==Berlin", &["people/alice"]),
        ("age>=18,address.city==Berlin", &["people/alice"]),
        ("age>=18,address.city==Paris", &[]),
        ("address", &["people/alice", "people/bob"]),
        ("!address,name", &["people/carol", "people/dave"]),
        ("name+in+(Bob,Dave)", &["people/bob", "people/dave"]),
        ("name^=C", &["people/carol"]),
        ("status=open", &["people/carol"]),
        ("name,status!=open", &["people/alice", "people/bob", "people/dave"]),
        (".^=a", &["people/eve/notes/1"]),
    ] {
        let target = encoded(&format!("/api/scan/people/?where={filter}"));
        assert_eq!(paths(&server.get(&target).await), expected, "{filter}");
        let head = server.send("HEAD", &target, &[], "").await;
        assert_eq!(head.header("rejoin-count"), Some(expected.len().to_string().as_str()), "{filter}");
    }
    let back = server.get("/api/scan/people/?where=age%3E=18&reverse").await;
    assert_eq!(paths(&back), ["people/carol", "people/alice"]);
    let keys = server.get("/api/scan/people/?where=status==open&keys_only").await;
    assert_eq!(keys.json()["items"], json!([{"path": "people/carol"}]));
    let first = server.get("/api/scan/people/?where=age%3E=18&limit=1").await;
    assert_eq!(paths(&first), ["people/alice"]);
    let cursor = first.json()["cursor"].as_str().unwrap().to_owned();
    let second = server.get(&format!("/api/scan/people/?where=age%3E=18&limit=1&cursor={cursor}")).await;
    assert_eq!((paths(&second), &second.json()["cursor"]), (vec!["people/carol".to_owned()], &Value::Null));
}

#[tokio::test]
async fn projections_send_what_was_asked_for_as_it_was_written() {
    let server = people().await;
    let answer = server.get("/api/scan/people/?fields=age,name,address.city").await;
    let expected = [
        r#"{"path":"people/alice","value":{"name":"Alice","age":41,"address":{"city":"Berlin"}}}"#,
        r#"{"path":"people/bob","value":{"name":"Bob","age":17,"address":{"city":"Paris"}}}"#,
        r#"{"path":"people/carol","value":{"age":18,"name":"Carol"}}"#,
        r#"{"path":"people/dave","value":{"name":"Dave","age":"41"}}"#,
        r#"{"path":"people/eve/notes/1","value":"a text"}"#,
    ];
    assert_eq!(answer.text(), format!("{{\"items\":[{}],\"cursor\":null}}", expected.join(",")));
    let lines = server.send(
        "GET",
        "/api/scan/people/?fields=name&where=address.city==Paris",
        &[("accept", "application/x-ndjson")],
        "",
    );
    assert_eq!(
        lines.await.text(),
        "{\"path\":\"people/bob\",\"value\":{\"name\":\"Bob\"}}\n{\"cursor\":null}\n"
    );
    let meta = server.get("/api/scan/people/bob?fields=name&meta").await.json();
    let envelope = server.get("/api/people/bob?meta").await.json();
    assert_eq!(meta["items"][0]["etag"], envelope["etag"]);
    assert_eq!(meta["items"][0]["value"], json!({"name": "Bob"}));
}

#[tokio::test]
async fn listings_show_directories() {
    let server = Server::memory().await;
    for path in ["a", "a/1", "a/2/x", "a-b", "b/1/x/y", "b/1/z", "b/2", "c/gone/1", "d"] {
        server.put(&format!("/api/{path}"), "1").await;
    }
    server.delete("/api/c/gone/1").await;
    for (target, expected) in [
        ("/api/scan/?depth=1", &["a", "a/", "a-b", "b/", "d"][..]),
        ("/api/scan/?depth=1&reverse", &["d", "b/", "a-b", "a/", "a"]),
        ("/api/scan/a?depth=1", &["a", "a/", "a-b"]),
        ("/api/scan/a/?depth=1", &["a/1", "a/2/"]),
        ("/api/scan/b/?depth=1", &["b/1/", "b/2"]),
        ("/api/scan/?depth=2", &["a", "a/1", "a/2/", "a-b", "b/1/", "b/2", "d"]),
        ("/api/scan/?depth=64", &["a", "a/1", "a/2/x", "a-b", "b/1/x/y", "b/1/z", "b/2", "d"]),
        ("/api/scan/none/?depth=1", &[]),
    ] {
        assert_eq!(paths(&server.get(target).await), expected, "{target}");
        let head = server.send("HEAD", target, &[], "").await;
        assert_eq!(head.header("rejoin-count"), Some(expected.len().to_string().as_str()), "{target}");
        let joint = if target.contains('?') { '&' } else { '?' };
        for limit in 1..=3 {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = server.get(&format!("{target}{joint}limit={limit}{cursor}")).await;
                assert!(paths(&page).len() <= limit);
                all.extend(paths(&page));
                match page.json()["cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(all, expected, "{target} in pages of {limit}");
        }
        let lines = server.send("GET", target, &[("accept", "application/x-ndjson")], "").await.text();
        assert_eq!(lines.lines().count(), expected.len() + 1, "{target}");
    }
    let page = server.get("/api/scan/?depth=1&limit=2").await.json();
    assert_eq!(page["items"], json!([{"path": "a", "value": 1}, {"path": "a/", "directory": true}]));
}

#[tokio::test]
async fn a_page_that_finds_little_ends_and_is_continued() {
    let server = Server::memory().await;
    // More than a page looks at; the only match is the last.
    let node = &server.node;
    let writes = (0..10_050).map(async |number| {
        node.put(&format!("n/{number:05}"), &json!({ "n": number })).await.unwrap();
    });
    stream::iter(writes).buffer_unordered(500).collect::<Vec<_>>().await;
    let first = server.get("/api/scan/n/?where=n==10049").await;
    assert_eq!(paths(&first), [""; 0]);
    let cursor = first.json()["cursor"].as_str().expect("there is more to look at").to_owned();
    let second = server.get(&format!("/api/scan/n/?where=n==10049&cursor={cursor}")).await;
    assert_eq!(paths(&second), ["n/10049"]);
    assert_eq!(second.json()["cursor"], Value::Null);
    let lines =
        server.send("GET", "/api/scan/n/?where=n==10049", &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.text(), "{\"path\":\"n/10049\",\"value\":{\"n\":10049}}\n{\"cursor\":null}\n");
    // A directory is stepped over, whatever it holds.
    let listing = server.get("/api/scan/?depth=1").await.json();
    assert_eq!(listing, json!({"items": [{"path": "n/", "directory": true}], "cursor": null}));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_with_their_place() {
    let server = people().await;
    for (target, said) in [
        ("/api/scan/?where=age>=", "`where` is wrong at character 6: a value is missing"),
        ("/api/scan/?where=age>=18,,x", "`where` is wrong at character 9"),
        ("/api/scan/?where=", "`where` is wrong at character 1"),
        ("/api/scan/?where=a>true", "only numbers and texts have an order"),
        ("/api/scan/?fields=a,,b", "`fields` is wrong at character 3"),
        ("/api/scan/?fields=", "`fields` is wrong at character 1"),
        ("/api/scan/?depth=0", "`depth` is `0`"),
        ("/api/scan/?depth=65", "`depth` is `65`"),
        ("/api/scan/?depth=1&where=a", "`depth` and `where` do not go together"),
    ] {
        let body = server.get(&encoded(target)).await.assert_problem(400, "invalid_parameter");
        assert!(body["message"].as_str().unwrap().contains(said), "{target}: {body}");
    }
}
