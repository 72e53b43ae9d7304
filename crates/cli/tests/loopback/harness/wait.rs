//! Waiting for conditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `look` succeeds, at most that long; fails with what it said last.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, at_most: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(why) if started.elapsed() > at_most => {
                panic!("not within {at_most:?}: {what}\n  last seen: {why}")
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Tests that measure, or that keep both cores busy, run one at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::new(());
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since then, for printing.
pub(crate) fn ms(since: Instant) -> u128 {
    since.elapsed().as_millis()
}

/// Says that something is over when it is dropped, also by a panic: threads that go on until then always end, and a test
/// that fails beside them fails instead of waiting for them.
#[derive(Debug)]
pub(crate) struct OverWhenDropped<'a>(pub(crate) &'a AtomicBool);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
