//! How long to wait before the next dial: exponential backoff with full jitter.
//!
//! Full jitter (a wait drawn from zero up to a doubling ceiling) spreads the reconnects of many nodes best; see
//! Brooker, "Exponential Backoff and Jitter" (2015). Pure: the caller brings randomness and does the waiting.

use std::time::Duration;

use crate::config::{BACKOFF_BASE, BACKOFF_MAX};

/// The waits between failed dials of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(BACKOFF_BASE, BACKOFF_MAX)
    }
}

impl Backoff {
    /// Waits whose ceiling starts at `base` and doubles up to `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.min(max);
        Self { base, max, ceiling: base }
    }

    /// The next wait: `random`, uniform over `u64`, picks a point between zero and the ceiling; the ceiling doubles.
    pub fn next(&mut self, random: u64) -> Duration {
        let ceiling_nanos =
            u128::from(self.ceiling.as_secs()) * 1_000_000_000 + u128::from(self.ceiling.subsec_nanos());
        // Below 2^64 s of 2^94 ns; the product could overflow only for ceilings above 2^64 ns (584 years).
        let nanos = (ceiling_nanos.min(u128::from(u64::MAX)) * u128::from(random)) >> 64;
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Starts over; call it once a link has proved itself.
    pub fn reset(&mut self) {
        self.ceiling = self.base;
    }

    /// Upper bound of the next wait.
    pub fn ceiling(&self) -> Duration {
        self.ceiling
    }
}
