//! Documents with stamps far in the future: held, never merged early, never claimed, never dropped for good.
//!
//! A stamp far ahead would win every conflict and drag every clock. A held document is not in the frontier, so
//! whatever becomes of this memory, a later catch-up brings it again. While it is here, peers are told so and do not send it
//! again ([`crate::Message::Held`]).
//!
//! Invariant: a void dot that only a held document would supersede is not claimed ([`Quarantine::withheld`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rejoin_causal::{Dot, Epoch, Frontier, IntervalSet, NodeId, VersionVector, plant};

use crate::body::{Unit, Version};
use crate::catch_up::weight;
use crate::config::{Config, QUARANTINE_AUTHORS_MAX, QUARANTINE_TOLD_EVERY_MS};
use crate::effect::{Alarm, Effect};
use crate::input::LinkId;
use crate::message::Entry;
use crate::path::Path;
use crate::replica::Group;

/// A document that waits, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its path.
    pub path: Path,
    /// The newest version that it would bring.
    pub dot: Dot,
    /// The peer that it came from. Who wrote it is in `dot`.
    pub peer: NodeId,
    /// When the wall clock reads the newest of its stamps, in Unix milliseconds.
    pub stamp_ms: u64,
    /// Bytes of the document, about.
    pub bytes: u64,
}

/// What a document has in its past that was not applied here when it was held: of each node, all after the first position and
/// up to the second.
type Past = Vec<(NodeId, (Epoch, u64), (Epoch, u64))>;

#[derive(Clone, Debug)]
struct Waiting {
    entry: Entry,
    peer: NodeId,
    /// The link that it came over last: whoever is there need not be told of it.
    link: LinkId,
    release_ms: u64,
    dot: Dot,
    bytes: usize,
    past: Past,
}

/// Held documents, bounded in number and bytes, for all peers together and for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantine {
    held: BTreeMap<Path, Vec<Waiting>>,
    entries: usize,
    bytes: usize,
    by_peer: BTreeMap<NodeId, (usize, usize)>,
    next_release_ms: Option<u64>,
}

/// How far the newest stamp that a document would bring is ahead of `wall_ms`, in milliseconds. Not counted are versions that
/// are applied or that the local past covers, and `own` ones: their author knows better, and mints them again.
pub(crate) fn lead_ms(
    entry: &Entry,
    applied: &Frontier,
    past: Option<&VersionVector>,
    own: NodeId,
    wall_ms: u64,
) -> u64 {
    let news = ahead(entry, applied, past, own);
    news.map(|version| version.hlc.unix_ms().saturating_sub(wall_ms)).max().unwrap_or(0)
}

/// The versions whose stamps count in that.
pub(crate) fn ahead<'a>(
    entry: &'a Entry,
    applied: &'a Frontier,
    past: Option<&'a VersionVector>,
    own: NodeId,
) -> impl Iterator<Item = &'a Version> {
    entry.document.versions().iter().filter(move |version| {
        let known = applied.contains(version.dot) || past.is_some_and(|past| past.covers(version.dot));
        !known && version.dot.node != own
    })
}

/// The versions of a document that are not applied.
pub(crate) fn news<'a>(entry: &'a Entry, applied: &'a Frontier) -> impl Iterator<Item = Dot> + 'a {
    let dots = entry.document.versions().iter().map(|version| version.dot);
    dots.filter(|dot| !applied.contains(*dot))
}

/// What `theirs` covers and `ours` does not.
pub(crate) fn news_of(theirs: &VersionVector, ours: &VersionVector) -> Past {
    let ours: BTreeMap<NodeId, (Epoch, u64)> = ours.tops().map(|top| (top.node, top.position())).collect();
    let news = theirs.tops().map(|top| {
        let known = ours.get(&top.node).copied().unwrap_or((Epoch(0), 0));
        (top.node, known, top.position())
    });
    news.filter(|(_, known, top)| known < top).collect()
}

/// Adds those of `claims` that such a past covers to `withheld`.
pub(crate) fn withhold(past: &Past, claims: &Frontier, withheld: &mut Frontier) {
    for &(node, (from_epoch, from), (to_epoch, to)) in past {
        for (epoch, set) in claims.epochs(node) {
            if epoch < from_epoch || epoch > to_epoch {
                continue;
            }
            let first = if epoch == from_epoch { from.saturating_add(1) } else { 1 };
            let last = if epoch == to_epoch { to } else { set.last().unwrap_or(0) };
            if first <= last {
                withheld.insert_row(node, epoch, &IntervalSet::range(first, last));
            }
        }
    }
}

impl Quarantine {
    /// Holds documents that belong together until the wall clock reads `release_ms`, each with the local past of its path;
    /// gives them back when there is no room for all of them.
    pub(crate) fn hold(
        &mut self,
        bundle: Vec<(Entry, VersionVector)>,
        (link, peer): (LinkId, NodeId),
        release_ms: u64,
        config: &Config,
    ) -> Vec<Entry> {
        // The same state over another link, or again after a reconnect, takes no second place. It comes out with the first
        // that it belongs to.
        let mut news = Vec::new();
        for (entry, local) in bundle {
            let known = self.held.get_mut(&entry.path);
            let known = known.and_then(|held| held.iter_mut().find(|held| held.entry == entry));
            match known {
                Some(known) => {
                    known.release_ms = release_ms.min(known.release_ms);
                    known.link = link;
                }
                None => news.push((entry, local)),
            }
        }
        let bytes: usize = news.iter().map(|(entry, _)| weight(&entry.path, &entry.document)).sum();
        let of_peer = self.by_peer.get(&peer).copied().unwrap_or_default();
        let full = self.entries + news.len() > config.quarantine_entries_max
            || self.bytes + bytes > config.quarantine_bytes_max
            || of_peer.0 + news.len() > config.quarantine_peer_entries_max
            || of_peer.1 + bytes > config.quarantine_peer_bytes_max;
        if full {
            self.find_next_release();
            return news.into_iter().map(|(entry, _)| entry).collect();
        }
        if !plant::is("drop-quarantined") {
            for (entry, local) in news {
                self.put(entry, &local, (link, peer), release_ms);
            }
        }
        self.find_next_release();
        Vec::new()
    }

    fn put(&mut self, entry: Entry, local: &VersionVector, (link, peer): (LinkId, NodeId), release_ms: u64) {
        let newest = entry.document.versions().iter().max_by_key(|version| version.hlc);
        let Some(dot) = newest.map(|version| version.dot) else { return };
        let (path, bytes) = (entry.path.clone(), weight(&entry.path, &entry.document));
        let past = news_of(entry.document.vv(), local);
        let earlier = self.due_before(&path, release_ms);
        // An older state of the same document has no use any more: this one has seen all of it. But for one that is due before
        // it and is a part of a batch: the other parts come out then, and may not do so alone.
        let replaced = self.take(Some(&path), |held| {
            let mut units = crate::unit::units(&held.entry.document);
            entry.document.vv().dominates(held.entry.document.vv())
                && !units.any(|unit| earlier.get(&unit) == Some(&held.release_ms))
        });
        let past = replaced.iter().fold(past, |past, held| join(past, &held.past));
        self.put_in(Waiting { entry, peer, link, release_ms, dot, bytes, past });
    }

    /// The batches that held states of a path belong to which are due before that time, and when the first of each is.
    fn due_before(&self, path: &Path, release_ms: u64) -> BTreeMap<(NodeId, Epoch, Unit), u64> {
        let mut due = BTreeMap::new();
        let held = self.held.get(path).into_iter().flatten();
        for held in held.filter(|held| held.release_ms < release_ms) {
            for unit in crate::unit::units(&held.entry.document) {
                let first = due.entry(unit).or_insert(held.release_ms);
                *first = held.release_ms.min(*first);
            }
        }
        due
    }

    fn put_in(&mut self, held: Waiting) {
        self.entries += 1;
        self.bytes += held.bytes;
        let of_peer = self.by_peer.entry(held.peer).or_default();
        (of_peer.0, of_peer.1) = (of_peer.0 + 1, of_peer.1 + held.bytes);
        self.held.entry(held.entry.path.clone()).or_default().push(held);
    }

    /// Takes out what `chosen` says, of one path or of all.
    fn take(&mut self, path: Option<&Path>, chosen: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let mut take = |held: &mut Vec<Waiting>| {
            let (out, left) = core::mem::take(held).into_iter().partition(|held| chosen(held));
            *held = left;
            let out: Vec<Waiting> = out;
            taken.extend(out);
            !held.is_empty()
        };
        match path {
            Some(path) => {
                if self.held.get_mut(path).is_some_and(|held| !take(held)) {
                    self.held.remove(path);
                }
            }
            None => self.held.retain(|_, held| take(held)),
        }
        for out in &taken {
            self.entries -= 1;
            self.bytes -= out.bytes;
            if let Some(of_peer) = self.by_peer.get_mut(&out.peer) {
                (of_peer.0, of_peer.1) = (of_peer.0 - 1, of_peer.1 - out.bytes);
                if of_peer.0 == 0 {
                    self.by_peer.remove(&out.peer);
                }
            }
        }
        taken
    }

    fn find_next_release(&mut self) {
        self.next_release_ms = self.held.values().flatten().map(|held| held.release_ms).min();
    }

    /// Whether there is room again, for a peer and at all. A quarter is left free, so that what comes then fits.
    pub(crate) fn has_room(&self, peer: NodeId, config: &Config) -> bool {
        let of_peer = self.by_peer.get(&peer).copied().unwrap_or_default();
        let room = |taken: usize, max: usize| taken <= max / 4 * 3;
        room(self.entries, config.quarantine_entries_max)
            && room(self.bytes, config.quarantine_bytes_max)
            && room(of_peer.0, config.quarantine_peer_entries_max)
            && room(of_peer.1, config.quarantine_peer_bytes_max)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a document of that path waits.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.held.contains_key(path)
    }

    /// How many documents of that path wait.
    pub(crate) fn at(&self, path: &Path) -> usize {
        self.held.get(path).map_or(0, Vec::len)
    }

    /// The versions of held documents of a path that another held one has replaced.
    pub(crate) fn answered(&self, path: &Path) -> Vec<Dot> {
        let held = self.held.get(path).map_or(&[][..], Vec::as_slice);
        let dots =
            held.iter().flat_map(|held| held.entry.document.versions().iter().map(|version| version.dot));
        dots.filter(|dot| {
            let mut documents = held.iter().map(|held| &held.entry.document);
            documents.any(|other| other.vv().covers(*dot) && other.version(*dot).is_none())
        })
        .collect()
    }

    /// How many documents of a peer wait.
    pub(crate) fn of_peer(&self, peer: NodeId) -> usize {
        self.by_peer.get(&peer).map_or(0, |(entries, _)| *entries)
    }

    /// Every dot that will be applied with what is held.
    pub(crate) fn claims(&self) -> Frontier {
        self.held.values().flatten().flat_map(|held| held.entry.claims()).collect()
    }

    /// Those of `claims` that may only be applied with what is held: its own dots, and void ones that it may be the only one
    /// to supersede.
    ///
    /// A void dot has no path that anybody could tell. But if a held document superseded it, the document's past covers it,
    /// and the past that was applied here does not: what that one covers has its successors here already.
    pub(crate) fn withheld(&self, claims: &Frontier) -> Frontier {
        let mut withheld = Frontier::new();
        self.held.values().flatten().for_each(|held| withhold(&held.past, claims, &mut withheld));
        withheld
    }

    /// Forgets documents of which a peer says that all they would bring is void, and that it may be claimed: what replaced
    /// them is here, or is collected. One whose dots another that stays holds back stays as well: what replaced it waits.
    pub(crate) fn forget_void(&mut self, void: &Frontier, applied: &Frontier) {
        if self.entries == 0 || void.is_empty() {
            return;
        }
        let mut out = self.take(None, |held| {
            let mut news = news(&held.entry, applied).peekable();
            news.peek().is_some() && news.all(|dot| void.contains(dot))
        });
        loop {
            let withheld = self.withheld(void);
            let stays = |held: &Waiting| news(&held.entry, applied).any(|dot| withheld.contains(dot));
            let (back, rest): (Vec<Waiting>, Vec<Waiting>) = out.into_iter().partition(stays);
            out = rest;
            if back.is_empty() {
                break;
            }
            back.into_iter().for_each(|held| self.put_in(held));
        }
        self.find_next_release();
    }

    /// Documents by a node that lacks them: a power cut has taken them from it, or a backup. About so many bytes of them, and
    /// with them what was written together with them: whose clock is ahead as well shows them at once.
    pub(crate) fn owed_to(&self, author: NodeId, known: &Frontier, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let lacks = |held: &&Waiting| {
            let mut own = held.entry.document.versions().iter().filter(|version| version.dot.node == author);
            own.any(|version| !known.contains(version.dot))
        };
        let owed = self.held.values().flatten().filter(&lacks);
        let enough = |held: &&Waiting| {
            let before = bytes;
            bytes += held.bytes;
            before < bytes_max
        };
        let first = owed.take_while(enough).map(|held| held.entry.path.clone()).collect();
        let together = self.with_batches(first);
        let owed = together.iter().filter_map(|path| self.held.get(path)).flatten().filter(lacks);
        owed.map(|held| held.entry.clone()).collect()
    }

    /// When the wall clock must read for the next release.
    pub(crate) fn next_release_ms(&self) -> Option<u64> {
        self.next_release_ms
    }

    /// The documents whose time has come, each with the link that it came over.
    pub(crate) fn release(&mut self, wall_ms: u64) -> Vec<(Entry, LinkId)> {
        if self.next_release_ms.is_none_or(|next| next > wall_ms) {
            return Vec::new();
        }
        self.release_those(None, |release_ms, _| release_ms <= wall_ms)
    }

    /// The documents of one path, or of all, that `chosen` says by the time of their release and what they are.
    pub(crate) fn release_those(
        &mut self,
        path: Option<&Path>,
        chosen: impl Fn(u64, &Entry) -> bool,
    ) -> Vec<(Entry, LinkId)> {
        let taken = self.take(path, |held| chosen(held.release_ms, &held.entry));
        self.find_next_release();
        taken.into_iter().map(|held| (held.entry, held.link)).collect()
    }

    /// Whether that is so of all documents of these paths.
    pub(crate) fn all<'a>(
        &self,
        mut paths: impl Iterator<Item = &'a Path>,
        is: impl Fn(&Entry) -> bool,
    ) -> bool {
        paths.all(|path| self.held.get(path).into_iter().flatten().all(|held| is(&held.entry)))
    }

    /// All that waits, as an operator sees it, by path.
    pub(crate) fn list(&self) -> Vec<Held> {
        let held = |held: &Waiting| Held {
            path: held.entry.path.clone(),
            dot: held.dot,
            peer: held.peer,
            stamp_ms: held.release_ms,
            bytes: held.bytes as u64,
        };
        self.held.values().flatten().map(held).collect()
    }

    /// The paths of documents that belong to a batch of one that is at `paths`: what has to come out with them.
    pub(crate) fn with_batches(&self, mut paths: BTreeSet<Path>) -> BTreeSet<Path> {
        loop {
            let units: BTreeSet<_> = paths
                .iter()
                .filter_map(|path| self.held.get(path))
                .flatten()
                .flat_map(|held| crate::unit::units(&held.entry.document))
                .collect();
            let joined = self.held.iter().filter(|(path, held)| {
                let of_batch = |held: &Waiting| {
                    crate::unit::units(&held.entry.document).any(|unit| units.contains(&unit))
                };
                !paths.contains(*path) && held.iter().any(of_batch)
            });
            let joined: Vec<Path> = joined.map(|(path, _)| path.clone()).collect();
            if joined.is_empty() {
                return paths;
            }
            paths.extend(joined);
        }
    }
}

/// What the operator is told of held documents: of each node that wrote such, at once and then once a minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarms {
    authors: BTreeMap<NodeId, Untold>,
}

#[derive(Clone, Debug)]
struct Untold {
    told_ms: u64,
    documents: u64,
    ahead_ms: u64,
    peer: NodeId,
    path: Path,
}

impl Alarms {
    /// A document by `author` is held.
    pub(crate) fn note<V>(
        &mut self,
        group: &mut Group<'_, V>,
        author: NodeId,
        peer: NodeId,
        path: &Path,
        ahead_ms: u64,
    ) {
        let now_ms = group.now.steady_ms;
        let known = self.authors.len();
        match self.authors.get_mut(&author) {
            Some(untold) => {
                untold.documents += 1;
                untold.ahead_ms = untold.ahead_ms.max(ahead_ms);
                (untold.peer, untold.path) = (peer, path.clone());
            }
            None if known < QUARANTINE_AUTHORS_MAX => {
                let untold = Untold { told_ms: now_ms, documents: 0, ahead_ms: 0, peer, path: path.clone() };
                self.authors.insert(author, untold);
                let path = path.clone();
                let alarm = Alarm::Quarantined { author, peer, documents: 1, path, ahead_ms };
                group.effects.push(Effect::Alarm(alarm));
            }
            None => {}
        }
        self.tell(group);
    }

    /// Tells what has come together in a minute.
    pub(crate) fn tell<V>(&mut self, group: &mut Group<'_, V>) {
        let now_ms = group.now.steady_ms;
        self.authors.retain(|author, untold| {
            if now_ms.saturating_sub(untold.told_ms) < QUARANTINE_TOLD_EVERY_MS {
                return true;
            }
            if untold.documents == 0 {
                return false;
            }
            group.effects.push(Effect::Alarm(Alarm::Quarantined {
                author: *author,
                peer: untold.peer,
                documents: core::mem::take(&mut untold.documents),
                path: untold.path.clone(),
                ahead_ms: core::mem::take(&mut untold.ahead_ms),
            }));
            untold.told_ms = now_ms;
            true
        });
    }
}

/// The past of a document that takes the place of an older state: what was not applied when that one came is not yet.
fn join(mut past: Past, older: &Past) -> Past {
    for (node, known, top) in older {
        match past.iter_mut().find(|(other, ..)| other == node) {
            Some(row) => (row.1, row.2) = (row.1.min(*known), row.2.max(*top)),
            None => past.push((*node, *known, *top)),
        }
    }
    past
}
