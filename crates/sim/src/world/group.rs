//! Groups of inputs: handled, committed, told to the oracle, checked.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Epoch};
use rejoin_replica::path::Path;
use rejoin_replica::{Effects, Input, LinkId, Message, Write};

use super::{Event, World};
use crate::disk::DiskFault;
use crate::node::{Committed, CrashPoint, Recorder};
use crate::plant::Plant;
use crate::violation::{Promise, Violation};

/// What a group of inputs was about.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) writes: bool,
    pub(super) ticks: bool,
    pub(super) messages: bool,
    pub(super) exchanged: bool,
    pub(super) caught_up: bool,
    pub(super) heard: Vec<(LinkId, Dot)>,
    /// Epochs of which the process was told that they may be two.
    pub(super) doubted: Vec<Epoch>,
}

impl Asked {
    fn of(group: &[Input]) -> Asked {
        let mut asked = Asked::default();
        for input in group {
            match input {
                Input::Write(..) | Input::WriteAll(..) | Input::Renewed { .. } => asked.writes = true,
                Input::Tick => asked.ticks = true,
                Input::SelfDoubt { epoch, .. } => asked.doubted.push(*epoch),
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
        let reach_ms = now.wall_ms + self.nodes[node].config.clock_skew_max_ms;
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
            // Nor what it mints again, be it in the very turn in which the clock falls back.
            let falls_back = process.replica.counters().hlc.unix_ms() > reach_ms;
            let mints = with_ends || falls_back || process.replica.is_restamping();
            let alone = matches!(input, Input::Tick) && mints;
            if alone || matches!(input, Input::Release { .. }) {
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
                Input::Renewed { node: id, epoch, .. } => {
                    let left = std::mem::replace(&mut self.nodes[node].id, *id);
                    self.was.insert(*id, left);
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
        let doubtful = self.doubtful(node);
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
        self.account_ends(node, &snapshot, &committed.ends, &committed.released, heard, &doubtful)?;
        self.account_restamped(node, &committed.released, heard)?;
        self.account(node, &snapshot, &committed.released, heard, &doubtful)?;
        if !pretend {
            self.account_removals(node, &committed.by_word)?;
            self.check_removed(node, &snapshot, &committed, &asked)?;
            self.check_doubts(node, &snapshot, &committed, &doubtful, &asked.doubted)?;
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
            by_word: Vec::new(),
            ends: Vec::new(),
            failed: None,
            committed: false,
            collected: false,
        };
        let released = effects
            .commit(&mut recorder)
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a commit fails: {error}")))?;
        let Recorder { touched, removed, by_word, ends, committed, collected, failed, .. } = recorder;
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
        Ok(Committed { released, touched, removed, by_word, ends, failed })
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
}
