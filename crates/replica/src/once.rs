//! Writes that a client may send again: done once, and answered as the first time.
//!
//! A client that does not hear the answer to a write cannot know whether it was done. So it gives its request a key of its
//! own choice ([`crate::Key`]) and sends both again, here or to another node. What was answered is kept for a day ([`Kept`]), in
//! the commit of the write itself, and goes to peers ahead of what may make them take the write as applied: pushes, the
//! documents of a catch-up, its claims, the states of a digest session. So a node that has a write knows its request, even
//! when the write was replaced before the node heard of it.
//!
//! Invariant: an answer is given again only while all of its writes are applied here. That a record came ahead of its write
//! does no harm, nor that it came alone.
//!
//! Values are not kept: they are those of the request, or of the version that was written.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Frontier, Hlc, VersionVector};

use crate::batch::Overlay;
use crate::body::Unit;
use crate::config::{KEPT_PER_MESSAGE_MAX, KEPT_TOPS_MAX};
use crate::effect::{Refusal, Replay, Written};
use crate::input::{Change, LinkId, Write};
use crate::json::Json;
use crate::key::Once;
use crate::message::Message;
use crate::path::Path;
use crate::policy::etag_of;
use crate::replica::{Group, Replica};
use crate::strategy::Visible;
use crate::view::View;

/// Which writes a request was: consecutive ones of one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub first: Dot,
    /// The number of the last.
    pub last: u64,
}

impl Extent {
    /// Whether that write is one of them.
    pub fn covers(&self, dot: Dot) -> bool {
        (dot.node, dot.epoch) == (self.first.node, self.first.epoch)
            && (self.first.seq..=self.last).contains(&dot.seq)
    }
}

/// Which value the answer showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None: the document read as deleted.
    Nothing,
    /// That of the request.
    Sent,
    /// That of the version that was written.
    Written,
    /// Another one, which nobody can tell any more.
    Other,
}

/// What was answered to a write that is to be done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The write.
    pub dot: Dot,
    /// Its stamp.
    pub hlc: Hlc,
    /// The request.
    pub once: Once,
    /// All writes of the request, by their numbers; of a request of one write, that one.
    pub unit: Unit,
    /// No value was visible before.
    pub created: bool,
    /// The value of the answer.
    pub shown: Shown,
    /// The entity tag, unless the version was alone.
    pub etag: Option<[u8; 16]>,
    /// How many other versions were live.
    pub conflicts: u64,
    /// When nothing of the value would be left.
    pub expires_ms: Option<u64>,
    /// The document's past, unless that is the write alone, or names more than [`KEPT_TOPS_MAX`] nodes.
    pub past: Option<VersionVector>,
}

impl Kept {
    fn of(once: Once, unit: Unit, written: &Written, shown: Shown) -> Kept {
        let past = &written.vector_clock;
        let alone: VersionVector = [written.dot].into_iter().collect();
        Kept {
            dot: written.dot,
            hlc: written.hlc,
            once,
            unit,
            created: written.created,
            shown,
            etag: (written.etag != etag_of([written.dot])).then_some(written.etag),
            conflicts: written.visible.conflicts as u64,
            expires_ms: written.visible.expires_ms,
            past: (*past != alone && past.len() <= KEPT_TOPS_MAX).then(|| past.clone()),
        }
    }

    /// The writes of the request.
    pub fn extent(&self) -> Extent {
        Extent { first: Dot { seq: self.unit.first, ..self.dot }, last: self.unit.last }
    }

    /// The answer again, with the value if that can be told.
    fn answer(self, path: Path, value: Option<Json>) -> Written {
        let replay = match value.is_none() && self.shown != Shown::Nothing {
            true => Replay::WithoutValue,
            false => Replay::Whole,
        };
        let visible = Visible {
            value,
            version: self.dot,
            hlc: self.hlc,
            conflicts: usize::try_from(self.conflicts).unwrap_or(usize::MAX),
            expires_ms: self.expires_ms,
            expired: false,
            resolver_failed: false,
        };
        Written {
            path,
            dot: self.dot,
            hlc: self.hlc,
            vector_clock: self.past.unwrap_or_else(|| [self.dot].into_iter().collect()),
            etag: self.etag.unwrap_or_else(|| etag_of([self.dot])),
            visible,
            created: self.created,
            replay,
        }
    }
}

/// An answer as it is stored: from when on it is kept, by the clock of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRow {
    /// In Unix milliseconds.
    pub at_ms: u64,
    /// The answer.
    pub kept: Kept,
}

/// When answers are forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forgetting {
    /// When the next turn is, on the steady clock.
    pub(crate) next_ms: u64,
    /// Nothing older is kept: what is removed from there is not walked over again.
    from_ms: u64,
}

impl Replica {
    /// The answer to a request that was done before, or that its key was used for another one; `None` when it is new here.
    pub(crate) fn answered<V: View>(
        &mut self,
        group: &Group<'_, V>,
        writes: &[Write],
    ) -> Result<Option<Result<Vec<Written>, Refusal>>, V::Error> {
        let Some(once) = writes.first().and_then(|write| write.once) else { return Ok(None) };
        let Some(Extent { first, last }) = group.rows.kept_extent(&once.id)? else { return Ok(None) };
        let rows = group.rows.kept(first, last)?;
        let count = (last - first.seq).saturating_add(1);
        let retention_ms = self.config.kept_retention_ms;
        let others = rows.iter().any(|row| row.kept.once.print != once.print);
        let whole = rows.len() as u64 == count
            && rows.iter().all(|row| {
                row.kept.once.id == once.id
                    && self.frontier.contains(row.kept.dot)
                    && row.at_ms.abs_diff(group.now.wall_ms) <= retention_ms
            });
        if !whole {
            return Ok(None);
        }
        if count != writes.len() as u64 || others {
            return Ok(Some(Err(Refusal::KeyReused)));
        }
        self.tally.replayed += count;
        let mut answers = Vec::with_capacity(rows.len());
        for (KeptRow { kept, .. }, write) in rows.into_iter().zip(writes) {
            let value = match kept.shown {
                Shown::Nothing | Shown::Other => None,
                Shown::Sent => sent(&write.change).cloned(),
                Shown::Written => group.rows.value_of(&write.path, kept.hlc, kept.dot)?,
            };
            answers.push(kept.answer(write.path.clone(), value));
        }
        Ok(Some(Ok(answers)))
    }

    /// Keeps the answer to a write, in the commit of the write.
    pub(crate) fn keep<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        once: Once,
        unit: Option<Unit>,
        change: &Change,
        written: &Written,
    ) -> Result<(), V::Error> {
        let unit = unit.unwrap_or(Unit { first: written.dot.seq, last: written.dot.seq });
        let value = written.visible.value.as_ref();
        let shown = match value {
            None => Shown::Nothing,
            Some(_) if value == sent(change) => Shown::Sent,
            Some(_) => {
                let body = group.rows.value_of(&written.path, written.hlc, written.dot)?;
                if value == body.as_ref() { Shown::Written } else { Shown::Other }
            }
        };
        let kept = Kept::of(once, unit, written, shown);
        self.keep_row(group, kept, true)
    }

    fn keep_row<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        kept: Kept,
        is_new: bool,
    ) -> Result<(), V::Error> {
        // By the clock of this node, and not by the stamp: the two may be far apart.
        let at_ms = group.now.wall_ms;
        let (dot, id, extent) = (kept.dot, kept.once.id, kept.extent());
        // Two nodes may have done one request at the same time: whoever asks is told of the one that came first here.
        let stands = if is_new { None } else { group.rows.kept_extent(&id)? };
        if stands.is_none() {
            group.rows.batch.kept_ids.insert(id, Some(extent));
        }
        group.rows.batch.kept.insert(dot, Some(KeptRow { at_ms, kept }));
        group.rows.batch.kept_times.insert((at_ms, dot), true);
        self.counters.kept += 1;
        self.forgetting.from_ms = self.forgetting.from_ms.min(at_ms);
        if self.counters.kept > self.config.kept_max {
            self.forgetting.next_ms = self.forgetting.next_ms.min(group.now.steady_ms + 1);
        }
        Ok(())
    }

    /// A peer tells what was answered to writes that it has, ahead of them.
    pub(crate) fn hear_kept<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        told: Vec<Kept>,
    ) -> Result<(), V::Error> {
        for kept in told {
            let dot = kept.dot;
            // What this life has answered it knows by itself, or has forgotten.
            let own = dot.node == self.node && dot.epoch >= self.epoch;
            if !own && group.rows.kept(dot, dot.seq)?.is_empty() {
                self.keep_row(group, kept, false)?;
            }
        }
        Ok(())
    }

    /// Tells a peer what was answered to these writes, where that is kept.
    pub(crate) fn tell_kept<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        dots: impl Iterator<Item = Dot>,
    ) -> Result<(), V::Error> {
        let mut kept = Vec::new();
        for dot in dots.filter(|_| self.counters.kept > 0) {
            kept.extend(group.rows.kept(dot, dot.seq)?.into_iter().map(|row| row.kept));
        }
        for message in messages(kept) {
            self.say(group, id, &message);
        }
        Ok(())
    }

    /// Forgets what was answered more than a day ago, and the oldest of what is too much: some of it.
    pub(crate) fn forget_kept<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let (now_ms, retention_ms) = (group.now.wall_ms, self.config.kept_retention_ms);
        let limit = self.config.collect_batch_max.max(1);
        let from_ms = self.forgetting.from_ms;
        let base = group.rows.base;
        let old_ms = now_ms.saturating_sub(retention_ms);
        let mut rows = base.kept_times(from_ms, old_ms.max(from_ms), limit)?;
        if rows.is_empty() {
            // Kept by a clock that was far ahead.
            rows = base.kept_times(now_ms.saturating_add(retention_ms), u64::MAX, limit)?;
        }
        let over = self.counters.kept.saturating_sub(self.config.kept_max);
        if rows.is_empty() && over > 0 {
            let over = usize::try_from(over).unwrap_or(usize::MAX).min(limit);
            rows = base.kept_times(from_ms, u64::MAX, over)?;
            self.tally.forgotten_early += rows.len() as u64;
        }
        // All below the first that is left is gone; rows of one time may be left in part.
        let walked_to = rows.iter().map(|(at_ms, _)| *at_ms).filter(|at_ms| *at_ms <= now_ms).max();
        self.forgetting.from_ms = walked_to.unwrap_or(from_ms);
        let pause_ms = match rows.is_empty() {
            true => self.random.jitter(self.config.collect_interval_ms),
            false => 1,
        };
        self.forgetting.next_ms = group.now.steady_ms + pause_ms;
        for (at_ms, dot) in rows {
            group.rows.batch.kept_times.insert((at_ms, dot), false);
            let Some(row) = group.rows.kept(dot, dot.seq)?.pop() else { continue };
            group.rows.batch.kept.insert(dot, None);
            self.counters.kept = self.counters.kept.saturating_sub(1);
            let id = row.kept.once.id;
            if group.rows.kept_extent(&id)?.is_some_and(|extent| extent.covers(dot)) {
                group.rows.batch.kept_ids.insert(id, None);
            }
        }
        Ok(())
    }
}

/// The value that a change brings.
fn sent(change: &Change) -> Option<&Json> {
    match change {
        Change::Put(value) | Change::Replace(value) | Change::Resolve(value) => Some(value),
        Change::Patch(_) | Change::Delete | Change::Keep(_) => None,
    }
}

/// Messages that tell of answers.
pub(crate) fn messages(kept: Vec<Kept>) -> impl Iterator<Item = Message> {
    let mut left = kept;
    core::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let rest = left.split_off(left.len().min(KEPT_PER_MESSAGE_MAX));
        Some(Message::Kept(core::mem::replace(&mut left, rest)))
    })
}

/// What was answered to the writes that a group pushes, looked up once for all links.
pub(crate) struct KeptCache {
    /// Nothing is kept at all.
    none: bool,
    /// Writes of this group: what it keeps of them is in its batch, or nowhere.
    minted: BTreeSet<Dot>,
    found: BTreeMap<Dot, Option<Kept>>,
}

impl KeptCache {
    pub(crate) fn new(replica: &Replica, fresh: &BTreeMap<Path, Vec<(Dot, Option<LinkId>)>>) -> KeptCache {
        let own = |dot: &Dot| dot.node == replica.node && dot.epoch == replica.epoch;
        let minted = fresh.values().flatten().filter(|(dot, source)| source.is_none() && own(dot));
        KeptCache {
            none: replica.counters.kept == 0,
            minted: minted.map(|(dot, _)| *dot).collect(),
            found: BTreeMap::new(),
        }
    }

    /// What is kept of a write.
    pub(crate) fn get<V: View>(&mut self, rows: &Overlay<'_, V>, dot: Dot) -> Result<Option<Kept>, V::Error> {
        if self.none || (self.minted.contains(&dot) && !rows.batch.kept.contains_key(&dot)) {
            return Ok(None);
        }
        if let Some(found) = self.found.get(&dot) {
            return Ok(found.clone());
        }
        let found = rows.kept(dot, dot.seq)?.pop().map(|row| row.kept);
        self.found.insert(dot, found.clone());
        Ok(found)
    }
}

/// What was answered to those of these writes of which that is kept, from committed rows.
pub(crate) fn kept_of<V: View>(view: &V, dots: impl Iterator<Item = Dot>) -> Result<Vec<Kept>, V::Error> {
    let mut kept = Vec::new();
    for dot in dots {
        kept.extend(view.kept(dot, dot.seq, 1)?.into_iter().map(|row| row.kept));
    }
    Ok(kept)
}

/// The same for a whole difference, in reading order, a page at a time.
#[derive(Debug, Default)]
pub(crate) struct KeptWalk {
    runs: VecDeque<(Dot, u64)>,
}

impl KeptWalk {
    /// Over all writes that are missing there.
    pub(crate) fn new(missing: &Frontier) -> KeptWalk {
        let run = |node, epoch, &(first, last): &(u64, u64)| (Dot { node, epoch, seq: first }, last);
        let runs = missing
            .rows()
            .flat_map(|(node, epoch, set)| set.ranges().iter().map(move |range| run(node, epoch, range)));
        KeptWalk { runs: runs.collect() }
    }

    /// The next answers; none when there are no more.
    pub(crate) fn next<V: View>(&mut self, view: &V) -> Result<Vec<Kept>, V::Error> {
        while let Some((first, last)) = self.runs.pop_front() {
            let rows = view.kept(first, last, KEPT_PER_MESSAGE_MAX)?;
            if rows.len() == KEPT_PER_MESSAGE_MAX
                && let Some(seq) = rows.last().map(|row| row.kept.dot.seq)
                && seq < last
            {
                self.runs.push_front((Dot { seq: seq + 1, ..first }, last));
            }
            if !rows.is_empty() {
                return Ok(rows.into_iter().map(|row| row.kept).collect());
            }
        }
        Ok(Vec::new())
    }
}
