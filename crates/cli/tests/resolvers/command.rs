//! `rejoin resolver test`, and files that `serve` refuses.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{rejoin, run};
use crate::nodes::INVENTORY;

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs `rejoin` in a folder.
fn within(folder: &TempDir, arguments: &[&str]) -> Output {
    run(rejoin().current_dir(folder.path()).args(arguments))
}

fn verdict(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_seeds_inventory_resolver_passes() {
    let folder = folder(&[("inventory.js", INVENTORY)]);
    let output = within(&folder, &["resolver", "test", "inventory.js", "--json"]);
    let verdict = verdict(&output);
    assert_eq!(output.status.code(), Some(0), "{verdict}");
    for member in ["ok", "deterministic", "orderIndependent", "associative"] {
        assert_eq!(verdict[member], true, "{member}: {verdict}");
    }
    assert!(verdict["resolved"].as_u64().unwrap() >= 4, "{verdict}");
    let output = within(&folder, &["resolver", "test", "inventory.js"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("order-independent  yes"), "{text}");
}

#[test]
fn a_resolver_that_depends_on_the_order_is_rejected_with_a_counterexample() {
    let folder = folder(&[("left.js", "(path, local, remote) => local")]);
    let output = within(&folder, &["resolver", "test", "left.js", "--json"]);
    let verdict = verdict(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (&verdict["orderIndependent"], &verdict["associative"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(verdict["samples"][0]["counterexample"][0]["fold"], "(1 2)");
    assert_eq!(verdict["samples"][0]["counterexample"][1]["fold"], "(2 1)");
}

#[test]
fn recorded_conflicts_are_tried_and_must_not_fail() {
    let recorded = r#"{"path":"inventory/bolts","versions":[
{"value":{"stock":1},"timestamp":1,"origin":"01010101010101010101010101010101"},
{"timestamp":2,"origin":"02020202020202020202020202020202","op":"delete"}]}"#;
    let folder = folder(&[
        ("inventory.js", INVENTORY),
        ("one.jsonl", &recorded.replace('\n', "")),
        ("bad.jsonl", "{}"),
    ]);
    let test =
        |samples| within(&folder, &["resolver", "test", "inventory.js", "--samples", samples, "--json"]);
    let output = test("one.jsonl");
    assert_eq!(output.status.code(), Some(1));
    assert!(verdict(&output)["samples"][0]["fault"].as_str().unwrap().contains("'stock'"), "{:?}", output);
    assert_eq!(test("bad.jsonl").status.code(), Some(2));
    assert_eq!(test("missing.jsonl").status.code(), Some(2));
}

#[test]
fn serve_refuses_a_file_that_is_no_resolver_and_says_where() {
    let folder = folder(&[
        ("good.js", INVENTORY),
        ("broken.js", "(path, local, remote) => {"),
        ("rejoin.toml", "[conflict.resolvers]\n\"inventory\" = \"broken.js\"\n"),
        ("missing.toml", "[conflict.resolvers]\ninventory = \"nowhere.js\"\n"),
        ("alone.toml", "[conflict.path_strategies]\ninventory = \"custom\"\n"),
        (
            "both.toml",
            "[conflict]\npath_strategies = { inventory = \"merge-fields\" }\nresolvers = { inventory = \"good.js\" }",
        ),
        (
            "good.toml",
            "[conflict]\npath_strategies = { inventory = \"custom\" }\nresolvers = { inventory = \"good.js\" }",
        ),
    ]);
    for (config, words) in [
        ("rejoin.toml", ["broken.js (rejoin.toml:1)", "SyntaxError"]),
        ("missing.toml", ["nowhere.js", "cannot be read"]),
        ("alone.toml", ["conflict.path_strategies.inventory", "conflict.resolvers"]),
        ("both.toml", ["conflict.path_strategies.inventory", "names a file"]),
    ] {
        let output = within(&folder, &["config", "check", "--config", config]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{config}: {said}");
        assert!(words.iter().all(|words| said.contains(words)), "{config}: {said}");
    }
    let output = within(&folder, &["config", "check", "--config", "good.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Files are found beside the configuration, from wherever the command runs.
    let config = folder.path().join("good.toml");
    let output = run(rejoin().args(["config", "check", "--config"]).arg(&config));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(rejoin().args(["config", "print", "--json", "--config"]).arg(&config));
    let printed = verdict(&output);
    assert_eq!(
        printed["conflict.resolvers"]["value"]["inventory"],
        folder.path().join("good.js").to_str().unwrap(),
        "{printed}"
    );
}
