//! Which faults happen when: made of a seed, before the run begins.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::proxy::Mode;

/// One fault, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Milliseconds after the run began.
    pub(super) at_ms: u64,
    /// How long it lasts.
    pub(super) for_ms: u64,
    /// What fails.
    pub(super) what: What,
}

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// `kill -9` of a node, which is started again at the end.
    Kill(usize),
    /// SIGTERM of a node, which is started again at the end.
    Stop(usize),
    /// SIGSTOP of a node, SIGCONT at the end.
    Pause(usize),
    /// One way.
    Link(usize, Mode),
    /// All ways between the two sides; true: the first side.
    Partition(Vec<bool>),
}

/// Time between two faults, in milliseconds: several at once are common, and calm moments too.
const BETWEEN_MS: std::ops::Range<u64> = 100..900;

/// How long a fault lasts, in milliseconds. Longer than [`super::OPERATION_MAX`] at times, so that clients give up.
const LASTS_MS: std::ops::Range<u64> = 100..4_000;

/// How long some faults of links last, in milliseconds: nodes notice by silence that a link is dead, after 15 s.
const LASTS_LONG_MS: std::ops::Range<u64> = 4_000..25_000;

/// The faults of a run over that many nodes and ways, by their beginning. Those that last beyond the run end with it,
/// all at once.
pub(super) fn schedule(random: &mut StdRng, nodes: usize, ways: usize, run_ms: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at_ms = random.random_range(BETWEEN_MS);
    while at_ms < run_ms {
        let node = random.random_range(0..nodes);
        let what = match random.random_range(0..10) {
            0 | 1 => What::Kill(node),
            2 => match random.random_bool(0.5) {
                true => What::Pause(node),
                false => What::Stop(node),
            },
            3 | 4 => What::Partition((0..nodes).map(|_| random.random_bool(0.5)).collect()),
            _ => {
                let modes = [
                    Mode::Cut,
                    Mode::CutAfter { bytes: random.random_range(1..4_000) },
                    Mode::Delayed { ms: random.random_range(5..300) },
                    Mode::Slow,
                    Mode::StalledForth,
                    Mode::StalledBack,
                    Mode::HalfOpen,
                ];
                let mode = modes.choose(random).copied().unwrap_or_default();
                What::Link(random.random_range(0..ways), mode)
            }
        };
        let lasts_ms = match what {
            What::Link(..) | What::Partition(_) if random.random_bool(0.1) => LASTS_LONG_MS,
            _ => LASTS_MS,
        };
        faults.push(Fault { at_ms, for_ms: random.random_range(lasts_ms), what });
        at_ms += random.random_range(BETWEEN_MS);
    }
    faults
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_has_one_schedule_and_another_seed_another() {
        let faults = |seed| schedule(&mut StdRng::seed_from_u64(seed), 3, 4, 60_000);
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        assert!(faults(1).windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        // A minute has every kind.
        for kind in [
            |what: &What| matches!(what, What::Kill(_)),
            |what: &What| matches!(what, What::Pause(_)),
            |what: &What| matches!(what, What::Stop(_)),
            |what: &What| matches!(what, What::Partition(_)),
            |what: &What| matches!(what, What::Link(_, Mode::HalfOpen)),
            |what: &What| matches!(what, What::Link(_, Mode::CutAfter { .. })),
        ] {
            assert!(faults(1).iter().any(|fault| kind(&fault.what)));
        }
    }
}
