//! Subscribers of the real program, whose connections and whose server are killed again and again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

#[path = "../loopback/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "written for other tests as well")]
mod harness;
mod kills;
mod subscriber;
