//! Results that are remembered, within a bound of bytes.

use std::collections::HashMap;
use std::time::Instant;

use rejoin::Candidate;

use crate::fault::Fault;
use crate::limits::TIME_FAULT_KEPT;

/// Names a call: a hash of everything that the resolver is given.
pub(crate) type Key = [u8; 32];

/// What came of a call.
pub(crate) type Outcome = Result<Candidate, Fault>;

/// Two generations: when the young one is half the bound, it becomes the old one, and the old one goes. What is asked
/// for is young again.
#[derive(Debug)]
pub(crate) struct Cache {
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
    young_bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    outcome: Outcome,
    /// When it is forgotten, if it may be otherwise next time.
    until: Option<Instant>,
}

/// Bytes of an entry beside its value: key, tables, clocks.
const ENTRY_BYTES: usize = 256;

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Cache {
        Cache { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, bytes_max }
    }

    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<Outcome> {
        let kept = match self.young.get(key) {
            Some(kept) => kept.clone(),
            None => {
                let kept = self.old.remove(key)?;
                self.keep(*key, kept.clone());
                kept
            }
        };
        let passed = kept.until.is_some_and(|until| until <= now);
        (!passed).then_some(kept.outcome)
    }

    pub(crate) fn put(&mut self, key: Key, outcome: Outcome, now: Instant) {
        let passing = outcome.as_ref().is_err_and(Fault::is_passing);
        let until = passing.then(|| now + TIME_FAULT_KEPT);
        self.keep(key, Kept { outcome, until });
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        self.young_bytes += bytes(&kept);
        if let Some(before) = self.young.insert(key, kept) {
            self.young_bytes -= bytes(&before);
        }
        if self.young_bytes > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }
}

fn bytes(kept: &Kept) -> usize {
    let own = match &kept.outcome {
        Ok(candidate) => {
            candidate.value.as_ref().map_or(0, |value| value.as_str().len())
                + candidate.vector_clock.len() * 48
        }
        Err(Fault::Threw(message) | Fault::Nonsense(message)) => message.len(),
        Err(_) => 0,
    };
    own + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn key(n: u8) -> Key {
        [n; 32]
    }

    #[test]
    fn the_cache_never_exceeds_its_bound_and_keeps_what_is_asked_for() {
        let now = Instant::now();
        let mut cache = Cache::new(20 * ENTRY_BYTES);
        for n in 0..200 {
            cache.put(key(n), Err(Fault::Steps), now);
            assert!(cache.young.len() + cache.old.len() <= 22, "{}", cache.young.len() + cache.old.len());
            assert!(cache.get(&key(0), now).is_some(), "asked for all the time, gone after {n}");
        }
        assert!(cache.get(&key(1), now).is_none());
    }

    #[test]
    fn a_fault_of_time_is_tried_again() {
        let now = Instant::now();
        let mut cache = Cache::new(1 << 20);
        cache.put(key(1), Err(Fault::Time), now);
        cache.put(key(2), Err(Fault::Steps), now);
        assert_eq!(cache.get(&key(1), now + TIME_FAULT_KEPT / 2), Some(Err(Fault::Time)));
        assert_eq!(cache.get(&key(1), now + TIME_FAULT_KEPT), None);
        assert_eq!(cache.get(&key(2), now + Duration::from_secs(3600)), Some(Err(Fault::Steps)));
    }
}
