//! Atomic batches: several writes in one commit here, and in one commit of every replica they reach.
//!
//! The writes of a batch get consecutive dots of one epoch, and each version carries the first and the last of them
//! ([`Unit`]).
//!
//! Invariant: a frame that has a live version of a batch has all versions of it that are live at the sender, and a frame
//! is handled in one commit. So whoever shows one version of a batch shows the others, or what replaced them.
//! docs/consistency.md has the promise and its limits.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, NodeId, plant};

use crate::batch::Overlay;
use crate::body::{Document, Unit, Version};
use crate::catch_up::weight;
use crate::config::{BATCH_COMPANIONS_BYTES_MAX, BATCH_COMPANIONS_MAX, BATCH_WRITES_MAX};
use crate::effect::{BatchRefusal, Refusal, Written};
use crate::input::Write;
use crate::message::Entry;
use crate::path::Path;
use crate::replica::{Group, Replica};
use crate::size::travels;
use crate::view::View;
use crate::write::observes;

impl Replica {
    /// Does all of these writes, or none: each is planned over what those before it would leave, and nothing is done
    /// before all of them may be.
    pub(crate) fn write_all<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        writes: Vec<Write>,
    ) -> Result<Result<Vec<Written>, Box<BatchRefusal>>, V::Error> {
        let refuse = |at, refusal| Ok(Err(Box::new(BatchRefusal { at, refusal })));
        let too_large = |size, limit, of| Refusal::BatchTooLarge { size, limit, of };
        let count = writes.len();
        if count > BATCH_WRITES_MAX {
            return refuse(BATCH_WRITES_MAX, too_large(count, BATCH_WRITES_MAX, "writes"));
        }
        match self.answered(group, &writes)? {
            Some(Ok(first)) => return Ok(Ok(first)),
            Some(Err(refusal)) => return refuse(0, refusal),
            None => {}
        }
        let once = writes.first().and_then(|write| write.once);
        let unit = (count > 1).then(|| Unit { first: self.seq + 1, last: self.seq + count as u64 });
        let mut left: BTreeMap<&Path, Document> = BTreeMap::new();
        let mut planned = Vec::with_capacity(count);
        let mut bytes = 0;
        let mut clock = self.clock;
        for ((at, write), seq) in writes.iter().enumerate().zip(self.seq + 1..) {
            let document = match left.get(&write.path) {
                Some(document) => document.clone(),
                None => group.rows.record(&write.path)?.map_or_else(Document::new, |record| record.document),
            };
            let dot = Dot { node: self.node, epoch: self.epoch, seq };
            self.observe_document(&mut clock, &document, group.now);
            let hlc = clock.tick(group.now.wall_ms);
            let plan = match self.plan(&document, write, (hlc, dot), group.now.wall_ms) {
                Ok(plan) => plan,
                Err(refusal) => return refuse(at, refusal),
            };
            bytes += write.path.as_str().len() + plan.body.weight();
            if bytes > self.config.batch_bytes_max {
                return refuse(at, too_large(bytes, self.config.batch_bytes_max, "bytes"));
            }
            let created = plan.created;
            let version = Version { dot, hlc, body: plan.content(unit) };
            let state = document.written(version, |version| observes(write, version));
            if let Err(refusal) = self.room_for_siblings(&write.path, &document, &state, group.now.wall_ms) {
                return refuse(at, refusal);
            }
            let after = document.merge(state.clone(), &self.frontier, None).document;
            left.insert(&write.path, after);
            planned.push(((hlc, dot), state, created));
        }
        drop(left);
        self.clock = clock;
        let mut written = Vec::with_capacity(count);
        for (write, (stamp, state, created)) in writes.into_iter().zip(planned) {
            let before = group.rows.record(&write.path)?;
            let done = self.enact(group, write.path, before, stamp, state, created)?;
            if let Some(once) = once {
                self.keep(group, once, unit, &write.change, &done)?;
            }
            written.push(done);
        }
        Ok(Ok(written))
    }
}

/// The batches that live versions of a document were written in.
pub(crate) fn units(document: &Document) -> impl Iterator<Item = (NodeId, Epoch, Unit)> + '_ {
    let versions = document.versions().iter();
    versions.filter_map(|version| Some((version.dot.node, version.dot.epoch, version.body.unit?)))
}

/// Which entries have to stay together, because versions of one batch are in them: sets of places, each ascending.
pub(crate) fn bundles(entries: &[Entry]) -> Vec<Vec<usize>> {
    // The place of each entry's bundle; a bundle that joined another has moved there.
    let mut bundle_of: Vec<usize> = (0..entries.len()).collect();
    let mut holder: BTreeMap<(NodeId, Epoch, Unit), usize> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        for unit in units(&entry.document) {
            let first = *holder.entry(unit).or_insert(at);
            let (one, other) = (root(&bundle_of, first), root(&bundle_of, at));
            bundle_of[one.max(other)] = one.min(other);
        }
    }
    let mut bundles: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..entries.len() {
        bundles.entry(root(&bundle_of, at)).or_default().push(at);
    }
    bundles.into_values().collect()
}

/// Documents of one state of a replica, with all others that have to travel with them.
///
/// A document travels whole, with siblings that its receiver may not have: what it was sent before may lag, or wait in its
/// quarantine. So a frame that has any version of a batch has all that are live, whatever the receiver is thought to
/// have: each frame stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Companions {
    documents: BTreeMap<Path, Document>,
    paths: BTreeMap<(NodeId, Epoch, Unit), BTreeSet<Path>>,
}

impl Companions {
    /// These documents, and those that have to go with any of them.
    pub(crate) fn of<V: View>(
        rows: &Overlay<'_, V>,
        documents: BTreeMap<Path, Document>,
        document_bytes_max: usize,
    ) -> Result<Companions, V::Error> {
        let mut open: Vec<_> = documents.values().flat_map(units).collect();
        let mut all = Companions { documents, paths: BTreeMap::new() };
        let (mut bytes, mut count) = (0, 0);
        while let Some(key @ (node, epoch, unit)) = open.pop() {
            if all.paths.contains_key(&key) || plant::is("push-part-of-a-batch") {
                continue;
            }
            let paths = rows.log(node, epoch, unit.first, unit.last)?;
            for path in &paths {
                if !all.documents.contains_key(path)
                    && count < BATCH_COMPANIONS_MAX
                    && bytes < BATCH_COMPANIONS_BYTES_MAX
                    && let Some(record) = rows.record(path)?
                {
                    let weight = weight(path, &record.document);
                    // Looked at before it is taken: one great document must not make the frame of another as great.
                    if bytes + weight > BATCH_COMPANIONS_BYTES_MAX
                        || !travels(path, &record.document, document_bytes_max)
                    {
                        continue;
                    }
                    bytes += weight;
                    count += 1;
                    open.extend(units(&record.document));
                    all.documents.insert(path.clone(), record.document);
                }
            }
            all.paths.insert(key, paths);
        }
        Ok(all)
    }

    /// The document of a path.
    pub(crate) fn document(&self, path: &Path) -> Option<&Document> {
        self.documents.get(path)
    }

    /// Adds what has to go with these entries.
    pub(crate) fn join(&self, entries: &mut Vec<Entry>) {
        let mut seen = BTreeSet::new();
        let mut taken: Option<BTreeSet<Path>> = None;
        let mut at = 0;
        while let Some(entry) = entries.get(at) {
            at += 1;
            let units: Vec<_> = units(&entry.document).filter(|unit| seen.insert(*unit)).collect();
            for path in units.iter().filter_map(|unit| self.paths.get(unit)).flatten() {
                let taken =
                    taken.get_or_insert_with(|| entries.iter().map(|entry| entry.path.clone()).collect());
                if let Some(document) = self.documents.get(path)
                    && taken.insert(path.clone())
                {
                    let (path, document) = (path.clone(), document.clone());
                    entries.push(Entry { path, document, superseded: Vec::new() });
                }
            }
        }
    }
}

fn root(bundle_of: &[usize], mut at: usize) -> usize {
    while bundle_of[at] != at {
        at = bundle_of[at];
    }
    at
}
