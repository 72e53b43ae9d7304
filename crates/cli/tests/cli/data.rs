//! Values in and out.

use rejoin_client::Condition;
use serde_json::{Value, json};

use crate::harness::{Node, Running, run_with_input};

#[test]
fn values_come_back_as_they_were_written() {
    let node = Node::start(&[]);
    for (path, value) in [
        ("users/alice@example.com/inbox", "{\"z\":1,\"a\":[1.0,1e300,0.10]}"),
        ("données/é", "\"ü\""),
        ("with space/100%", "null"),
        ("a", "false"),
        ("b", "-0"),
        ("c", "\"\""),
    ] {
        assert_eq!(node.run(&["put", path, value]).ok(), "", "{path}");
        assert_eq!(node.run(&["get", path]).ok(), format!("{value}\n"), "{path}");
    }
}

#[test]
fn a_value_comes_from_an_argument_a_file_or_standard_input() {
    let node = Node::start(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\n  \"a\": 1\n}\n").unwrap();
    node.run(&["put", "from/file", &format!("@{}", file.path().display())]).ok();
    assert_eq!(node.run(&["get", "from/file"]).ok(), "{\"a\":1}\n");
    run_with_input(&mut node.command(&["put", "from/stdin", "-"]), "[1,\n2]").ok();
    assert_eq!(node.run(&["get", "from/stdin"]).ok(), "[1,2]\n");
    run_with_input(&mut node.command(&["put", "from/text", "--text", "-"]), "two \"quoted\"\nlines\n").ok();
    assert_eq!(node.run(&["get", "from/text", "--raw"]).ok(), "two \"quoted\"\nlines\n");
    node.run(&["put", "from/text", "--text", "-5"]).ok();
    assert_eq!(node.run(&["get", "from/text"]).ok(), "\"-5\"\n");
}

#[test]
fn writes_have_conditions_and_merge() {
    let node = Node::start(&[]);
    let created = node.run(&["put", "u", "{\"a\":1,\"b\":2}", "--if-absent", "--json"]).lines().remove(0);
    assert_eq!(created["applied"], true);
    let etag = created["etag"].as_str().unwrap();
    let merged = node.run(&["put", "u", "{\"b\":null,\"c\":3}", "--merge", "--if-match", etag, "--json"]);
    assert_eq!(merged.lines()[0]["value"], json!({ "a": 1, "c": 3 }));
    assert_eq!(node.run(&["put", "u", "1", "--if-match", etag]).code, 4);
    assert_eq!(node.run(&["del", "u", "--if-match", etag]).code, 4);
    node.run(&["put", "u", "1", "--if-match", "*"]).ok();
    assert_eq!(node.run(&["del", "u", "--json"]).lines()[0]["deleted"], true);
    assert_eq!(node.run(&["put", "u", "1", "--if-match", "*"]).code, 4);
    let said = node.run(&["put", "u", "2"]);
    assert!(said.stderr.starts_with("created u  version "), "{said:?}");
}

#[test]
fn scans_page_through_everything_in_order() {
    let node = Node::start(&["--durability", "memory"]);
    for number in 0..25 {
        node.run(&["put", &format!("n/{number:02}"), &number.to_string()]).ok();
    }
    node.run(&["put", "other", "0"]).ok();
    let scanned = node.run(&["scan", "n/"]).ok();
    let expected: String = (0..25).map(|number| format!("n/{number:02}\t{number}\n")).collect();
    assert_eq!(scanned, expected);
    assert_eq!(node.run(&["scan", "--count"]).ok(), "26\n");
    assert_eq!(node.run(&["scan", "n/2", "--keys-only", "--reverse"]).ok(), "n/24\nn/23\nn/22\nn/21\nn/20\n");
    let lines = node.run(&["scan", "n/", "--limit", "2", "--json"]).lines();
    assert_eq!(lines, [json!({ "path": "n/00", "value": 0 }), json!({ "path": "n/01", "value": 1 })]);
    assert_eq!(node.run(&["scan", "none/"]).ok(), "");
}

#[test]
fn history_lists_what_was() {
    let node = Node::start(&[]);
    for value in ["1", "2"] {
        node.run(&["put", "h", value]).ok();
    }
    node.run(&["del", "h"]).ok();
    node.run(&["put", "h", "3"]).ok();
    let past = node.run(&["history", "h", "--json"]).lines();
    let values: Vec<(&Value, &Value)> =
        past.iter().map(|version| (&version["op"], &version["value"])).collect();
    assert_eq!(
        values,
        [(&json!("delete"), &Value::Null), (&json!("put"), &json!(2)), (&json!("put"), &json!(1))]
    );
    let shown = node.run(&["history", "h", "--limit", "2"]).ok();
    let shown: Vec<&str> = shown.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(shown, ["(deleted)", "2"]);
}

#[test]
fn conflicts_are_listed_explained_and_resolved() {
    let (one, two) = (Node::start(&[]), Node::start(&[]));
    one.run(&["put", "x", "1"]).ok();
    two.run(&["put", "x", "2"]).ok();
    one.run(&["put", "calm", "0"]).ok();
    assert_eq!(one.run(&["conflicts"]).ok(), "");
    two.run(&["peers", "add", &one.url]).ok();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let listed = loop {
        two.run(&["sync"]).ok();
        let listed = one.run(&["conflicts", "--json"]).lines();
        if !listed.is_empty() {
            break listed;
        }
        assert!(std::time::Instant::now() < deadline, "the conflict does not arrive");
    };
    assert_eq!((listed.len(), &listed[0]["path"]), (1, &json!("x")));
    let shown = one.run(&["conflicts", "x"]).ok();
    assert!(shown.starts_with("x  open\n    wins "), "{shown}");
    let explained = one.run(&["explain", "x"]).ok();
    assert!(
        explained.contains("strategy last-write-wins") && explained.contains("greatest timestamp"),
        "{explained}"
    );
    assert_eq!(one.run(&["explain", "x", "--json"]).lines()[0]["winner"], listed[0]["winner"]);

    let loser = &listed[0]["versions"][1];
    let said = one.run(&["resolve", "x", "--keep", loser["version"].as_str().unwrap()]);
    assert!(said.stderr.starts_with("resolved x  version "), "{said:?}");
    assert_eq!(one.run(&["get", "x"]).ok(), format!("{}\n", loser["value"]));
    assert_eq!(one.run(&["conflicts"]).ok(), "");
    let past = one.run(&["conflicts", "--all"]).ok();
    assert!(past.starts_with("x  resolved\n  resolved by ") && past.contains("\n    lost "), "{past}");
    let again = one.run(&["resolve", "x", "--value", "3", "--json"]);
    assert!(again.stderr.contains("\"no_conflict\""), "{again:?}");
    assert_ne!(again.code, 0);
}

#[test]
fn a_watch_shows_the_present_then_every_change() {
    let node = Node::start(&[]);
    node.run(&["put", "users/alice", "1"]).ok();
    node.run(&["put", "other", "1"]).ok();
    let mut watch = Running::start(&mut node.command(&["watch", "users", "--json", "--limit", "3"]));
    let mut event = || serde_json::from_str::<Value>(&watch.line()).unwrap();
    let first = event();
    assert_eq!(
        (&first["event"], &first["path"], &first["value"]),
        (&json!("change"), &json!("users/alice"), &json!(1))
    );
    let end = event();
    assert_eq!((&end["event"], &end["count"]), (&json!("snapshot-end"), &json!(1)));
    node.run(&["put", "other", "2"]).ok();
    node.run(&["put", "users/bob", "null"]).ok();
    let put = event();
    assert_eq!(
        (&put["op"], &put["path"], put.get("value")),
        (&json!("put"), &json!("users/bob"), Some(&Value::Null))
    );
    node.run(&["del", "users/alice"]).ok();
    let deleted = event();
    assert_eq!((&deleted["op"], &deleted["path"]), (&json!("delete"), &json!("users/alice")));
    assert_eq!(watch.end(), 0);
}

#[test]
fn a_value_with_a_time_to_live_ends_and_a_watch_says_so() {
    let node = Node::start(&[]);
    node.run(&["put", "sessions/a", "1"]).ok();
    let mut watch = Running::start(&mut node.command(&["watch", "sessions", "--limit", "3"]));
    assert_eq!(watch.line(), "put sessions/a\t1");
    node.run(&["put", "sessions/a", "2", "--ttl", "2s"]).ok();
    assert_eq!([watch.line(), watch.line()], ["put sessions/a\t2", "exp sessions/a"]);
    assert_eq!(watch.end(), 0);
    let merged = node.run(&["put", "sessions/b", "{\"n\":1}", "--merge", "--ttl", "1h", "--json"]).lines();
    assert!(merged[0]["expires"].is_u64(), "{}", merged[0]);
    for wrong in ["10", "0s", "soon", "1.5h"] {
        let refused = node.run(&["put", "sessions/c", "1", "--ttl", wrong]);
        assert!(refused.stderr.contains("10m"), "it says how: {}", refused.stderr);
    }
    let refused = node.run(&["put", "sessions/c", "1", "--ttl", "3651d", "--json"]);
    assert_eq!(refused.error()["error"], "invalid_ttl");
}

#[test]
fn a_watch_goes_on_from_a_token() {
    let node = Node::start(&[]);
    node.run(&["put", "a", "1"]).ok();
    let first = node.run(&["watch", "--json", "--limit", "1"]).lines().remove(0);
    let token = first["token"].as_str().unwrap();
    node.run(&["put", "b", "2"]).ok();
    node.run(&["put", "a", "3"]).ok();
    // The first was cut within the values: the rest of them, their end, and what changed meanwhile.
    let rest = node.run(&["watch", "--json", "--since", token, "--limit", "3"]).lines();
    let told: Vec<_> = rest.iter().map(|event| event["path"].as_str().unwrap_or("-")).collect();
    assert_eq!(told, ["b", "-", "b", "a"]);
    let mut watch = Running::start(&mut node.command(&["watch", "--reconnect", "--limit", "2"]));
    assert_eq!([watch.line(), watch.line()], ["put a\t3", "put b\t2"]);
    assert_eq!(watch.end(), 0);
}

#[test]
fn a_watch_ends_when_the_node_does() {
    let node = Node::start(&[]);
    node.run(&["put", "a", "1"]).ok();
    let mut watch = Running::start(&mut node.command(&["watch"]));
    assert_eq!(watch.line(), "put a\t1");
    let (code, _) = node.stop();
    assert_eq!((code, watch.end()), (0, 5));
}

#[test]
fn output_whose_reader_has_gone_is_no_error() {
    let node = Node::start(&[]);
    node.run(&["put", "a", "1"]).ok();
    let mut command = node.command(&["scan"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn the_status_is_shown_to_people_and_programs() {
    let node = Node::start(&["--name", "berlin"]);
    node.run(&["put", "a", "1"]).ok();
    let status = node.run(&["status", "--json"]).lines().remove(0);
    assert_eq!((&status["name"], &status["storage"]["entries"]), (&json!("berlin"), &json!(1)));
    let shown = node.run(&["status"]).ok();
    assert!(shown.contains("(berlin)") && shown.contains("1 with a value"), "{shown}");
}

#[test]
fn what_one_node_scans_another_imports() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    for (path, value) in
        [("users/alice", "{\"name\":\"Alice\",\"age\":41.0}"), ("users/bob", "{\"age\":17}"), ("x", "null")]
    {
        node.run(&["put", path, value]).ok();
    }
    let all = node.run(&["scan", "--json"]).ok();
    let imported = run_with_input(&mut other.command(&["import", "-"]), &all);
    assert_eq!(imported.ok(), "3 written, 0 refused\n");
    assert_eq!(other.run(&["scan", "--json"]).ok(), all);
    let lines = "{\"path\":\"a//b\",\"value\":1}\n{\"op\":\"delete\",\"path\":\"x\"}\nnot json\n";
    let some = run_with_input(&mut other.command(&["import", "--json"]), lines);
    assert_eq!(some.code, 4, "{some:?}");
    assert_eq!(some.stdout, "{\"operations\":3,\"applied\":1,\"refused\":2}\n");
    assert!(some.stderr.contains("refused: a//b: ") && some.stderr.contains("some_refused"), "{some:?}");
    assert_eq!(other.run(&["get", "x"]).code, 3);
}

#[test]
fn scans_choose_by_members_and_list_directories() {
    let node = Node::start(&[]);
    for (path, value) in [("users/alice", "{\"name\":\"Alice\",\"age\":41}"), ("users/bob", "{\"age\":17}")] {
        node.run(&["put", path, value]).ok();
    }
    let adults = node.run(&["scan", "users/", "--where", "age>=18", "--fields", "name"]);
    assert_eq!(adults.ok(), "users/alice\t{\"name\":\"Alice\"}\n");
    assert_eq!(node.run(&["scan", "--where", "age<18", "--count"]).ok(), "1\n");
    assert_eq!(node.run(&["scan", "--depth", "1"]).ok(), "users/\n");
    let wrong = node.run(&["scan", "--where", "age>=", "--json"]);
    assert!(wrong.error()["message"].as_str().unwrap().contains("at character 6"), "{wrong:?}");
}

#[test]
fn the_typed_client_sends_batches() {
    let node = Node::start(&[]);
    let client = rejoin_client::Client::new(&node.url, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let batch = client.batch().put("a", &1).unwrap().when(Condition::Absent).delete("none");
        let outcomes = batch.patch("a", &json!({"b": 2})).unwrap().send().await.unwrap();
        assert!(outcomes[0].as_ref().unwrap().created);
        assert_eq!((outcomes[1].as_ref().unwrap_err().status, outcomes.len()), (404, 3));
        let atomic = client.batch().atomic(true).put("c", &1).unwrap();
        let refused = atomic.put("a", &2).unwrap().when(Condition::Absent).send().await.unwrap_err();
        assert_eq!(refused.code(), "precondition_failed");
        assert_eq!(client.get::<i64>("c").await.unwrap(), None, "nothing of it was done");
        let etag = client.entry("a").await.unwrap().unwrap().etag.unwrap();
        let atomic = client.batch().atomic(true).put("c", &1).unwrap();
        let done = atomic.delete("a").when(Condition::Matches(etag)).send().await.unwrap();
        assert!(done.iter().all(Result::is_ok));
        let page = client.scan("").matching(".==1").meta(true).page().await.unwrap();
        assert_eq!(page.items.len(), 1);
        let meta = page.items[0].meta.as_ref().unwrap();
        assert_eq!(meta.version, done[0].as_ref().unwrap().version);
    });
}
