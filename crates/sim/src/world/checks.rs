//! What must hold after every group: of what was removed, what waits on links, and every path it touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use rejoin_causal::{Dot, Epoch, Frontier, NodeId};
use rejoin_replica::config::DOCUMENT_BYTES_MAX;
use rejoin_replica::path::Path;
use rejoin_replica::{Document, Effect, Replica, Start, View};

use super::World;
use super::group::Asked;
use crate::check;
use crate::node::{Committed, NodeSnapshot, Process};
use crate::oracle::Terms;
use crate::scenario::Fault;
use crate::violation::{Promise, Violation, ensure};

impl World {
    /// Records may go only when a digest session or a claim says so, or when their tombstone is old enough.
    pub(super) fn check_removed(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        committed: &Committed,
        asked: &Asked,
    ) -> Result<(), Violation> {
        if committed.removed.is_empty() {
            return Ok(());
        }
        if asked.messages && !asked.exchanged && !asked.caught_up {
            // A document can meet its own collected past and end empty.
            return Ok(());
        }
        if asked.exchanged || asked.caught_up {
            self.trace.mark(if asked.exchanged {
                "a digest session removed a record"
            } else {
                "a claim removed a record"
            });
            return Ok(());
        }
        let this = &self.nodes[node];
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let known = before.frontier().map_err(read)?;
        if this.process.as_ref().is_some_and(|process| *process.replica.frontier() != known) {
            // So can one that comes out of quarantine.
            return Ok(());
        }
        // A catch-up that is to bring what would be forgotten reads a snapshot that has it. A link that was closed takes its
        // reader along.
        let closes = committed.released.iter().any(|effect| matches!(effect, Effect::Close(..)));
        let wall_ms = this.clock.now(self.now_ms).wall_ms;
        let oldest_ms = wall_ms.saturating_sub(this.config.tombstone_retention_ms);
        // A stamp from the future tells no age, nor of those beside it. Somebody has collected what is below the floor; who, may
        // be told just now.
        let reach_ms = wall_ms + this.config.clock_skew_max_ms;
        let mut floor = before.floor().map_err(read)?;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if let Some(snapshot) = self.snapshot(other) {
                floor.join(&snapshot.floor().map_err(read)?);
            }
        }
        for path in committed.removed.iter().filter(|path| !self.oracle.is_tainted(path)) {
            let record = before
                .record(path)
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
            let versions = || record.iter().flat_map(|record| record.document.versions());
            let ageless = versions().any(|version| version.hlc.unix_ms() > reach_ms);
            for version in versions() {
                let readers = this.process.iter().flat_map(|process| process.serving.values());
                let served = readers.filter(|serving| serving.reader.missing().contains(version.dot)).count();
                ensure(closes || served == 0, Promise::Collection, || {
                    format!("{} forgets {:?} while it serves {version:?}", this.name, path)
                })?;
                let old = version.hlc.unix_ms() <= oldest_ms || ageless && floor.covers(version.dot);
                let old = self.oracle.is_tombstone(version.dot) && old;
                ensure(old, Promise::Collection, || {
                    format!("{} forgets {path:?} with {:?} at {oldest_ms}", this.name, version)
                })?;
            }
        }
        self.trace.mark("tombstone collected");
        Ok(())
    }

    /// Pushes that wait on a link stay within their bound, unless one group alone is beyond it.
    pub(super) fn check_queues(&mut self, node: usize) -> Result<(), Violation> {
        let bound = self.nodes[node].config.push_queue_bytes_max;
        for (link, now_bytes) in std::mem::take(&mut self.pushed_now) {
            let connection = self.links.get(&link).and_then(|id| self.connections.get(id));
            let Some(end) = connection.and_then(|found| Some(&found.ends[found.end_of(link)?])) else {
                continue;
            };
            let pushes = end.queue.iter().filter(|frame| frame.push);
            let waiting: u64 = pushes.filter_map(|frame| frame.counted).sum();
            ensure(waiting <= bound.max(now_bytes), Promise::Bounded, || {
                format!("{} has {waiting} bytes of pushes in a queue of {bound}", self.nodes[node].name)
            })?;
        }
        Ok(())
    }

    /// What must hold after every commit, at the paths it touched; from time to time, everywhere.
    pub(super) fn check_commit(
        &mut self,
        node: usize,
        before: &Frontier,
        mut touched: BTreeSet<Path>,
        asked: &Asked,
    ) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        let snapshot = process.store.snapshot();
        let frontier = process.replica.frontier();
        ensure(frontier.is_superset(before), Promise::FrontierIsTrue, || {
            format!("the frontier of {} shrank", this.name)
        })?;
        let fresh = frontier.difference(before);
        if !fresh.is_empty() && !asked.writes && !asked.messages {
            self.trace.mark("released from quarantine");
        }
        for dot in fresh.iter() {
            let path = self.oracle.path_of(dot);
            ensure(path.is_some() || self.lied, Promise::FrontierIsTrue, || {
                format!("{} claims {dot:?}, which nobody minted", this.name)
            })?;
            touched.extend(path.cloned());
            self.check_kept(node, dot, &snapshot)?;
        }
        for path in touched.iter().filter(|_| !this.damaged) {
            self.check_path(node, path)?;
        }
        if self.check_units(node, &touched)? {
            self.trace.mark("atomic batch on a peer");
        }
        let due = process.since_scan >= self.settings.commits_per_scan;
        if due {
            let engine = this.engine.clone();
            let versions_max = this.config.versions_max;
            let name = this.name.clone();
            if let Some(process) = self.nodes[node].process.as_mut() {
                process.since_scan = 0;
            }
            check::store(&name, &snapshot, &engine, versions_max, &mut self.rng)?;
            self.check_reopened(node)?;
        }
        Ok(())
    }

    /// Whoever has applied a write knows its request, whether the write is live or not: unless clocks do not agree on how long
    /// ago it was, or the number names two writes.
    fn check_kept(&self, node: usize, dot: Dot, snapshot: &NodeSnapshot) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(once) = self.keyed.get(&dot).filter(|_| !this.damaged && !self.lied) else { return Ok(()) };
        let faults = self.trace.faults();
        let timely = [Fault::ClockWrong, Fault::ClockFarAhead, Fault::LongAbsence]
            .iter()
            .all(|fault| !faults.contains_key(fault.name()));
        if !timely || self.oracle.is_forked((dot.node, dot.epoch)) || self.oracle.is_in_doubt(dot) {
            return Ok(());
        }
        let rows = snapshot
            .kept(dot, dot.seq, 1)
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        ensure(rows.iter().any(|row| row.kept.once == *once), Promise::Once, || {
            format!("{} has {dot:?} and does not know its request", this.name)
        })
    }

    /// No reader sees half of an atomic batch: where one of its versions is live, the others are too, or were replaced by
    /// somebody. Digest sessions bring documents one by one and are left out, and so are worlds where a document may be too
    /// large to travel: the others of its batch do not wait for it.
    ///
    /// Says whether there was any of another node to look at.
    fn check_units(&self, node: usize, touched: &BTreeSet<Path>) -> Result<bool, Violation> {
        let this = &self.nodes[node];
        let Some(process) = this.process.as_ref().filter(|_| !this.damaged) else { return Ok(false) };
        let withholds = self.settings.config.document_bytes_max < DOCUMENT_BYTES_MAX;
        if withholds || self.trace.marks().contains_key("exchange") {
            return Ok(false);
        }
        let mut of_others = false;
        let snapshot = process.store.snapshot();
        let is_clear = |unit: &&Vec<Dot>| !unit.iter().any(|dot| self.oracle.is_in_doubt(*dot));
        let is_touched = |dot: &Dot| self.oracle.path_of(*dot).is_some_and(|path| touched.contains(path));
        for unit in self.units.iter().filter(|unit| unit.iter().any(is_touched)).filter(is_clear) {
            let (mut live, mut gone) = (None, Vec::new());
            for dot in unit {
                let Some(path) = self.oracle.path_of(*dot) else { continue };
                let record = snapshot
                    .record(path)
                    .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
                match record.is_some_and(|record| record.document.version(*dot).is_some()) {
                    true => live = Some(*dot),
                    false => gone.push((path, *dot)),
                }
            }
            if live.is_none() {
                continue;
            }
            let missing = gone
                .into_iter()
                .find(|(path, dot)| !self.was_replaced(path, *dot) && !self.oracle.is_lost_to_a_lie(*dot));
            of_others |= live.is_some_and(|dot| dot.node != this.id);
            ensure(missing.is_none(), Promise::Atomic, || {
                format!("{} shows {live:?} and not {missing:?}, which were written together", this.name)
            })?;
        }
        Ok(of_others)
    }

    pub(super) fn check_path(&self, node: usize, path: &Path) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        if self.oracle.is_tainted(path) {
            return Ok(());
        }
        let record = process
            .store
            .snapshot()
            .record(path)
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        // What a delete replaced may go before the delete is known: in a digest session and in what such a node claims from
        // then on, or because a document that was written anew after its tombstone was collected meets the old past; and
        // that document may be collected here in turn.
        let exchanged = self.trace.marks().contains_key("exchange");
        let covered = |dot: Dot| record.as_ref().is_none_or(|record| record.document.vv().covers(dot));
        let forgiven = |dot: Dot| (exchanged || covered(dot)) && self.was_replaced(path, dot);
        let document = record.as_ref().map(|record| &record.document);
        // The older of two processes under one name takes nothing of what the newer has made, nor that it hides what is here,
        // until digests are compared.
        let newer = Dot { node: this.id, epoch: Epoch(this.epoch.0 + 1), seq: 0 }..=Dot {
            node: this.id,
            epoch: Epoch(u64::MAX),
            seq: u64::MAX,
        };
        let is_older = || self.oracle.writes().range(newer).next().is_some();
        let was_older = self.trace.marks().contains_key("clone alarm");
        let epochs_bind = self.epochs_bind() && !was_older && !is_older();
        let terms = Terms { settled: false, epochs_bind, held: rests_on_doubt(process, document) };
        self.oracle.check_path(path, process.replica.frontier(), document, terms, forgiven).map_err(
            |violation| Violation { detail: format!("{}: {}", this.name, violation.detail), ..violation },
        )
    }

    pub(super) fn epochs_bind(&self) -> bool {
        !self.trace.marks().contains_key("floor rose")
    }

    /// Whether any write at all replaced this one, known to anybody or not.
    pub(super) fn was_replaced(&self, path: &Path, dot: Dot) -> bool {
        let on_path = self.oracle.writes().iter().filter(|(_, write)| write.path == *path);
        self.oracle.replaced_by(path, on_path.map(|(dot, _)| *dot), true).contains(&dot)
    }

    /// A replica opened on the committed state equals the running one.
    pub(super) fn check_reopened(&self, node: usize) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        let start = Start {
            node: this.id,
            epoch: this.epoch,
            seed: 0,
            config: this.config.clone(),
            policy: Arc::clone(&this.policy),
            statements: Vec::new(),
        };
        let opened = Replica::open(start, this.clock.now(self.now_ms), &process.store.snapshot())
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
        let running = &process.replica;
        ensure(opened.frontier() == running.frontier(), Promise::RowsAgree, || {
            format!(
                "{}: stored frontier {:?}, running {:?}",
                this.name,
                opened.frontier(),
                running.frontier()
            )
        })?;
        ensure(opened.floor() == running.floor(), Promise::RowsAgree, || {
            format!("{}: stored floor {:?}, running {:?}", this.name, opened.floor(), running.floor())
        })?;
        ensure(opened.doubted() == running.doubted(), Promise::RowsAgree, || {
            format!("{}: stored {:?}, running {:?}", this.name, opened.doubted(), running.doubted())
        })?;
        ensure(opened.counters() == running.counters(), Promise::RowsAgree, || {
            format!("{}: stored {:?}, running {:?}", this.name, opened.counters(), running.counters())
        })
    }
}

/// Whether nobody's word removes anything of this document at this node: it rests on a life that the node doubts. It still takes
/// the claims that others make, or it would never be level with them, so it may show what it knows to be replaced.
pub(super) fn rests_on_doubt(process: &Process, document: Option<&Document>) -> bool {
    let replica = &process.replica;
    let doubtful = |top: Dot| {
        let is_of = |life: (NodeId, Epoch)| life.0 == top.node && life.1 <= top.epoch;
        replica.doubted().keys().copied().chain(replica.suspected()).any(is_of)
    };
    document.is_some_and(|document| document.vv().tops().any(doubtful))
}
