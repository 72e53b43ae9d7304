//! How a world ends: everything heals, everyone becomes equal, and everything is checked.

use std::collections::BTreeSet;

use rejoin_causal::Dot;
use rejoin_replica::View;
use rejoin_replica::path::Path;

use super::World;
use crate::check;
use crate::clock::Clock;
use crate::node::{NodeSnapshot, Process};
use crate::oracle::Object;
use crate::strategies::{policy, rule};
use crate::violation::{Promise, Violation, ensure};

impl World {
    /// Ends every fault: all nodes run, all edges work, all clocks agree and are ahead of every stamp.
    pub fn heal(&mut self) {
        self.note(|_| "everything heals".into());
        for edge in 0..self.edges.len() {
            self.edges[edge].blocked = false;
            self.edges[edge].delay_ms = (1, 10);
            let stalled =
                self.edges[edge].connection.and_then(|connection| self.connections.get(&connection));
            if stalled.is_some_and(|connection| connection.ends.iter().any(|end| end.stalled)) {
                self.cut_edge(edge);
            }
        }
        let ahead = i64::try_from(self.hlc_max_ms).unwrap_or(0)
            - crate::clock::WALL_BASE_MS
            - i64::try_from(self.now_ms).unwrap_or(0);
        let ahead = self.nodes.iter().map(|node| node.clock.offset_ms).fold(ahead.max(0), i64::max);
        for node in 0..self.nodes.len() {
            self.nodes[node].crash = None;
            self.set_clock(node, Clock { offset_ms: ahead, drift_ppm: 0 });
            self.start(node);
        }
        for edge in 0..self.edges.len() {
            self.redial(edge, 1, 200);
        }
    }

    /// Heals, waits until all are equal and quiet, and checks everything.
    pub fn converge(&mut self, bound_ms: u64) -> Result<(), Violation> {
        self.heal();
        let until_ms = self.now_ms + bound_ms;
        while !self.is_converged() {
            if self.now_ms >= until_ms {
                let mut states = String::new();
                for node in &self.nodes {
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
        self.check_all()
    }

    /// Whether all nodes have the same, and nothing is going on.
    pub fn is_converged(&self) -> bool {
        let mut processes = Vec::new();
        for node in &self.nodes {
            let Some(process) = &node.process else { return false };
            processes.push(process);
        }
        let Some(first) = processes.first() else { return true };
        let quiet = |process: &&Process| {
            process.replica.is_quiet()
                && process.inbox.is_empty()
                && process.serving.is_empty()
                && process.auditing.is_empty()
        };
        let same = |process: &&Process| {
            process.replica.frontier() == first.replica.frontier()
                && process.replica.counters().values == first.replica.counters().values
        };
        let idle = self
            .connections
            .values()
            .all(|connection| connection.ends.iter().all(|end| end.queue.is_empty()));
        let linked = self.edges.iter().all(|edge| edge.connection.is_some());
        idle && linked && processes.iter().all(quiet) && processes.iter().all(same)
    }

    /// Checks everything that must hold once all are equal.
    pub fn check_all(&mut self) -> Result<(), Violation> {
        let snapshots: Vec<(usize, NodeSnapshot)> =
            (0..self.nodes.len()).filter_map(|node| Some((node, self.snapshot(node)?))).collect();
        let Some((first, reference)) = snapshots.first() else { return Ok(()) };
        for (node, snapshot) in &snapshots {
            let this = &self.nodes[*node];
            let (name, engine, versions_max) =
                (this.name.clone(), this.engine.clone(), this.config.versions_max);
            check::store(&name, snapshot, &engine, versions_max, &mut self.rng)?;
            self.check_reopened(*node)?;
            check::same_values((&self.nodes[*first].name, &name), reference, snapshot)?;
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
        for path in &paths {
            for (node, snapshot) in &snapshots {
                let record = snapshot.record(path).map_err(read)?;
                let document = record.as_ref().map(|record| &record.document);
                let name = self.nodes[*node].name.clone();
                let forgiven = |dot: Dot| self.history_was_lost && self.was_replaced(path, dot);
                self.oracle
                    .check_path(path, &frontier, document, true, self.epochs_bind(), forgiven)
                    .map_err(|violation| Violation {
                        detail: format!("at the end, {name}: {}", violation.detail),
                        ..violation
                    })?;
                let live: BTreeSet<Dot> = document
                    .into_iter()
                    .flat_map(|document| document.versions())
                    .map(|version| version.dot)
                    .collect();
                let expected = self.oracle.visible(rule(path), &live);
                let shown = document.and_then(|document| policy.visible(path, document));
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

    /// Runs on and fails when a quiet world says more than probes.
    pub fn check_silence(&mut self, for_ms: u64) -> Result<(), Violation> {
        let before = self.sent.clone();
        self.run_until(self.now_ms + for_ms)?;
        for (name, count) in &self.sent {
            let more = count - before.get(name).copied().unwrap_or(0);
            let idle = more == 0 || matches!(*name, "probe" | "same");
            ensure(idle, Promise::Liveness, || format!("{more} {name} messages in a quiet world"))?;
        }
        Ok(())
    }
}
