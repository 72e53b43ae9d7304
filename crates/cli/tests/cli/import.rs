//! `rejoin import`: every form of input, what it says when something is wrong, and the recipes of docs/how-to/import.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Node, rejoin, run, run_with_input};

fn lines(count: usize) -> String {
    (1..=count).map(|number| format!("{{\"path\":\"n/{number:05}\",\"value\":{number}}}\n")).collect()
}

fn count(node: &Node) -> String {
    node.run(&["scan", "--count"]).ok()
}

#[test]
fn every_form_of_input_is_the_same_data() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let plain = write("plain.ndjson", &(lines(3) + "\n{\"cursor\":null}\n"));
    let marked = write("marked.ndjson", &format!("\u{feff}{}", lines(3)));
    let array = write("array.json", &format!("\u{feff}[\n{}]\n", lines(3).trim_end().replace('\n', " ,\n")));
    for file in [&plain, &array] {
        assert!(Command::new("gzip").args(["-k", file]).status().unwrap().success());
    }
    for file in [&plain, &marked, &array, &format!("{plain}.gz"), &format!("{array}.gz")] {
        let node = Node::start(&[]);
        assert_eq!(node.run(&["import", file]).ok(), "3 written, 0 refused\n", "{file}");
        assert_eq!(node.run(&["scan", "--json"]).ok(), lines(3), "{file}");
    }
    let node = Node::start(&[]);
    assert_eq!(run_with_input(&mut node.command(&["import"]), "").ok(), "0 written, 0 refused\n");
}

#[test]
fn a_refusal_is_told_with_its_line_and_stops_the_import_or_not() {
    let node = Node::start(&[]);
    // Empty lines count as lines. The second request would begin behind the thousandth operation.
    let text = format!("\n{}not json\n[\"delete\",\"n/00001\"]\n{}", lines(10), lines(1_500));
    let stopped = run_with_input(&mut node.command(&["import"]), &text);
    assert_eq!(stopped.code, 4, "{stopped:?}");
    assert!(stopped.stderr.contains("(line 12)") && stopped.stderr.contains("(line 13)"), "{stopped:?}");
    let said = "Stopped after line 1001: 998 written, 2 refused; the first refusal is in line 12.";
    assert!(stopped.stderr.contains(said) && stopped.stderr.contains("--from 1002"), "{stopped:?}");
    assert_eq!(count(&node), "988\n");

    let rest = run_with_input(&mut node.command(&["import", "--from", "1002"]), &text);
    assert_eq!(rest.ok(), "512 written, 0 refused\n");
    assert_eq!(count(&node), "1500\n");

    let other = Node::start(&[]);
    let whole = run_with_input(&mut other.command(&["import", "--keep-going", "--json"]), &text);
    assert_eq!(whole.code, 4);
    assert_eq!(whole.stdout, "{\"operations\":1512,\"applied\":1510,\"refused\":2}\n");
    assert!(whole.stderr.contains("2 of 1512 operations were refused, the first in line 12."), "{whole:?}");
    assert_eq!(count(&other), "1500\n");
}

#[test]
fn an_input_that_breaks_off_says_how_much_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.json");
    let array = format!("[{}", lines(1_200).trim_end().replace('\n', ",\n"));
    fs::write(&file, &array[..array.len() - 4]).unwrap();
    let node = Node::start(&[]);
    let cut = node.run(&["import", file.to_str().unwrap()]);
    assert_eq!(cut.code, 2, "{cut:?}");
    let said = "Line 1200: the array does not end. Done up to line 1199: 1199 written, 0 refused.";
    assert!(cut.stderr.contains(said), "{cut:?}");
    assert_eq!(count(&node), "1199\n");

    let packed = folder.path().join("damaged.gz");
    fs::write(&packed, [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], b"nonsense"].concat()).unwrap();
    let damaged = node.run(&["import", packed.to_str().unwrap()]);
    assert!(
        damaged.stderr.contains("cannot be read") && damaged.stderr.contains("Nothing was written"),
        "{damaged:?}"
    );

    let nobody = run_with_input(rejoin().args(["--url", "http://127.0.0.1:9", "import"]), &lines(2));
    assert_eq!(nobody.code, 5, "{nobody:?}");
    assert!(nobody.stderr.contains("Nothing was written before."), "{nobody:?}");
}

/// The jq lines of the page, run as pasted on a small export of each system.
#[test]
fn the_recipes_of_the_documentation_import_what_those_systems_export() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/how-to/import.md")).unwrap();
    let recipes: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.starts_with("jq "))
        .collect();
    assert_eq!(recipes.len(), 4);
    let folder = tempfile::tempdir().unwrap();
    for (name, export) in [
        (
            "all_docs.json",
            json!({"total_rows": 2, "offset": 0, "rows": [
                {"id": "alice", "key": "alice", "value": {"rev": "1-a"}, "doc": {"_id": "alice", "_rev": "1-a", "age": 41}},
                {"id": "_design/by_age", "key": "_design/by_age", "value": {"rev": "1-b"}, "doc": {"_id": "_design/by_age"}},
            ]}),
        ),
        ("firebase.json", json!({"users": {"bob": {"age": 17}}, "motd": "hello"})),
        (
            "etcd.json",
            json!({"header": {"revision": 2}, "kvs": [
            {"key": "L2NvbmZpZy9h", "value": "eyJ4IjoxfQ=="}, {"key": "Y29uZmlnL2I=", "value": "cGxhaW4="},
        ], "count": 2}),
        ),
        ("redis.json", json!([{"sessions:carol": {"seen": "1"}, "tags": ["a", "b"]}])),
    ] {
        fs::write(folder.path().join(name), export.to_string()).unwrap();
    }
    let node = Node::start(&[]);
    for recipe in recipes {
        let mut shell = Command::new("bash");
        shell.args([
            "-c",
            &format!("set -euo pipefail\n{}", recipe.replace("rejoin import", "\"$REJOIN\" import")),
        ]);
        shell
            .current_dir(folder.path())
            .env("REJOIN", env!("CARGO_BIN_EXE_rejoin"))
            .env("REJOIN_URL", &node.url);
        let ran = run(&mut shell);
        assert_eq!(ran.code, 0, "{recipe}: {ran:?}");
    }
    let found = node.run(&["scan", "--json"]).lines();
    let expected = [
        json!({"path": "config/a", "value": {"x": 1}}),
        json!({"path": "config/b", "value": "plain"}),
        json!({"path": "couch/alice", "value": {"age": 41}}),
        json!({"path": "motd", "value": "hello"}),
        json!({"path": "sessions/carol", "value": {"seen": "1"}}),
        json!({"path": "tags", "value": ["a", "b"]}),
        json!({"path": "users/bob", "value": {"age": 17}}),
    ];
    assert_eq!(found, expected);
}
