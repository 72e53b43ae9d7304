//! Real processes over real sockets: what only the wiring can get wrong, and the promises as a user sees them.
//!
//! Every test starts its own servers in temporary directories on ports of 127.0.0.1, tells a story through
//! [`harness`], and prints its figures. Nothing waits for a time to pass: every wait is for a condition, with a
//! deadline, and a wait that fails tells what was seen last, with the end of each server's log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

mod backups;
mod bad_peers;
mod bad_stores;
mod bytes;
mod clocks;
mod crashes;
mod harness;
mod large;
mod overload;
mod partitions;
mod removals;
mod topologies;
