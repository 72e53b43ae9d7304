//! Machines that are copied or set back with their memory: a process goes on twice under one key, epoch and counter, so
//! that a dot may name two writes. What is lost by it before anybody knows is nobody's to bring back here; what is
//! checked is that it is seen, told to everybody, and that nothing more goes once it is known.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Epoch};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Alarm, Document, DoubtReason, Input, Life, LinkId, Message, Proof, Replica, Statement, StatementKind,
    View, codec, signed_bytes,
};
use rejoin_store::Store;

use super::{Event, World};
use crate::check;
use crate::disk::Disk;
use crate::node::{Committed, NodeSnapshot, Process};
use crate::violation::{Promise, Violation, ensure};

/// The name of the note with what a node has signed and may not have stored otherwise.
const STATEMENTS_NOTE: &str = "statements";

/// A machine as it was, memory and disk.
#[derive(Clone, Debug)]
pub struct Image {
    engine: Disk,
    life: Life,
    replica: Replica,
    last_seq: u64,
    promised: BTreeSet<Dot>,
    alarms: Vec<Alarm>,
}

/// What tells a process that its machine was copied or set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Nothing: only another process of its life, or what others have of it, can.
    Nothing,
    /// The generation id of the machine, looked at so many milliseconds later.
    Generation(u64),
    /// The wall clock against the one that runs on through a suspend, looked at so many milliseconds later.
    ClockJump(u64),
}

impl World {
    /// The machine as it is now. None while it is down, or between two identities.
    pub fn image(&self, node: usize) -> Option<Image> {
        let this = &self.nodes[node];
        let process = this.process.as_ref().filter(|process| !process.replica.is_renewing())?;
        Some(Image {
            engine: this.engine.fork(),
            life: (this.id, this.epoch),
            replica: process.replica.clone(),
            last_seq: process.last_seq,
            promised: this.promised.clone(),
            alarms: this.alarms.clone(),
        })
    }

    /// A copy of a machine with its memory runs on beside it.
    pub fn copy_machine(&mut self, node: usize, name: &str, tells: Tells) -> Option<usize> {
        let image = self.image(node)?;
        self.trace.mark("machine copied with its memory");
        self.note(|world| format!("{} is copied with its memory", world.nodes[node].name));
        let (sync, clock) = (self.nodes[node].sync, self.nodes[node].clock);
        let twin = self.rack(name, image.life.0, sync);
        self.nodes[twin].clock = clock;
        self.nodes[twin].alarms.clone_from(&image.alarms);
        self.wake(twin, &image, tells)?;
        self.detect(node, tells);
        Some(twin)
    }

    /// A machine is set back to what it was, memory and disk, and runs on.
    pub fn set_back(&mut self, node: usize, image: &Image, tells: Tells) {
        self.kill(node);
        self.trace.mark("machine set back with its memory");
        self.note(|world| format!("{} is set back with its memory", world.nodes[node].name));
        if self.wake(node, image, tells).is_none() {
            self.fail(Promise::RowsAgree, "an image does not wake up".into());
        }
    }

    /// A machine goes on as in an image; the connections of then are gone.
    fn wake(&mut self, node: usize, image: &Image, tells: Tells) -> Option<()> {
        self.history_was_lost = true;
        self.oracle.fork(image.life, image.last_seq);
        let this = &mut self.nodes[node];
        this.engine = image.engine.fork();
        this.promised.clone_from(&image.promised);
        (this.id, this.epoch) = image.life;
        this.life += 1;
        let store = Store::open(this.engine.clone(), this.sync).ok()?;
        let links: Vec<LinkId> = image.replica.links().collect();
        this.process = Some(Process::new(store, image.replica.clone(), image.last_seq));
        self.trace.mix(&[6, self.now_ms, node as u64, image.life.1.0, image.last_seq]);
        for link in links {
            self.tell(node, Input::LinkDown(link));
        }
        self.schedule_tick(node);
        for edge in 0..self.edges.len() {
            if self.edges[edge].nodes.contains(&node) {
                self.redial(edge, 1, 100);
            }
        }
        self.detect(node, tells);
        Some(())
    }

    fn detect(&mut self, node: usize, tells: Tells) {
        let (reason, delay_ms) = match tells {
            Tells::Nothing => return,
            Tells::Generation(delay_ms) => (DoubtReason::Generation, delay_ms),
            Tells::ClockJump(delay_ms) => (DoubtReason::ClockJump, delay_ms),
        };
        let life = self.nodes[node].life;
        self.at(self.now_ms + delay_ms, Event::Detect { node, life, reason });
    }

    pub(super) fn detected(&mut self, node: usize, life: u64, reason: DoubtReason) {
        if self.process(node, life).is_some() {
            let epoch = self.nodes[node].epoch;
            self.tell(node, Input::SelfDoubt { epoch, reason });
        }
    }

    /// Two processes of one life have proved it to each other, or to a node that has links with both.
    pub(super) fn twins_meet(&mut self, nodes: [usize; 2]) {
        self.trace.mark("two processes of one life met");
        for node in nodes {
            let epoch = self.nodes[node].epoch;
            self.tell(node, Input::SelfDoubt { epoch, reason: DoubtReason::Twin });
        }
    }

    /// Whether the two ends of a new link have another peer that claims to be the same process; the two prove to be twins
    /// over their links with it.
    pub(super) fn introduce(&mut self, nodes: [usize; 2]) {
        for (host, guest) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
            let guest_life = (self.nodes[guest].id, self.nodes[guest].epoch);
            let others = self.connections.values().filter(|connection| {
                !connection.cut && connection.ends.iter().all(|end| end.open && !end.stalled)
            });
            let other = others.filter_map(|connection| {
                let at = connection.ends.iter().position(|end| end.node == host)?;
                let other = connection.ends[1 - at].node;
                let life = (self.nodes[other].id, self.nodes[other].epoch);
                (other != guest && life == guest_life).then_some(other)
            });
            if let Some(other) = other.min() {
                self.twins_meet([other, guest]);
            }
        }
    }

    /// What a node signs about a life of its own; a stand-in that only who knows the function can make.
    pub(super) fn sign(life: Life, kind: StatementKind) -> Statement {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&life.0.0);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(blake3::hash(&signed_bytes(life, kind)).as_bytes());
        Statement { life, kind, proof: Proof { key, signature } }
    }

    /// Whether a statement is what its node signed: the shell of a receiver checks that.
    pub(super) fn is_signed(statement: &Statement) -> bool {
        *statement == World::sign(statement.life, statement.kind)
    }

    /// What a starting node gives to its replica: that the new life has begun, and what it signed before it died.
    pub(super) fn statements_at_start(
        &self,
        node: usize,
        store: &Store<Disk>,
        epoch: Epoch,
    ) -> Vec<Statement> {
        let mut statements = Vec::new();
        if let Ok(Some(note)) = store.note(STATEMENTS_NOTE)
            && let Ok(Message::Statements(signed)) = codec::decode(&note)
        {
            statements.extend(signed);
        }
        if self.settings.signs {
            statements.push(World::sign((self.nodes[node].id, epoch), StatementKind::Alive));
        }
        statements
    }

    /// Keeps what was signed with the old key before that is gone.
    pub(super) fn keep_signed(store: &mut Store<Disk>, signed: &[Statement]) -> Result<(), Violation> {
        if signed.is_empty() {
            return Ok(());
        }
        let note = codec::encode(&Message::Statements(signed.to_vec()));
        store
            .set_note(STATEMENTS_NOTE, &note)
            .map_err(|error| Violation::new(Promise::RowsAgree, format!("a store fails: {error}")))
    }

    /// What a node knew to be doubtful before a group: lives that are doubted, and those that are suspected.
    pub(super) fn doubtful(&self, node: usize) -> Doubtful {
        let process = self.nodes[node].process.as_ref();
        Doubtful {
            doubted: process.iter().flat_map(|process| process.replica.doubted().keys().copied()).collect(),
            suspected: process.iter().flat_map(|process| process.replica.suspected()).collect(),
        }
    }

    /// A process that has found out about itself has put that down, and nothing that rests on what was doubtful has gone
    /// without anything in its place.
    pub(super) fn check_doubts(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        committed: &Committed,
        doubtful: &Doubtful,
        told: &[Epoch],
    ) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = this.process.as_ref() else { return Ok(()) };
        for epoch in told.iter().filter(|epoch| **epoch == this.epoch) {
            let life = (this.id, *epoch);
            ensure(process.replica.doubted().contains_key(&life), Promise::NeverSilent, || {
                format!("{} has found that {life:?} may be two, and does not say so", this.name)
            })?;
        }
        if doubtful.is_empty() {
            return Ok(());
        }
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let after = process.store.snapshot();
        for path in &committed.touched {
            let Some(old) = before.record(path).map_err(read)?.map(|record| record.document) else {
                continue;
            };
            if !doubtful.has(&old) {
                continue;
            }
            let new = after.record(path).map_err(read)?.map_or_else(Document::new, |record| record.document);
            let gone = old.versions().iter().find(|version| new.version(version.dot).is_none());
            let came = new.versions().iter().any(|version| old.version(version.dot).is_none());
            ensure(gone.is_none() || came, Promise::NeverSilent, || {
                format!("{} removes {gone:?} of {path:?}, which rests on a doubted life", this.name)
            })?;
            self.trace.mark("a document in doubt was written");
        }
        Ok(())
    }

    /// A life that is known to be doubted is not written in.
    pub(super) fn check_not_doubted(
        &self,
        node: usize,
        dot: Dot,
        doubtful: &Doubtful,
    ) -> Result<(), Violation> {
        ensure(!doubtful.doubted.contains(&(dot.node, dot.epoch)), Promise::NeverSilent, || {
            format!("{} writes {dot:?} in a life that it knows to be doubted", self.nodes[node].name)
        })
    }

    /// Whether any of these nodes knows a life to be doubted.
    pub(super) fn doubted_by_any(&self, nodes: &BTreeSet<usize>, life: Life) -> bool {
        nodes.iter().any(|node| {
            let process = self.nodes[*node].process.as_ref();
            process.is_some_and(|process| process.replica.doubted().contains_key(&life))
        })
    }

    /// Where numbers have two meanings, documents that rest on them may differ for good, so that every round looks for the
    /// difference. All else is the same in the end: the frontier, what is doubted, and every other document.
    pub(super) fn are_alike_but_for_doubts(&self, nodes: &BTreeSet<usize>) -> bool {
        let processes: Vec<&Process> =
            nodes.iter().filter_map(|node| self.nodes[*node].process.as_ref()).collect();
        let Some(first) = processes.first() else { return true };
        let (reference, may_differ) = (first.store.snapshot(), self.oracle.may_differ());
        processes.iter().all(|process| {
            let signed = process.replica.doubted().values().all(|doubted| doubted.proof.is_some());
            let lives = || process.replica.doubted().keys().eq(first.replica.doubted().keys());
            let same = || {
                let snapshot = process.store.snapshot();
                check::same_values(("one", "another"), &reference, &snapshot, &may_differ).is_ok()
            };
            !process.replica.is_renewing()
                && signed
                && lives()
                && process.replica.frontier() == first.replica.frontier()
                && same()
        })
    }

    /// Whether nobody could prove that some process runs twice, so that its two halves go on against each other.
    pub(super) fn twins_unseen(&self, nodes: &BTreeSet<usize>) -> bool {
        self.oracle.forks().any(|life| {
            let runs = |node: &usize| (self.nodes[*node].id, self.nodes[*node].epoch) == life;
            !self.doubted_by_any(nodes, life) && nodes.iter().any(runs)
        })
    }

    /// Once all are linked and quiet: what one knows to be doubted, all know, and were told; and no acknowledged write of a
    /// life that was proved to be two is gone without that.
    pub(super) fn check_never_silent(&mut self, nodes: &BTreeSet<usize>) -> Result<(), Violation> {
        let mut doubted: BTreeSet<Life> = BTreeSet::new();
        for node in nodes {
            let process = self.nodes[*node].process.as_ref();
            let signed = process.iter().flat_map(|process| process.replica.doubted());
            doubted.extend(signed.filter(|(_, doubted)| doubted.proof.is_some()).map(|(life, _)| *life));
        }
        for (node, life) in nodes.iter().flat_map(|node| doubted.iter().map(move |life| (*node, *life))) {
            let this = &self.nodes[node];
            let knows =
                this.process.as_ref().is_some_and(|process| process.replica.doubted().contains_key(&life));
            let was_told = this
                .alarms
                .iter()
                .any(|alarm| matches!(alarm, Alarm::LifeDoubted { life: of, .. } if *of == life));
            ensure(knows && was_told, Promise::NeverSilent, || {
                format!(
                    "{} has not heard that {life:?} may be two: knows {knows}, told {was_told}",
                    this.name
                )
            })?;
            self.trace.mark("a doubt reached a node");
        }
        let lost = self.lost_in_doubt(nodes)?;
        for (dot, path) in lost {
            let life = (dot.node, dot.epoch);
            let alarmed = nodes.iter().any(|node| {
                self.nodes[*node].alarms.iter().any(|alarm| match alarm {
                    Alarm::LifeDoubted { life: of, .. } => *of == life,
                    Alarm::SameDotTwice { dot: of, .. } => (of.node, of.epoch) == life,
                    _ => false,
                })
            });
            if alarmed {
                self.trace.mark("an acknowledged write of a life that was two is gone, and an alarm says so");
                continue;
            }
            // Nothing on any node proves the life to be two: only the full repair sees that.
            ensure(!doubted.contains(&life), Promise::NeverSilent, || {
                format!("{dot:?} of {path:?} is gone, and nobody was told")
            })?;
            self.trace.mark("an acknowledged write of a life that was two is gone unseen");
        }
        Ok(())
    }

    /// Acknowledged writes of lives that were two which no node shows, no history has and no later write replaced.
    fn lost_in_doubt(&self, nodes: &BTreeSet<usize>) -> Result<Vec<(Dot, Path)>, Violation> {
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let mut there: BTreeMap<(Path, Dot), BTreeSet<u64>> = BTreeMap::new();
        for node in nodes {
            let Some(snapshot) = self.snapshot(*node) else { continue };
            for path in self.oracle.tainted() {
                let record = snapshot.record(path).map_err(read)?;
                for version in record.iter().flat_map(|record| record.document.versions()) {
                    there.entry((path.clone(), version.dot)).or_default().insert(version.hlc.0);
                }
                for row in snapshot.history(path) {
                    let row = row.map_err(read)?;
                    there.entry((path.clone(), row.version.dot)).or_default().insert(row.version.hlc.0);
                }
            }
        }
        Ok(self
            .oracle
            .in_doubt()
            .filter(|(dot, known)| {
                let found = there.get(&(known.path.clone(), *dot));
                let is_there = found.is_some_and(|stamps| stamps.contains(&known.hlc.0));
                let replaced = || {
                    self.oracle.in_doubt().any(|(_, by)| by.path == known.path && by.observed.contains(dot))
                };
                let replaced = || {
                    let later = self.oracle.writes().values();
                    later.filter(|by| by.path == known.path).any(|by| by.observed.contains(dot)) || replaced()
                };
                known.acknowledged && !is_there && !replaced()
            })
            .map(|(dot, known)| (dot, known.path.clone()))
            .collect())
    }
}

/// Lives that a node knew to be doubtful.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubtful {
    doubted: BTreeSet<Life>,
    suspected: BTreeSet<Life>,
}

impl Doubtful {
    fn is_empty(&self) -> bool {
        self.doubted.is_empty() && self.suspected.is_empty()
    }

    /// Whether a document has a version of such a life, or a past that reaches into it.
    fn has(&self, document: &Document) -> bool {
        let lives = || self.doubted.iter().chain(&self.suspected);
        let version = |life: &Life| document.versions().iter().any(|of| (of.dot.node, of.dot.epoch) == *life);
        let past = |life: &Life| document.vv().tops().any(|top| top.node == life.0 && top.epoch >= life.1);
        lives().any(|life| version(life) || past(life))
    }
}
