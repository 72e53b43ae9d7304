//! Conflicts: listing the open and the settled ones, settling one, and going back to an old version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_causal::Dot;
use rejoin_replica::json::Json;
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{Change, Condition, Observed, Policy, View as _, Write};

use crate::clock::wall_ms;
use crate::config::{SCAN_ITEMS_DEFAULT, SCAN_ITEMS_MAX, SCAN_PAGE_BYTES_MAX};
use crate::entry::{Entry, HistoryEntry};
use crate::pins::Pinned;
use crate::token::Written;
use crate::{Error, Node};

/// Rows of each index read at a time.
const ROWS_PER_READ: usize = 256;

/// A path whose writers did not see each other, now or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The path.
    pub path: Path,
    /// The conflict that is open: what readers see, and every live version.
    pub open: Option<Entry>,
    /// Those that were settled and are in history, newest first.
    pub settled: Vec<Settled>,
}

/// A conflict that was settled: by a write that saw the versions, here or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The write that replaced them, as far as this node knows.
    pub by: Option<Dot>,
    /// The versions, newest first, each with its outcome.
    pub versions: Vec<HistoryEntry>,
}

/// Which conflicts to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConflictState {
    /// Open and settled ones.
    #[default]
    All,
    /// Those with more than one live version.
    Open,
    /// Those in history.
    Settled,
}

/// What settles a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// This value.
    Value(Json),
    /// What this live version says, a delete included.
    Keep(Dot),
}

/// A list of conflicts to be read, in path order. It reads the index of conflicts, and their documents, only.
#[derive(Clone, Debug)]
pub struct Conflicts {
    pin: Pinned,
    policy: Arc<Policy>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    state: ConflictState,
    limit: usize,
    cursor: Option<String>,
    read: std::vec::IntoIter<Found>,
    ended: bool,
}

/// A page of conflicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictPage {
    /// The conflicts, in path order.
    pub items: Vec<Conflict>,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<String>,
}

#[derive(Clone, Debug)]
struct Found {
    path: Path,
    open: bool,
    settled: bool,
}

impl Node {
    /// The conflicts whose paths begin with `prefix`; see [`Conflicts`].
    pub fn conflicts(&self, prefix: &str) -> Result<Conflicts, Error> {
        self.conflicts_prefix(&Prefix::parse(prefix)?)
    }

    /// As [`Node::conflicts`], with a prefix that was parsed before.
    pub fn conflicts_prefix(&self, prefix: &Prefix) -> Result<Conflicts, Error> {
        let (lower, upper) = prefix.key_range();
        Ok(Conflicts {
            pin: Pinned::new(self.shared())?,
            policy: self.shared().policy(),
            lower,
            upper,
            state: ConflictState::All,
            limit: SCAN_ITEMS_DEFAULT,
            cursor: None,
            read: Vec::new().into_iter(),
            ended: false,
        })
    }

    /// How many of the conflicts that are still in history were settled at or after that moment, in Unix milliseconds by the
    /// stamp of the write that settled them. `None` when more than `paths_max` paths had conflicts: too many to look at.
    pub fn settled_since(&self, since_ms: u64, paths_max: usize) -> Result<Option<u64>, Error> {
        let snapshot = self.shared().snapshot()?;
        let mut count = 0;
        for (at, row) in snapshot.settled_conflicts(&[], None).enumerate() {
            if at == paths_max {
                return Ok(None);
            }
            let (path, _) = row?;
            let rows: Vec<HistoryEntry> =
                snapshot.history(&path).map(|row| row.map(HistoryEntry::from)).collect::<Result<_, _>>()?;
            let record = snapshot.record(&path)?;
            // The write that settled it is live, or was replaced in its turn.
            let stamp = |dot: Dot| {
                let live =
                    record.as_ref().and_then(|record| record.document.version(dot)).map(|live| live.hlc);
                live.or_else(|| rows.iter().find(|row| row.version == dot).map(|row| row.hlc))
            };
            let by: BTreeSet<Dot> =
                rows.iter().filter(|row| row.concurrent).filter_map(|row| row.superseded_by).collect();
            let late = |dot: &Dot| stamp(*dot).is_some_and(|hlc| hlc.unix_ms() >= since_ms);
            count += by.iter().filter(|dot| late(dot)).count() as u64;
        }
        Ok(Some(count))
    }

    /// Settles a conflict: one write that replaces all its versions, whatever the strategy.
    ///
    /// With `seen` (from [`Node::observed`]) it is refused as [`Error::Unseen`] when other versions are there as well.
    /// Without a conflict it is [`Error::NoConflict`].
    pub async fn settle(&self, path: &str, how: Settlement, seen: Observed) -> Result<Written, Error> {
        let change = match how {
            Settlement::Value(value) => Change::Resolve(value),
            Settlement::Keep(version) => Change::Keep(version),
        };
        let (path, condition) = (Path::parse(path)?, Condition::Always);
        self.write(Write { path, change, condition, observed: seen, ttl: None, once: None }).await
    }

    /// Writes what an old version of a path said: one of its history, or a live one. A new write like any other, which
    /// replaces what this node has; a version that was a delete deletes.
    pub async fn revert(&self, path: &str, version: Dot) -> Result<Written, Error> {
        let path = Path::parse(path)?;
        let change = self.reverting(&path, version)?;
        self.write(Write {
            path,
            change,
            condition: Condition::Always,
            observed: Observed::All,
            ttl: None,
            once: None,
        })
        .await
    }

    /// The change that [`Node::revert`] writes.
    pub fn reverting(&self, path: &Path, version: Dot) -> Result<Change, Error> {
        let snapshot = self.shared().snapshot()?;
        let record = snapshot.record(path)?;
        let live = record.iter().flat_map(|record| record.document.versions());
        let mut body = live.filter(|live| live.dot == version).map(|live| live.body.clone()).next();
        for row in snapshot.history(path) {
            let row = row?;
            if row.version.dot == version {
                body = Some(row.version.body);
                break;
            }
        }
        let body = body.ok_or(Error::NoSuchVersion)?;
        Ok(body.json().map_or(Change::Delete, Change::Replace))
    }
}

impl Conflicts {
    /// Only those of this state.
    #[must_use]
    pub fn state(mut self, state: ConflictState) -> Conflicts {
        self.state = state;
        self
    }

    /// At most this many paths in a page; 100 unless said, 1,000 at most.
    #[must_use]
    pub fn limit(mut self, paths: usize) -> Conflicts {
        self.limit = paths.clamp(1, SCAN_ITEMS_MAX);
        self
    }

    /// Go on where another page ended.
    #[must_use]
    pub fn cursor(mut self, cursor: &str) -> Conflicts {
        self.cursor = Some(cursor.to_string());
        self
    }

    /// One page. It also ends at 4 MiB of values.
    pub fn page(mut self) -> Result<ConflictPage, Error> {
        let (mut items, mut bytes): (Vec<Conflict>, usize) = (Vec::new(), 0);
        while let Some(conflict) = self.next() {
            let conflict = conflict?;
            bytes += weight(&conflict);
            if items.len() == self.limit || (bytes > SCAN_PAGE_BYTES_MAX && !items.is_empty()) {
                let cursor = items.last().map(|last| URL_SAFE_NO_PAD.encode(last.path.as_str()));
                return Ok(ConflictPage { items, cursor });
            }
            items.push(conflict);
        }
        Ok(ConflictPage { items, cursor: None })
    }

    fn skip_to_cursor(&mut self) -> Result<(), Error> {
        let Some(cursor) = self.cursor.take() else { return Ok(()) };
        let text = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::BadCursor)?;
        let text = String::from_utf8(text).map_err(|_| Error::BadCursor)?;
        let last = Path::parse(&text).map_err(|_| Error::BadCursor)?.key();
        let after = [last.as_slice(), &[0]].concat();
        self.lower = std::mem::take(&mut self.lower).max(after);
        Ok(())
    }

    /// Reads on in both indexes, as far as both reach.
    fn fill(&mut self) -> Result<(), Error> {
        self.skip_to_cursor()?;
        let mut found: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        let mut reach: Option<Vec<u8>> = None;
        let mut reached = |key: &[u8], rows: usize| {
            if rows == ROWS_PER_READ && reach.as_deref().is_none_or(|reach| key < reach) {
                reach = Some(key.to_vec());
            }
        };
        let (lower, upper) = (&self.lower, self.upper.as_deref());
        let (snapshot, _) = self.pin.get()?;
        if self.state != ConflictState::Settled {
            for (at, path) in snapshot.open_conflicts(lower, upper).take(ROWS_PER_READ).enumerate() {
                let path = path?;
                reached(&path.key(), at + 1);
                found.insert(path.key(), Found { path, open: true, settled: false });
            }
        }
        if self.state != ConflictState::Open {
            for (at, row) in snapshot.settled_conflicts(lower, upper).take(ROWS_PER_READ).enumerate() {
                let (path, _) = row?;
                reached(&path.key(), at + 1);
                let new = Found { path, open: false, settled: true };
                found.entry(new.path.key()).and_modify(|found| found.settled = true).or_insert(new);
            }
        }
        match reach {
            Some(reach) => {
                found.retain(|key, _| *key <= reach);
                self.lower = [reach.as_slice(), &[0]].concat();
            }
            None => self.ended = true,
        }
        self.read = found.into_values().collect::<Vec<_>>().into_iter();
        Ok(())
    }

    fn conflict(&self, found: Found) -> Result<Conflict, Error> {
        let Found { path, open, settled } = found;
        let (snapshot, _) = self.pin.get()?;
        let record = if open { snapshot.record(&path)? } else { None };
        let entry =
            record.and_then(|record| Entry::of(&self.policy, path.clone(), &record.document, wall_ms()));
        let mut conflict = Conflict { path, open: entry, settled: Vec::new() };
        if settled {
            for row in snapshot.history(&conflict.path) {
                let row = HistoryEntry::from(row?);
                if !row.concurrent {
                    continue;
                }
                match conflict.settled.iter_mut().find(|settled| settled.by == row.superseded_by) {
                    Some(settled) => settled.versions.push(row),
                    None => conflict.settled.push(Settled { by: row.superseded_by, versions: vec![row] }),
                }
            }
        }
        Ok(conflict)
    }
}

impl Iterator for Conflicts {
    type Item = Result<Conflict, Error>;

    /// Every conflict, read lazily, whatever the limit: all of one moment, unless the walk takes more than a minute.
    fn next(&mut self) -> Option<Result<Conflict, Error>> {
        loop {
            if let Some(found) = self.read.next() {
                return Some(self.conflict(found));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

/// Bytes of a conflict, about.
fn weight(conflict: &Conflict) -> usize {
    let of = |value: &Option<Json>| 100 + value.as_ref().map_or(0, |value| value.as_str().len());
    let open = conflict.open.iter().flat_map(|entry| &entry.siblings).map(|sibling| of(&sibling.value));
    let settled = conflict.settled.iter().flat_map(|settled| &settled.versions).map(|row| of(&row.value));
    conflict.path.as_str().len() + open.chain(settled).sum::<usize>()
}
