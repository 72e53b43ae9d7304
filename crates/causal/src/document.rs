//! The state of one path, and the one rule by which two states meet.

use alloc::vec::Vec;

use crate::{Dot, Frontier, Hlc, VersionVector, plant};

/// One value written to a path, with its name and stamp. What a body is (JSON, tombstone) is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<B> {
    /// The write that made it.
    pub dot: Dot,
    /// Orders it among concurrent siblings.
    pub hlc: Hlc,
    /// The value.
    pub body: B,
}

impl<B> Version<B> {
    /// The total order of concurrent siblings: stamp, then dot.
    pub fn rank(&self) -> (Hlc, Dot) {
        (self.hlc, self.dot)
    }
}

/// A dotted version vector set: the causal past `vv`, and the concurrent `versions` (siblings), usually one.
///
/// Invariants: versions are sorted by dot, without repeats, and each is covered by `vv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<B> {
    vv: VersionVector,
    versions: Vec<Version<B>>,
}

/// Why a version left a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A write that saw it replaced it (or a later epoch of its own node did).
    Superseded,
    /// The peer of a digest session has applied it and no longer has it: its delete was collected there.
    Fenced,
}

/// A version that a merge took out of the local document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed<B> {
    /// The version.
    pub version: Version<B>,
    /// Why it went.
    pub why: Lost,
}

/// What a merge made of the local document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<B> {
    /// The new state; without versions it is to be removed from the store.
    pub document: Document<B>,
    /// Versions that came in.
    pub added: Vec<Dot>,
    /// Versions that went.
    pub removed: Vec<Removed<B>>,
    /// Whether versions or `vv` differ from before.
    pub changed: bool,
}

impl<B> Default for Document<B> {
    fn default() -> Self {
        Document { vv: VersionVector::new(), versions: Vec::new() }
    }
}

impl<B> Document<B> {
    /// The state of a path nobody wrote.
    pub fn new() -> Document<B> {
        Document::default()
    }

    /// A document from its parts. Refuses repeated dots and versions that `vv` does not cover (`None`).
    pub fn from_parts(vv: VersionVector, mut versions: Vec<Version<B>>) -> Option<Document<B>> {
        versions.sort_unstable_by_key(|version| version.dot);
        let distinct = versions.windows(2).all(|pair| pair[0].dot != pair[1].dot);
        let covered = versions.iter().all(|version| vv.covers(version.dot));
        (distinct && covered).then_some(Document { vv, versions })
    }

    /// The causal past.
    pub fn vv(&self) -> &VersionVector {
        &self.vv
    }

    /// The concurrent versions, by dot.
    pub fn versions(&self) -> &[Version<B>] {
        &self.versions
    }

    /// Whether no version is left.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The version of that dot.
    pub fn version(&self, dot: Dot) -> Option<&Version<B>> {
        self.versions.binary_search_by_key(&dot, |version| version.dot).ok().map(|at| &self.versions[at])
    }

    fn has(&self, dot: Dot) -> bool {
        self.version(dot).is_some()
    }

    /// The state in which `written` has replaced every version for which `observed` holds.
    ///
    /// A local write is this state, merged like any other: there is one merge path.
    pub fn written(&self, written: Version<B>, mut observed: impl FnMut(&Version<B>) -> bool) -> Document<B>
    where
        B: Clone,
    {
        let mut vv = self.vv.clone();
        vv.raise(written.dot);
        let mut versions: Vec<_> =
            self.versions.iter().filter(|version| !observed(version)).cloned().collect();
        versions.push(written);
        versions.sort_by_key(|version| version.dot);
        Document { vv, versions }
    }

    /// Merges `incoming` into `self`.
    ///
    /// A version stays or comes in when the other side has it too, or does not know it. "Knows" is: the other's
    /// `vv` covers it, or the other's frontier holds it. `applied` is the local frontier: it keeps out a value
    /// whose delete was collected here. `senders` is the frontier of the peer in a digest session, and `None` in
    /// pushes and catch-up, where the sender's frontier did not travel with the state.
    ///
    /// On versions the merge is commutative, associative and idempotent.
    pub fn merge(self, incoming: Document<B>, applied: &Frontier, senders: Option<&Frontier>) -> Merged<B> {
        // What was never heard of here is taken as it is, unless it was collected.
        let never_heard_of = || incoming.versions.iter().all(|theirs| !applied.contains(theirs.dot));
        if self.vv.is_empty() && never_heard_of() && !plant::is("drop-sibling") {
            let added: Vec<Dot> = incoming.versions.iter().map(|theirs| theirs.dot).collect();
            let changed = !incoming.vv.is_empty();
            return Merged { document: incoming, added, removed: Vec::new(), changed };
        }
        let mut versions = Vec::with_capacity(self.versions.len() + incoming.versions.len());
        let mut removed = Vec::new();
        let mut added = Vec::new();
        let mut vv = self.vv.clone();
        vv.join(&incoming.vv);
        let mut changed = vv != self.vv;

        let (local_vv, local_versions) = (self.vv, self.versions);
        let local_has = |dot: Dot| local_versions.binary_search_by_key(&dot, |version| version.dot).is_ok();
        let news: Vec<bool> = incoming
            .versions
            .iter()
            .map(|theirs| {
                let collected = applied.contains(theirs.dot) && !plant::is("merge-without-frontier");
                !local_has(theirs.dot) && !local_vv.covers(theirs.dot) && !collected
            })
            .collect();

        for ours in local_versions {
            if incoming.has(ours.dot) {
                versions.push(ours);
            } else if incoming.vv.covers(ours.dot) {
                removed.push(Removed { version: ours, why: Lost::Superseded });
            } else if senders.is_some_and(|senders| senders.contains(ours.dot)) {
                removed.push(Removed { version: ours, why: Lost::Fenced });
            } else {
                versions.push(ours);
            }
        }
        for (theirs, new) in incoming.versions.into_iter().zip(news) {
            let dropped = plant::is("drop-sibling") && !versions.is_empty();
            if new && !dropped {
                added.push(theirs.dot);
                versions.push(theirs);
            }
        }
        versions.sort_by_key(|version| version.dot);
        changed |= !added.is_empty() || !removed.is_empty();
        Merged { document: Document { vv, versions }, added, removed, changed }
    }
}
