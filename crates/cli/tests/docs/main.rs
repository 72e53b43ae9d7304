//! The curl lines of README and docs/, run as pasted against two linked nodes.
//!
//! Each page is one script: later lines use what earlier ones wrote. Only the addresses are replaced, because ports that
//! are fixed belong to whoever came first, and `<version>`, which stands for one that the reader has to look up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

#[path = "../loopback/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "written for other tests as well")]
mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Launch, Server};

/// Answers that no line of a page may get: it would be wrong as pasted.
const MISTAKES: [&str; 7] = [
    "unknown_route",
    "method_not_allowed",
    "invalid_parameter",
    "invalid_json",
    "invalid_operation",
    "invalid_path",
    "unsupported_media_type",
];

/// Runs in front of each page. `curl` says the status on standard error, and no line takes long.
const PRELUDE: &str = r#"
set -u -o pipefail
curl() { command curl -sS --max-time 8 -w '%{stderr}status %{http_code}\n' "$@"; }
version() { command curl -sS "$NODE/api/history/users/alice" | sed -n 's/.*"version":"\([^"]*\)".*/\1/p' | head -1; }
"#;

/// The commands of a page, each with the lines that continue it.
fn commands(page: &str) -> Vec<String> {
    let (mut found, mut inside, mut open) = (Vec::<String>::new(), false, false);
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            open = false;
            continue;
        }
        let starts = line.starts_with("curl ") || (line.contains("=$(curl ") && !line.starts_with('#'));
        let starts = starts || (line.starts_with("printf ") && line.ends_with('|'));
        if !inside || !(open || starts) {
            continue;
        }
        match found.last_mut() {
            Some(last) if open => {
                last.push('\n');
                last.push_str(line);
            }
            _ => found.push(line.to_owned()),
        }
        let quotes = found.last().map_or(0, |command| command.matches('\'').count());
        open = line.ends_with(['\\', '|']) || quotes % 2 == 1;
    }
    found
}

fn run(name: &str, page: &str, one: &Server, two: &Server) -> usize {
    let commands = commands(page);
    // What a line writes into a file is not to be found in the repository afterwards.
    let place = tempfile::tempdir().unwrap();
    let saved = place.path().join("variables-of-the-page");
    let (one, two) = (one.url(), two.url());
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    for command in &commands {
        let script = command
            .replace("127.0.0.1:3000", &address(&one))
            .replace("127.0.0.1:3001", &address(&two))
            .replace("<version>", "'\"$(version)\"'");
        // Variables of earlier lines stay: they are kept in a file between the lines.
        let whole = format!(
            "NODE={one}\n{PRELUDE}\n[ -f {0} ] && . {0}\n{script}\nresult=$?\ndeclare -p TOKEN CONTEXT 2>/dev/null > {0}\nexit $result",
            saved.display()
        );
        let output =
            Command::new("bash").arg("-c").arg(&whole).current_dir(place.path()).output().expect("bash runs");
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let shown = format!("{name}: {command}\n{stdout}\n{stderr}");
        // 28: a stream that the line itself ends by a time.
        assert!(matches!(output.status.code(), Some(0 | 28)), "exit {:?}: {shown}", output.status.code());
        assert!(!MISTAKES.iter().any(|mistake| stdout.contains(mistake)), "{shown}");
        let statuses: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("status ")).collect();
        assert!(!statuses.is_empty(), "nothing was asked: {shown}");
        assert!(statuses.iter().all(|status| matches!(status.as_bytes()[0], b'2' | b'3' | b'4')), "{shown}");
        assert!(!statuses.iter().any(|status| matches!(*status, "400" | "405" | "415")), "{shown}");
    }
    commands.len()
}

#[test]
fn every_curl_line_of_the_documentation_runs_as_pasted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["docs", "docs/how-to"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let mut pages: Vec<_> = folders.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    pages.push(root.join("README.md"));
    pages.sort();
    let mut total = 0;
    for path in pages.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let page = fs::read_to_string(path).unwrap();
        if commands(&page).is_empty() {
            continue;
        }
        // Fresh nodes for each page: what it says is what a newcomer sees.
        let one = Launch::new("docs-one").start();
        let two = Launch::new("docs-two").peer(one.url()).start();
        let ran = run(&name, &page, &one, &two);
        println!("{name}: {ran} lines");
        total += ran;
    }
    assert!(total > 40, "only {total} lines were found");
}
