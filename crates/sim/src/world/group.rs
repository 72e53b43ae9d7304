//! Groups of inputs: handled, committed, told to the oracle, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rejoin_causal::{Dot, Frontier};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Document, Effect, Effects, Expiry, Input, LinkId, Message, Observed, Refusal, Replica,
    Start, Ttl, View, Write, Written,
};

use super::{Event, World};
use crate::check;
use crate::disk::DiskFault;
use crate::node::{Committed, CrashPoint, NodeSnapshot, Recorder};
use crate::oracle::{Content, Known, Object, Rule};
use crate::plant::Plant;
use crate::strategies::rule;
use crate::violation::{Promise, Violation, ensure};

/// What a group of inputs was about.
#[derive(Default)]
pub(super) struct Asked {
    writes: bool,
    ticks: bool,
    messages: bool,
    exchanged: bool,
    caught_up: bool,
    heard: Vec<(LinkId, Dot)>,
}

impl Asked {
    fn of(group: &[Input]) -> Asked {
        let mut asked = Asked::default();
        for input in group {
            match input {
                Input::Write(..) | Input::WriteAll(..) | Input::Renewed { .. } => asked.writes = true,
                Input::Tick => asked.ticks = true,
                Input::Message(link, message) => {
                    asked.messages = true;
                    match message {
                        Message::Exchange(_) | Message::Exchanged { .. } => asked.exchanged = true,
                        Message::CaughtUp { .. } => asked.caught_up = true,
                        Message::Push(entries) | Message::Chunk(entries) => {
                            let dots = entries.iter().flat_map(|entry| entry.claims());
                            asked.heard.extend(dots.map(|dot| (*link, dot)));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        asked
    }

    /// Dots that came over one link only, unless quarantine or a digest session may have brought them as well.
    fn heard_once(&self) -> impl Iterator<Item = (LinkId, Dot)> {
        let mut links: BTreeMap<Dot, BTreeSet<LinkId>> = BTreeMap::new();
        for (link, dot) in self.heard.iter().filter(|_| !self.ticks && !self.exchanged) {
            links.entry(*dot).or_default().insert(*link);
        }
        links
            .into_iter()
            .filter(|(_, links)| links.len() == 1)
            .filter_map(|(dot, links)| Some((*links.first()?, dot)))
    }
}

/// Who hears of a group's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Their clients.
    Now,
    /// Nobody; but they are durable.
    Later,
    /// Nobody, and whether they are durable is not known.
    Nothing,
}

impl World {
    /// Handles one group of inputs of a node, commits it, checks what it did and performs its effects.
    pub(super) fn work(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let group_max = self.rng.between(1, self.settings.group_max.max(1));
        let now_ms = self.now_ms;
        if self.process(node, life).is_none() {
            return Ok(());
        }
        let now = self.nodes[node].clock.now(now_ms);
        let with_ends = self.settings.ttl;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        process.working = false;

        // A write whose path an earlier input of the group may change begins a group of its own: what it observes
        // could not be told from outside.
        let mut group = Vec::new();
        let mut changing: Option<BTreeSet<Path>> = Some(BTreeSet::new());
        while (group.len() as u64) < group_max
            && let Some(input) = process.inbox.pop_front()
        {
            if matches!(input, Input::Renewed { .. }) && !group.is_empty() {
                process.inbox.push_front(input);
                break;
            }
            if let Input::Write(_, write) = &input {
                let unclear = changing.as_ref().is_none_or(|paths| paths.contains(&write.path));
                if unclear {
                    process.inbox.push_front(input);
                    break;
                }
            }
            if let Input::WriteAll(_, writes) = &input {
                let changes =
                    |write: &Write| changing.as_ref().is_none_or(|paths| paths.contains(&write.path));
                if writes.iter().any(changes) {
                    process.inbox.push_front(input);
                    break;
                }
            }
            // What a tick ends could not be told from what came in beside it.
            if matches!(input, Input::Tick) && with_ends {
                match group.is_empty() {
                    true => group.push(input),
                    false => process.inbox.push_front(input),
                }
                break;
            }
            match &input {
                Input::Message(_, Message::Push(entries) | Message::Chunk(entries)) => {
                    changing
                        .iter_mut()
                        .for_each(|paths| paths.extend(entries.iter().map(|entry| entry.path.clone())));
                }
                Input::Message(_, Message::Exchange(states) | Message::Exchanged { states, .. }) => {
                    changing
                        .iter_mut()
                        .for_each(|paths| paths.extend(states.iter().map(|state| state.0.clone())));
                }
                Input::Message(_, Message::CaughtUp { .. }) | Input::Tick | Input::Renewed { .. } => {
                    changing = None;
                }
                _ => {}
            }
            group.push(input);
        }
        let more = !process.inbox.is_empty();
        if more {
            process.working = true;
            self.after(0, 2, Event::Work { node, life });
        }
        for input in &group {
            match input {
                Input::Message(_, message @ (Message::Exchange(_) | Message::Exchanged { .. })) => {
                    self.trace.mark(message.name());
                }
                Input::Renewed { node: id, epoch } => {
                    self.nodes[node].id = *id;
                    self.nodes[node].epoch = *epoch;
                    if let Some(process) = self.process(node, life) {
                        process.last_seq = 0;
                        process.renewing = false;
                    }
                }
                _ => {}
            }
        }
        if group.len() > 1 {
            self.trace.mark("several inputs in a group");
        }
        if self.settings.trace {
            for input in &group {
                let text = match input {
                    Input::Message(link, message) => format!("{link:?} {message:?}"),
                    other => format!("{other:?}"),
                };
                self.note(|world| format!("{} handles {text}", world.nodes[node].name));
            }
        }

        let Some(process) = self.process(node, life) else { return Ok(()) };
        let snapshot = process.store.snapshot();
        let before = process.replica.frontier().clone();
        let failed = |error: rejoin_store::StoreError| {
            Violation::new(Promise::RowsAgree, format!("a store fails: {error}"))
        };
        let asked = Asked::of(&group);
        self.arm_reads(node);
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let handled = process.replica.handle(group, now, &snapshot);
        if self.disarm_reads(node, handled.is_err()) {
            self.kill(node);
            return Ok(());
        }
        let effects = handled.map_err(failed)?;
        let crash = self.nodes[node].crash.take();
        if crash == Some(CrashPoint::BeforeCommit) {
            drop(effects);
            self.trace.mark("crash before commit");
            self.kill(node);
            return Ok(());
        }
        let pretend = self.settings.plant == Some(Plant::ReleaseBeforeCommit) && crash.is_some();
        let committed = self.commit(node, effects, pretend)?;
        if committed.failed == Some(DiskFault::CommitLost) {
            self.kill(node);
            return Ok(());
        }

        let heard = match (committed.failed, crash) {
            (Some(_), _) => Heard::Nothing,
            (None, Some(CrashPoint::AfterCommit)) => Heard::Later,
            (None, _) => Heard::Now,
        };
        self.account_ends(node, &snapshot, &committed.ends, heard)?;
        self.account(node, &snapshot, &committed.released, heard)?;
        if !pretend {
            self.check_removed(node, &snapshot, &committed, &asked)?;
            self.check_commit(node, &before, committed.touched, &asked)?;
        }
        if committed.failed.is_some() {
            self.kill(node);
            return Ok(());
        }
        if let Some(process) = self.process(node, life) {
            // What one link alone has brought must not go back to it, not even in this group.
            let frontier = process.replica.frontier();
            for (link, dot) in asked.heard_once().filter(|(_, dot)| frontier.contains(*dot)) {
                process.heard.entry(link).or_default().insert(dot);
            }
        }
        let released = committed.released;
        self.pushed_now.clear();
        let performed = match crash {
            Some(CrashPoint::AfterCommit) => 0,
            Some(_) if pretend => released.len(),
            Some(_) => self.rng.index(released.len() + 1),
            None => released.len(),
        };
        for effect in released.into_iter().take(performed) {
            self.perform(node, life, effect)?;
        }
        self.check_queues(node)?;
        if let Some(process) = self.process(node, life) {
            let frontier = process.replica.frontier();
            for (link, dot) in asked.heard.into_iter().filter(|(_, dot)| frontier.contains(*dot)) {
                process.heard.entry(link).or_default().insert(dot);
            }
        }
        if let Some(point) = crash {
            self.trace.mark(match point {
                CrashPoint::AfterCommit => "crash after commit",
                _ => "crash amid effects",
            });
            self.kill(node);
        } else {
            self.schedule_tick(node);
        }
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        node: usize,
        effects: Effects,
        pretend: bool,
    ) -> Result<Committed, Violation> {
        let plant = self.settings.plant;
        let fault = self.nodes[node].disk_fault.filter(|fault| !matches!(fault, DiskFault::Read(_)));
        if let Some(fault) = fault {
            self.nodes[node].engine.break_next(fault);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return Ok(Committed::default()) };
        let mut recorder = Recorder {
            store: &mut process.store,
            plant,
            pretend,
            touched: BTreeSet::new(),
            removed: BTreeSet::new(),
            ends: Vec::new(),
            failed: None,
            committed: false,
            collected: false,
        };
        let released = effects
            .commit(&mut recorder)
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a commit fails: {error}")))?;
        let Recorder { touched, removed, ends, committed, collected, failed, .. } = recorder;
        process.since_scan += u64::from(committed);
        if fault.is_some() && failed.is_none() {
            // Nothing was written that could have failed.
            self.nodes[node].engine.mend();
        }
        let failed = match (failed, fault) {
            (None, _) => None,
            (Some(_), Some(fault)) => {
                self.trace.mark(match fault {
                    DiskFault::CommitLost => "a commit failed and was lost",
                    DiskFault::CommitKept => "a commit failed and was kept",
                    _ => "a sync failed",
                });
                Some(fault)
            }
            (Some(error), None) => {
                return Err(Violation::new(Promise::RowsAgree, format!("a commit fails: {error}")));
            }
        };
        if collected {
            self.trace.mark("floor rose");
        }
        Ok(Committed { released, touched, removed, ends, failed })
    }

    /// Tells the oracle of the deletes that a node wrote because the time of values had come, and checks that it had.
    fn account_ends(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        ended: &[(Path, Document)],
        heard: Heard,
    ) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        let (id, epoch, last_seq) = (this.id, this.epoch, process.last_seq);
        let mut minted = Vec::new();
        for (path, document) in ended {
            for version in document.versions() {
                let dot = version.dot;
                if dot.node == id && dot.epoch == epoch && dot.seq > last_seq {
                    minted
                        .extend(version.body.expiry.map(|expiry| (dot, version.hlc, expiry, path, document)));
                }
            }
        }
        minted.sort_by_key(|(dot, ..)| *dot);
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let wall_ms = this.clock.now(self.now_ms).wall_ms;
        let patient_ms = wall_ms.saturating_sub(this.config.expire_grace_ms);
        let name = this.name.clone();
        for (dot, hlc, expiry, path, document) in minted {
            let Expiry::Of(of, ended) = expiry else { continue };
            let Some(process) = &self.nodes[node].process else { return Ok(()) };
            ensure(dot.seq == process.last_seq + 1, Promise::DotsAreUnique, || {
                format!("{name} minted {dot:?} after {}", process.last_seq)
            })?;
            let record = before.record(path).map_err(read)?;
            let mut there: BTreeSet<Dot> = record
                .iter()
                .flat_map(|record| record.document.versions())
                .map(|version| version.dot)
                .collect();
            // A tick may also have let something out of quarantine.
            let known = before.frontier().map_err(read)?;
            there.extend(
                self.oracle
                    .known(path, process.replica.frontier())
                    .iter()
                    .filter(|dot| !known.contains(**dot)),
            );
            let live = |dot: &Dot| document.version(*dot).is_some();
            let due =
                |dot: &Dot| self.oracle.has_ended(*dot, if dot.node == id { wall_ms } else { patient_ms });
            let observed: BTreeSet<Dot> =
                there.iter().copied().filter(|dot| !live(dot) && due(dot)).collect();
            let rank = self.oracle.writes().get(&ended).map(|write| write.hlc);
            ensure(observed.contains(&ended) && rank == Some(of), Promise::Expiry, || {
                format!(
                    "{name} ends {ended:?} of {path:?} at {wall_ms}: {:?}",
                    self.oracle.writes().get(&ended)
                )
            })?;
            self.trace.mark(if ended.node == id {
                "a value ended"
            } else {
                "a node ended a value of another"
            });
            self.trace.mix(&[5, dot.epoch.0, dot.seq, hlc.0]);
            self.hlc_max_ms = self.hlc_max_ms.max(hlc.unix_ms());
            let known = Known {
                path: path.clone(),
                hlc,
                content: Content::End(of, ended),
                expires_ms: None,
                observed,
                kept: there.into_iter().filter(live).collect(),
                acknowledged: false,
            };
            match self.oracle.record(dot, known) {
                Err(_) if self.settings.plant == Some(Plant::ReuseEpoch) => {}
                recorded => recorded?,
            }
            let this = &mut self.nodes[node];
            if let Some(process) = this.process.as_mut() {
                process.last_seq = dot.seq;
            }
            if heard != Heard::Nothing {
                this.promised.insert(dot);
            }
        }
        Ok(())
    }

    /// Tells the oracle of the writes of a group, in order.
    pub(super) fn account(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        released: &[Effect],
        heard: Heard,
    ) -> Result<(), Violation> {
        let mut live: BTreeMap<Path, BTreeSet<Dot>> = BTreeMap::new();
        let wall_ms = self.nodes[node].clock.now(self.now_ms).wall_ms;
        // A write may have waited for a new identity, so what is answered is what was done.
        let mut done: Vec<(Write, Result<&Written, &Refusal>)> = Vec::new();
        for effect in released {
            match effect {
                Effect::Reply(request, answer) => {
                    let write = self.pending.remove(request);
                    done.extend(write.map(|write| (write, answer.as_deref().map_err(|refusal| &**refusal))));
                }
                Effect::ReplyAll(request, answer) => {
                    let writes = self.pending_batches.remove(request).unwrap_or_default();
                    match answer {
                        Ok(written) => {
                            if let [first, _, ..] = written.as_slice() {
                                self.units.push(written.iter().map(|written| written.dot).collect());
                                self.trace.mark("atomic batch");
                                self.trace.mix(&[4, first.dot.seq, written.len() as u64]);
                            }
                            done.extend(writes.into_iter().zip(written.iter().map(Ok)));
                        }
                        Err(_) => self.trace.mark("batch refused"),
                    }
                }
                _ => {}
            }
        }
        for (write, answer) in done {
            let record = before
                .record(&write.path)
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
            let versions = live.entry(write.path.clone()).or_insert_with(|| {
                let versions = record.iter().flat_map(|record| record.document.versions());
                versions.map(|version| version.dot).collect()
            });
            let rule = rule(&write.path);
            let visible = self.oracle.visible(rule, versions, wall_ms);
            let settles = write.change.settles();
            let there = visible.is_some() || (settles && !versions.is_empty());
            let admitted = match &write.condition {
                Condition::Always => Some(true),
                Condition::Absent => Some(!there),
                Condition::Present => Some(there),
                Condition::Matches(_) if !there => Some(false),
                Condition::NoneOf(_) if !there => Some(true),
                _ => None,
            };
            let seen = match &write.observed {
                Observed::All => true,
                Observed::These(dots) => versions.iter().all(|dot| dots.contains(dot)),
            };
            let allowed = match &write.change {
                Change::Delete => visible.is_some(),
                Change::Keep(dot) => versions.len() > 1 && seen && versions.contains(dot),
                Change::Resolve(_) => versions.len() > 1 && seen,
                _ => rule != Rule::FirstWriteWins || visible.is_none(),
            };
            let name = &self.nodes[node].name;
            match answer {
                Ok(written) => {
                    ensure(admitted != Some(false) && allowed, Promise::Admission, || {
                        format!("{name} accepts {write:?} over {visible:?}")
                    })?;
                    let this = &self.nodes[node];
                    let last_seq = this.process.as_ref().map_or(0, |process| process.last_seq);
                    let expected = Dot { node: this.id, epoch: this.epoch, seq: last_seq + 1 };
                    let reuses = self.settings.plant == Some(Plant::ReuseEpoch);
                    ensure(written.dot == expected || reuses, Promise::DotsAreUnique, || {
                        format!("{name} minted {:?} and should have minted {expected:?}", written.dot)
                    })?;
                    // The clock has seen every stamp that was merged here.
                    let newest = versions
                        .iter()
                        .filter_map(|dot| self.oracle.writes().get(dot))
                        .map(|known| known.hlc);
                    let newest = newest.max().unwrap_or_default();
                    ensure(written.hlc > newest, Promise::StampsGrow, || {
                        format!("{name} stamps {:?} over {newest:?} at {:?}", written.hlc, write.path)
                    })?;
                    let observed: BTreeSet<Dot> = match &write.observed {
                        Observed::All => versions.clone(),
                        Observed::These(dots) => {
                            versions.iter().copied().filter(|dot| dots.contains(dot)).collect()
                        }
                    };
                    let kept: BTreeSet<Dot> = versions.difference(&observed).copied().collect();
                    let stamp = (written.hlc, written.dot);
                    let content = self.oracle.content(rule, &write.change, &observed, stamp, wall_ms);
                    let ttl_ms = write.ttl.map(Ttl::ms);
                    let expires_ms = self.oracle.expires_ms(&write.change, &content, ttl_ms, written.hlc);
                    if versions.iter().any(|dot| self.oracle.has_ended(*dot, wall_ms)) {
                        self.trace.mark("a write over a value that had ended");
                    }
                    versions.clone_from(&kept);
                    versions.insert(written.dot);
                    self.hlc_max_ms = self.hlc_max_ms.max(written.hlc.unix_ms());
                    let known = Known {
                        path: write.path.clone(),
                        hlc: written.hlc,
                        content,
                        expires_ms,
                        observed,
                        kept,
                        acknowledged: heard == Heard::Now,
                    };
                    self.trace.mix(&[3, written.dot.epoch.0, written.dot.seq, written.hlc.0]);
                    match self.oracle.record(written.dot, known) {
                        Err(_) if reuses => {}
                        recorded => recorded?,
                    }
                    let shown = self.oracle.visible(rule, versions, wall_ms);
                    let found = written.visible.value.as_ref().map(|json| json.get::<Object>().ok());
                    ensure(found == shown.clone().map(Some), Promise::Strategy, || {
                        format!("{write:?} made {:?}, and should have made {shown:?}", written.visible)
                    })?;
                    let this = &mut self.nodes[node];
                    if let Some(process) = this.process.as_mut() {
                        process.last_seq = written.dot.seq;
                    }
                    if heard != Heard::Nothing {
                        this.promised.insert(written.dot);
                    }
                }
                Err(_) => {
                    self.trace.mark("write refused");
                    ensure(admitted != Some(true) || !allowed, Promise::Admission, || {
                        format!("{name} refuses {write:?} over {visible:?}: {answer:?}")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Makes reads of this group or step fail, if they are to.
    pub(super) fn arm_reads(&mut self, node: usize) {
        let this = &self.nodes[node];
        if let Some(fault @ DiskFault::Read(_)) = this.disk_fault {
            this.engine.break_next(fault);
        }
    }

    /// Ends that; says whether a read has failed as planned.
    pub(super) fn disarm_reads(&mut self, node: usize, failed: bool) -> bool {
        let this = &mut self.nodes[node];
        if !matches!(this.disk_fault, Some(DiskFault::Read(_))) {
            return false;
        }
        this.engine.mend();
        if failed {
            this.disk_fault = None;
            self.trace.mark("a read failed");
        }
        failed
    }

    /// Records may go only when a digest session or a claim says so, or when their tombstone is old enough.
    fn check_removed(
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
        // A catch-up reads a snapshot that may hold what would be forgotten. A link that was closed takes its reader along.
        let closes = committed.released.iter().any(|effect| matches!(effect, Effect::Close(..)));
        let serving = this.process.as_ref().map_or(0, |process| process.serving.len());
        ensure(closes || serving == 0, Promise::Collection, || {
            format!("{} forgets {:?} while it serves {serving} catch-ups", this.name, committed.removed)
        })?;
        let oldest_ms =
            this.clock.now(self.now_ms).wall_ms.saturating_sub(this.config.tombstone_retention_ms);
        for path in &committed.removed {
            let record = before
                .record(path)
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
            let versions = record.iter().flat_map(|record| record.document.versions());
            for version in versions {
                let old = self.oracle.is_tombstone(version.dot) && version.hlc.unix_ms() <= oldest_ms;
                ensure(old, Promise::Collection, || {
                    format!("{} forgets {path:?} with {:?} at {oldest_ms}", this.name, version)
                })?;
            }
        }
        self.trace.mark("tombstone collected");
        Ok(())
    }

    /// Pushes that wait on a link stay within their bound, unless one group alone is beyond it.
    fn check_queues(&mut self, node: usize) -> Result<(), Violation> {
        let bound = self.nodes[node].config.push_queue_bytes_max;
        for (link, now_bytes) in std::mem::take(&mut self.pushed_now) {
            let connection = self.links.get(&link).and_then(|id| self.connections.get(id));
            let Some(end) = connection.and_then(|found| Some(&found.ends[found.end_of(link)?])) else {
                continue;
            };
            let pushes = end.queue.iter().filter(|frame| frame.push);
            let waiting: u64 = pushes.map(|frame| frame.bytes.len() as u64).sum();
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
            ensure(path.is_some(), Promise::FrontierIsTrue, || {
                format!("{} claims {dot:?}, which nobody minted", this.name)
            })?;
            touched.extend(path.cloned());
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

    /// No reader sees half of an atomic batch: where one of its versions is live, the others are too, or were replaced by
    /// somebody. Digest sessions bring documents one by one and are left out.
    ///
    /// Says whether there was any of another node to look at.
    fn check_units(&self, node: usize, touched: &BTreeSet<Path>) -> Result<bool, Violation> {
        let this = &self.nodes[node];
        let Some(process) = this.process.as_ref().filter(|_| !this.damaged) else { return Ok(false) };
        if self.trace.marks().contains_key("exchange") {
            return Ok(false);
        }
        let mut of_others = false;
        let snapshot = process.store.snapshot();
        let is_touched = |dot: &Dot| self.oracle.path_of(*dot).is_some_and(|path| touched.contains(path));
        for unit in self.units.iter().filter(|unit| unit.iter().any(is_touched)) {
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
            let missing = gone.into_iter().find(|(path, dot)| !self.was_replaced(path, *dot));
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
        self.oracle
            .check_path(path, process.replica.frontier(), document, false, self.epochs_bind(), forgiven)
            .map_err(|violation| Violation {
                detail: format!("{}: {}", this.name, violation.detail),
                ..violation
            })
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
        ensure(opened.counters() == running.counters(), Promise::RowsAgree, || {
            format!("{}: stored {:?}, running {:?}", this.name, opened.counters(), running.counters())
        })
    }
}
