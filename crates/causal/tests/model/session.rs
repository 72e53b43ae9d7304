//! One session: a receiver catches up from a server, a step at a time, and may break between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use rejoin_causal::{Dot, Frontier};

use crate::replica::{Path, Replica, State};
use crate::rng::Rng;
use crate::rules::{Fence, Mutant, Rules};

pub(crate) struct Session {
    pub(crate) server: usize,
    pub(crate) receiver: usize,
    rules: Rules,
    stage: Stage,
}

/// What a step of a session did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    OpenedDigest,
    OpenedLog,
    Sent,
    Ended,
}

enum Stage {
    Opening { audit: bool },
    Digest { server: Box<State>, receiver: Box<State>, paths: Vec<Path> },
    Log { server: Box<State>, index: BTreeMap<Dot, Path>, missing: Frontier, queue: VecDeque<Dot> },
    Ended,
}

impl Session {
    pub(crate) fn catch_up(rules: Rules, server: usize, receiver: usize) -> Session {
        Session { server, receiver, rules, stage: Stage::Opening { audit: false } }
    }

    /// A digest session that no fence asked for: the repair of unequal documents under equal frontiers.
    pub(crate) fn audit(rules: Rules, server: usize, receiver: usize) -> Session {
        Session { server, receiver, rules, stage: Stage::Opening { audit: true } }
    }

    pub(crate) fn involves(&self, replica: usize) -> bool {
        self.server == replica || self.receiver == replica
    }

    pub(crate) fn step(&mut self, server: &mut Replica, receiver: &mut Replica, rng: &mut Rng) -> Progress {
        match &mut self.stage {
            Stage::Opening { audit } => {
                let fenced = server.state.floor.fences(&server.state.frontier, &receiver.state.frontier);
                let spared = self.rules.fence == Fence::ThenLog && receiver.state.documents.is_empty();
                let digest = self.rules.mutant != Mutant::NoFence && (*audit || (fenced && !spared));
                if digest {
                    self.open_digest(server, receiver, rng)
                } else {
                    self.open_log(server, receiver, rng)
                }
            }
            Stage::Digest { server: sent, receiver: answered, paths } => {
                let Some(path) = paths.pop() else { return self.end_digest(server, receiver, rng) };
                let (ours, theirs) = match self.rules.mutant {
                    Mutant::StalePairing => (server.state.frontier.clone(), receiver.state.frontier.clone()),
                    _ => (sent.frontier.clone(), answered.frontier.clone()),
                };
                receiver.merge(self.rules, path, sent.document(path), Some(&ours));
                if self.rules.fence == Fence::ThenLog {
                    server.merge(self.rules, path, answered.document(path), Some(&theirs));
                }
                Progress::Sent
            }
            Stage::Log { server: sent, index, missing, queue } => {
                let Some(dot) = queue.pop_front() else {
                    receiver.state.frontier.union_with(missing);
                    if self.rules.fence == Fence::ThenLog && self.rules.mutant != Mutant::NoFloorJoin {
                        receiver.state.floor.join(&sent.floor);
                    }
                    self.stage = Stage::Ended;
                    return Progress::Ended;
                };
                if let Some(&path) = index.get(&dot) {
                    receiver.merge(self.rules, path, sent.document(path), None);
                    receiver.state.frontier.insert(dot);
                }
                Progress::Sent
            }
            Stage::Ended => Progress::Ended,
        }
    }

    fn open_digest(&mut self, server: &Replica, receiver: &Replica, rng: &mut Rng) -> Progress {
        let mut paths: Vec<Path> = match self.rules.fence {
            Fence::DigestOnly => {
                let (ours, theirs) = (&server.state.documents, &receiver.state.documents);
                ours.keys().chain(theirs.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect()
            }
            Fence::ThenLog if self.rules.mutant == Mutant::DigestTombstones => {
                let versions = |state: &State, path| state.document(path).versions().to_vec();
                let (ours, theirs) = (&server.state, &receiver.state);
                let all: BTreeSet<Path> =
                    ours.documents.keys().chain(theirs.documents.keys()).copied().collect();
                all.into_iter().filter(|&path| versions(ours, path) != versions(theirs, path)).collect()
            }
            Fence::ThenLog => {
                let (ours, theirs) = (server.state.digest(), receiver.state.digest());
                let all: BTreeSet<Path> = ours.keys().chain(theirs.keys()).copied().collect();
                all.into_iter().filter(|path| ours.get(path) != theirs.get(path)).collect()
            }
        };
        rng.shuffle(&mut paths);
        self.stage = Stage::Digest {
            server: Box::new(server.state.clone()),
            receiver: Box::new(receiver.state.clone()),
            paths,
        };
        Progress::OpenedDigest
    }

    fn end_digest(&mut self, server: &Replica, receiver: &mut Replica, rng: &mut Rng) -> Progress {
        let Stage::Digest { server: sent, .. } = &self.stage else { return Progress::Ended };
        if self.rules.fence == Fence::ThenLog {
            if self.rules.mutant == Mutant::DigestJoins {
                receiver.state.frontier.union_with(&server.state.frontier);
            }
            return self.open_log(server, receiver, rng);
        }
        receiver.state.frontier.union_with(&sent.frontier);
        receiver.state.floor.join(&sent.floor);
        self.stage = Stage::Ended;
        Progress::Ended
    }

    fn open_log(&mut self, server: &Replica, receiver: &mut Replica, rng: &mut Rng) -> Progress {
        let missing = server.state.frontier.difference(&receiver.state.frontier);
        let mut rows: Vec<Vec<Dot>> = missing
            .rows()
            .map(|(node, epoch, set)| set.iter().map(|seq| Dot { node, epoch, seq }).collect())
            .collect();
        rng.shuffle(&mut rows);
        let index = server.state.log();
        match self.rules.mutant {
            Mutant::ClaimEarly => receiver.state.frontier.union_with(&missing),
            Mutant::VoidEarly => {
                let void: Frontier = missing.iter().filter(|dot| !index.contains_key(dot)).collect();
                receiver.state.frontier.union_with(&void);
            }
            _ => {}
        }
        self.stage = Stage::Log {
            server: Box::new(server.state.clone()),
            index,
            missing,
            queue: rows.into_iter().flatten().collect(),
        };
        Progress::OpenedLog
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Opening { .. } => "opening",
            Stage::Digest { .. } => "digest",
            Stage::Log { .. } => "log",
            Stage::Ended => "ended",
        };
        write!(f, "session {}->{} {stage}", self.server, self.receiver)
    }
}
