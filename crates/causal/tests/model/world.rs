//! A random schedule over a few replicas, then reconnection, then three checks: the same everywhere, no zombie,
//! nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rejoin_causal::{Document, Dot, Epoch, Hlc};

use crate::replica::{Body, Path, Replica, State};
use crate::rng::Rng;
use crate::rules::{Configuration, Mutant, Rules};
use crate::session::{Progress, Session};

pub(crate) struct World {
    rng: Rng,
    rules: Rules,
    configuration: Configuration,
    replicas: Vec<Replica>,
    boots: u64,
    pushes: Vec<Push>,
    sessions: Vec<Session>,
    backups: BTreeMap<usize, State>,
    writes: BTreeMap<Dot, Write>,
    pub(crate) counts: Counts,
    trace: Option<Vec<String>>,
}

/// How often things happened that a run must have met to mean anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) logs: u64,
    pub(crate) digests: u64,
    pub(crate) repairs: u64,
    pub(crate) collected: u64,
    pub(crate) restores: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.logs += other.logs;
        self.digests += other.digests;
        self.repairs += other.repairs;
        self.collected += other.collected;
        self.restores += other.restores;
    }
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    FrontiersDiffer,
    Diverged,
    Zombie(Dot),
    Lost(Dot),
    /// A replica has applied a dot that its document of that path does not cover, where nothing is ever collected.
    Uncovered(Dot),
}

struct Push {
    from: usize,
    to: usize,
    path: Path,
    document: Document<Body>,
    dot: Dot,
}

/// What the oracle knows of an acknowledged write.
struct Write {
    path: Path,
    body: Body,
    superseded: BTreeSet<Dot>,
    boot: u64,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules, configuration: Configuration) -> World {
        let mut world = World {
            rng: Rng::of_seed(seed),
            rules,
            configuration,
            replicas: Vec::new(),
            boots: 0,
            pushes: Vec::new(),
            sessions: Vec::new(),
            backups: BTreeMap::new(),
            writes: BTreeMap::new(),
            counts: Counts::default(),
            trace: None,
        };
        for index in 0..configuration.replicas {
            let epoch = world.next_epoch();
            world.replicas.push(Replica::new(index, epoch));
        }
        world
    }

    /// Records every event, for [`World::trace`].
    pub(crate) fn traced(mut self) -> World {
        self.trace = Some(Vec::new());
        self
    }

    pub(crate) fn trace(&self) -> String {
        self.trace.iter().flatten().map(|line| format!("  {line}\n")).collect()
    }

    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..self.configuration.steps {
            self.one_event();
            self.advance_sessions();
            self.check_covered()?;
        }
        self.reconnect();
        self.note(|world| format!("end\n{world:#?}"));
        self.check()
    }

    fn one_event(&mut self) {
        let at = self.rng.below(self.replicas.len());
        let event = self.rng.unit();
        if event < 0.33 {
            self.write(at);
        } else if event < 0.60 && !self.pushes.is_empty() {
            let chosen = self.rng.below(self.pushes.len());
            let again = self.rng.chance(0.2);
            self.deliver(chosen, again);
        } else if event < 0.66 && !self.pushes.is_empty() {
            let chosen = self.rng.below(self.pushes.len());
            let push = self.pushes.swap_remove(chosen);
            self.note(|_| format!("lose {push:?}"));
        } else if event < 0.88 {
            let other = (at + 1 + self.rng.below(self.replicas.len() - 1)) % self.replicas.len();
            self.sessions.push(Session::catch_up(self.rules, at, other));
        } else if event < 0.88 + self.configuration.collect {
            self.collect(at);
        }
        let restore = self.configuration.restore;
        if restore > 0.0 && self.rng.chance(restore) {
            self.restart_or_restore(at);
        }
    }

    fn write(&mut self, at: usize) {
        let path = self.rng.below(self.configuration.paths);
        let versions: Vec<Dot> =
            self.replicas[at].state.document(path).versions().iter().map(|version| version.dot).collect();
        let mut superseded: BTreeSet<Dot> = versions.iter().copied().collect();
        if !superseded.is_empty() && self.rng.chance(self.configuration.client_context) {
            superseded.retain(|_| self.rng.chance(0.5));
        }
        let whole = !superseded.is_empty() && superseded.len() == versions.len();
        let delete = whole && self.rng.chance(0.35);
        let body = (!delete).then(|| self.rng.next() % 999);
        let hlc = Hlc(self.writes.len() as u64);
        let dot = self.replicas[at].write(self.rules, path, body, hlc, |dot| superseded.contains(&dot));
        self.note(|_| format!("{at}: write {dot:?} p{path} = {body:?} over {superseded:?}"));
        let boot = self.boots;
        // A dot minted twice (a mutant does it) keeps its first meaning.
        self.writes.entry(dot).or_insert(Write { path, body, superseded, boot });
        self.push(at, None, path, dot);
    }

    fn push(&mut self, from: usize, except: Option<usize>, path: Path, dot: Dot) {
        for to in 0..self.replicas.len() {
            if to != from && Some(to) != except && self.rng.chance(0.6) {
                let document = self.replicas[from].state.document(path);
                self.pushes.push(Push { from, to, path, document, dot });
            }
        }
    }

    fn deliver(&mut self, chosen: usize, again: bool) {
        let Push { from, to, path, document, dot } = match again {
            true => self.pushes[chosen].clone(),
            false => self.pushes.swap_remove(chosen),
        };
        let receiver = &mut self.replicas[to];
        let fresh = !receiver.state.frontier.contains(dot);
        let changed = receiver.merge(self.rules, path, document, None);
        receiver.state.frontier.insert(dot);
        let forward = (fresh || changed) && receiver.state.documents.contains_key(&path);
        self.note(|_| format!("{to}: push of p{path} for {dot:?} from {from}"));
        if forward {
            self.push(to, Some(from), path, dot);
        }
    }

    fn collect(&mut self, at: usize) {
        let World { replicas, rng, rules, .. } = self;
        let collected = replicas[at].collect(*rules, || rng.chance(0.5));
        self.counts.collected += collected.len() as u64;
        self.note(|world| format!("{at}: collect {collected:?}, floor {:?}", world.replicas[at].state.floor));
    }

    fn restart_or_restore(&mut self, at: usize) {
        if self.backups.contains_key(&at) && self.rng.chance(0.5) {
            if let Some(backup) = self.backups.remove(&at) {
                self.sessions.retain(|session| !session.involves(at));
                self.counts.restores += 1;
                let fresh = self.next_epoch();
                let old = backup.epoch;
                let replica = &mut self.replicas[at];
                replica.state = backup;
                match self.rules.mutant {
                    Mutant::Reuse => {}
                    Mutant::EpochStepsBack => replica.start(Epoch(old.0 + (fresh.0 >> BOOT_SHIFT))),
                    _ => replica.start(fresh),
                }
                self.note(|world| format!("{at}: restore, epoch {:?}", world.replicas[at].state.epoch));
            }
        } else if self.rng.chance(0.5) {
            self.backups.insert(at, self.replicas[at].state.clone());
            self.note(|_| format!("{at}: backup"));
        } else {
            self.sessions.retain(|session| !session.involves(at));
            let epoch = self.next_epoch();
            self.replicas[at].start(epoch);
            self.note(|_| format!("{at}: restart, epoch {epoch:?}"));
        }
    }

    /// Epochs leave room for the mutant that mints new ones out of order.
    fn next_epoch(&mut self) -> Epoch {
        self.boots += 1;
        Epoch(self.boots << BOOT_SHIFT)
    }

    fn advance_sessions(&mut self) {
        let mut going = std::mem::take(&mut self.sessions);
        going.retain_mut(|session| {
            if self.rng.chance(0.6) {
                self.step(session) != Progress::Ended
            } else {
                let breaks = self.rng.chance(0.08);
                if breaks {
                    self.note(|_| format!("break {session:?}"));
                }
                !breaks
            }
        });
        self.sessions = going;
    }

    fn step(&mut self, session: &mut Session) -> Progress {
        let pair = self.replicas.get_disjoint_mut([session.server, session.receiver]);
        let [server, receiver] = pair.expect("a session joins two replicas");
        let progress = session.step(server, receiver, &mut self.rng);
        match progress {
            Progress::OpenedDigest => self.counts.digests += 1,
            Progress::OpenedLog => self.counts.logs += 1,
            Progress::Sent | Progress::Ended => {}
        }
        self.note(|_| format!("{session:?}: {progress:?}"));
        progress
    }

    fn complete(&mut self, mut session: Session) {
        while self.step(&mut session) != Progress::Ended {}
    }

    /// Catch-ups until frontiers are equal, then digest sessions until documents are.
    fn reconnect(&mut self) {
        self.note(|world| format!("reconnect\n{world:#?}"));
        self.pushes.clear();
        self.sessions.clear();
        for _ in 0..20 {
            for (server, receiver) in self.pairs() {
                let ours = &self.replicas[server].state.frontier;
                if !self.replicas[receiver].state.frontier.is_superset(ours) {
                    self.complete(Session::catch_up(self.rules, server, receiver));
                }
            }
        }
        for _ in 0..12 {
            for (server, receiver) in self.pairs() {
                if self.replicas[server].state.digest() != self.replicas[receiver].state.digest() {
                    self.counts.repairs += 1;
                    self.complete(Session::audit(self.rules, server, receiver));
                }
            }
        }
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.replicas.len();
        all.clone().flat_map(|a| all.clone().filter(move |&b| a != b).map(move |b| (a, b))).collect()
    }

    fn check(&self) -> Result<(), Violation> {
        let known = &self.replicas[0].state.frontier;
        if self.replicas.iter().any(|replica| replica.state.frontier != *known) {
            return Err(Violation::FrontiersDiffer);
        }
        let visible = visible(&self.replicas[0]);
        if self.replicas.iter().any(|replica| self::visible(replica) != visible) {
            return Err(Violation::Diverged);
        }
        let known: BTreeMap<Dot, &Write> =
            known.iter().filter_map(|dot| Some((dot, self.writes.get(&dot)?))).collect();
        let dead = self.superseded_by(known.values().copied());
        if let Some(&(_, zombie)) = visible.keys().find(|(_, dot)| dead.contains(dot)) {
            return Err(Violation::Zombie(zombie));
        }
        // A write whose successor went down with a lost tail is neither demanded nor forbidden.
        let ever_dead = self.superseded_by(self.writes.values());
        let spared = if self.configuration.restore > 0.0 { &ever_dead } else { &dead };
        // After a restore, what a node writes to a path wins over what an earlier life of it wrote there.
        let outlived = |dot: Dot, write: &Write| {
            self.writes.iter().any(|(later, other)| {
                (known.contains_key(later) || dead.contains(later))
                    && later.node == dot.node
                    && later.epoch != dot.epoch
                    && other.boot > write.boot
                    && other.path == write.path
            })
        };
        for (&dot, write) in &known {
            let Some(body) = write.body else { continue };
            let shown = visible.get(&(write.path, dot)) == Some(&body);
            if !shown && !spared.contains(&dot) && !outlived(dot, write) {
                return Err(Violation::Lost(dot));
            }
        }
        Ok(())
    }

    /// Where nothing is ever collected, a replica's documents cover all that it has applied.
    fn check_covered(&self) -> Result<(), Violation> {
        if self.configuration.collect > 0.0 {
            return Ok(());
        }
        for Replica { state, .. } in &self.replicas {
            let covered = |dot: &Dot| {
                let document = state.documents.get(&self.writes[dot].path);
                document.is_some_and(|document| document.vv().covers(*dot))
            };
            if let Some(dot) = state.frontier.iter().find(|dot| !covered(dot)) {
                return Err(Violation::Uncovered(dot));
            }
        }
        Ok(())
    }

    /// What those writes replaced, and what that had replaced before.
    fn superseded_by<'a>(&'a self, writes: impl Iterator<Item = &'a Write>) -> BTreeSet<Dot> {
        let mut dead = BTreeSet::new();
        let mut queue: Vec<&Write> = writes.collect();
        while let Some(write) = queue.pop() {
            for &dot in &write.superseded {
                if dead.insert(dot) {
                    queue.extend(self.writes.get(&dot));
                }
            }
        }
        dead
    }

    fn note(&mut self, line: impl FnOnce(&World) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            self.trace.get_or_insert_default().push(line);
        }
    }
}

const BOOT_SHIFT: u32 = 16;

/// Every value that a reader may meet.
fn visible(replica: &Replica) -> BTreeMap<(Path, Dot), u64> {
    let of = |path: Path, document: &Document<Body>| {
        let live = document.versions().iter().filter_map(|version| Some((version.dot, version.body?)));
        live.map(|(dot, body)| ((path, dot), body)).collect::<Vec<_>>()
    };
    replica.state.documents.iter().flat_map(|(&path, document)| of(path, document)).collect()
}

impl Clone for Push {
    fn clone(&self) -> Push {
        Push { document: self.document.clone(), ..*self }
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "push {}->{} of p{} for {:?}", self.from, self.to, self.path, self.dot)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, replica) in self.replicas.iter().enumerate() {
            let State { documents, frontier, floor, .. } = &replica.state;
            writeln!(f, "    {index}: F {:?} floor {floor:?}", frontier.rows().collect::<Vec<_>>())?;
            for (path, document) in documents {
                let live: Vec<_> =
                    document.versions().iter().map(|version| (version.dot, version.body)).collect();
                writeln!(f, "       p{path} {live:?} vv {:?}", document.vv())?;
            }
        }
        Ok(())
    }
}
