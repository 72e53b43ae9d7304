//! Every kind of error: one sentence, a hint, the right exit code, and the one shape with `--json`.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::{Node, Run, rejoin, run, snapshot};

/// A text that a person reads, with what differs from run to run named instead.
fn story(arguments: &[&str], run: &Run, places: &[(&str, &str)]) -> String {
    let mut text =
        format!("$ rejoin {}\n{}{}exit {}\n\n", arguments.join(" "), run.stdout, run.stderr, run.code);
    for (place, name) in places {
        text = text.replace(place, name);
    }
    text
}

#[test]
fn what_a_node_refuses() {
    let node = Node::start(&["--name", "n"]);
    node.run(&["put", "motd", "--text", "hello"]).ok();
    node.run(&["put", "gone", "1"]).ok();
    node.run(&["del", "gone"]).ok();
    let mut stories = String::new();
    for (arguments, code) in [
        (&["get", "users/alice"][..], 3),
        (&["get", "gone"], 3),
        (&["del", "users/alice"], 3),
        (&["get", "a//b"], 2),
        (&["get", "status"], 2),
        (&["put", "_x", "1"], 2),
        (&["put", "motd", "hello"], 2),
        (&["put", "motd", "{\"a\":1,\"a\":2}"], 2),
        (&["put", "motd", "@/no/such/file"], 2),
        (&["put", "motd", "1", "--if-absent"], 4),
        (&["put", "motd", "1", "--if-match", "00000000000000000000000000000000"], 4),
        (&["get", "motd", "--raw", "--meta"], 2),
        (&["peers", "add", "localhost"], 2),
        (&["peers", "remove", "http://127.0.0.1:9"], 3),
        (&["watch", "a//b"], 2),
    ] {
        let run = node.run(arguments);
        assert_eq!(run.code, code, "{arguments:?} {run:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
        stories.push_str(&story(arguments, &run, &[(&node.url, "http://NODE")]));
        let json = node.run(&[arguments, &["--json"]].concat());
        assert_eq!(json.code, code, "{arguments:?} {json:?}");
        let error = json.error();
        assert!(error["error"].is_string() && error["message"].is_string(), "{error}");
        assert!(error["hint"].is_string() && error["retryable"].is_boolean(), "{error}");
    }
    snapshot("errors-of-a-node.txt", &stories);
}

#[test]
fn a_failed_condition_carries_the_present_value() {
    let node = Node::start(&[]);
    node.run(&["put", "motd", "{\"b\":1,\"a\":2.0}"]).ok();
    let error = node.run(&["put", "motd", "1", "--if-absent", "--json"]).error();
    assert_eq!(error["error"], "precondition_failed");
    assert_eq!(error["value"], serde_json::json!({ "b": 1, "a": 2.0 }));
    assert!(error["etag"].is_string());
}

#[test]
fn a_node_that_is_not_there() {
    // Bound and dropped: nothing listens there now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let mut stories = String::new();
    for arguments in [&["get", "a"][..], &["watch"], &["status"], &["sync"]] {
        let mut command: Command = rejoin();
        let run = run(command.args(["--url", &url]).args(arguments));
        assert_eq!(run.code, 5, "{run:?}");
        stories.push_str(&story(arguments, &run, &[(&url, "http://NODE")]));
    }
    snapshot("errors-of-no-node.txt", &stories);
    let error = run(rejoin().args(["--url", &url, "get", "a", "--json"])).error();
    assert_eq!((&error["error"], &error["retryable"]), (&"unreachable".into(), &true.into()));
}

#[test]
fn wrong_command_lines() {
    let mut stories = String::new();
    for arguments in [
        &["gte", "a"][..],
        &["get"],
        &["get", "a", "--nope"],
        &["put", "a"],
        &["--url", "https://example.com", "get", "a"],
        &["--url", "ftp://example.com", "get", "a"],
        &["--token", "two words", "get", "a"],
        &["completions", "cmd"],
    ] {
        let run = run(rejoin().args(arguments));
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?} {run:?}");
        stories.push_str(&story(arguments, &run, &[]));
    }
    snapshot("errors-of-usage.txt", &stories);
    let error = run(rejoin().args(["get", "--json"])).error();
    assert_eq!(error["error"], "usage");
}

#[test]
fn wrong_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let file = directory.path().join("rejoin.toml");
    let mut stories = String::new();
    for text in [
        "lisen = \"127.0.0.1:3000\"\n",
        "name = \"a\"\n\n[sync]\nantiEntropyInterval = 60000\n",
        "[sync]\nmax_versions = \"many\"\n",
        "durability = \"ssd\"\n",
        "[auth]\ntoken = \"two words\"\n",
        "[conflict.path_strategies]\nusers = \"newest\"\n",
        "peers = [\"https://10.0.0.2\"]\n",
        "listen = \n",
    ] {
        std::fs::write(&file, text).unwrap();
        for command in [&["config", "check"][..], &["serve"]] {
            let run = run(rejoin().args(command).arg("--config").arg(&file));
            assert_eq!((run.code, run.stdout.as_str()), (78, ""), "{text} {run:?}");
            if command.len() == 2 {
                stories.push_str(&story(
                    &["config", "check", "--config", "DIR/rejoin.toml"],
                    &run,
                    &[(place, "DIR")],
                ));
            }
        }
    }
    let missing = run(rejoin().args(["config", "print", "--config"]).arg(directory.path().join("none.toml")));
    stories.push_str(&story(&["config", "print", "--config", "DIR/none.toml"], &missing, &[(place, "DIR")]));
    let variable = run(rejoin().args(["config", "check"]).env("REJOIN_PEER", "http://a:1"));
    stories.push_str(&story(&["config", "check  # with REJOIN_PEER"], &variable, &[]));
    let level = run(rejoin().arg("serve").env("REJOIN_LOG", "loud"));
    stories.push_str(&story(&["serve  # with REJOIN_LOG=loud"], &level, &[]));
    for run in [missing, variable, level] {
        assert_eq!(run.code, 78, "{run:?}");
    }
    snapshot("errors-of-configurations.txt", &stories);
}
