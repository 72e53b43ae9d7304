//! The program on a disk that fills up, fails, or loses its process: what it acknowledged stays, and what it cannot keep
//! it does not acknowledge.
//!
//! The faults are real: a small file system in memory, `strace` that makes system calls of the running process fail, and
//! `kill -9`. Where the machine does not allow one of them, its tests fail and say so, unless [`tools`] is told otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, where a panic is a failure"
)]

mod copies;
mod disk_full;
#[path = "../loopback/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "written for other tests as well")]
mod harness;
mod kills;
mod retries;
mod slow;
mod syscalls;
mod tools;
