//! One replica of the model: the real documents, frontier and floor, and nothing else.

use std::collections::BTreeMap;

use rejoin_causal::{Document, Dot, Epoch, Floor, Frontier, Hlc, NodeId, Version};

use crate::rules::{Mutant, Rules};

pub(crate) type Path = usize;

/// A value, or a tombstone.
pub(crate) type Body = Option<u64>;

/// What a replica keeps on disk; also what a session reads and what a backup holds.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) documents: BTreeMap<Path, Document<Body>>,
    pub(crate) frontier: Frontier,
    pub(crate) floor: Floor,
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
}

pub(crate) struct Replica {
    pub(crate) node: NodeId,
    pub(crate) state: State,
}

impl State {
    /// The document of `path`, empty when there is none.
    pub(crate) fn document(&self, path: Path) -> Document<Body> {
        self.documents.get(&path).cloned().unwrap_or_default()
    }

    /// What a digest is taken of: the versions of each document that has a value. A bare tombstone is not in it;
    /// replicas collect those at different times, and one whose past has not been applied must not go early.
    pub(crate) fn digest(&self) -> BTreeMap<Path, Vec<(Dot, Body)>> {
        let versions = |document: &Document<Body>| {
            document.versions().iter().map(|version| (version.dot, version.body)).collect::<Vec<_>>()
        };
        let all = self.documents.iter().map(|(&path, document)| (path, versions(document)));
        all.filter(|(_, versions)| versions.iter().any(|(_, body)| body.is_some())).collect()
    }

    /// Where each live version is: the log index.
    pub(crate) fn log(&self) -> BTreeMap<Dot, Path> {
        self.documents
            .iter()
            .flat_map(|(&path, document)| document.versions().iter().map(move |version| (version.dot, path)))
            .collect()
    }
}

impl Replica {
    pub(crate) fn new(index: usize, epoch: Epoch) -> Replica {
        let id = [u8::try_from(index).expect("a few replicas"); 16];
        let state = State {
            documents: BTreeMap::new(),
            frontier: Frontier::new(),
            floor: Floor::new(),
            epoch,
            seq: 0,
        };
        Replica { node: NodeId(id), state }
    }

    pub(crate) fn start(&mut self, epoch: Epoch) {
        self.state.epoch = epoch;
        self.state.seq = 0;
    }

    /// Writes `body` over the versions of `path` for which `observed` holds.
    pub(crate) fn write(
        &mut self,
        rules: Rules,
        path: Path,
        body: Body,
        hlc: Hlc,
        observed: impl Fn(Dot) -> bool,
    ) -> Dot {
        self.state.seq += 1;
        let dot = Dot { node: self.node, epoch: self.state.epoch, seq: self.state.seq };
        let written =
            self.state.document(path).written(Version { dot, hlc, body }, |version| observed(version.dot));
        self.merge(rules, path, written, None);
        self.state.frontier.insert(dot);
        dot
    }

    /// Merges an incoming state of `path`; says whether the local one changed.
    pub(crate) fn merge(
        &mut self,
        rules: Rules,
        path: Path,
        incoming: Document<Body>,
        senders: Option<&Frontier>,
    ) -> bool {
        let nothing = Frontier::new();
        let applied = if rules.mutant == Mutant::NoDrop { &nothing } else { &self.state.frontier };
        let existed = self.state.documents.contains_key(&path);
        let carried: Vec<Dot> = incoming.versions().iter().map(|version| version.dot).collect();
        let merged = self.state.document(path).merge(incoming, applied, senders);
        if rules.mutant != Mutant::NamedOnly {
            for dot in carried {
                self.state.frontier.insert(dot);
            }
        }
        if merged.document.is_empty() {
            self.state.documents.remove(&path);
            return existed;
        }
        self.state.documents.insert(path, merged.document);
        merged.changed
    }

    /// Collects those tombstone documents of which this replica has applied the whole past and `due` holds.
    pub(crate) fn collect(&mut self, rules: Rules, mut due: impl FnMut() -> bool) -> Vec<Path> {
        let State { documents, frontier, floor, .. } = &mut self.state;
        let ready = |document: &Document<Body>| {
            rules.mutant == Mutant::CollectUnready
                || document.vv().tops().all(|top| frontier.is_dense_to(top))
        };
        let mut collected = Vec::new();
        documents.retain(|&path, document| {
            let deleted = document.versions().iter().all(|version| version.body.is_none());
            if !(deleted && ready(document) && due()) {
                return true;
            }
            for version in document.versions() {
                floor.raise(version.dot);
            }
            collected.push(path);
            false
        });
        collected
    }
}
