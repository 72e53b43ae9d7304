//! The `rejoin` command: a node, a client of nodes, and a demonstration.
//!
//! Read in this order: `arguments` (what can be typed), `commands` (one file each), `config` (where every setting of
//! `serve` comes from), `demo` (the story that `rejoin demo` tells), `failure` and `exit` (how a command ends), and
//! `output` (what it says).
//!
//! Standard output carries data and nothing else; everything said to a person goes to standard error.

mod arguments;
mod commands;
mod config;
mod demo;
mod exit;
mod failure;
mod log;
mod open_files;
mod output;
mod policy;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// Over 100 MiB of a busy server were what the C library's allocator kept in arenas of single threads.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&error),
    };
    let json = arguments.global.json;
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            failure.exit().into()
        }
    }
}

/// How a command ends.
type Ended = Result<(), Failure>;
