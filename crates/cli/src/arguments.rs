//! What can be typed.

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    completions, config, conflicts, del, demo, explain, get, history, import, peers, put, quarantine,
    resolve, resolver, scan, serve, status, sync, undo_removals, version, watch,
};
use crate::exit;

/// A peer-to-peer JSON sync server. Without a command it serves, as `rejoin serve` does.
#[derive(Debug, Parser)]
#[command(
    name = "rejoin",
    version,
    after_help = exit::TABLE,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const GLOBAL: &str = "Global options";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// URL of the node to ask
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "REJOIN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:3000",
        help_heading = GLOBAL
    )]
    pub(crate) url: String,
    /// Access token: client commands send it, `serve` asks for it. Better given as REJOIN_TOKEN to clients and as
    /// REJOIN_AUTH_TOKEN to `serve`, where other users of this machine cannot see it
    #[arg(long, global = true, value_name = "TOKEN", help_heading = GLOBAL)]
    pub(crate) token: Option<String>,
    /// Machine-readable output: JSON on standard output, errors as one JSON object on standard error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(serve::Serve),
    /// Print the value at a path
    Get(get::Get),
    /// Write a value to a path
    Put(put::Put),
    /// Delete a path
    Del(del::Del),
    /// List the paths that begin with a prefix, with their values
    Scan(scan::Scan),
    /// Write many values, one JSON object a line
    Import(import::Import),
    /// Print the values below a path, then every change as it happens
    Watch(watch::Watch),
    /// List the superseded versions of a path, newest first
    History(history::History),
    /// List the conflicts that are open, with every version
    Conflicts(conflicts::Conflicts),
    /// Tell which versions of a path compete, and why one of them wins
    Explain(explain::Explain),
    /// Resolve a conflict by one write over all its versions
    Resolve(resolve::Resolve),
    /// Show how the node is doing
    Status(status::Status),
    /// List, add or remove the peers of the node
    Peers(peers::Peers),
    /// Bring back what was removed by a peer's word, where nothing was written since
    UndoRemovals(undo_removals::UndoRemovals),
    /// Compare with every peer now, and exchange what differs
    Sync(sync::Sync),
    /// List or take documents that wait because a clock was ahead when they were written
    Quarantine(quarantine::Quarantine),
    /// Watch three nodes sync, part, disagree and come together again, in this process
    Demo(demo::Demo),
    /// Try a conflict resolver in JavaScript on sample conflicts
    Resolver(resolver::Resolver),
    /// Show or check the configuration of `serve`
    Config(config::Config),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Print the version
    Version(version::Version),
}
