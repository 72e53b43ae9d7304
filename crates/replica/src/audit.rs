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

use crate::body::Document;
use crate::config::{LEAF_ITEMS_MAX, PARTS_PER_RANGE_MAX, RANGES_PER_COMPARE_MAX, STATES_PER_MESSAGE_MAX};
use crate::digest::{fingerprint, range_digest};
use crate::message::{Leaf, Message, PathState, Range};
use crate::once;
use crate::path::{Path, Prefix};
use crate::size::travels;
use crate::view::{Summary, View};

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
    /// Paths that the opener has asked for and whose states have not been sent yet.
    asked: Option<Vec<Path>>,
    /// A request is out: an answer to none is not taken, so that what is left to compare stays bounded.
    waiting: bool,
    document_bytes_max: usize,
}

impl<V: View> Audit<V> {
    /// Opens a session over the paths that begin with this.
    pub fn open(
        snapshot: V,
        prefix: &Prefix,
        document_bytes_max: usize,
    ) -> Result<(Audit<V>, AuditOutput), V::Error> {
        let (frontier, floor) = (snapshot.frontier()?, snapshot.floor()?);
        let mut audit = Audit::new(snapshot, document_bytes_max);
        audit.ranges.push(prefix.key_range());
        Ok((audit, say(Message::AuditOpen { frontier, floor })))
    }

    /// Accepts a session that the peer opened.
    pub fn accept(snapshot: V, document_bytes_max: usize) -> Result<(Audit<V>, AuditOutput), V::Error> {
        let (frontier, floor) = (snapshot.frontier()?, snapshot.floor()?);
        let audit = Audit::new(snapshot, document_bytes_max);
        Ok((audit, say(Message::AuditAccept { frontier, floor })))
    }

    fn new(snapshot: V, document_bytes_max: usize) -> Audit<V> {
        Audit {
            snapshot,
            ranges: Vec::new(),
            leaves: VecDeque::new(),
            unsent: Vec::new(),
            asked: None,
            waiting: false,
            document_bytes_max,
        }
    }

    /// The peer has accepted, or has answered the last exchange: the opener's next request.
    pub fn go_on(&mut self) -> Result<AuditOutput, V::Error> {
        let mut said = AuditOutput::new();
        loop {
            self.find_unsent()?;
            if self.unsent.is_empty() {
                break;
            }
            let Sent { states, withheld, paths } = self.states(&self.unsent)?;
            self.unsent.drain(..paths);
            if !withheld.is_empty() {
                said.push(Message::Withheld(withheld));
            }
            if !states.is_empty() {
                self.waiting = true;
                said.extend(self.kept(&states)?);
                said.push(Message::Exchange(states));
                return Ok(said);
            }
        }
        let mut compare = Vec::new();
        while compare.len() < RANGES_PER_COMPARE_MAX
            && let Some((lower, upper)) = self.ranges.pop()
        {
            let summary = range_digest(&self.snapshot, &lower, upper.as_deref())?;
            compare.push(Range { lower, upper, summary });
        }
        self.waiting = !compare.is_empty();
        said.push(if compare.is_empty() { Message::AuditDone } else { Message::Compare(compare) });
        Ok(said)
    }

    /// Looks through listed runs until one has paths that differ.
    fn find_unsent(&mut self) -> Result<(), V::Error> {
        while self.unsent.is_empty()
            && let Some((leaf, from)) = self.leaves.pop_front()
        {
            let (paths, next) = self.unequal(&leaf, &from)?;
            if let Some(next) = next {
                self.leaves.push_front((leaf, next));
            }
            self.unsent = paths;
        }
        Ok(())
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
            Message::Differences { splits, leaves } if core::mem::take(&mut self.waiting) => {
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

    /// The opener asks for the snapshot's states of these paths: the first message of the answer.
    pub fn reply(&mut self, paths: Vec<Path>) -> Result<AuditOutput, V::Error> {
        self.asked = Some(paths);
        self.more()
    }

    /// Whether there is more to answer.
    pub fn has_more(&self) -> bool {
        self.asked.is_some()
    }

    /// The next message of the answer; none when it has all been given. One at a time, so that no more is read than is sent.
    pub fn more(&mut self) -> Result<AuditOutput, V::Error> {
        let Some(mut asked) = self.asked.take() else { return Ok(AuditOutput::new()) };
        let Sent { states, withheld, paths } = self.states(&asked)?;
        asked.drain(..paths);
        let mut said = AuditOutput::new();
        if !withheld.is_empty() {
            said.push(Message::Withheld(withheld));
        }
        said.extend(self.kept(&states)?);
        said.push(Message::Exchanged { states, last: asked.is_empty() });
        self.asked = Some(asked).filter(|asked| !asked.is_empty());
        Ok(said)
    }

    /// What was answered to requests whose writes are in these states: it goes first.
    fn kept(&self, states: &[PathState]) -> Result<impl Iterator<Item = Message> + use<V>, V::Error> {
        let versions =
            states.iter().filter_map(|(_, document)| document.as_ref()).flat_map(Document::versions);
        once::kept_of(&self.snapshot, versions.map(|version| version.dot)).map(once::messages)
    }

    /// One unequal range, from the answering side.
    fn differ(&self, range: Range, splits: &mut Vec<Range>, leaves: &mut Vec<Leaf>) -> Result<(), V::Error> {
        let Range { lower, upper, summary } = range;
        let ours = range_digest(&self.snapshot, &lower, upper.as_deref())?;
        if ours == summary {
            return Ok(());
        }
        let cuts = if ours.count <= LEAF_ITEMS_MAX as u64 {
            Vec::new()
        } else {
            self.cuts(&lower, upper.as_deref())?
        };
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

    /// Keys that cut a range into at most [`PARTS_PER_RANGE_MAX`] parts of about the same size.
    fn cuts(&self, lower: &[u8], upper: Option<&[u8]>) -> Result<Vec<Vec<u8>>, V::Error> {
        let inside = |keys: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let keys: Vec<_> = keys.into_iter().filter(|key| key.as_slice() > lower).collect();
            let every = keys.len().div_ceil(PARTS_PER_RANGE_MAX - 1).max(1);
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
        let records = self.snapshot.records(from, leaf.upper.as_deref(), STATES_PER_MESSAGE_MAX)?;
        // Only up to where both sides are known: the end of this page, or of the run.
        let end = match records.last() {
            Some((path, _)) if records.len() == STATES_PER_MESSAGE_MAX => Some(after(path)),
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
    fn states(&self, paths: &[Path]) -> Result<Sent, V::Error> {
        let mut sent = Sent { states: Vec::new(), withheld: Vec::new(), paths: 0 };
        let mut bytes = 0;
        for path in paths.iter().take(STATES_PER_MESSAGE_MAX) {
            let record = self.snapshot.record(path)?.filter(|record| !record.document.is_empty());
            let document = record.map(|record| record.document);
            bytes += document
                .as_ref()
                .map_or(path.as_str().len(), |document| crate::catch_up::weight(path, document));
            if document.as_ref().is_some_and(|document| !travels(path, document, self.document_bytes_max)) {
                // What is left out leaves no room to others either: the message ends with the next of them.
                sent.withheld.push(path.clone());
            } else if bytes > STATES_BYTES_MAX && !sent.states.is_empty() {
                break;
            } else {
                sent.states.push((path.clone(), document));
            }
            sent.paths += 1;
        }
        Ok(sent)
    }
}

/// The first of some paths, as they are to be sent.
struct Sent {
    states: Vec<PathState>,
    /// Those that are too large to travel.
    withheld: Vec<Path>,
    /// How many of the paths these are.
    paths: usize,
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
