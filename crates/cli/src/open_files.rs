//! How many files this process may have open, and how many connections fit.
//!
//! Every connection is an open file. The store must never be the one that finds none left, so it is served first.

use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Failure;

/// Connections when nobody says how many: enough for a fleet of pages, and some 250 MiB when each has a feed open.
const CONNECTIONS_DEFAULT_MAX: u64 = 10_000;

/// Open files that are not connections: 256 tables of the store, its journals and merges, standard streams, listener
/// and event queues, 32 connections that are being turned away, and room to spare. Dialed peers come on top.
const RESERVED_FILES: u64 = 384;

/// Part of the open files that is for connections where the reserve would leave less: a node with very few serves a
/// few clients.
const LEAST_SHARE: u64 = 4;

/// How many this process may have open once [`raise`] was called; nothing where that is not bounded.
pub(crate) fn attainable() -> Option<u64> {
    limits().and_then(|(_, maximum)| maximum)
}

/// Raises the limit of open files to what this process is allowed, and tells it. Many systems begin with 1,024, or 256,
/// while the limit above is rarely below 500,000.
pub(crate) fn raise(settings: &Settings) -> Option<u64> {
    let (current, maximum) = limits()?;
    // Some systems promise more than they give.
    let wanted =
        reserved(settings) + settings.connections.value.map_or(CONNECTIONS_DEFAULT_MAX, |n| n as u64);
    let wanted = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised =
        current == maximum || set(maximum) || current.is_some_and(|now| now >= wanted) || set(Some(wanted));
    if !raised {
        tracing::warn!(?current, ?maximum, "the limit of open files could not be raised");
    }
    limits().and_then(|(current, _)| current)
}

/// How many connections to serve with so many open files.
///
/// # Errors
/// The setting asks for more than fit.
pub(crate) fn connections(settings: &Settings, files: Option<u64>) -> Result<usize, Failure> {
    let reserved = reserved(settings);
    let fit = files.map_or(u64::MAX, |files| files.saturating_sub(reserved).max(files / LEAST_SHARE).max(1));
    let Some(wanted) = settings.connections.value else {
        return Ok(usize::try_from(fit.min(CONNECTIONS_DEFAULT_MAX)).unwrap_or(usize::MAX));
    };
    if wanted as u64 <= fit {
        return Ok(wanted);
    }
    let message = format!(
        "`limits.connections` cannot be {wanted} ({}): this process may have {} files open, and {reserved} of them are \
         for the store, links and the rest.",
        settings.connections.origin,
        files.unwrap_or_default(),
    );
    Err(Failure::new(Exit::Config, "too_few_open_files", message).hint(format!(
        "Give {fit} or less, or allow {} open files: `ulimit -Hn`, or LimitNOFILE= of a service.",
        wanted as u64 + reserved
    )))
}

fn reserved(settings: &Settings) -> u64 {
    RESERVED_FILES + settings.peers.value.len() as u64
}

/// What holds now, and what it may be raised to; each may be no bound at all.
#[cfg(unix)]
fn limits() -> Option<(Option<u64>, Option<u64>)> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some((limit.current, limit.maximum))
}

#[cfg(not(unix))]
fn limits() -> Option<(Option<u64>, Option<u64>)> {
    None
}

#[cfg(unix)]
fn set(current: Option<u64>) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok()
}

#[cfg(not(unix))]
fn set(_: Option<u64>) -> bool {
    false
}
