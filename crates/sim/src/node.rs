//! One node of a world: a disk that outlives it, a replica that does not, and the readers beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rejoin_causal::{Dot, Epoch, Frontier, NodeId};
use rejoin_replica::{
    Alarm, Audit, AuditStep, Batch, CatchUp, Commit, Config, Document, Effect, Input, LinkId, Policy,
    Replica, Word,
};
use rejoin_store::{Snapshot, Store, StoreError, SyncPolicy};

use crate::clock::Clock;
use crate::disk::{Disk, DiskFault, DiskSnapshot};
use crate::plant::Plant;
use rejoin_replica::path::Path;

/// A consistent state of a node's store.
pub type NodeSnapshot = Snapshot<DiskSnapshot>;

/// A copy of a node's disk.
#[derive(Clone, Debug)]
pub struct Backup {
    pub(crate) engine: Disk,
    pub(crate) id: NodeId,
    pub(crate) epoch: Epoch,
}

/// What dies with the process.
pub(crate) struct Process {
    pub(crate) store: Store<Disk>,
    pub(crate) replica: Replica,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) working: bool,
    pub(crate) serving: BTreeMap<LinkId, Serving>,
    pub(crate) auditing: BTreeMap<LinkId, Auditing>,
    pub(crate) renewing: bool,
    pub(crate) tick: u64,
    pub(crate) tick_ms: u64,
    pub(crate) last_seq: u64,
    pub(crate) since_scan: u64,
    pub(crate) feed_seen: u64,
    /// Dots that came over each link and are applied, and dots that went out on it as pushes.
    pub(crate) heard: BTreeMap<LinkId, Frontier>,
    pub(crate) told: BTreeMap<LinkId, Frontier>,
    /// Versions that peers had removed.
    pub(crate) removed: u64,
}

impl Process {
    /// A process that begins, or goes on, with `replica`, whose last write was `last_seq`.
    pub(crate) fn new(store: Store<Disk>, replica: Replica, last_seq: u64) -> Process {
        let feed_seen = replica.counters().sequence;
        Process {
            store,
            replica,
            inbox: VecDeque::new(),
            working: false,
            serving: BTreeMap::new(),
            auditing: BTreeMap::new(),
            renewing: false,
            tick: 0,
            tick_ms: u64::MAX,
            last_seq,
            since_scan: 0,
            feed_seen,
            heard: BTreeMap::new(),
            told: BTreeMap::new(),
            removed: 0,
        }
    }
}

/// A catch-up being served.
pub(crate) struct Serving {
    pub(crate) reader: CatchUp<NodeSnapshot>,
    pub(crate) stepping: bool,
    pub(crate) token: u64,
    /// Bytes of chunks that were sent and not granted again; less than none while an earlier catch-up's are granted.
    pub(crate) uncommitted_bytes: i128,
    /// The planted early claim is out.
    pub(crate) claimed: bool,
}

/// A digest session being read.
pub(crate) struct Auditing {
    pub(crate) reader: Option<Audit<NodeSnapshot>>,
    pub(crate) steps: VecDeque<(AuditStep, Option<NodeSnapshot>)>,
    pub(crate) stepping: bool,
    pub(crate) token: u64,
}

/// One node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) epoch: Epoch,
    pub(crate) engine: Disk,
    pub(crate) sync: SyncPolicy,
    pub(crate) config: Config,
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: Clock,
    pub(crate) process: Option<Process>,
    /// It stays down until then, in virtual time.
    pub(crate) away_until_ms: u64,
    /// Counts process starts, so that events of an earlier process are known.
    pub(crate) life: u64,
    pub(crate) crash: Option<CrashPoint>,
    /// Its disk fails in the next group or reader's step that it concerns.
    pub(crate) disk_fault: Option<DiskFault>,
    /// Acknowledged writes that this disk must hold.
    pub(crate) promised: BTreeSet<Dot>,
    /// What the operator was told.
    pub(crate) alarms: Vec<Alarm>,
    /// Its store was damaged behind its back: what it holds is checked again once everything has settled.
    pub(crate) damaged: bool,
}

/// Where in a group's way a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The batch was made and is lost.
    BeforeCommit,
    /// The batch is durable, and nobody hears of it.
    AfterCommit,
    /// Some effects were performed.
    AmidEffects,
}

/// What a commit did.
#[derive(Default)]
pub(crate) struct Committed {
    pub(crate) released: Vec<Effect>,
    pub(crate) touched: BTreeSet<Path>,
    pub(crate) removed: BTreeSet<Path>,
    pub(crate) by_word: Vec<(Dot, Word)>,
    pub(crate) ends: Vec<(Path, Document)>,
    pub(crate) failed: Option<DiskFault>,
}

/// Passes batches on to the store and notes what they touch.
pub(crate) struct Recorder<'a> {
    pub(crate) store: &'a mut Store<Disk>,
    pub(crate) plant: Option<Plant>,
    pub(crate) pretend: bool,
    pub(crate) touched: BTreeSet<Path>,
    pub(crate) removed: BTreeSet<Path>,
    /// Versions that history has as removed by a peer's word.
    pub(crate) by_word: Vec<(Dot, Word)>,
    /// Documents with the end of a value.
    pub(crate) ends: Vec<(Path, Document)>,
    pub(crate) committed: bool,
    pub(crate) collected: bool,
    /// The store failed: the process has to end, and nobody hears of the batch.
    pub(crate) failed: Option<StoreError>,
}

impl Commit for Recorder<'_> {
    type Error = StoreError;

    fn commit(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        self.touched.extend(batch.records.keys().cloned());
        let gone = batch.records.iter().filter(|(_, record)| record.is_none());
        self.removed.extend(gone.map(|(path, _)| path.clone()));
        let ends = batch.records.iter().filter_map(|(path, record)| Some((path, &record.as_ref()?.document)));
        let ends =
            ends.filter(|(_, document)| document.versions().iter().any(|version| version.body.is_end()));
        self.ends.extend(ends.map(|(path, document)| (path.clone(), document.clone())));
        self.committed = true;
        self.collected = !batch.floor.is_empty();
        match self.plant {
            Some(Plant::KeepLogRows) => batch.log.retain(|_, path| path.is_some()),
            Some(Plant::KeepFeedRows) => batch.feed.retain(|_, path| path.is_some()),
            Some(Plant::KeepTombstoneRows) => batch.tombstones.retain(|_, there| *there),
            Some(Plant::KeepExpiryRows) => batch.expiries.retain(|_, there| *there),
            Some(Plant::LoseExpiryRows) => batch.expiries.retain(|_, there| !*there),
            Some(Plant::LoseHistoryRows) => batch.history.retain(|_, row| row.is_none()),
            Some(Plant::LoseDigestRows) => batch.digest.clear(),
            Some(Plant::LoseFloor) => batch.floor.clear(),
            Some(Plant::LoseFrontierRow) if batch.frontier.len() > 1 => drop(batch.frontier.pop_last()),
            Some(Plant::LoseCounters) => batch.counters = None,
            _ => {}
        }
        let rows = batch.history.values().flatten();
        self.by_word.extend(rows.filter_map(|row| Some((row.version.dot, row.word?))));
        if self.pretend {
            return Ok(());
        }
        // Invariant: what is released after a failure is told to the oracle and to nobody else.
        self.failed = self.store.commit(batch).err();
        Ok(())
    }
}

impl Node {
    pub(crate) fn frontier(&self) -> Frontier {
        self.process.as_ref().map_or_else(Frontier::new, |process| process.replica.frontier().clone())
    }
}
