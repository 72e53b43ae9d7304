//! Documents with stamps far in the future: held, never merged early, never claimed, never dropped for good.
//!
//! A stamp far ahead would win every conflict and drag every clock. A held document is not in the frontier, so
//! whatever becomes of this memory, a later catch-up brings it again.

use alloc::vec::Vec;

use rejoin_causal::{Frontier, plant};

use crate::message::Entry;

/// Held documents, bounded by number.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    held: Vec<(u64, Entry)>,
}

impl Quarantine {
    /// How far the newest stamp not yet applied is ahead of `wall_ms`, in milliseconds.
    pub(crate) fn lead_ms(entry: &Entry, applied: &Frontier, wall_ms: u64) -> u64 {
        let fresh = entry.document.versions().iter().filter(|version| !applied.contains(version.dot));
        fresh.map(|version| version.hlc.unix_ms().saturating_sub(wall_ms)).max().unwrap_or(0)
    }

    /// Holds documents that belong together until the wall clock reads `release_ms`; gives them back when there is no
    /// room for all of them.
    pub(crate) fn hold(&mut self, bundle: Vec<Entry>, release_ms: u64, entries_max: usize) -> Vec<Entry> {
        // The same state over another link, or again after a reconnect, takes no second place. It comes out with the first
        // that it belongs to.
        let mut news = Vec::new();
        for entry in bundle {
            match self.held.iter_mut().find(|(_, held)| *held == entry) {
                Some((at, _)) => *at = release_ms.min(*at),
                None => news.push(entry),
            }
        }
        if self.held.len() + news.len() > entries_max {
            return news;
        }
        if !plant::is("drop-quarantined") {
            self.held.extend(news.into_iter().map(|entry| (release_ms, entry)));
        }
        Vec::new()
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Every dot that will be applied with what is held.
    pub(crate) fn claims(&self) -> Frontier {
        self.held.iter().flat_map(|(_, entry)| entry.claims()).collect()
    }

    /// When the wall clock must read for the next release.
    pub(crate) fn next_release_ms(&self) -> Option<u64> {
        self.held.iter().map(|(release_ms, _)| *release_ms).min()
    }

    /// The documents whose time has come.
    pub(crate) fn release(&mut self, wall_ms: u64) -> Vec<Entry> {
        let (due, held) = core::mem::take(&mut self.held).into_iter().partition(|(at, _)| *at <= wall_ms);
        self.held = held;
        let due: Vec<(u64, Entry)> = due;
        due.into_iter().map(|(_, entry)| entry).collect()
    }
}
