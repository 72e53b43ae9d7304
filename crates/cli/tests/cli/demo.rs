//! The demonstration demonstrates, and leaves nothing behind.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Running, rejoin, run};

#[track_caller]
fn assert_empty(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_tells_its_story_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let told = run(rejoin().args(["demo", "--exit"]).env("TMPDIR", directory.path())).ok();
    for part in ["good evening from c", "the loser is kept", "Nothing was lost.", "curl http://127.0.0.1:"] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "no colours without a terminal");
    assert_empty(directory.path());
}

#[test]
fn it_tells_programs_one_object_a_step() {
    let steps = run(rejoin().args(["demo", "--exit", "--json"])).lines();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "write", "part", "heal", "your-turn"]);
    let healed = &steps[3];
    let alice = json!({ "name": "Alice", "city": "Paris", "age": 42 });
    for node in ["a", "b", "c"] {
        let values = &healed["values"][node];
        assert_eq!(values["motd"], "good evening from c");
        assert_eq!(values["users/alice"], alice);
        assert_eq!(values.get("notes/draft"), None);
    }
    assert_eq!(healed["losing"]["value"], "good morning from a");
}

#[test]
fn it_stays_until_it_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Running::start(rejoin().args(["demo", "--json"]).env("TMPDIR", directory.path()));
    let last = loop {
        let step: Value = serde_json::from_str(&demo.line()).unwrap();
        if step["name"] == "your-turn" {
            break step;
        }
    };
    let url = last["try"][1].as_str().unwrap().strip_prefix("curl ").unwrap();
    let url = url.split("/api/").next().unwrap();
    assert_eq!(run(rejoin().args(["--url", url, "get", "motd"])).ok(), "\"good evening from c\"\n");
    demo.signal("INT");
    assert_eq!(demo.end(), 0);
    assert_empty(directory.path());
}
