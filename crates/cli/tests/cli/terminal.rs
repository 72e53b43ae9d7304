//! What a terminal is told: nothing that it would obey instead of showing.

use std::process::Command;

use crate::harness::{Node, run};

/// C1 controls, DEL, and marks that turn the direction of text.
const HOSTILE: &str = "a\u{9b}31m\u{7f}\u{202e}b\u{2066}c";

/// Runs a command on a terminal of its own; what the terminal was told.
fn on_a_terminal(node: &Node, arguments: &str) -> String {
    let command = format!("'{}' --url {} {arguments}", env!("CARGO_BIN_EXE_rejoin"), node.url);
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    run(script.env("TERM", "xterm").env_remove("NO_COLOR").stdin(std::process::Stdio::null())).stdout
}

#[test]
fn values_and_paths_cannot_steer_the_terminal() {
    let node = Node::start(&[]);
    // A path may not have controls; it may have marks of direction.
    node.run(&["put", "users/x\u{202e}y", &format!("[\"{HOSTILE}\"]")]).ok();
    node.run(&["put", "users/x\u{202e}y", &format!("{{\"name\":\"{HOSTILE}\"}}")]).ok();
    for arguments in [
        "get users/x\u{202e}y",
        "scan",
        "scan --json",
        "history users/x\u{202e}y",
        "explain users/x\u{202e}y",
        "get none\u{202e}x",
    ] {
        let told = on_a_terminal(&node, arguments);
        assert!(!told.contains(['\u{9b}', '\u{7f}', '\u{202e}', '\u{2066}']), "{arguments}: {told:?}");
        assert!(
            told.contains("\\u202e") || told.contains("\\u009b") || told.contains("othing"),
            "{arguments}: {told:?}"
        );
    }
    assert!(on_a_terminal(&node, "get users/x\u{202e}y").contains("a\\u009b31m\\u007f\\u202eb\\u2066c"));
    // A program gets what was written.
    let exact = node.run(&["get", "users/x\u{202e}y"]).ok();
    assert!(exact.contains(HOSTILE), "{exact:?}");
}
