//! Nodes: starting, refusing to start, linking, stopping.

use serde_json::{Value, json};

use crate::harness::{Node, Running, rejoin, run};

#[test]
fn data_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start_in(directory.path(), &["--durability", "disk"]);
    node.run(&["put", "a", "1"]).ok();
    let (code, log) = node.stop();
    assert_eq!(code, 0);
    assert!(log.last().unwrap().contains("\"message\":\"stopped\""), "{log:?}");
    let node = Node::start_in(directory.path(), &[]);
    assert_eq!(node.run(&["get", "a"]).ok(), "1\n");
}

#[test]
fn the_start_tells_a_person_what_they_need() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = rejoin();
    command.args(["serve", "--listen", "127.0.0.1:0", "--name", "n", "--data-dir"]).arg(directory.path());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let told: Vec<String> = lines.take(6).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let url = told[0].split_once("serves ").unwrap().1;
    assert!(url.starts_with("http://127.0.0.1:"), "{told:?}");
    assert!(told[1].ends_with("(n)") && told[2].contains("durability disk"), "{told:?}");
    assert!(told[4].contains(&format!("curl -X PUT {url}/api/hello")), "{told:?}");
}

#[test]
fn a_second_signal_ends_a_node_that_waits_for_a_request() {
    let node = Node::start(&[]);
    let mut slow = std::net::TcpStream::connect(node.url.strip_prefix("http://").unwrap()).unwrap();
    let head = "PUT /api/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n1";
    std::io::Write::write_all(&mut slow, head.as_bytes()).unwrap();
    // Answered behind the first: the node knows of that one.
    node.run(&["status"]).ok();
    node.signal("TERM");
    node.logged("a second signal stops at once");
    node.signal("TERM");
    assert_eq!(node.end().0, 130);
}

#[test]
fn an_address_that_others_can_reach_needs_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(rejoin().args(["serve", "--json", "--listen", listen, "--data-dir"]).arg(&data));
        assert_eq!(refused.code, 78, "{refused:?}");
        let error = refused.error();
        assert_eq!(error["error"], "open_bind_refused");
        assert!(error["hint"].as_str().unwrap().contains("REJOIN_AUTH_TOKEN"), "{error}");
    }
    assert!(!data.exists(), "nothing is touched before it is safe");

    let node = Node::start(&["--listen", "0.0.0.0:0", "--token", "s3cret"]);
    let denied = node.run(&["get", "a", "--json"]);
    assert_eq!((denied.code, &denied.error()["error"]), (4, &json!("unauthorized")));
    assert_eq!(node.run(&["get", "a", "--token", "wrong"]).code, 4);
    node.run(&["put", "a", "1", "--token", "s3cret"]).ok();
    for variable in ["REJOIN_TOKEN", "REJOIN_AUTH_TOKEN"] {
        assert_eq!(run(node.command(&["get", "a"]).env(variable, "s3cret")).ok(), "1\n");
    }
}

#[test]
fn what_is_in_use_is_refused_for_now() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start_in(directory.path(), &[]);
    let mut second = rejoin();
    second
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"));
    let locked = run(&mut second);
    assert_eq!((locked.code, &locked.error()["error"]), (75, &json!("locked")));
    let address = node.url.strip_prefix("http://").unwrap();
    let mut third = rejoin();
    third.args(["serve", "--json", "--listen", address, "--data-dir"]).arg(directory.path().join("other"));
    let taken = run(&mut third);
    assert_eq!((taken.code, &taken.error()["error"]), (75, &json!("listen_failed")));
    assert!(!directory.path().join("other").exists(), "nothing is touched before it can be served");
}

#[test]
fn a_file_is_no_data_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut serve = rejoin();
    serve.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"]).arg(file.path());
    let run = run(&mut serve);
    assert_eq!(run.code, 74, "{run:?}");
    let hint = run.error()["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("is a file") && hint.contains("--data-dir"), "{hint}");
}

#[test]
fn settings_say_where_they_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rejoin.toml");
    std::fs::write(&file, "name = \"file\"\nlisten = \"127.0.0.1:1\"\n[auth]\ntoken = \"s3cret\"\n").unwrap();
    let mut command = rejoin();
    command.args(["config", "print", "--json", "--listen", "127.0.0.1:2"]);
    let printed = run(command.env("REJOIN_CONFIG", &file).env("REJOIN_DURABILITY", "os")).lines().remove(0);
    let option =
        |name: &str| (printed[name]["value"].clone(), printed[name]["origin"].as_str().unwrap().to_owned());
    assert_eq!(option("listen"), (json!("127.0.0.1:2"), "flag --listen".into()));
    assert_eq!(option("durability"), (json!("os"), "environment REJOIN_DURABILITY".into()));
    assert_eq!(option("name"), (json!("file"), format!("{}:1", file.display())));
    assert_eq!(option("auth.token"), (json!("********"), format!("{}:4", file.display())));
    assert_eq!(option("data_dir"), (json!("./rejoin-data"), "default".into()));
}

#[test]
fn linked_nodes_sync_and_can_be_parted() {
    let a = Node::start(&["--name", "a"]);
    let b = Node::start(&["--name", "b", "--peer", &a.url]);
    let mut at_b = Running::start(&mut b.command(&["watch", "--json"]));
    let mut event = || serde_json::from_str::<Value>(&at_b.line()).unwrap();
    assert_eq!(event()["event"], "snapshot-end");
    a.run(&["put", "a", "1"]).ok();
    assert_eq!(event()["path"], "a");

    let peer = b.run(&["peers", "--json"]).lines().remove(0);
    assert_eq!((&peer["state"], &peer["name"]), (&json!("connected"), &json!("a")));
    assert!(b.run(&["peers", "list"]).ok().contains(&a.url));
    let round = b.run(&["sync", "--json"]).lines().remove(0);
    assert_eq!((&round["links"], &round["equal"]), (&json!(1), &json!(1)));

    b.run(&["peers", "remove", &a.url]).ok();
    assert_eq!(b.run(&["peers", "--json"]).ok(), "");
    a.run(&["put", "a", "2"]).ok();
    assert_eq!(b.run(&["peers", "add", &a.url, "--json"]).lines(), [json!({ "url": a.url, "added": true })]);
    assert_eq!(event()["value"], 2);
    assert_eq!(b.run(&["peers", "add", &a.url, "--json"]).lines(), [json!({ "url": a.url, "added": false })]);
}

#[test]
fn strategies_of_the_file_rule() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rejoin.toml");
    std::fs::write(&file, "[conflict.path_strategies]\nsettings = \"first-write-wins\"\n").unwrap();
    let node = Node::start(&["--config", file.to_str().unwrap()]);
    node.run(&["put", "settings/a", "1"]).ok();
    let refused = node.run(&["put", "settings/a", "2", "--json"]);
    assert_eq!((refused.code, &refused.error()["error"]), (4, &json!("rejected_by_strategy")));
}
