//! An independent account of every write, and what must be true of replicas that know some of them.
//!
//! It shares no code with the merge. It records, for each write that was minted, which live versions of its path it
//! replaced and which it left beside it, as seen at its node at that moment. From that alone follows which versions a
//! replica must have whose frontier holds a given set of dots: exactly those that no write of the set replaced,
//! directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Epoch, Frontier, Hlc};
use rejoin_replica::path::Path;
use rejoin_replica::{Body, Change, Document, Expiry, Life};

use crate::violation::{Promise, Violation, ensure};

/// A flat object: all that the workload writes.
pub type Object = BTreeMap<String, i64>;

/// How the oracle resolves siblings; an own account of the strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Newest.
    LastWriteWins,
    /// Oldest value.
    FirstWriteWins,
    /// Newest of each field.
    MergeFields,
    /// The resolver that worlds install: the greatest value of each field.
    GreatestOfEach,
}

/// A field under merge-fields: its stamp and its value, or that it was removed.
pub type Register = ((Hlc, Dot), Option<i64>);

/// What a write wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A delete.
    Tombstone,
    /// A value.
    Value(Object),
    /// Registers, under merge-fields.
    Fields(BTreeMap<String, Register>),
    /// The end of a value with a time to live, of that stamp and dot.
    End(Hlc, Dot),
}

/// One write that was minted.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where.
    pub path: Path,
    /// When, by its node's clock.
    pub hlc: Hlc,
    /// What.
    pub content: Content,
    /// When that ends, in Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// The live versions it replaced.
    pub observed: BTreeSet<Dot>,
    /// The live versions it left.
    pub kept: BTreeSet<Dot>,
    /// Its client was told.
    pub acknowledged: bool,
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    writes: BTreeMap<Dot, Known>,
    paths: BTreeMap<Path, BTreeSet<Dot>>,
    /// Lives that went on twice, each with the last number that has one meaning.
    forks: BTreeMap<Life, u64>,
    /// The second meanings of dots.
    second: Vec<(Dot, Known)>,
    /// Paths that were written in such a life: what is there may rest on numbers with two meanings, and is then not removed
    /// although all that it says was replaced.
    tainted: BTreeSet<Path>,
    /// Lives that somebody doubts, rightly or not.
    doubted: BTreeSet<Life>,
    /// Paths that were written in one of those, or later by the same node.
    in_doubt: BTreeSet<Path>,
    /// Versions that some node has removed because a member lied, with a row of history that names the member. Others learn of
    /// it from that node.
    lost_to_lies: BTreeSet<Dot>,
}

/// A field is no newer than what carries it: one that a wrong clock has stamped is as new as that.
pub(crate) fn no_newer_than(fields: &mut BTreeMap<String, Register>, stamp: (Hlc, Dot)) {
    for (place, _) in fields.values_mut().filter(|(place, _)| place.0 > stamp.0) {
        *place = stamp;
    }
}

/// On what terms a path is judged.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Nothing is on its way any more.
    pub settled: bool,
    /// No delete was ever collected.
    pub epochs_bind: bool,
    /// The node keeps what others removed.
    pub held: bool,
}

impl Oracle {
    /// An empty account.
    pub fn new() -> Oracle {
        Oracle::default()
    }

    /// Every write.
    pub fn writes(&self) -> &BTreeMap<Dot, Known> {
        &self.writes
    }

    /// What was written under a dot at a path: a number may have two meanings.
    pub fn written_at(&self, path: &Path, dot: Dot) -> Option<&Known> {
        let first = self.writes.get(&dot).filter(|write| write.path == *path);
        let mut second = self.second.iter().filter(|(second, write)| *second == dot && write.path == *path);
        first.or_else(|| second.next().map(|(_, write)| write))
    }

    /// Every path that was written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.keys()
    }

    /// The path that a dot was written to.
    pub fn path_of(&self, dot: Dot) -> Option<&Path> {
        self.writes.get(&dot).map(|write| &write.path)
    }

    /// A life is doubted. Replicas cannot tell whether rightly, and keep what rests on it.
    pub fn doubt(&mut self, life: Life) {
        if self.doubted.insert(life) {
            let of_life = self.writes.iter().filter(|(dot, _)| dot.node == life.0 && dot.epoch >= life.1);
            self.in_doubt.extend(of_life.map(|(_, write)| write.path.clone()));
        }
    }

    /// Paths whose documents may differ for good between nodes: nobody's word removes what rests on a life in doubt.
    pub fn may_differ(&self) -> BTreeSet<Path> {
        self.tainted.union(&self.in_doubt).cloned().collect()
    }

    /// Notes a write.
    pub fn record(&mut self, dot: Dot, write: Known) -> Result<(), Violation> {
        let up_to = (dot.node, Epoch(0))..=(dot.node, dot.epoch);
        if self.doubted.range(up_to).next().is_some() {
            self.in_doubt.insert(write.path.clone());
        }
        if self.rests_on_fork((dot.node, dot.epoch)) {
            self.tainted.insert(write.path.clone());
            if self.is_forked_dot(dot) && self.writes.contains_key(&dot) {
                self.paths.entry(write.path.clone()).or_default();
                self.second.push((dot, write));
                return Ok(());
            }
        }
        ensure(!self.writes.contains_key(&dot), Promise::DotsAreUnique, || format!("{dot:?} minted twice"))?;
        self.paths.entry(write.path.clone()).or_default().insert(dot);
        self.writes.insert(dot, write);
        Ok(())
    }

    /// A life goes on twice from that number on: what was written under later ones may share them with others.
    pub fn fork(&mut self, life: Life, last_seq: u64) {
        let from = self.forks.entry(life).or_insert(last_seq);
        *from = last_seq.min(*from);
        let of_life = self.writes.iter().filter(|(dot, _)| dot.node == life.0 && dot.epoch >= life.1);
        self.tainted.extend(of_life.map(|(_, write)| write.path.clone()));
    }

    /// The lives that went on twice.
    pub fn forks(&self) -> impl Iterator<Item = Life> + '_ {
        self.forks.keys().copied()
    }

    /// Whether any life did.
    pub fn has_forks(&self) -> bool {
        !self.forks.is_empty()
    }

    /// Whether this one did.
    pub fn is_forked(&self, life: Life) -> bool {
        self.forks.contains_key(&life)
    }

    /// Whether it is one that did, or a later one of the same node: what that has in its past may reach into the other.
    fn rests_on_fork(&self, life: Life) -> bool {
        self.forks.range((life.0, Epoch(0))..=life).next().is_some()
    }

    /// Whether a number may have two meanings.
    pub fn is_forked_dot(&self, dot: Dot) -> bool {
        self.forks.get(&(dot.node, dot.epoch)).is_some_and(|from| dot.seq > *from)
    }

    /// The same, or its path was written in such a life.
    pub fn is_in_doubt(&self, dot: Dot) -> bool {
        self.is_forked_dot(dot) || self.path_of(dot).is_some_and(|path| self.is_tainted(path))
    }

    /// Every meaning of every number that may have two.
    pub fn in_doubt(&self) -> impl Iterator<Item = (Dot, &Known)> {
        let first = self.writes.iter().map(|(dot, write)| (*dot, write));
        let second = self.second.iter().map(|(dot, write)| (*dot, write));
        first.chain(second).filter(|(dot, _)| self.is_forked_dot(*dot))
    }

    /// Paths that were written in such a life: what is there cannot be judged by dots.
    pub fn tainted(&self) -> &BTreeSet<Path> {
        &self.tainted
    }

    /// Whether a path is one.
    pub fn is_tainted(&self, path: &Path) -> bool {
        self.tainted.contains(path)
    }

    /// A node believed a lie, and this version is in its history as removed by that word.
    pub fn lose_to_a_lie(&mut self, dot: Dot) {
        self.lost_to_lies.insert(dot);
    }

    /// Whether one did.
    pub fn is_lost_to_a_lie(&self, dot: Dot) -> bool {
        self.lost_to_lies.contains(&dot)
    }

    /// Whether the time of a version has come.
    pub fn has_ended(&self, dot: Dot, wall_ms: u64) -> bool {
        let write = self.writes.get(&dot);
        write.and_then(|write| write.expires_ms).is_some_and(|expires_ms| expires_ms <= wall_ms)
    }

    /// When what a write of `change` makes ends, when its client gave it that time to live.
    pub fn expires_ms(
        &self,
        change: &Change,
        content: &Content,
        ttl_ms: Option<u64>,
        stamp: Hlc,
    ) -> Option<u64> {
        match (content, ttl_ms, change) {
            (Content::Tombstone, ..) => None,
            (_, Some(ttl_ms), _) => Some(stamp.unix_ms() + ttl_ms),
            (_, None, Change::Keep(dot)) => self.writes.get(dot)?.expires_ms,
            _ => None,
        }
    }

    /// What a write of `change` over `observed` makes at `wall_ms`.
    pub fn content(
        &self,
        rule: Rule,
        change: &Change,
        observed: &BTreeSet<Dot>,
        stamp: (Hlc, Dot),
        wall_ms: u64,
    ) -> Content {
        let object = |json: &rejoin_replica::json::Json| json.get::<BTreeMap<String, Option<i64>>>().ok();
        let plain = |members: BTreeMap<String, Option<i64>>| -> Object {
            members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
        };
        if rule == Rule::MergeFields {
            let mut fields = self.registers(observed, wall_ms);
            let (members, replaces) = match change {
                Change::Delete => return Content::Tombstone,
                Change::Put(json) | Change::Patch(json) => (object(json), false),
                Change::Replace(json) | Change::Resolve(json) => (object(json), true),
                Change::Keep(dot) => match self.object_of(*dot, wall_ms) {
                    Some(kept) => {
                        (Some(kept.into_iter().map(|(name, value)| (name, Some(value))).collect()), true)
                    }
                    None => return Content::Tombstone,
                },
            };
            let members = members.unwrap_or_default();
            if replaces {
                for (name, register) in &mut fields {
                    if !members.contains_key(name) && register.1.is_some() {
                        *register = (stamp, None);
                    }
                }
            }
            for (name, value) in members {
                if fields.get(&name).is_none_or(|register| register.1 != value) {
                    fields.insert(name, (stamp, value));
                }
            }
            no_newer_than(&mut fields, stamp);
            return Content::Fields(fields);
        }
        match change {
            Change::Delete => Content::Tombstone,
            Change::Put(json) | Change::Replace(json) | Change::Resolve(json) => {
                Content::Value(plain(object(json).unwrap_or_default()))
            }
            Change::Keep(dot) => self.object_of(*dot, wall_ms).map_or(Content::Tombstone, Content::Value),
            Change::Patch(json) => {
                // What the client has read, where that is not all there is.
                let mut value = self.visible(rule, observed, wall_ms).unwrap_or_default();
                for (name, change) in object(json).unwrap_or_default() {
                    match change {
                        Some(change) => value.insert(name, change),
                        None => value.remove(&name),
                    };
                }
                Content::Value(value)
            }
        }
    }

    /// The newest register of each field of some versions.
    fn registers(&self, versions: &BTreeSet<Dot>, wall_ms: u64) -> BTreeMap<String, Register> {
        let mut newest: BTreeMap<String, Register> = BTreeMap::new();
        for dot in versions.iter().filter(|dot| !self.has_ended(**dot, wall_ms)) {
            if let Some(Known { content: Content::Fields(fields), .. }) = self.writes.get(dot) {
                for (name, register) in fields {
                    let ours = newest.entry(name.clone()).or_insert(*register);
                    if register.0 > ours.0 {
                        *ours = *register;
                    }
                }
            }
        }
        newest
    }

    /// What one write says at `wall_ms`; `None`: a delete, or a value whose time has come.
    fn object_of(&self, dot: Dot, wall_ms: u64) -> Option<Object> {
        if self.has_ended(dot, wall_ms) {
            return None;
        }
        match &self.writes.get(&dot)?.content {
            Content::Tombstone | Content::End(..) => None,
            Content::Value(object) => Some(object.clone()),
            Content::Fields(fields) => {
                Some(fields.iter().filter_map(|(name, (_, value))| Some((name.clone(), (*value)?))).collect())
            }
        }
    }

    /// What a reader sees of these versions at `wall_ms`; `None`: nothing there.
    pub fn visible(&self, rule: Rule, live: &BTreeSet<Dot>, wall_ms: u64) -> Option<Object> {
        // The end of a value has the place of that value.
        let place = |dot: &Dot| {
            let write = self.writes.get(dot)?;
            Some(match write.content {
                Content::End(hlc, ended) => ((hlc, ended), *dot),
                _ => ((write.hlc, *dot), *dot),
            })
        };
        let mut ranked: Vec<((Hlc, Dot), Dot)> = live.iter().filter_map(place).collect();
        ranked.sort_unstable();
        let value = |dot: &Dot| self.object_of(*dot, wall_ms);
        match rule {
            Rule::LastWriteWins => value(&ranked.last()?.1),
            Rule::FirstWriteWins => ranked.iter().find_map(|(_, dot)| value(dot)),
            Rule::MergeFields => {
                ranked.iter().find_map(|(_, dot)| value(dot))?;
                let fields = self.registers(live, wall_ms).into_iter();
                Some(fields.filter_map(|(name, (_, value))| Some((name, value?))).collect())
            }
            Rule::GreatestOfEach => {
                let mut all: Option<Object> = None;
                for object in ranked.iter().filter_map(|(_, dot)| value(dot)) {
                    let all = all.get_or_insert_default();
                    for (name, value) in object {
                        let greatest = all.entry(name).or_insert(value);
                        *greatest = value.max(*greatest);
                    }
                }
                all
            }
        }
    }

    /// Everything that these writes of one path replaced, directly or through writes they replaced; with what later
    /// epochs of the same nodes hide, if `epochs` says so.
    pub fn replaced_by(
        &self,
        path: &Path,
        writes: impl IntoIterator<Item = Dot>,
        epochs: bool,
    ) -> BTreeSet<Dot> {
        let none = BTreeSet::new();
        let on_path = self.paths.get(path).unwrap_or(&none);
        let mut replaced = BTreeSet::new();
        let mut by_epoch: BTreeSet<Dot> = BTreeSet::new();
        let mut open: Vec<Dot> = writes.into_iter().collect();
        while let Some(dot) = open.pop() {
            let Some(write) = self.writes.get(&dot) else { continue };
            for gone in &write.observed {
                if replaced.insert(*gone) {
                    open.push(*gone);
                }
            }
            // A later epoch of a node replaces what earlier ones wrote to the path, unless it saw and kept it; but it
            // did not see them, so what they replaced in turn is not its doing.
            let first = Dot { node: dot.node, epoch: Epoch(0), seq: 0 };
            let own = on_path.range(first..dot);
            by_epoch.extend(
                own.filter(|earlier| epochs && earlier.epoch < dot.epoch && !write.kept.contains(earlier)),
            );
        }
        replaced.extend(by_epoch);
        replaced
    }

    /// Those of `known` that nothing has to vouch for before digests are compared: hidden by a later epoch of their own
    /// node, which never saw them, or replaced by such writes only. No document that is live carries what they replaced.
    fn unsupported(&self, path: &Path, known: &BTreeSet<Dot>) -> BTreeSet<Dot> {
        let all = self.paths.get(path).cloned().unwrap_or_default();
        let hidden = self.hidden(path, &all);
        // A write that the node has not heard of brings it no past, and one that it has heard of may be gone elsewhere.
        let (anywhere, here) = (self.supported(&all, &hidden), self.supported(known, &hidden));
        known.iter().filter(|dot| !anywhere.contains(*dot) || !here.contains(*dot)).copied().collect()
    }

    /// What writes that none of `among` replaced and nothing hides have in their past.
    fn supported(&self, among: &BTreeSet<Dot>, hidden: &BTreeSet<Dot>) -> BTreeSet<Dot> {
        let is_end = |dot: &&Dot| {
            let replaced = among.iter().any(|by| self.writes[by].observed.contains(*dot));
            !hidden.contains(*dot) && !replaced
        };
        let mut supported: BTreeSet<Dot> = BTreeSet::new();
        let mut open: Vec<Dot> = among.iter().filter(is_end).copied().collect();
        while let Some(dot) = open.pop() {
            if supported.insert(dot) {
                open.extend(self.writes[&dot].observed.difference(hidden));
            }
        }
        supported
    }

    /// Those of `known` that a later epoch of their own node hides.
    fn hidden(&self, path: &Path, known: &BTreeSet<Dot>) -> BTreeSet<Dot> {
        let mut hidden = BTreeSet::new();
        for dot in self.paths.get(path).into_iter().flatten() {
            let Some(write) = self.writes.get(dot) else { continue };
            let first = Dot { node: dot.node, epoch: Epoch(0), seq: 0 };
            let own = known.range(first..*dot);
            hidden.extend(own.filter(|earlier| {
                earlier.epoch < dot.epoch
                    && !write.kept.contains(earlier)
                    && !write.observed.contains(earlier)
            }));
        }
        hidden
    }

    /// The dots of a path that a frontier holds.
    pub fn known(&self, path: &Path, frontier: &Frontier) -> BTreeSet<Dot> {
        let on_path = self.paths.get(path).into_iter().flatten();
        on_path.copied().filter(|dot| frontier.contains(*dot)).collect()
    }

    /// Whether a dot is a delete.
    pub fn is_tombstone(&self, dot: Dot) -> bool {
        let write = self.writes.get(&dot);
        write.is_some_and(|write| matches!(write.content, Content::Tombstone | Content::End(..)))
    }

    /// Whether a delete replaced it, directly or through others, wherever that is known. Who has heard that it is void, and not
    /// yet of the delete, shows the same as who has heard of both.
    fn was_deleted(&self, path: &Path, dot: Dot) -> bool {
        let on_path = self.paths.get(path).into_iter().flatten().copied();
        let deletes = on_path.filter(|dot| self.is_tombstone(*dot));
        self.replaced_by(path, deletes, false).contains(&dot)
    }

    /// Checks the live versions of one path against what a frontier says they must be.
    ///
    /// `forgiven` are values that may be missing although nothing known replaced them.
    pub fn check_path(
        &self,
        path: &Path,
        frontier: &Frontier,
        document: Option<&Document>,
        Terms { settled, epochs_bind, held }: Terms,
        forgiven: impl Fn(Dot) -> bool,
    ) -> Result<(), Violation> {
        let known = self.known(path, frontier);
        let replaced = self.replaced_by(path, known.iter().copied(), true);
        let live: BTreeSet<Dot> = document
            .into_iter()
            .flat_map(|document| document.versions())
            .map(|version| version.dot)
            .collect();
        // What a write replaced that was itself replaced by a later epoch is found in a digest session at the latest: the
        // later epoch hides the write without having seen it. And once a delete of the later epoch is collected, it
        // hides nothing any more.
        let certainly = if live.is_disjoint(&replaced) {
            BTreeSet::new()
        } else {
            let hidden = if settled { BTreeSet::new() } else { self.unsupported(path, &known) };
            // Of what a lie had removed, others hear as of something void; a digest session takes what it had replaced.
            let is_there = |dot: &Dot| settled || !self.is_lost_to_a_lie(*dot);
            self.replaced_by(path, known.difference(&hidden).copied().filter(is_there), epochs_bind)
        };
        let bare = live.iter().all(|dot| self.is_tombstone(*dot));
        for dot in &live {
            // A collected delete leaves older tombstones of its path with peers that missed it: they read as deleted
            // all the same, and digests do not see them unless a value stands beside them.
            let stale = self.is_tombstone(*dot) && (!settled || bare);
            let zombie = certainly.contains(dot) && !stale && !held;
            ensure(!zombie, Promise::NoZombie, || {
                let by: Vec<_> = known.iter().filter(|by| self.writes[by].observed.contains(dot)).collect();
                format!("{path:?}: {dot:?} is live, and {by:?} replaced it (known: {known:?})")
            })?;
            ensure(frontier.contains(*dot), Promise::FrontierIsTrue, || {
                format!("{path:?}: {dot:?} is live and not in the frontier")
            })?;
        }
        for dot in known.difference(&replaced) {
            let there = live.contains(dot)
                || self.is_tombstone(*dot)
                || self.is_lost_to_a_lie(*dot)
                || forgiven(*dot)
                || !settled && self.was_deleted(path, *dot);
            ensure(there, Promise::NothingLost, || {
                format!("{path:?}: {dot:?} is in the frontier, nothing there replaced it, and it is not live")
            })?;
        }
        for version in document.into_iter().flat_map(|document| document.versions()) {
            self.check_body(path, version)?;
        }
        Ok(())
    }

    /// Checks that a version says what was written.
    fn check_body(&self, path: &Path, version: &rejoin_replica::Version) -> Result<(), Violation> {
        let write = self.writes.get(&version.dot);
        let same = write.is_some_and(|write| {
            write.hlc == version.hlc
                && write.path == *path
                && write.expires_ms == version.body.expires_ms()
                && match (&write.content, &*version.body) {
                    (Content::Tombstone, Body::Tombstone) => version.body.expiry.is_none(),
                    (Content::End(hlc, dot), Body::Tombstone) => {
                        version.body.expiry == Some(Expiry::Of(*hlc, *dot))
                    }
                    (Content::Value(object), Body::Value(json)) => {
                        json.get::<Object>().is_ok_and(|found| found == *object)
                    }
                    (Content::Fields(fields), Body::Fields(found)) => {
                        fields.len() == found.0.len()
                            && found.0.iter().all(|field| {
                                let value = match &field.value {
                                    Some(json) => json.get::<i64>().ok().map(Some),
                                    None => Some(None),
                                };
                                value.is_some_and(|value| {
                                    fields.get(&*field.name) == Some(&(field.rank(), value))
                                })
                            })
                    }
                    _ => false,
                }
        });
        ensure(same, Promise::Converges, || {
            format!("{path:?}: {version:?} is not what was written: {write:?}")
        })
    }
}
