//! What arbitrary bytes may not do to a node: one body per fuzz target.
//!
//! A body takes any bytes and panics when a property does not hold. `fuzz/targets` runs the bodies under libFuzzer;
//! `tests/corpus.rs` runs them on stable over the committed corpus and mutations of it. README.md has the commands
//! and the properties.

mod bytes;
mod config;
mod cursor;
mod frame;
mod handshake;
mod json;
mod meter;
mod path;
mod record;
mod session;
mod token;

pub use config::config;
pub use cursor::cursor;
pub use frame::frame;
pub use handshake::handshake;
pub use json::json;
pub use path::path;
pub use record::record;
pub use session::session;
pub use token::token;

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Body); 9] = [
    ("frame", frame),
    ("session", session),
    ("path", path),
    ("json", json),
    ("token", token),
    ("cursor", cursor),
    ("record", record),
    ("config", config),
    ("handshake", handshake),
];

// What the CLI's configuration needs of its crate. `failure` is ours: the CLI's own is about clients and their errors.
#[allow(dead_code)]
#[path = "../../crates/cli/src/exit.rs"]
mod exit;
mod failure;
#[allow(dead_code)]
#[path = "../../crates/cli/src/time.rs"]
mod time;
