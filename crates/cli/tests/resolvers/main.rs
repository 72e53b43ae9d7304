//! Resolvers in JavaScript on real nodes: one value everywhere after a partition, and failures that show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

#[path = "../loopback/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "written for other tests as well")]
mod harness;

mod command;
mod nodes;
