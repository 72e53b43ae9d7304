//! Values with an end: what a reader sees after it, and the delete that every replica comes to.
//!
//! The time is stored in the version, and every replica hides the value from that time on by its own clock
//! ([`as_of`]). The delete that follows is an ordinary one: the node that wrote the value writes a tombstone, or, when
//! it has not for [`crate::Config::expire_grace_ms`], any other node does.
//!
//! Invariant: the end of a version takes the place of that version and of no other. The tombstone supersedes the
//! versions that ended, not their siblings, and stands among those where the newest of the ended stood
//! ([`standing`]). So it hides nothing that was shown, and shows nothing that was hidden, by last-write-wins.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use rejoin_causal::{Dot, Hlc, plant};

use crate::body::{Body, Content, Document, Version};
use crate::config::{EXPIRES_MS_MAX, TTL_MS_MAX};
use crate::input::Now;
use crate::path::Path;
use crate::policy::first_16;
use crate::replica::{Group, Replica};
use crate::view::View;

/// How a version and its end hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// A value ends then, in Unix milliseconds: the stamp of its write and its time to live.
    At(u64),
    /// A tombstone is the end of this version: of several that ended together, the newest.
    Of(Hlc, Dot),
}

/// How long a value is to live: 1 ms to [`TTL_MS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

/// A time to live is out of bounds, or is not written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlError;

impl fmt::Display for TtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = TTL_MS_MAX / 86_400_000;
        write!(
            f,
            "a time to live is a whole number with a unit, such as 500ms, 30s, 10m, 24h or 7d, up to {days}d"
        )
    }
}

impl core::error::Error for TtlError {}

impl Ttl {
    /// That many milliseconds.
    pub fn of_ms(ms: u64) -> Result<Ttl, TtlError> {
        if (1..=TTL_MS_MAX).contains(&ms) { Ok(Ttl(ms)) } else { Err(TtlError) }
    }

    /// That long; what is finer than a millisecond is cut off.
    pub fn of(duration: core::time::Duration) -> Result<Ttl, TtlError> {
        Ttl::of_ms(u64::try_from(duration.as_millis()).map_err(|_| TtlError)?)
    }

    /// Milliseconds.
    pub fn ms(self) -> u64 {
        self.0
    }

    /// The end of a value that is written with that stamp. A stamp is no less than the clock of the node, and than those of
    /// all others that it has heard of: what is written by a clock that is a little behind does not end early elsewhere.
    pub(crate) fn from(self, stamp: Hlc) -> Expiry {
        Expiry::At(stamp.unix_ms().saturating_add(self.0).min(EXPIRES_MS_MAX))
    }
}

/// Units of a time to live, in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl core::str::FromStr for Ttl {
    type Err = TtlError;

    /// Reads `500ms`, `30s`, `10m`, `24h`, `7d`. A number alone is refused: people expect different units.
    fn from_str(text: &str) -> Result<Ttl, TtlError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(TtlError)?;
        let ms = count.parse::<u64>().ok().and_then(|count| count.checked_mul(*unit_ms));
        Ttl::of_ms(ms.ok_or(TtlError)?)
    }
}

impl fmt::Display for Ttl {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = UNITS.iter().rev().find(|(_, unit_ms)| self.0.is_multiple_of(*unit_ms));
        let (name, unit_ms) = fitting.unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", self.0 / unit_ms)
    }
}

impl Content {
    /// When the value ends, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        match self.expiry {
            Some(Expiry::At(ms)) => Some(ms),
            _ => None,
        }
    }

    /// Whether it is the end of a value whose time had come.
    pub fn is_end(&self) -> bool {
        matches!(self.expiry, Some(Expiry::Of(..)))
    }

    /// Whether its time has come.
    pub fn has_ended(&self, wall_ms: u64) -> bool {
        self.expires_ms().is_some_and(|ms| ms <= wall_ms)
    }
}

/// Where a version stands among its siblings: by stamp and dot, and the end of a version where that one stood. The
/// version's own dot tells two ends of the same one apart.
pub fn standing(version: &Version) -> (Hlc, Dot, Dot) {
    match version.body.expiry {
        Some(Expiry::Of(hlc, dot)) if !plant::is("expiry-with-fresh-stamp") => (hlc, dot, version.dot),
        _ => (version.hlc, version.dot, version.dot),
    }
}

/// The document as a reader sees it at `wall_ms`: versions whose time has come read as deleted.
pub fn as_of(document: &Document, wall_ms: u64) -> Cow<'_, Document> {
    let ended = document.versions().iter().any(|version| version.body.has_ended(wall_ms));
    if !ended || plant::is("show-expired") {
        return Cow::Borrowed(document);
    }
    let seen = |version: &Version| match version.body.has_ended(wall_ms) {
        true => {
            let expiry = Some(Expiry::Of(version.hlc, version.dot));
            Version { body: Content { body: Body::Tombstone, expiry, ..version.body }, ..*version }
        }
        false => version.clone(),
    };
    let versions = document.versions().iter().map(seen).collect();
    // The same dots under the same past are a document again.
    Document::from_parts(document.vv().clone(), versions).map_or(Cow::Borrowed(document), Cow::Owned)
}

/// When the first of a document's values ends: its place in the index of expiries.
pub fn first_end(document: &Document) -> Option<u64> {
    document.versions().iter().filter_map(|version| version.body.expires_ms()).min()
}

/// Whether the versions of a document are a conflict: there are several, and not only ends of values, which nobody
/// wrote.
pub fn is_contested(document: &Document) -> bool {
    document.versions().len() > 1 && !document.versions().iter().all(|version| version.body.is_end())
}

/// Which expiries were looked at, and when the next is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    /// When the replica opened, on the wall clock. Others may have written the deletes of what ended before, and it hears
    /// of them first.
    opened_ms: u64,
    /// The walk of the writing node has looked at the rows up to here.
    passed: (u64, Option<Path>),
    /// The walk on behalf of others goes on behind this row.
    waiting: (u64, Option<Path>),
    /// The first turn that this walk has found to be still to come.
    next_turn_ms: Option<u64>,
    /// When there may be something to do, on the wall clock.
    due_wall_ms: Option<u64>,
    /// No walk before, on the steady clock.
    not_before_ms: u64,
    /// There is no row before this time.
    first_ms: u64,
    /// Where there is no row: from where the writing node has looked up to on, from now on, and from where others wait on.
    without: [Gap; 3],
}

/// A time without rows, `from..to`. An engine steps over rows that are gone for as long as it keeps them, and a value that
/// is written again and again before its end leaves nothing else: so no such time is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    from: u64,
    to: u64,
}

impl Gap {
    /// The time of the first row at `from_ms` or later.
    fn first_from<V: View>(&mut self, view: &V, from_ms: u64) -> Result<Option<u64>, V::Error> {
        let known = self.from <= from_ms && from_ms < self.to;
        let start = if known { self.to } else { from_ms };
        let first = view.expiries(start, None, u64::MAX, 1)?.first().map(|row| row.0);
        *self = Gap { from: from_ms, to: first.unwrap_or(u64::MAX) };
        Ok(first)
    }
}

impl Schedule {
    /// As it is when a replica opens: nothing was looked at.
    pub(crate) fn open<V: View>(view: &V, now: Now) -> Result<Schedule, V::Error> {
        let first = view.expiries(0, None, u64::MAX, 1)?;
        let (due_wall_ms, opened_ms) = (first.first().map(|(ms, _)| *ms), now.wall_ms);
        Ok(Schedule { opened_ms, passed: (opened_ms, None), due_wall_ms, ..Schedule::default() })
    }

    /// A value ends then. One that came in after its end is looked at in the next turn, not at once.
    pub(crate) fn note(&mut self, expires_ms: u64, now: Now) {
        self.first_ms = self.first_ms.min(expires_ms);
        for gap in self.without.iter_mut().filter(|gap| gap.from <= expires_ms) {
            gap.to = gap.to.min(expires_ms);
        }
        let is_first = self.due_wall_ms.is_none_or(|due| due > now.wall_ms);
        if is_first && expires_ms <= now.wall_ms {
            self.not_before_ms = self.not_before_ms.max(now.steady_ms + 1);
        }
        self.due_wall_ms = Some(self.due_wall_ms.map_or(expires_ms, |due| due.min(expires_ms)));
    }

    /// When to look next, on the steady clock.
    pub(crate) fn deadline(&self, now: Now) -> Option<u64> {
        let due = self.due_wall_ms?;
        Some(now.steady_ms.saturating_add(due.saturating_sub(now.wall_ms)).max(self.not_before_ms))
    }
}

impl Replica {
    /// Writes the deletes of values whose time has come: of its own ones at once, of others' after a while. Looks at a
    /// bounded number of rows.
    pub(crate) fn expire<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let now = group.now;
        let due = self.expiries.deadline(now).is_some_and(|due| due <= now.steady_ms);
        // Under an identity that is about to change nothing is written.
        if !due || self.renewing.is_some() {
            return Ok(());
        }
        let limit = self.config.expire_batch_max;
        if self.expiries.passed.0 > now.wall_ms {
            // The clock went back: what is written now may end before the place of the walk.
            self.expiries.passed = (now.wall_ms, None);
            self.expiries.opened_ms = self.expiries.opened_ms.min(now.wall_ms);
        }
        let from = match self.expiries.without[0] {
            Gap { from, to } if from == self.expiries.passed.0 && to > from => (to, None),
            _ => self.expiries.passed.clone(),
        };
        let own = ended_rows(group, &from, now.wall_ms, limit)?;
        for (_, path) in &own {
            let node = self.node;
            self.end(group, path, |version| {
                (version.dot.node == node || plant::is("expiry-without-grace"))
                    && version.body.has_ended(now.wall_ms)
            })?;
        }
        if let Some(last) = own.last() {
            self.expiries.passed = (last.0, Some(last.1.clone()));
        }
        if own.len() < limit {
            self.expiries.without[0] =
                Gap { from: self.expiries.passed.0, to: now.wall_ms.saturating_add(1) };
        }

        let patient_ms = now.wall_ms.saturating_sub(self.config.expire_grace_ms);
        let whole = self.expiries.waiting.1.is_none();
        if whole {
            self.expiries.waiting.0 = self.expiries.first_ms;
        }
        let others = ended_rows(group, &self.expiries.waiting, patient_ms, limit)?;
        let mut next_turn = self.expiries.next_turn_ms.filter(|_| self.expiries.waiting.1.is_some());
        for (ms, path) in &others {
            let turn = self.turn_ms(*ms, path);
            if turn > now.wall_ms {
                next_turn = Some(next_turn.map_or(turn, |next: u64| next.min(turn)));
                continue;
            }
            self.end(group, path, |version| version.body.has_ended(patient_ms))?;
        }
        let all = others.len() < limit;
        if whole {
            self.expiries.first_ms = others.first().map_or(patient_ms, |(ms, _)| *ms);
        }
        self.expiries.waiting = match others.last() {
            Some((ms, path)) if !all => (*ms, Some(path.clone())),
            _ => (0, None),
        };
        self.expiries.next_turn_ms = next_turn;

        let base = group.rows.base;
        let [_, without_own, without_others] = &mut self.expiries.without;
        let next_own = match own.len() < limit {
            true => without_own.first_from(base, now.wall_ms.saturating_add(1))?,
            false => Some(now.wall_ms),
        };
        let next_other = match all {
            true => without_others
                .first_from(base, patient_ms.saturating_add(1))?
                .map(|ms| ms + self.config.expire_grace_ms),
            false => Some(now.wall_ms),
        };
        self.expiries.due_wall_ms = [next_own, next_other, next_turn].into_iter().flatten().min();
        // A walk that was cut short goes on soon, behind whatever else is in the queue.
        let pause = if own.len() < limit && all { self.config.expire_interval_ms.max(1) } else { 1 };
        self.expiries.not_before_ms = now.steady_ms + pause;
        Ok(())
    }

    /// When this node writes the delete if nobody has. A different order of nodes for each value, so that in a group of
    /// nodes one writes it and the others hear of it before their turn.
    fn turn_ms(&self, expires_ms: u64, path: &Path) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.node.0);
        hasher.update(&expires_ms.to_le_bytes());
        hasher.update(path.as_str().as_bytes());
        let hash = u128::from_le_bytes(first_16(&hasher.finalize()));
        let stagger = hash % (u128::from(self.config.expire_stagger_ms) + 1);
        let stagger = u64::try_from(stagger).unwrap_or(self.config.expire_stagger_ms);
        let from = expires_ms.max(self.expiries.opened_ms);
        from.saturating_add(self.config.expire_grace_ms).saturating_add(stagger)
    }

    /// Writes the delete of those versions of a path that `ended` says.
    fn end<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
        ended: impl Fn(&Version) -> bool,
    ) -> Result<(), V::Error> {
        let Some(record) = group.rows.record(path)? else { return Ok(()) };
        let document = record.document;
        let Some(newest) =
            document.versions().iter().filter(|version| ended(version)).max_by_key(|v| v.rank())
        else {
            return Ok(());
        };
        let dot = Dot { node: self.node, epoch: self.epoch, seq: self.seq + 1 };
        let mut clock = self.clock;
        self.observe_document(&mut clock, &document, group.now);
        let hlc = clock.tick(group.now.wall_ms);
        self.clock = clock;
        // What ends with a stamp from the future stands no later than its end.
        let expiry = Some(Expiry::Of(newest.hlc.min(Hlc(hlc.0.saturating_sub(1))), newest.dot));
        let end = Version { dot, hlc, body: Content { expiry, ..Body::Tombstone.into() } };
        let replaced = |version: &Version| ended(version) || plant::is("expiry-takes-siblings");
        self.tally.expired += document.versions().iter().filter(|version| ended(version)).count() as u64;
        let state = document.written(end, replaced);
        self.seq = dot.seq;
        self.merge(group, path, state, None)?;
        self.applied(group, path, dot, None);
        Ok(())
    }
}

/// The first rows of values that had ended at `wall_ms`, behind a place.
fn ended_rows<V: View>(
    group: &Group<'_, V>,
    (from, after): &(u64, Option<Path>),
    wall_ms: u64,
    limit: usize,
) -> Result<Vec<(u64, Path)>, V::Error> {
    group.rows.base.expiries(*from, after.as_ref(), wall_ms.saturating_add(1), limit)
}
