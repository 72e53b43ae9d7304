//! A digest session's reader: finds the paths at which two stores differ, at the cost of the difference.
//!
//! The opener compares digests of ranges by path order with the peer's, descends into unequal ones, and exchanges
//! the states of the paths that differ; each side merges what it gets with the other's frontier, which removes what
//! the other has deleted and collected. Both sides read a snapshot taken when the session began, and the frontier
//! that travels is that snapshot's: a frontier newer than the states would remove values it never saw replaced.
//!
//! The session does not join frontiers. It only finds what the log cannot tell; the catch-up that follows brings
//! the rest, tombstones included, and makes the claims.
//!
//! One request is on its way at a time, and descending is depth first, so memory is bounded by the depth.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::digest::{fingerprint, range_digest};
use crate::message::{Leaf, Message, PathState, Range};
use crate::path::Path;
use crate::view::{Summary, View};

/// Ranges compared in one message: a few KiB, and enough to keep a round trip busy.
const RANGES_PER_COMPARE: usize = 16;

/// Parts into which an unequal range is cut.
const PARTS: usize = 16;

/// Documents with a value in a range that is listed instead of cut. A listed item costs its path and 8 bytes.
const LEAF_ITEMS_MAX: u64 = 64;

/// Paths in one exchange of states.
const PATHS_PER_EXCHANGE: usize = 32;

/// Bytes in one message of states, unless one document is larger.
const STATES_BYTES_MAX: usize = 256 * 1024;

/// Records read at a time.
const RECORDS_PER_READ: usize = 128;

/// Messages to send, in order.
pub type AuditOutput = Vec<Message>;

/// Paths that differ, and the key to go on from when there are more.
type Unequal = (Vec<Path>, Option<Vec<u8>>);

/// One side of a digest session.
#[derive(Debug)]
pub struct Audit<V> {
    snapshot: V,
    /// Unequal or uncompared ranges, deepest last. Only the opener has any.
    ranges: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Listed runs not yet compared to the end, with the key to go on from.
    leaves: VecDeque<(Leaf, Vec<u8>)>,
    /// Paths found unequal whose states have not been sent yet.
    unsent: Vec<Path>,
}

impl<V: View> Audit<V> {
    /// Opens a session over all paths.
    pub fn open(snapshot: V) -> Result<(Audit<V>, AuditOutput), V::Error> {
        let (frontier, floor) = (snapshot.frontier()?, snapshot.floor()?);
        let ranges = alloc::vec![(Vec::new(), None)];
        let audit = Audit { snapshot, ranges, leaves: VecDeque::new(), unsent: Vec::new() };
        Ok((audit, say(Message::AuditOpen { frontier, floor })))
    }

    /// Accepts a session that the peer opened.
    pub fn accept(snapshot: V) -> Result<(Audit<V>, AuditOutput), V::Error> {
        let (frontier, floor) = (snapshot.frontier()?, snapshot.floor()?);
        let audit = Audit { snapshot, ranges: Vec::new(), leaves: VecDeque::new(), unsent: Vec::new() };
        Ok((audit, say(Message::AuditAccept { frontier, floor })))
    }

    /// The peer has accepted, or has answered the last exchange: the opener's next request.
    pub fn go_on(&mut self) -> Result<AuditOutput, V::Error> {
        while self.unsent.is_empty()
            && let Some((leaf, from)) = self.leaves.pop_front()
        {
            let (paths, next) = self.unequal(&leaf, &from)?;
            if let Some(next) = next {
                self.leaves.push_front((leaf, next));
            }
            self.unsent = paths;
        }
        if !self.unsent.is_empty() {
            let states = self.states(&self.unsent)?;
            self.unsent.drain(..states.len());
            return Ok(say(Message::Exchange(states)));
        }
        let mut compare = Vec::new();
        while compare.len() < RANGES_PER_COMPARE
            && let Some((lower, upper)) = self.ranges.pop()
        {
            let summary = range_digest(&self.snapshot, &lower, upper.as_deref())?;
            compare.push(Range { lower, upper, summary });
        }
        if compare.is_empty() {
            return Ok(say(Message::AuditDone));
        }
        Ok(say(Message::Compare(compare)))
    }

    /// Answers a request of the opener, or takes in an answer and goes on.
    pub fn compare(&mut self, message: Message) -> Result<AuditOutput, V::Error> {
        match message {
            Message::Compare(ranges) => {
                let (mut splits, mut leaves) = (Vec::new(), Vec::new());
                for range in ranges {
                    self.differ(range, &mut splits, &mut leaves)?;
                }
                Ok(say(Message::Differences { splits, leaves }))
            }
            Message::Differences { splits, leaves } => {
                for split in splits {
                    if range_digest(&self.snapshot, &split.lower, split.upper.as_deref())? != split.summary {
                        self.ranges.push((split.lower, split.upper));
                    }
                }
                self.leaves.extend(leaves.into_iter().map(|leaf| {
                    let from = leaf.lower.clone();
                    (leaf, from)
                }));
                self.go_on()
            }
            _ => Ok(AuditOutput::default()),
        }
    }

    /// The snapshot's states of paths that the opener found unequal.
    pub fn reply(&self, paths: &[Path]) -> Result<AuditOutput, V::Error> {
        let mut messages = Vec::new();
        let mut rest = paths;
        loop {
            let states = self.states(rest)?;
            rest = &rest[states.len()..];
            let last = rest.is_empty();
            messages.push(Message::Exchanged { states, last });
            if last {
                return Ok(messages);
            }
        }
    }

    /// One unequal range, from the answering side.
    fn differ(&self, range: Range, splits: &mut Vec<Range>, leaves: &mut Vec<Leaf>) -> Result<(), V::Error> {
        let Range { lower, upper, summary } = range;
        let ours = range_digest(&self.snapshot, &lower, upper.as_deref())?;
        if ours == summary {
            return Ok(());
        }
        let cuts =
            if ours.count <= LEAF_ITEMS_MAX { Vec::new() } else { self.cuts(&lower, upper.as_deref())? };
        if cuts.is_empty() {
            let mut items = Vec::new();
            self.each_value(&lower, upper.as_deref(), |path, half| items.push((path.clone(), half)))?;
            leaves.push(Leaf { lower, upper, items });
            return Ok(());
        }
        let mut from = lower;
        for cut in cuts.into_iter().map(Some).chain([upper]) {
            let summary = range_digest(&self.snapshot, &from, cut.as_deref())?;
            splits.push(Range { lower: from, upper: cut.clone(), summary });
            from = cut.unwrap_or_default();
        }
        Ok(())
    }

    /// Keys that cut a range into at most [`PARTS`] parts of about the same size.
    fn cuts(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Vec<Vec<u8>>, V::Error> {
        let inside = |keys: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let keys: Vec<_> = keys.into_iter().filter(|key| key.as_slice() > lower).collect();
            let every = keys.len().div_ceil(PARTS - 1).max(1);
            keys.into_iter().skip(every - 1).step_by(every).collect()
        };
        for level in (1..=crate::digest::LEVELS).rev() {
            let fences = self.snapshot.fences(level, lower, upper, usize::MAX)?;
            let cuts = inside(fences.into_iter().map(|fence| fence.0).collect());
            if cuts.len() > 1 {
                return Ok(cuts);
            }
        }
        // Between two neighbouring fences of the lowest level: cut at documents.
        let mut keys = Vec::new();
        self.each_value(lower, upper, |path, _| keys.push(path.key()))?;
        Ok(inside(keys))
    }

    /// Calls `each` for every document with a value in `lower..upper`, with half of its fingerprint.
    fn each_value(
        &self,
        lower: &[u8],
        upper: Option<&[u8]>,
        mut each: impl FnMut(&Path, u64),
    ) -> Result<(), V::Error> {
        let mut from = lower.to_vec();
        loop {
            let records = self.snapshot.records(&from, upper, RECORDS_PER_READ)?;
            for (path, record) in &records {
                if let Some(half) = half(fingerprint(path, &record.document)) {
                    each(path, half);
                }
            }
            match records.last() {
                Some((path, _)) if records.len() == RECORDS_PER_READ => from = after(path),
                _ => return Ok(()),
            }
        }
    }

    /// The paths of a listed run, from `from` on, whose states differ; and where to go on, when there are more
    /// than one exchange takes.
    fn unequal(&self, leaf: &Leaf, from: &[u8]) -> Result<Unequal, V::Error> {
        let records = self.snapshot.records(from, leaf.upper.as_deref(), PATHS_PER_EXCHANGE)?;
        // Only up to where both sides are known: the end of this page, or of the run.
        let end = match records.last() {
            Some((path, _)) if records.len() == PATHS_PER_EXCHANGE => Some(after(path)),
            _ => None,
        };
        let theirs: BTreeMap<&Path, u64> = leaf
            .items
            .iter()
            .map(|(path, half)| (path, *half))
            .filter(|(path, _)| {
                let key = path.key();
                key.as_slice() >= from && end.as_ref().is_none_or(|end| key < *end)
            })
            .collect();
        let mut paths = Vec::new();
        for (path, record) in &records {
            if half(fingerprint(path, &record.document)).as_ref() != theirs.get(path) {
                paths.push(path.clone());
            }
        }
        let ours: BTreeMap<&Path, ()> = records.iter().map(|(path, _)| (path, ())).collect();
        paths.extend(theirs.keys().filter(|path| !ours.contains_key(**path)).map(|path| (*path).clone()));
        Ok((paths, end))
    }

    /// The snapshot's states of the first of these paths, as many as fit one message, at least one.
    fn states(&self, paths: &[Path]) -> Result<Vec<PathState>, V::Error> {
        let mut states = Vec::new();
        let mut bytes = 0;
        for path in paths {
            let record = self.snapshot.record(path)?.filter(|record| !record.document.is_empty());
            let document = record.map(|record| record.document);
            bytes += document
                .as_ref()
                .map_or(path.as_str().len(), |document| crate::catch_up::weight(path, document));
            if bytes > STATES_BYTES_MAX && !states.is_empty() {
                break;
            }
            states.push((path.clone(), document));
        }
        Ok(states)
    }
}

fn say(message: Message) -> AuditOutput {
    alloc::vec![message]
}

/// The part of a fingerprint that a listing carries.
fn half(summary: Summary) -> Option<u64> {
    (summary.count > 0).then_some((summary.fingerprint >> 64) as u64)
}

/// The least key above a path's.
fn after(path: &Path) -> Vec<u8> {
    let mut key = path.key();
    key.push(0);
    key
}
