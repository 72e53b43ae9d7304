//! Which answered writes must still be there: all but those that something said explains.

use std::collections::BTreeMap;

use rejoin_causal::{Dot, Frontier, Hlc};
use rejoin_replica::path::Path;
use rejoin_replica::{Document, Message, Observed};

/// A write that was answered.
struct Answered {
    path: Path,
    hlc: Hlc,
    tombstone: bool,
}

/// The answered writes that nothing explains away.
#[derive(Default)]
pub(super) struct Ledger {
    standing: BTreeMap<Dot, Answered>,
    /// What peers of digest sessions said to have: what they have and do not show, they have deleted.
    shown_elsewhere: Frontier,
}

impl Ledger {
    /// A write was answered; it replaces what it observed.
    pub(super) fn answered(&mut self, dot: Dot, path: &Path, hlc: Hlc, tombstone: bool, observed: &Observed) {
        self.standing.retain(|older, standing| match observed {
            Observed::All => standing.path != *path,
            Observed::These(dots) => !dots.contains(older),
        });
        let twice = self.standing.insert(dot, Answered { path: path.clone(), hlc, tombstone });
        assert!(twice.is_none(), "{dot} was given to two writes");
    }

    /// A write may go without anybody saying so.
    pub(super) fn forget(&mut self, dot: Dot) {
        self.standing.remove(&dot);
    }

    /// A message came in: it may replace what it covers, and nothing else.
    pub(super) fn heard(&mut self, message: &Message) {
        match message {
            Message::Push(entries) | Message::Chunk(entries) => {
                for entry in entries {
                    self.saw(&entry.path, Some(&entry.document), false);
                }
            }
            Message::AuditOpen { frontier, .. } | Message::AuditAccept { frontier, .. } => {
                self.shown_elsewhere.union_with(frontier);
            }
            Message::Exchange(states) | Message::Exchanged { states, .. } => {
                for (path, document) in states {
                    self.saw(path, document.as_ref(), true);
                }
            }
            Message::CaughtUp { claims, .. } => self.standing.retain(|dot, _| !claims.contains(*dot)),
            _ => {}
        }
    }

    fn saw(&mut self, path: &Path, document: Option<&Document>, in_audit: bool) {
        let elsewhere = &self.shown_elsewhere;
        self.standing.retain(|dot, standing| {
            let live = document.is_some_and(|document| document.version(*dot).is_some());
            let covered = document.is_some_and(|document| document.vv().covers(*dot));
            let deleted = in_audit && elsewhere.contains(*dot);
            standing.path != *path || live || !(covered || deleted)
        });
    }

    /// Deletes with stamps before that may have been collected.
    pub(super) fn forget_deletes(&mut self, before_ms: u64) {
        self.standing.retain(|_, standing| !standing.tombstone || standing.hlc.unix_ms() >= before_ms);
    }

    pub(super) fn standing(&self) -> impl Iterator<Item = (Dot, &Path)> {
        self.standing.iter().map(|(dot, standing)| (*dot, &standing.path))
    }
}
