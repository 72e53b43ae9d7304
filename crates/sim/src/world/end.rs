//! How a world ends: everything heals, everyone becomes equal, and everything is checked.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, NodeId};
use rejoin_replica::View;
use rejoin_replica::body::is_bare_tombstone;
use rejoin_replica::config::DOCUMENT_BYTES_MAX;
use rejoin_replica::path::Path;

use super::World;
use super::checks::rests_on_doubt;
use crate::check;
use crate::clock::{Clock, WALL_BASE_MS};
use crate::node::{Node, NodeSnapshot, Process};
use crate::oracle::{Object, Terms};
use crate::strategies::{policy, rule};
use crate::violation::{Promise, Violation, ensure};

impl World {
    /// Ends every fault: all nodes run, all edges work, all clocks agree and are ahead of every stamp.
    pub fn heal(&mut self) {
        self.heal_core(&(0..self.nodes.len()).collect(), false);
    }

    /// Ends every fault among these nodes, and cuts them off from all others.
    fn heal_core(&mut self, core: &BTreeSet<usize>, right: bool) {
        self.note(|world| {
            let names: Vec<&str> = core.iter().map(|node| world.nodes[*node].name.as_str()).collect();
            format!("{} heal", names.join(", "))
        });
        for edge in 0..self.edges.len() {
            match self.edges[edge].nodes.map(|node| core.contains(&node)) {
                [true, true] => {
                    self.edges[edge].blocked = false;
                    self.edges[edge].away_until_ms = 0;
                    self.edges[edge].delay_ms = (1, 10);
                    self.end_stall(edge);
                }
                [false, false] => {}
                _ => self.block_edge(edge),
            }
        }
        let ahead = i64::try_from(self.hlc_max_ms).unwrap_or(0)
            - WALL_BASE_MS
            - i64::try_from(self.now_ms).unwrap_or(0);
        let ahead = self.nodes.iter().map(|node| node.clock.offset_ms).fold(ahead.max(0), i64::max);
        let ahead = if right { 0 } else { ahead };
        for &node in core {
            self.allow_removals(node);
            // The operator has heard of what is too large to travel, and has made room for it.
            self.nodes[node].config.document_bytes_max = DOCUMENT_BYTES_MAX;
            self.nodes[node].crash = None;
            self.nodes[node].disk_fault = None;
            self.set_clock(node, Clock { offset_ms: ahead, drift_ppm: 0 });
            self.start(node);
        }
        for edge in 0..self.edges.len() {
            self.redial(edge, 1, 200);
        }
    }

    /// Ends every fault and sets every clock right, whatever stamps there are: all become equal in bounded time, and no write
    /// is left that later ones could not win over, but for those of nodes that are no more. Those an operator takes.
    pub fn converge_at_the_right_time(&mut self, bound_ms: u64) -> Result<(), Violation> {
        let all: BTreeSet<usize> = (0..self.nodes.len()).collect();
        self.heal_core(&all, true);
        // What one node has taken it sends to others, where it waits again, and what a small quarantine had no room for comes in
        // the next round.
        let mut passes = self.nodes.len() + 16;
        let mut bound_ms = bound_ms;
        loop {
            let from_ms = self.now_ms;
            while !self.are_converged(&all) || self.is_any_restamping() {
                if self.now_ms >= from_ms + bound_ms {
                    break;
                }
                self.run_until(self.now_ms + 200)?;
            }
            if self.are_converged(&all) {
                break;
            }
            if self.twins_unseen(&all) {
                self.trace.mark("a life that is two went on unseen");
                return Ok(());
            }
            let here: BTreeSet<NodeId> =
                self.nodes.iter().flat_map(|node| self.identities(node.id)).collect();
            let held = self.all_held()?;
            // What was written together with something from the future waits for it, whoever wrote it.
            let reach_ms = u64::try_from(WALL_BASE_MS).unwrap_or(0)
                + self.now_ms
                + self.settings.config.clock_skew_max_ms;
            let is_ahead =
                |dot| self.oracle.writes().get(dot).is_none_or(|write| write.hlc.unix_ms() > reach_ms);
            let mine = held.iter().find(|dot| here.contains(&dot.node) && is_ahead(dot));
            passes -= 1;
            ensure(passes > 0 && mine.is_none() && !held.is_empty(), Promise::Liveness, || {
                let frontiers: Vec<_> = self.nodes.iter().map(|node| (&node.name, node.frontier())).collect();
                format!("not equal {bound_ms} ms after all clocks are right: held {held:?}, {frontiers:?}")
            })?;
            self.trace.mark("an operator took writes out of quarantine");
            bound_ms = bound_ms.min(80_000);
            for node in 0..self.nodes.len() {
                self.release_all(node);
            }
        }
        self.trace.mark("all clocks were set right");
        let here: BTreeMap<NodeId, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let paths: Vec<Path> = self.oracle.paths().cloned().collect();
        for path in &paths {
            for node in 0..self.nodes.len() {
                let Some(snapshot) = self.snapshot(node) else { continue };
                let record = snapshot
                    .record(path)
                    .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
                let now = self.nodes[node].clock.now(self.now_ms);
                let reach_ms = now.wall_ms + self.settings.config.clock_skew_max_ms;
                // A delete that its author has minted again and collected since stays where it was merged before, and hides
                // nothing: nobody compares bare tombstones.
                let record = record.filter(|record| !is_bare_tombstone(&record.document));
                let versions = record.iter().flat_map(|record| record.document.versions());
                let left = versions
                    .filter(|version| here.contains_key(&version.dot.node))
                    .find(|version| version.hlc.unix_ms() > reach_ms);
                ensure(left.is_none(), Promise::Liveness, || {
                    let name = &self.nodes[node].name;
                    format!("{path:?} at {name}: {left:?} is from the future, and its author is here")
                })?;
            }
        }
        Ok(())
    }

    fn is_any_restamping(&self) -> bool {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        processes.into_iter().any(|process| process.replica.is_restamping())
    }

    /// The newest dot of every document that waits in quarantine anywhere.
    fn all_held(&mut self) -> Result<BTreeSet<Dot>, Violation> {
        let requests: Vec<_> = (0..self.nodes.len()).map(|node| self.ask_for_quarantine(node)).collect();
        self.run_until(self.now_ms + 1_000)?;
        let held = requests.iter().filter_map(|request| self.quarantine(*request)).flatten();
        Ok(held.map(|held| held.dot).collect())
    }

    /// Heals, waits until all are equal and quiet, and checks everything.
    pub fn converge(&mut self, bound_ms: u64) -> Result<(), Violation> {
        self.converge_core(&(0..self.nodes.len()).collect(), bound_ms)
    }

    /// Heals these nodes, cuts them off from all others, waits until they are equal and quiet, and checks them.
    pub fn converge_core(&mut self, core: &BTreeSet<usize>, bound_ms: u64) -> Result<(), Violation> {
        self.heal_core(core, false);
        let from_ms = self.now_ms;
        let until_ms = self.now_ms + bound_ms;
        while !self.are_converged(core) {
            if self.now_ms >= until_ms && self.twins_unseen(core) {
                // Two that say they are one, and nobody who could tell them apart: they hide each other's writes for good.
                self.trace.mark("a life that is two went on unseen");
                return Ok(());
            }
            if self.now_ms >= until_ms {
                let mut states = String::new();
                for node in core.iter().map(|node| &self.nodes[*node]) {
                    let process = node.process.as_ref();
                    let quiet = process.map(|process| process.replica.is_quiet());
                    let values = process.map(|process| process.replica.counters().values);
                    states.push_str(&format!(
                        "\n  {} quiet {quiet:?} values {values:?} {:?}",
                        node.name,
                        node.frontier()
                    ));
                }
                return Err(Violation::new(
                    Promise::Liveness,
                    format!("not equal after {bound_ms} ms: {states}"),
                ));
            }
            self.run_until(self.now_ms + 200)?;
        }
        self.settled_ms = self.settled_ms.max(self.now_ms - from_ms);
        self.check_these(core)
    }

    /// Whether all nodes have the same, and nothing is going on.
    pub fn is_converged(&self) -> bool {
        self.are_converged(&(0..self.nodes.len()).collect())
    }

    fn are_converged(&self, core: &BTreeSet<usize>) -> bool {
        let mut processes = Vec::new();
        for node in core.iter().map(|node| &self.nodes[*node]) {
            let Some(process) = &node.process else { return false };
            processes.push(process);
        }
        let Some(first) = processes.first() else { return true };
        if self.oracle.has_forks() {
            return self.are_alike_but_for_doubts(core);
        }
        let quiet = |process: &&Process| {
            process.replica.is_quiet()
                && !process.renewing
                && process.inbox.is_empty()
                && process.serving.is_empty()
                && process.auditing.is_empty()
        };
        let same = |process: &&Process| {
            process.replica.frontier() == first.replica.frontier()
                && process.replica.counters().values == first.replica.counters().values
        };
        let inside = |nodes: [usize; 2]| nodes.iter().all(|node| core.contains(node));
        let idle = self
            .connections
            .values()
            .filter(|connection| inside([connection.ends[0].node, connection.ends[1].node]))
            .all(|connection| connection.ends.iter().all(|end| end.queue.is_empty()));
        let mut edges = self.edges.iter().filter(|edge| !edge.removed && inside(edge.nodes));
        let linked = edges.all(|edge| edge.connection.is_some());
        idle && linked && processes.iter().all(quiet) && processes.iter().all(same)
    }

    /// Checks everything that must hold once all are equal.
    pub fn check_all(&mut self) -> Result<(), Violation> {
        self.check_these(&(0..self.nodes.len()).collect())
    }

    fn check_these(&mut self, nodes: &BTreeSet<usize>) -> Result<(), Violation> {
        let snapshots: Vec<(usize, NodeSnapshot)> =
            nodes.iter().filter_map(|&node| Some((node, self.snapshot(node)?))).collect();
        // What replaced a value may be known to a node outside, or to nobody any more.
        let history_is_partial = self.history_was_lost || nodes.len() < self.nodes.len();
        // A copy that has written nothing and meets nobody of its own name is not noticed, and does no harm.
        let mut newest: BTreeMap<NodeId, &Node> = BTreeMap::new();
        for this in nodes.iter().map(|node| &self.nodes[*node]) {
            let Some(other) = newest.insert(this.id, this) else { continue };
            let newer = if other.epoch > this.epoch { other } else { this };
            // Two of one life that nobody could tell apart.
            if this.epoch == other.epoch {
                let life = (this.id, this.epoch);
                let seen = self.doubted_by_any(nodes, life);
                ensure(!seen && self.oracle.is_forked(life), Promise::NoClones, || {
                    format!("{} and {} still run as {life:?}", this.name, other.name)
                })?;
            }
            let silent = this.epoch == other.epoch || this.frontier().row(newer.id, newer.epoch).is_none();
            ensure(silent, Promise::NoClones, || {
                format!("{} and {} still run as {:?}", this.name, other.name, this.id)
            })?;
            newest.insert(this.id, newer);
        }
        self.check_never_silent(nodes)?;
        if self.twins_unseen(nodes) {
            // The two keep others from becoming equal, too.
            return Ok(());
        }
        let Some((first, reference)) = snapshots.first() else { return Ok(()) };
        for (node, snapshot) in &snapshots {
            let this = &self.nodes[*node];
            let (name, engine, versions_max) =
                (this.name.clone(), this.engine.clone(), this.config.versions_max);
            check::store(&name, snapshot, &engine, versions_max, &mut self.rng)?;
            self.check_reopened(*node)?;
            let may_differ = self.oracle.may_differ();
            check::same_values((&self.nodes[*first].name, &name), reference, snapshot, &may_differ)?;
            let lost = self.nodes[*node].promised.iter().find(|dot| {
                !self.nodes[*node]
                    .process
                    .as_ref()
                    .is_some_and(|process| process.replica.frontier().contains(**dot))
            });
            ensure(lost.is_none(), Promise::Durable, || {
                format!("{name} acknowledged {lost:?} and does not have it")
            })?;
        }
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let frontier = self.nodes[*first].frontier();
        let paths: Vec<Path> = self.oracle.paths().cloned().collect();
        let policy = policy();
        for path in
            paths.iter().filter(|path| !self.oracle.is_tainted(path)).cloned().collect::<Vec<_>>().iter()
        {
            for (node, snapshot) in &snapshots {
                let record = snapshot.record(path).map_err(read)?;
                let document = record.as_ref().map(|record| &record.document);
                let name = self.nodes[*node].name.clone();
                let forgiven = |dot: Dot| history_is_partial && self.was_replaced(path, dot);
                let process = self.nodes[*node].process.as_ref();
                let held = process.is_some_and(|process| rests_on_doubt(process, document));
                let terms = Terms { settled: true, epochs_bind: self.epochs_bind(), held };
                self.oracle.check_path(path, &frontier, document, terms, forgiven).map_err(|violation| {
                    Violation { detail: format!("at the end, {name}: {}", violation.detail), ..violation }
                })?;
                let live: BTreeSet<Dot> = document
                    .into_iter()
                    .flat_map(|document| document.versions())
                    .map(|version| version.dot)
                    .collect();
                let wall_ms = self.nodes[*node].clock.now(self.now_ms).wall_ms;
                let expected = self.oracle.visible(rule(path), &live, wall_ms);
                let shown = document.and_then(|document| policy.visible(path, document, wall_ms));
                let shown = shown.and_then(|visible| visible.value);
                let found = shown.as_ref().map(|json| json.get::<Object>().ok());
                ensure(found == expected.clone().map(Some), Promise::Strategy, || {
                    format!("{name} shows {shown:?} at {path:?}, and should show {expected:?}")
                })?;
                if live.len() > 2 {
                    self.trace.mark("three siblings at the end");
                }
            }
        }
        Ok(())
    }

    /// Runs on until every value with a time to live has ended, and fails when one is still there.
    pub fn check_ended(&mut self, bound_ms: u64) -> Result<(), Violation> {
        let latest = self.oracle.writes().values().filter_map(|write| write.expires_ms).max();
        let now = |world: &World, node: &Node| node.clock.now(world.now_ms).wall_ms;
        let walls = self.nodes.iter().map(|node| now(self, node));
        let Some(pause_ms) = latest.map(|latest| latest.saturating_sub(walls.min().unwrap_or(latest))) else {
            return Ok(());
        };
        let config = &self.settings.config;
        let patience_ms = config.expire_grace_ms + config.expire_stagger_ms + 1_000;
        self.run_until(self.now_ms + pause_ms + patience_ms + 1_000)?;
        self.converge(bound_ms)?;
        for node in 0..self.nodes.len() {
            let Some(snapshot) = self.snapshot(node) else { continue };
            let wall_ms = now(self, &self.nodes[node]);
            let left = snapshot
                .expiries(0, None, wall_ms.saturating_sub(patience_ms), 64)
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
            let left: Vec<_> = left.iter().filter(|(_, path)| !self.oracle.is_tainted(path)).collect();
            ensure(left.is_empty(), Promise::Expiry, || {
                format!("{} still has a value that ended: {left:?}", self.nodes[node].name)
            })?;
        }
        Ok(())
    }

    /// Runs on and fails when a quiet world says more than probes.
    pub fn check_silence(&mut self, for_ms: u64) -> Result<(), Violation> {
        if self.oracle.has_forks() {
            // Documents may differ for good, so every round looks for the difference.
            return Ok(());
        }
        let before = self.sent.clone();
        self.run_until(self.now_ms + for_ms)?;
        for (name, count) in &self.sent {
            let more = count - before.get(name).copied().unwrap_or(0);
            // Either end of a link asks once in a round, and rounds come nine tenths of an interval apart at the least.
            let interval_ms = self.settings.config.anti_entropy_interval_ms.unwrap_or(u64::MAX);
            let rounds = for_ms / (interval_ms - interval_ms / 10) + 2;
            let asked_for = rounds * 2 * self.edges.len() as u64;
            let idle = more == 0 || matches!(*name, "probe" | "same" | "clock") && more <= asked_for;
            ensure(idle, Promise::Liveness, || format!("{more} {name} messages in a quiet world"))?;
        }
        Ok(())
    }
}
