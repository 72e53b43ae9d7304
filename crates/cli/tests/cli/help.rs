//! What the binary says of itself.

use crate::harness::{rejoin, run, snapshot};

const COMMANDS: [&str; 19] = [
    "serve",
    "get",
    "put",
    "del",
    "scan",
    "import",
    "watch",
    "history",
    "conflicts",
    "explain",
    "resolve",
    "status",
    "peers",
    "sync",
    "demo",
    "resolver",
    "config",
    "completions",
    "version",
];

#[test]
fn help_is_readable_and_lists_the_exit_codes() {
    let help = run(rejoin().arg("--help")).ok();
    for code in ["0", "1", "2", "3", "4", "5", "74", "75", "78"] {
        assert!(help.contains(&format!("\n  {code:>2}  ")), "{code}");
    }
    snapshot("help.txt", &help);
    for command in COMMANDS {
        snapshot(&format!("help-{command}.txt"), &run(rejoin().args([command, "--help"])).ok());
    }
}

#[test]
fn the_version_is_data() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(run(rejoin().arg("version")).ok(), format!("rejoin {version}\n"));
    assert_eq!(run(rejoin().arg("--version")).ok(), format!("rejoin {version}\n"));
    assert_eq!(run(rejoin().args(["version", "--json"])).lines()[0]["version"], version);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run(rejoin().args(["completions", shell])).ok().contains("history"), "{shell}");
    }
}
