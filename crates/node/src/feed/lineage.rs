//! The starts of a store: which positions of its feed are positions of *this* feed.
//!
//! A sequence alone names no state. After an older copy of the data directory was restored, the store gives the same
//! numbers to other changes; so does every other node. Each opening therefore begins a *generation*, a random number
//! that is kept durably together with the sequence at which it began. A position is given together with the generation
//! in which it was reached, and belongs to this feed when that generation is known and had not ended before the
//! position:
//!
//! - a copy does not know the generations that began after it was taken;
//! - the one during which it was taken ends, for the copy, at the sequence of the copy;
//! - so does, after a power cut, the one that lost its last commits.

use rejoin_store::Store;

use crate::Error;
use crate::clock::random;
use crate::engine::NodeEngine;

/// Generations that are remembered. 1,024: a node that restarts every day knows the positions of almost three years,
/// in a row of 16 KiB that is written once per start.
const GENERATIONS_MAX: usize = 1_024;

/// The note that holds them, oldest first: number and first sequence, 8 bytes each.
const NOTE: &str = "feed";

const ROW_BYTES: usize = 16;

/// The generations of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    earlier: Vec<Generation>,
    current: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Generation {
    number: u64,
    /// The sequence at which the next one began.
    end: u64,
}

impl Lineage {
    /// Begins a generation at `sequence`, durably, before any position of it can be given out.
    pub(crate) fn begin(store: &mut Store<NodeEngine>, sequence: u64) -> Result<Lineage, Error> {
        let kept = store.note(NOTE).map_err(|error| Error::open(&error))?.unwrap_or_default();
        let mut rows = take_rows(&kept)
            .ok_or_else(|| Error::Corrupt("the row of the feed's generations is damaged".to_string()))?;
        let current = u64::from_le_bytes(random()?);
        rows.push((current, sequence));
        let surplus = rows.len().saturating_sub(GENERATIONS_MAX);
        rows.drain(..surplus);
        store.set_note(NOTE, &put_rows(&rows)).map_err(|error| Error::open(&error))?;
        Ok(Lineage::of(&rows, current))
    }

    fn of(rows: &[(u64, u64)], current: u64) -> Lineage {
        let ends = rows.windows(2).map(|pair| Generation { number: pair[0].0, end: pair[1].1 });
        Lineage { earlier: ends.collect(), current }
    }

    /// The generation that is running.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// Whether a position that was given in `generation` is one of this feed, which is at `sequence` now.
    pub(crate) fn knows(&self, generation: u64, position: u64, sequence: u64) -> bool {
        if generation == self.current {
            return position <= sequence;
        }
        self.earlier.iter().any(|earlier| earlier.number == generation && position <= earlier.end)
    }
}

fn put_rows(rows: &[(u64, u64)]) -> Vec<u8> {
    rows.iter().flat_map(|(number, start)| [number.to_be_bytes(), start.to_be_bytes()].concat()).collect()
}

fn take_rows(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let rows = bytes.chunks(ROW_BYTES).map(|row| {
        let (number, start) = row.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), u64::from_be_bytes(start.try_into().ok()?)))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rejoin_store::{MemoryEngine, SyncPolicy};

    use super::*;
    use crate::engine::Kind;

    #[test]
    fn a_position_is_known_up_to_where_its_generation_ended() {
        let rows = [(11, 0), (22, 100), (33, 250)];
        let lineage = Lineage::of(&rows, 33);
        for (generation, position, known) in [
            (11, 100, true),
            (11, 101, false),
            (22, 250, true),
            (22, 251, false),
            (33, 300, true),
            (33, 301, false),
            (44, 1, false),
        ] {
            assert_eq!(lineage.knows(generation, position, 300), known, "{generation} {position}");
        }
    }

    #[test]
    fn a_copy_does_not_know_what_came_after_it() {
        // Both opened a store that held one generation, begun at 0, at sequence 40. One of them went on to 90 first.
        let original = Lineage::of(&[(1, 0), (2, 90)], 2);
        let copy = Lineage::of(&[(1, 0), (3, 40)], 3);
        assert!(original.knows(1, 60, 200) && !copy.knows(1, 60, 200), "the copy never was at 60 of that");
        assert!(original.knows(1, 40, 200) && copy.knows(1, 40, 200), "up to 40 they are one feed");
        assert!(!copy.knows(2, 95, 200) && !original.knows(3, 95, 200), "what followed is not shared");
    }

    #[test]
    fn openings_are_remembered_up_to_a_bound() {
        let engine = NodeEngine::new(Kind::Memory(MemoryEngine::new()), Arc::default());
        let mut store = Store::open(engine, SyncPolicy::Never).unwrap();
        let first = Lineage::begin(&mut store, 0).unwrap();
        let second = Lineage::begin(&mut store, 5).unwrap();
        assert!(second.knows(first.current(), 5, 9) && !second.knows(first.current(), 6, 9));
        for _ in 0..GENERATIONS_MAX {
            Lineage::begin(&mut store, 9).unwrap();
        }
        let last = Lineage::begin(&mut store, 9).unwrap();
        assert_eq!(last.earlier.len(), GENERATIONS_MAX - 1);
        assert!(!last.knows(first.current(), 5, 9), "forgotten: its reader starts over");
        store.set_note(NOTE, b"short").unwrap();
        assert!(matches!(Lineage::begin(&mut store, 9), Err(Error::Corrupt(_))));
    }
}
