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

/// A node whose process may have so many files open: now, and at most.
fn within(soft: u32, hard: u32, arguments: &[&str]) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\""), "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_rejoin")).args(["serve", "--json", "--listen", "127.0.0.1:0"]);
    shell.args(arguments);
    shell
}

/// Connections that stay open, each of which was answered; or the status of the first that was not served.
fn connections(url: &str, count: usize) -> Result<Vec<std::net::TcpStream>, String> {
    use std::io::{Read as _, Write as _};
    let open = |_| {
        let mut stream = std::net::TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let status = String::from_utf8_lossy(&answer[9..]).into_owned();
        if status == "200" { Ok(stream) } else { Err(status) }
    };
    (0..count).map(open).collect()
}

#[test]
fn as_many_connections_are_served_as_set() {
    let node = Node::start(&["--connections", "5"]);
    let five = connections(&node.url, 5).unwrap();
    assert_eq!(connections(&node.url, 1).unwrap_err(), "503");
    drop(five);
    let environment =
        rejoin().env("REJOIN_LIMITS_CONNECTIONS", "7").args(["config", "print", "--json"]).output();
    let printed: Value = serde_json::from_slice(&environment.unwrap().stdout).unwrap();
    assert_eq!(printed["limits.connections"]["value"], 7);
}

#[test]
fn the_limit_of_open_files_is_raised_and_bounds_connections() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    // 384 of 584 are kept for what is no connection.
    let node = Node::spawn(within(64, 584, &["--durability", "os", "--data-dir", data]));
    let all = connections(&node.url, 200).unwrap();
    assert_eq!(connections(&node.url, 1).unwrap_err(), "503");
    drop(all);
    assert_eq!(node.stop().0, 0);

    let node =
        Node::spawn(within(64, 584, &["--durability", "os", "--data-dir", data, "--connections", "200"]));
    node.run(&["put", "a", "1"]).ok();
    drop(node);

    let refused = run(&mut within(64, 584, &["--data-dir", data, "--connections", "201"]));
    assert_eq!((refused.code, &refused.error()["error"]), (78, &json!("too_few_open_files")));
    let error = refused.error();
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("`limits.connections` cannot be 201 (flag --connections)"), "{message}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.starts_with("Give 200 or less, or allow 585 open files"), "{hint}");
    // Neither needs a node to be started.
    let mut check = std::process::Command::new("sh");
    check.args(["-c", "ulimit -n 584 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rejoin")]);
    let checked = run(check.args(["config", "check", "--connections", "201"]));
    assert_eq!(checked.code, 78, "{checked:?}");
}
