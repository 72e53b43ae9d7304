//! Jitter from a seed: the same seed gives the same run.

/// SplitMix64 (Steele, Lea, Flood 2014). For spreading timers, never for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `interval`, give or take a tenth.
    pub(crate) fn jitter(&mut self, interval: u64) -> u64 {
        let tenth = interval / 10;
        interval - tenth + self.next() % (2 * tenth + 1)
    }
}
