//! The real binary as people and scripts use it: what it prints, how it ends, and what it refuses.
//!
//! Texts that people read are compared with files under `tests/snapshots`; `UPDATE=1 cargo test -p rejoin-cli --test
//! cli` writes them anew, for a look at the difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

mod data;
mod demo;
mod errors;
mod harness;
mod help;
mod import;
mod serving;
mod terminal;
