//! Serving a catch-up: the log index of a snapshot, read in order, in chunks, as credit allows.
//!
//! The difference `M = F_snapshot \ F_peer` is fixed by the snapshot. Each document with a version in `M` is sent
//! once, whole. Dots of `M` without a live version ("void") are claimed only at the very end: until every successor
//! has arrived, such a claim would stand for a value nobody there has. What was written in one atomic batch goes out in
//! one chunk.
//!
//! This is a reader: it never waits for the replica and the replica never waits for it.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Frontier, IntervalSet, NodeId, VersionVector, plant};

use crate::body::Document;
use crate::config::{BATCH_COMPANIONS_BYTES_MAX, BATCH_COMPANIONS_MAX, BATCH_WRITES_MAX};
use crate::message::{Entry, Message};
use crate::once::KeptWalk;
use crate::path::Path;
use crate::size::travels;
use crate::unit::units;
use crate::view::View;

/// Log rows read at a time: a page of dots is 16 KiB at most, and amortises the cost of a range read.
const LOG_ROWS_PER_READ: usize = 256;

/// What a catch-up can do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatchUpStep {
    /// Send this.
    Send(Message),
    /// Wait for credit.
    Wait,
    /// This document is too large to travel, and was left out.
    Withheld(Path),
    /// All is sent.
    Done {
        /// What the peer has by it: the difference, or what the documents carried where no exchange lets it claim.
        claims: Frontier,
        /// Dots of documents that were left out, and what those may have replaced.
        withheld: Frontier,
        /// Documents sent.
        documents: u64,
        /// Dots of the difference are left that no document carried and nothing claimed.
        unclaimed: bool,
    },
}

/// One catch-up being served.
#[derive(Debug)]
pub struct CatchUp<V> {
    snapshot: V,
    missing: Frontier,
    /// The exchange that it answers; 0: none, and it claims nothing.
    exchange: u64,
    /// What its documents have carried so far; kept only where nothing is claimed.
    carried: Frontier,
    /// What was answered to requests among them, which goes first.
    kept: KeptWalk,
    /// Runs of `missing` not read yet, in (node, epoch, seq) order.
    runs: VecDeque<(NodeId, Epoch, u64, u64)>,
    /// Log rows read and not sent yet.
    rows: VecDeque<(Dot, Path)>,
    /// Dots of documents that were sent before their turn, with others of their batch.
    ahead: BTreeSet<Dot>,
    chunk_bytes_max: usize,
    /// What may be on its way uncommitted. The chunk that reaches it may go beyond it.
    credit_bytes: u64,
    /// What was sent and not granted again. What an earlier catch-up of this link sent and is granted now makes it no
    /// less than nothing: credit never grows.
    uncommitted_bytes: u64,
    documents: u64,
    document_bytes_max: usize,
    /// Documents that were left out, and not told yet.
    withheld: VecDeque<Path>,
    /// The pasts of all documents that were left out.
    ///
    /// Invariant: nothing in it is claimed. A dot without a live version may be what only a document that did not arrive has
    /// replaced, and is then in the past of that document.
    withheld_past: VersionVector,
    said_caught_up: bool,
}

impl<V: View> CatchUp<V> {
    /// A catch-up from `snapshot` for a peer that said in this exchange that it has `known`; or is thought to, with 0.
    pub fn new(
        snapshot: V,
        known: &Frontier,
        exchange: u64,
        chunk_bytes_max: usize,
        credit_bytes: u64,
        document_bytes_max: usize,
    ) -> Result<CatchUp<V>, V::Error> {
        let missing = snapshot.frontier()?.difference(known);
        let runs = missing
            .rows()
            .flat_map(|(node, epoch, set): (_, _, &IntervalSet)| {
                set.ranges().iter().map(move |&(first, last)| (node, epoch, first, last))
            })
            .collect();
        Ok(CatchUp {
            kept: KeptWalk::new(&missing),
            snapshot,
            missing,
            exchange,
            carried: Frontier::new(),
            runs,
            rows: VecDeque::new(),
            ahead: BTreeSet::new(),
            chunk_bytes_max,
            credit_bytes,
            uncommitted_bytes: 0,
            documents: 0,
            document_bytes_max,
            withheld: VecDeque::new(),
            withheld_past: VersionVector::new(),
            said_caught_up: false,
        })
    }

    /// The peer has committed `bytes` of chunks.
    pub fn grant(&mut self, bytes: u64) {
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
    }

    /// The exchange that it answers.
    pub fn exchange(&self) -> u64 {
        self.exchange
    }

    /// How many dots the peer lacks.
    pub fn missing(&self) -> &Frontier {
        &self.missing
    }

    /// The next thing to do. Reads at most about one chunk.
    pub fn step(&mut self) -> Result<CatchUpStep, V::Error> {
        if let Some(path) = self.withheld.pop_front() {
            return Ok(CatchUpStep::Withheld(path));
        }
        if self.said_caught_up {
            let withheld = self.missing.difference(&self.claimable());
            let claims = if self.exchange == 0 { self.carried.clone() } else { self.claimable() };
            // What was left out is not asked for again: it is too large still.
            let unclaimed = !self.missing.difference(&claims).difference(&withheld).is_empty();
            let documents = self.documents;
            return Ok(CatchUpStep::Done { claims, documents, unclaimed, withheld });
        }
        if self.uncommitted_bytes >= self.credit_bytes && !plant::is("ignore-credit") {
            return Ok(CatchUpStep::Wait);
        }
        // Small, and ahead of whatever makes the peer take their writes as applied: they cost no credit.
        let kept = self.kept.next(&self.snapshot)?;
        if !kept.is_empty() && !plant::is("catch-up-without-answers") {
            return Ok(CatchUpStep::Send(Message::Kept(kept)));
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        while bytes < self.chunk_bytes_max {
            let Some((dot, path)) = self.next_row()? else { break };
            if self.ahead.remove(&dot) {
                continue;
            }
            let Some(record) = self.snapshot.record(&path)? else { continue };
            // A document with several versions in the difference goes out with the first of them.
            if self.goes_out_with(&record.document) != Some(dot) {
                continue;
            }
            if !travels(&path, &record.document, self.document_bytes_max) {
                self.withheld_past.join(record.document.vv());
                self.withheld.push_back(path);
                continue;
            }
            for entry in self.with_its_units(path, record.document)? {
                bytes += weight(&entry.path, &entry.document);
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            self.said_caught_up = true;
            let exchange = self.exchange;
            let claims = if exchange == 0 { Frontier::new() } else { self.claimable() };
            return Ok(CatchUpStep::Send(Message::CaughtUp { exchange, claims }));
        }
        if self.exchange == 0 {
            for dot in entries.iter().flat_map(Entry::claims) {
                self.carried.insert(dot);
            }
        }
        self.documents += entries.len() as u64;
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_add(chunk_cost(&entries));
        Ok(CatchUpStep::Send(Message::Chunk(entries)))
    }

    /// The difference, but for what was left out and what that may have replaced.
    fn claimable(&self) -> Frontier {
        match self.withheld_past.is_empty() || plant::is("claim-withheld") {
            true => self.missing.clone(),
            false => self.missing.beyond(&self.withheld_past),
        }
    }

    fn goes_out_with(&self, document: &Document) -> Option<Dot> {
        let dots = document.versions().iter().map(|version| version.dot);
        dots.filter(|dot| self.missing.contains(*dot)).min()
    }

    /// A document, and all others that have to be in its chunk because of an atomic batch, whatever the peer has of it.
    /// Those that the peer lacks were not sent before: whichever of them came first took the others with it.
    fn with_its_units(&mut self, path: Path, document: Document) -> Result<Vec<Entry>, V::Error> {
        let mut taken: BTreeSet<Path> = BTreeSet::from([path.clone()]);
        let mut seen = BTreeSet::new();
        let mut entries = Vec::from([Entry { path, document, superseded: Vec::new() }]);
        let (mut at, mut bytes) = (0, 0);
        while let Some(entry) = entries.get(at) {
            let units: Vec<_> = units(&entry.document).filter(|unit| seen.insert(*unit)).collect();
            at += 1;
            for (node, epoch, unit) in units {
                for (_, path) in self.snapshot.log(node, epoch, unit.first, unit.last, BATCH_WRITES_MAX)? {
                    let enough = bytes >= BATCH_COMPANIONS_BYTES_MAX
                        || entries.len() > BATCH_COMPANIONS_MAX
                        || plant::is("chunk-part-of-a-batch");
                    if enough || taken.contains(&path) {
                        continue;
                    }
                    let Some(record) = self.snapshot.record(&path)? else { continue };
                    let weight = weight(&path, &record.document);
                    // Looked at before it is taken: one great document must not make the frame of another as great. It has
                    // its own turn.
                    if bytes + weight > BATCH_COMPANIONS_BYTES_MAX
                        || !travels(&path, &record.document, self.document_bytes_max)
                    {
                        continue;
                    }
                    bytes += weight;
                    self.ahead.extend(self.goes_out_with(&record.document));
                    taken.insert(path.clone());
                    entries.push(Entry { path, document: record.document, superseded: Vec::new() });
                }
            }
        }
        Ok(entries)
    }

    fn next_row(&mut self) -> Result<Option<(Dot, Path)>, V::Error> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            let Some((node, epoch, first, last)) = self.runs.pop_front() else { return Ok(None) };
            let rows = self.snapshot.log(node, epoch, first, last, LOG_ROWS_PER_READ)?;
            if rows.len() == LOG_ROWS_PER_READ
                && let Some((seq, _)) = rows.last()
                && *seq < last
            {
                self.runs.push_front((node, epoch, seq + 1, last));
            }
            self.rows.extend(rows.into_iter().map(|(seq, path)| (Dot { node, epoch, seq }, path)));
        }
    }
}

/// Bytes of an entry, about.
pub(crate) fn weight(path: &Path, document: &crate::Document) -> usize {
    let versions = document.versions().iter();
    path.as_str().len() + versions.map(|version| 24 + version.body.weight()).sum::<usize>()
}

/// What a chunk costs of the receiver's credit; both sides count alike.
pub(crate) fn chunk_cost(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| weight(&entry.path, &entry.document) as u64).sum()
}
