//! The project's own commands. `cargo xtask` lists them.

mod api_scripts;
mod bench;
mod blackbox;
mod js;
mod licences;
mod node;
mod reliability;
mod sim;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
The project's own commands.

  cargo xtask test       everything that CI checks: format, lints, bare-metal build, licences, tests, planted defects,
                         the JavaScript client, docs, the Node.js package
  cargo xtask sim        random worlds of replicas that fail; `cargo xtask sim --help` has the arguments
  cargo xtask blackbox   real servers over failing links, judged by what their clients saw:
                         [--seconds N] [--seed S] [--nodes N] [--json FILE] [--release]
  cargo xtask reliability   the deep runs behind docs/reliability.md; `cargo xtask reliability --help`
  cargo xtask bench      the figures of docs/performance.md; `cargo xtask bench --help`
  cargo xtask api-fuzz   a node against what docs/openapi.json allows and what it does not; needs Python and PyPI:
                         [--seconds N] [--seed N] [--rejoin PROGRAM]
  cargo xtask api-clients   real clients and proxies against a node; needs Python and PyPI, Node.js, curl, Chromium,
                         nginx, HAProxy and Caddy:
                         [--repeats N] [--only refusals|streams|generated] [--rejoin PROGRAM]
  cargo xtask js         the JavaScript client against a real server, in Node and in Chromium; needs Node 20 and npm
  cargo xtask node       the Node.js package: builds it, runs its tests and examples; needs Node.js 20 and npm: [--release]
                         [--bench]: its measurements instead
  cargo xtask licences   whether every dependency's licence is one that deny.toml allows
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let outcome = match command.as_deref() {
        Some("test") => test::run(),
        Some("sim") => sim::run(std::env::args().skip(2)),
        Some("blackbox") => blackbox::run(&arguments),
        Some("reliability") => reliability::run(arguments.into_iter()),
        Some("js") => js::run(),
        Some("bench") => bench::run(&arguments),
        Some("api-fuzz") => api_scripts::run(api_scripts::FUZZ, &arguments),
        Some("api-clients") => api_scripts::run(api_scripts::CLIENTS, &arguments),
        Some("node") => node::run(&arguments),
        Some("licences") => {
            licences::check().map(|count| println!("{count} packages have an allowed licence"))
        }
        Some("help" | "--help" | "-h") | None => {
            print!("{HELP}");
            return if command.is_some() { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
        Some(other) => Err(format!("'{other}' is not a command; `cargo xtask help` lists them")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
