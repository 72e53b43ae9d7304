//! Wall clocks that are wrong, over virtual time that is right.

use rejoin_replica::Now;

/// What every sane wall clock reads when a world begins, in Unix milliseconds.
pub const WALL_BASE_MS: i64 = 1_700_000_000_000;

/// One node's wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far it is ahead of the truth.
    pub offset_ms: i64,
    /// How much it gains, in parts per million.
    pub drift_ppm: i64,
}

impl Clock {
    /// What the clocks of that node say at a point of virtual time.
    pub fn now(&self, virtual_ms: u64) -> Now {
        let elapsed = i64::try_from(virtual_ms).unwrap_or(i64::MAX);
        let wall = WALL_BASE_MS + elapsed + elapsed * self.drift_ppm / 1_000_000 + self.offset_ms;
        Now { wall_ms: u64::try_from(wall).unwrap_or(0), steady_ms: virtual_ms }
    }
}
