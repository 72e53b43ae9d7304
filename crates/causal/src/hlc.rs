//! Hybrid logical time (Kulkarni et al. 2014): wall clock where clocks agree, a counter where they do not.

use core::fmt;

/// A hybrid stamp: 48 bits of Unix milliseconds, 16 bits of counter. It orders concurrent siblings, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The stamp of a wall clock reading with counter 0. Readings beyond the year 10889 saturate.
    pub fn of_wall(unix_ms: u64) -> Hlc {
        Hlc(unix_ms.min((1 << 48) - 1) << 16)
    }

    /// Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }

    /// The counter within that millisecond.
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    fn next(self) -> Hlc {
        // A counter that overflows carries into the milliseconds, which keeps stamps strictly increasing.
        Hlc(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.unix_ms(), self.counter())
    }
}

/// The stamps given out by one replica: each greater than the last, than the wall clock's past and than every
/// stamp observed from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// A clock that goes on after `last`, the greatest stamp it gave or saw in its earlier life.
    pub fn resume(last: Hlc) -> HlcClock {
        HlcClock { last }
    }

    /// The greatest stamp given or seen.
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// A new stamp: `max(now, last + 1)`.
    pub fn tick(&mut self, unix_ms: u64) -> Hlc {
        self.last = Hlc::of_wall(unix_ms).max(self.last.next());
        self.last
    }

    /// Goes on from a wall clock reading, whatever was given or seen before: the clock that those came from was wrong.
    ///
    /// Stamps order concurrent siblings only, so one that is less than an earlier one breaks nothing that was promised.
    pub fn fall_back(&mut self, unix_ms: u64) {
        self.last = Hlc::of_wall(unix_ms);
    }

    /// Takes note of a stamp merged from elsewhere. The caller has checked that it is not far in the future.
    pub fn observe(&mut self, stamp: Hlc) {
        if !crate::plant::is("clock-observes-nothing") {
            self.last = self.last.max(stamp);
        }
    }
}
