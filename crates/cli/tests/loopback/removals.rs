//! An operator restores documents that a peer had removed here, over HTTP and from the command line.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Launch, Server, eventually, linked, rejoin, run};

/// Deletes are collected once a minute.
const SOON: Duration = Duration::from_secs(180);

fn said(server: &Server, arguments: &[&str]) -> String {
    let mut command = rejoin();
    command.args(arguments).args(["--url", &format!("http://127.0.0.1:{}", server.port())]);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_operator_brings_back_what_a_peers_word_removed() {
    let config = "[sync]\ntombstone_retention = \"1s\"\n";
    let keeper = Launch::new("keeper").quick().config(config).start();
    let mut away = Launch::new("away").quick().config(config).peer(keeper.url()).start();
    for number in 0..20 {
        keeper.put(&format!("orders/{number}"), &format!("{{\"number\":{number}}}"));
    }
    eventually("both have them", SOON, || match away.get("orders/19") {
        Some(_) => Ok(()),
        None => Err("not yet".to_owned()),
    });
    away.stop();
    for number in 0..20 {
        keeper.delete(&format!("orders/{number}"));
    }
    eventually("the deletes are forgotten", SOON, || {
        let tombstones = keeper.status()["storage"]["tombstones"].clone();
        (tombstones == 0).then_some(()).ok_or(tombstones.to_string())
    });
    away.start();
    linked(&away, 1, SOON);
    eventually("the other's word removes them", SOON, || match away.get("orders/0") {
        None => Ok(()),
        Some(value) => Err(value),
    });

    let peer = keeper.status()["serverID"].as_str().unwrap().to_owned();
    let listed = away.ask("GET", &format!("/api/_removals?peer={peer}"), None).json();
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 20, "{listed}");
    assert!(items.iter().all(|item| item["peer"] == peer.as_str() && item["reason"] == "digest"), "{listed}");
    let other = away.ask("GET", &format!("/api/_removals?peer={}", "0".repeat(32)), None).json();
    assert_eq!(other["items"], Value::Array(Vec::new()), "of another peer nothing is listed");
    let list = said(&away, &["undo-removals", "--list"]);
    assert_eq!(list.lines().count(), 20, "{list}");
    assert!(list.contains("orders/7") && list.contains(&peer), "{list}");

    // A path that was written since is left as it is.
    away.put("orders/3", "\"new\"");
    let undone = said(&away, &["undo-removals", "--peer", &peer, "--since", "1h"]);
    assert_eq!(undone.lines().filter(|line| line.starts_with("restored\t")).count(), 19, "{undone}");
    assert!(undone.contains("left\torders/3"), "{undone}");
    for server in [&away, &keeper] {
        eventually("they are back everywhere", SOON, || {
            let values = [server.get("orders/0"), server.get("orders/19"), server.get("orders/3")];
            let expected =
                ["{\"number\":0}", "{\"number\":19}", "\"new\""].map(|value| Some(value.to_owned()));
            (values == expected).then_some(()).ok_or(format!("{values:?}"))
        });
    }
    let again = said(&away, &["--json", "undo-removals", "--peer", &peer]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["restoredCount"], 0, "nothing is brought back twice: {again}");
}
