//! Jumps of the wall clock, seen against the time since boot.
//!
//! Both clocks of the kernel run at one rate, so an NTP daemon that slews moves them alike, and a machine that sleeps counts
//! the sleep in both. Their difference changes only when somebody sets the wall clock. A machine that is put back to an
//! earlier state takes its time since boot from there, and has its wall clock set to the present soon after: ahead.
//!
//! So does an operator or an NTP daemon that corrects a clock that was behind, and a virtual machine that was paused. The
//! three cannot be told apart, and a doubt without a cause loses nothing, but costs the node its identity. Hence what does
//! not count: steps backward, and forward to where the clock has been within the last hour; small ones; those soon after
//! boot, when machines set their clocks; those that do not last; and another within an hour of one that counted.
//!
//! Pure: it is told what the clocks say.

use crate::config::{
    CLOCK_JUMP_FORGOTTEN_MS, CLOCK_JUMP_HOLDS_MS, CLOCK_JUMP_MIN_MS, CLOCK_JUMP_PAUSE_MS, CLOCK_SETTLES_MS,
};

/// What the two clocks said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Unix milliseconds.
    pub(super) wall_ms: u64,
    /// Milliseconds since boot, sleep included.
    pub(super) boot_ms: u64,
}

impl Reading {
    /// Both clocks; nothing where the system has only one of them, or the process was held up between the two.
    pub(super) fn now() -> Option<Reading> {
        let before_ms = crate::clock::boot_ms()?;
        let wall_ms = crate::clock::wall_ms();
        let boot_ms = crate::clock::boot_ms()?;
        (boot_ms.saturating_sub(before_ms) < CLOCK_JUMP_MIN_MS / 50).then_some(Reading { wall_ms, boot_ms })
    }

    /// How far the wall clock is ahead of the time since boot.
    fn lead_ms(self) -> i64 {
        i64::try_from(self.wall_ms).unwrap_or(i64::MAX) - i64::try_from(self.boot_ms).unwrap_or(i64::MAX)
    }
}

/// A wall clock that was set ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// By how much.
    pub(super) by_ms: i64,
    /// Whether the machine may have been put back.
    pub(super) counts: bool,
    /// Why it does not count.
    pub(super) why: &'static str,
}

/// What is known of the clocks so far.
#[derive(Debug)]
pub(super) struct Jumps {
    /// The lead that the wall clock has; while it is behind that, the one that it had.
    lead_ms: i64,
    /// When it was first seen to be ahead of that, or behind, since boot.
    ahead_since_ms: Option<u64>,
    behind_since_ms: Option<u64>,
    /// When a jump last counted, since boot.
    counted_ms: Option<u64>,
}

impl Jumps {
    pub(super) fn begin(reading: Reading) -> Jumps {
        let lead_ms = reading.lead_ms();
        Jumps { lead_ms, ahead_since_ms: None, behind_since_ms: None, counted_ms: None }
    }

    /// A jump, once it has lasted.
    pub(super) fn look(&mut self, reading: Reading) -> Option<Jump> {
        let by_ms = reading.lead_ms().saturating_sub(self.lead_ms);
        if by_ms.unsigned_abs() < CLOCK_JUMP_MIN_MS {
            self.settle(reading);
            return None;
        }
        if by_ms < 0 {
            self.ahead_since_ms = None;
            let since_ms = *self.behind_since_ms.get_or_insert(reading.boot_ms);
            if reading.boot_ms.saturating_sub(since_ms) >= CLOCK_JUMP_FORGOTTEN_MS {
                self.settle(reading);
            }
            return None;
        }
        self.behind_since_ms = None;
        let since_ms = *self.ahead_since_ms.get_or_insert(reading.boot_ms);
        if reading.boot_ms.saturating_sub(since_ms) < CLOCK_JUMP_HOLDS_MS {
            return None;
        }
        self.settle(reading);
        let again =
            self.counted_ms.is_some_and(|at_ms| reading.boot_ms.saturating_sub(at_ms) < CLOCK_JUMP_PAUSE_MS);
        let why = if since_ms < CLOCK_SETTLES_MS {
            "the machine has just started"
        } else if again {
            "another jump was taken for more within the last hour"
        } else {
            self.counted_ms = Some(reading.boot_ms);
            ""
        };
        Some(Jump { by_ms, counts: why.is_empty(), why })
    }

    /// Whether the wall clock is ahead and it has not been decided what that means.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead_since_ms.is_some()
    }

    /// What moved the clock, or is about to, is known otherwise.
    pub(super) fn explained(&mut self, reading: Reading) {
        self.counted_ms = Some(reading.boot_ms);
    }

    fn settle(&mut self, reading: Reading) {
        (self.lead_ms, self.ahead_since_ms, self.behind_since_ms) = (reading.lead_ms(), None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;

    /// A machine with its two clocks, looked at each second.
    struct Story {
        boot_ms: u64,
        wall_ms: u64,
        jumps: Jumps,
    }

    impl Story {
        /// The process starts so long after boot.
        fn after_boot(boot_ms: u64) -> Story {
            let wall_ms = 1_700_000_000_000;
            Story { boot_ms, wall_ms, jumps: Jumps::begin(Reading { wall_ms, boot_ms }) }
        }

        /// Time passes; every jump that is told of.
        fn pass(&mut self, ms: u64) -> Vec<Jump> {
            let mut told = Vec::new();
            for _ in 0..ms / 1_000 {
                self.boot_ms += 1_000;
                self.wall_ms += 1_000;
                told.extend(self.jumps.look(Reading { wall_ms: self.wall_ms, boot_ms: self.boot_ms }));
            }
            told
        }

        fn counted(&mut self, ms: u64) -> usize {
            self.pass(ms).iter().filter(|jump| jump.counts).count()
        }
    }

    #[test]
    fn a_machine_put_back_is_seen_seconds_after_its_clock_is_corrected() {
        for back_ms in [6_000, MINUTE_MS, 400 * 24 * HOUR_MS] {
            let mut story = Story::after_boot(2 * HOUR_MS);
            assert_eq!(story.counted(MINUTE_MS), 0);
            // Memory and both clocks are those of an earlier moment; then the wall clock is set.
            story.wall_ms += back_ms;
            assert_eq!(story.counted(4_000), 1, "{back_ms} ms back");
            assert_eq!(story.counted(HOUR_MS), 0, "it is told once");
        }
    }

    #[test]
    fn sleep_and_slewing_are_no_jumps() {
        let mut story = Story::after_boot(2 * HOUR_MS);
        // Asleep for a night: both clocks count it.
        (story.wall_ms, story.boot_ms) = (story.wall_ms + 8 * HOUR_MS, story.boot_ms + 8 * HOUR_MS);
        assert_eq!(story.pass(MINUTE_MS), []);
        // However far small corrections add up to.
        for _ in 0..100 {
            story.wall_ms += 900;
            assert_eq!(story.pass(10_000), []);
        }
    }

    #[test]
    fn a_clock_that_is_set_soon_after_boot_is_no_doubt() {
        let mut story = Story::after_boot(20_000);
        story.pass(10_000);
        story.wall_ms += 50 * 24 * HOUR_MS;
        let told = story.pass(MINUTE_MS);
        assert!(matches!(told[..], [Jump { counts: false, .. }]), "{told:?}");
        // Later it is one.
        story.pass(10 * MINUTE_MS);
        story.wall_ms += MINUTE_MS;
        assert_eq!(story.counted(MINUTE_MS), 1);
    }

    #[test]
    fn a_clock_set_back_and_forth_again_is_no_doubt() {
        let mut story = Story::after_boot(2 * HOUR_MS);
        story.wall_ms -= 30 * MINUTE_MS;
        assert_eq!(story.pass(10 * MINUTE_MS), []);
        story.wall_ms += 30 * MINUTE_MS;
        assert_eq!(story.pass(10 * MINUTE_MS), []);
        // Behind for long enough, that is the time.
        story.wall_ms -= 30 * MINUTE_MS;
        assert_eq!(story.pass(2 * HOUR_MS), []);
        story.wall_ms += 30 * MINUTE_MS;
        assert_eq!(story.counted(MINUTE_MS), 1);
    }

    #[test]
    fn a_jump_that_does_not_last_is_no_doubt() {
        let mut story = Story::after_boot(2 * HOUR_MS);
        for _ in 0..50 {
            story.wall_ms += HOUR_MS;
            assert_eq!(story.pass(1_000), []);
            story.wall_ms -= HOUR_MS;
            assert_eq!(story.pass(5_000), []);
        }
    }

    #[test]
    fn a_clock_that_jumps_again_and_again_costs_one_identity_an_hour() {
        let mut story = Story::after_boot(2 * HOUR_MS);
        let mut counted = 0;
        for _ in 0..60 {
            story.wall_ms += 10_000;
            counted += story.counted(2 * MINUTE_MS);
        }
        assert!((2..=3).contains(&counted), "{counted} doubts in two hours");
    }

    #[test]
    fn what_the_generation_has_told_is_not_told_again_by_the_clock() {
        let mut story = Story::after_boot(2 * HOUR_MS);
        story.jumps.explained(Reading { wall_ms: story.wall_ms, boot_ms: story.boot_ms });
        story.pass(5_000);
        story.wall_ms += HOUR_MS;
        assert_eq!(story.counted(MINUTE_MS), 0);
    }
}
