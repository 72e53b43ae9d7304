//! What a peer says of documents: taken in if it is plausible, held if it is from the future, refused otherwise; and what
//! its claims at the end of a catch-up remove.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::slice;

use rejoin_causal::{Dot, Floor, Frontier, NodeId, VersionVector, plant};

use crate::body::Document;
use crate::input::LinkId;
use crate::message::Entry;
use crate::path::Path;
use crate::quarantine;
use crate::removals::{Gone, Verdict};
use crate::replica::{Group, Replica};
use crate::session::Claimed;
use crate::unit;
use crate::view::{Reason, View, Word};

/// What became of live versions that a claim says are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buried {
    /// They are gone.
    All,
    /// Some had to stay.
    NotAll,
    /// They are too many: the link was closed.
    Stopped,
}

impl Replica {
    pub(crate) fn count_received(&mut self, id: LinkId, documents: u64) {
        self.tally.documents_received += documents;
        for round in self.rounds.iter_mut().filter(|round| round.is_whole_over(id)) {
            round.report.documents_received += documents;
        }
    }

    /// Merges pushed or served documents; false when the link was closed for what they say.
    pub(crate) fn receive<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        entries: Vec<Entry>,
    ) -> Result<bool, V::Error> {
        let (came, mut made) = (entries.len(), Vec::with_capacity(entries.len()));
        for entry in entries {
            made.extend(self.made(group, id, entry));
        }
        if made.len() < came && self.renewing.is_some() {
            // Neither half of a batch, nor anything else that goes with them; and what the peer claims at the end is not taken
            // for it.
            self.refuse(id, &made, 0, group.now.wall_ms);
            return Ok(true);
        }
        let entries = made;
        // Nearly every frame: no two of its documents have to stay together.
        if entries.iter().all(|entry| unit::units(&entry.document).next().is_none()) {
            for entry in entries {
                match self.lead_ms(group, slice::from_ref(&entry))? {
                    Some(lead_ms) => self.quarantine(group, id, alloc::vec![entry], lead_ms)?,
                    None => self.absorb(group, entry, Some(id))?,
                }
            }
            return Ok(true);
        }
        let bundles = unit::bundles(&entries);
        let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
        for places in bundles {
            let bundle: Vec<Entry> = places.into_iter().filter_map(|at| entries[at].take()).collect();
            if let Some(lead_ms) = self.lead_ms(group, &bundle)? {
                self.quarantine(group, id, bundle, lead_ms)?;
                continue;
            }
            for entry in bundle {
                self.absorb(group, entry, Some(id))?;
            }
        }
        Ok(true)
    }

    /// How far documents that belong together are ahead of this clock, where that is too far to merge them now.
    pub(crate) fn lead_ms<V: View>(
        &mut self,
        group: &Group<'_, V>,
        bundle: &[Entry],
    ) -> Result<Option<u64>, V::Error> {
        let (node, wall_ms) = (self.node, group.now.wall_ms);
        let lead = |entry| quarantine::lead_ms(entry, &self.frontier, None, node, wall_ms);
        if bundle.iter().map(lead).max().unwrap_or(0) <= self.config.clock_skew_max_ms {
            return Ok(None);
        }
        // What was replaced here meanwhile would not come in: its stamp does not matter.
        let mut lead_ms = 0;
        for entry in bundle {
            let record = group.rows.record(&entry.path)?;
            let past = record.as_ref().map(|record| record.document.vv());
            lead_ms = lead_ms.max(quarantine::lead_ms(entry, &self.frontier, past, node, wall_ms));
        }
        self.skew_max_ms = self.skew_max_ms.max(lead_ms);
        Ok((lead_ms > self.config.clock_skew_max_ms).then_some(lead_ms))
    }

    /// Holds documents that belong together until the latest of their stamps has come.
    pub(crate) fn quarantine<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        bundle: Vec<Entry>,
        lead_ms: u64,
    ) -> Result<(), V::Error> {
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else { return Ok(()) };
        for entry in &bundle {
            if let Some(newest) = entry.document.versions().iter().max_by_key(|version| version.hlc) {
                let (author, path) = (newest.dot.node, &entry.path);
                self.quarantine_alarms.note(group, author, peer, path, lead_ms);
            }
        }
        self.tally.quarantined += bundle.len() as u64;
        let release_ms = group.now.wall_ms + lead_ms;
        let mut with_pasts = Vec::with_capacity(bundle.len());
        for entry in bundle {
            let record = group.rows.record(&entry.path)?;
            let past = record.map_or_else(Default::default, |record| record.document.vv().clone());
            with_pasts.push((entry, past));
        }
        let paths: Vec<Path> = with_pasts.iter().map(|(entry, _)| entry.path.clone()).collect();
        let left = self.quarantine.hold(with_pasts, (id, peer), release_ms, &self.config);
        self.refuse(id, &left, release_ms, group.now.wall_ms);
        for path in paths {
            if self.quarantine.at(&path) > 1 {
                self.release_settled(group, &path)?;
            }
        }
        Ok(())
    }

    /// Leaves documents to a later catch-up. Until then nothing is claimed that only they would supersede.
    pub(crate) fn refuse(&mut self, id: LinkId, entries: &[Entry], release_ms: u64, wall_ms: u64) {
        if entries.is_empty() {
            return;
        }
        let dots: Frontier = entries.iter().flat_map(Entry::claims).collect();
        let reach_ms = wall_ms.saturating_add(self.config.clock_skew_max_ms);
        self.update(id, |link| {
            let due = link.refused.is_empty() || link.refused_until_ms <= reach_ms;
            link.refused_until_ms = if due { release_ms } else { release_ms.min(link.refused_until_ms) };
            link.refused.union_with(&dots);
            entries.iter().for_each(|entry| link.refused_past.join(entry.document.vv()));
        });
    }

    /// Takes documents of a path out of quarantine that have nothing from the future to bring any more: their author has
    /// minted them again, or someone has written over them.
    pub(crate) fn release_settled<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
    ) -> Result<(), V::Error> {
        if !self.quarantine.has(path) {
            return Ok(());
        }
        // What was written together comes out together: all of it has to be without a future.
        let paths = self.quarantine.with_batches(BTreeSet::from([path.clone()]));
        let mut pasts = BTreeMap::new();
        for path in paths {
            let record = group.rows.record(&path)?;
            pasts.insert(path, record.map(|record| record.document.vv().clone()).unwrap_or_default());
        }
        let (frontier, node, wall_ms) = (&self.frontier, self.node, group.now.wall_ms);
        let skew_ms = self.config.clock_skew_max_ms;
        let lead =
            |entry: &Entry| quarantine::lead_ms(entry, frontier, pasts.get(&entry.path), node, wall_ms);
        // What each of two documents has of the future the other may have replaced: together they bring nothing of it.
        let answered: BTreeSet<Dot> = pasts.keys().flat_map(|path| self.quarantine.answered(path)).collect();
        let together = |entry: &Entry| {
            let mut news = quarantine::ahead(entry, frontier, pasts.get(&entry.path), node);
            news.all(|version| {
                answered.contains(&version.dot) || version.hlc.unix_ms().saturating_sub(wall_ms) <= skew_ms
            })
        };
        let mut settled = Vec::new();
        if self.quarantine.all(pasts.keys(), together) {
            for path in pasts.keys() {
                settled.extend(self.quarantine.release_those(Some(path), |_, _| true));
            }
        } else if pasts.len() == 1 {
            // Alone, a document comes out as soon as it brings nothing of the future, whatever else waits for its path.
            settled.extend(self.quarantine.release_those(Some(path), |_, held| lead(held) <= skew_ms));
        }
        for (entry, link) in settled {
            self.absorb_alone(group, entry, Some(link))?;
        }
        Ok(())
    }

    /// Takes documents out of quarantine whose versions are all known here by now, from a claim: they bring nothing of the
    /// future, only what they replaced.
    fn absorb_known<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        if self.quarantine.len() == 0 {
            return Ok(());
        }
        let frontier = &self.frontier;
        let is_known = |entry: &Entry| quarantine::news(entry, frontier).next().is_none();
        for (entry, link) in self.quarantine.release_those(None, |_, entry| is_known(entry)) {
            self.absorb_alone(group, entry, Some(link))?;
        }
        Ok(())
    }

    /// An operator lets documents out of quarantine now. Says how many.
    pub(crate) fn release_now<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: Option<&Path>,
        node: Option<NodeId>,
    ) -> Result<u64, V::Error> {
        let chosen = self.quarantine.list().into_iter().filter(|held| {
            path.is_none_or(|path| *path == held.path)
                && node.is_none_or(|node| held.peer == node || held.dot.node == node)
        });
        let paths: BTreeSet<Path> = chosen.map(|held| held.path).collect();
        let mut released = 0;
        for path in self.quarantine.with_batches(paths) {
            for (entry, link) in self.quarantine.release_those(Some(&path), |_, _| true) {
                self.absorb(group, entry, Some(link))?;
                released += 1;
            }
        }
        Ok(released)
    }

    /// Whether there is room in quarantine again for what a peer sent and was refused.
    pub(crate) fn quarantine_has_room(&self, peer: NodeId) -> bool {
        self.quarantine.has_room(peer, &self.config)
    }

    /// Those of a peer's void claims that are not taken: what only held or refused documents would supersede, and below the
    /// floor where a digest session has not swept.
    fn withheld(&mut self, id: LinkId, claims: &Frontier, carried: &Frontier) -> Frontier {
        if plant::is("claim-quarantined") {
            return Frontier::new();
        }
        // Where a path was not swept, a claim may stand for what has replaced a version there that is still live here, and no
        // claim tells of which path it is.
        if self.links.get_mut(&id).is_some_and(|link| core::mem::take(&mut link.unswept)) {
            return claims.clone();
        }
        let void = claims.difference(carried);
        let mut withheld = Frontier::new();
        if let Some(link) = self.links.get_mut(&id) {
            link.refused.remove_all(&self.frontier);
            link.refused.remove_all(&void);
            if link.refused.is_empty() {
                link.refused_past = VersionVector::new();
            }
            let past = quarantine::news_of(&link.refused_past, &VersionVector::new());
            quarantine::withhold(&past, claims, &mut withheld);
        }
        self.quarantine.forget_void(&void.difference(&withheld), &self.frontier);
        withheld.union_with(&self.quarantine.withheld(claims));
        if plant::is("held-blocks-all-claims") && self.quarantine.len() > 0 {
            withheld.union_with(claims);
        }
        withheld
    }

    /// The end of a catch-up: what it was to bring is applied, dots without a live version included.
    ///
    /// A claim counts as the answer to an exchange, once, and for what this side lacked in it.
    pub(crate) fn caught_up<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        exchange: u64,
        claims: Frontier,
    ) -> Result<(), V::Error> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if exchange == 0 && claims.is_empty() {
            link.carried = Frontier::new();
            return Ok(());
        }
        let claimed = link.claimed(exchange);
        if claimed == Claimed::Unasked && !plant::is("believe-unasked") {
            // It ends no catch-up: what the one under way has carried stays known, or its own claim would remove it.
            self.unasked(group, id, "claims");
            return Ok(());
        }
        let carried = core::mem::take(&mut link.carried);
        let mut claims = match claimed {
            Claimed::AllBut(had) => claims.difference(&had),
            Claimed::Late => return Ok(()),
            Claimed::Unasked => claims,
        };
        self.made_dots(group, id, &mut claims);
        // A claim never covers a held document, nor what only that document would supersede. It is taken whole or not at all:
        // it tells of no paths, so what replaced a claimed dot may be among those that are not taken, and what a claimed dot
        // replaced may be live here.
        self.absorb_known(group)?;
        let takes_all = self.withheld(id, &claims, &carried).is_empty();
        let mut claims = if takes_all { claims } else { Frontier::new() };
        if !plant::is("bury-nothing") {
            match self.bury(group, id, &claims, &carried)? {
                Buried::All => {}
                // What replaced it is not to be taken as applied while it stays.
                Buried::NotAll if plant::is("claim-quarantined") => {}
                Buried::NotAll => claims = Frontier::new(),
                Buried::Stopped => return Ok(()),
            }
        }
        let claims = self.explained(group, id, claims);
        for (node, epoch, set) in claims.difference(&self.frontier).rows() {
            self.frontier.insert_row(node, epoch, set);
            group.grown.insert((node, epoch));
            // Peers that are live have to hear of these too; without a document only a catch-up can claim them.
            for (_, link) in
                self.links.iter_mut().filter(|(other, link)| **other != id && link.session.pushes())
            {
                if link.branch.eager {
                    link.lag.insert_row(node, epoch, set);
                } else {
                    let mut dots = Frontier::new();
                    dots.insert_row(node, epoch, set);
                    link.branch.hold_back(&dots, group.now.steady_ms);
                }
            }
        }
        self.update(id, |link| {
            link.caught_up = true;
            link.behind = 0;
        });
        self.settle(group, id);
        Ok(())
    }

    /// Removes live versions that a catch-up claims and did not carry: the peer has applied them and they are no longer
    /// live there, but came here from someone else after the peer was told what we have. What replaced them may be
    /// collected, so nothing but this claim would ever say so.
    fn bury<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
        carried: &Frontier,
    ) -> Result<Buried, V::Error> {
        // What is not applied here cannot be live here: as a rule next to nothing is left to look for.
        let unknown = claims.difference(&self.frontier);
        let suspects = claims.difference(&unknown).difference(carried);
        let mut going = Vec::new();
        let mut paths = BTreeSet::new();
        for (node, epoch, set) in suspects.rows() {
            for &(first, last) in set.ranges() {
                paths.extend(group.rows.log(node, epoch, first, last)?);
            }
        }
        let Some(link) = self.links.get(&id) else { return Ok(Buried::Stopped) };
        let (peer, refused_past) = (link.peer, link.refused_past.clone());
        let word = Word { peer, reason: Reason::Claim, at_ms: group.now.wall_ms };
        let nothing = Document::new();
        let mut removable = Vec::new();
        let mut outcome = Buried::All;
        for path in paths {
            // What takes the place of its versions may be the document that is held.
            if self.quarantine.has(&path) && !plant::is("claim-quarantined") {
                outcome = Buried::NotAll;
                continue;
            }
            let Some(record) = group.rows.record(&path)? else { continue };
            // Or one that there was no room for.
            let refused = |dot| suspects.contains(dot) && refused_past.covers(dot);
            if record.document.versions().iter().any(|version| refused(version.dot)) {
                outcome = Buried::NotAll;
                continue;
            }
            let versions = Replica::would_remove(&record.document, &nothing, &suspects);
            let before = going.len();
            going.extend(versions.map(|version| (path.clone(), version.dot)));
            match self.may_remove(&record.document) {
                true => removable.push(path),
                false => self.hold_removals(going.drain(before..).count() as u64),
            }
        }
        match self.ask_removals(group, id, word, &going) {
            Verdict::Remove => {}
            Verdict::Hold => return Ok(Buried::NotAll),
            Verdict::Stop => return Ok(Buried::Stopped),
        }
        for path in removable {
            self.merge(group, &path, Document::new(), Some(Gone { dots: &suspects, word }))?;
        }
        Ok(outcome)
    }

    /// Joins a peer's floor: what it had collected is gone here too, or never comes.
    pub(crate) fn join_floor<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, floor: &Floor) {
        for top in self.made_floor(group, id, floor).rows() {
            self.raise_floor(group, Some(id), top);
        }
    }

    /// Raises the floor to a dot; every peer but the one that said so is told before it gets another document.
    pub(crate) fn raise_floor<V>(&mut self, group: &mut Group<'_, V>, source: Option<LinkId>, top: Dot) {
        if !self.floor.raise(top) {
            return;
        }
        group.rows.batch.floor.insert(top);
        for (_, link) in self.links.iter_mut().filter(|(id, _)| Some(**id) != source) {
            link.untold.raise(top);
        }
    }
}
