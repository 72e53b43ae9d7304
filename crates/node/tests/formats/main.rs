//! Stores and conversations of before: what was written and said in an older format still counts.
//!
//! The fixtures lie in `tests/fixtures`, made by [`make`] with the code of their time. Their READMEs say what is in them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conversation;
mod dump;
mod make;
mod record;
mod store;

use std::path::PathBuf;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
