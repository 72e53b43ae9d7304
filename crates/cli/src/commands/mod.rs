//! One command per file.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod conflicts;
pub(crate) mod del;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod peers;
pub(crate) mod put;
pub(crate) mod quarantine;
pub(crate) mod resolve;
pub(crate) mod resolver;
pub(crate) mod scan;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod undo_removals;
pub(crate) mod version;
pub(crate) mod watch;

use std::future::Future;

use rejoin_client::Client;
use tokio::runtime::Builder;

use crate::Ended;
use crate::arguments::{Arguments, Command, Global};
use crate::failure::Failure;

/// Does what was typed.
pub(crate) fn run(arguments: Arguments) -> Ended {
    let Arguments { global, command } = arguments;
    match command.unwrap_or_else(|| Command::Serve(serve::Serve::default())) {
        Command::Serve(serve) => on_all_cores(serve.run(&global)),
        Command::Demo(demo) => on_all_cores(demo.run(&global)),
        Command::Get(get) => on_one_core(get.run(&global)),
        Command::Put(put) => on_one_core(put.run(&global)),
        Command::Del(del) => on_one_core(del.run(&global)),
        Command::Scan(scan) => on_one_core(scan.run(&global)),
        Command::Import(import) => on_one_core(import.run(&global)),
        Command::Watch(watch) => on_one_core(watch.run(&global)),
        Command::History(history) => on_one_core(history.run(&global)),
        Command::Conflicts(conflicts) => on_one_core(conflicts.run(&global)),
        Command::Explain(explain) => on_one_core(explain.run(&global)),
        Command::Resolve(resolve) => on_one_core(resolve.run(&global)),
        Command::Status(status) => on_one_core(status.run(&global)),
        Command::Peers(peers) => on_one_core(peers.run(&global)),
        Command::UndoRemovals(undo) => on_one_core(undo.run(&global)),
        Command::Quarantine(quarantine) => on_one_core(quarantine.run(&global)),
        Command::Sync(sync) => on_one_core(sync.run(&global)),
        Command::Resolver(resolver) => resolver.run(&global),
        Command::Config(config) => config.run(&global),
        Command::Completions(completions) => completions.run(),
        Command::Version(version) => version.run(&global),
    }
}

/// A client of the node that the options name.
fn client(global: &Global) -> Result<Client, Failure> {
    let from_environment = |name| std::env::var(name).ok().filter(|token| !token.is_empty());
    let token = global.token.clone();
    let token = token.or_else(|| from_environment("REJOIN_TOKEN"));
    let token = token.or_else(|| from_environment("REJOIN_AUTH_TOKEN"));
    Ok(Client::new(&global.url, token)?)
}

/// Clients wait far more than they work.
fn on_one_core(command: impl Future<Output = Ended>) -> Ended {
    Builder::new_current_thread().enable_all().build()?.block_on(command)
}

fn on_all_cores(command: impl Future<Output = Ended>) -> Ended {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(command);
    // What still runs has had its time to end; a process that was told to stop stops.
    runtime.shutdown_background();
    ended
}
