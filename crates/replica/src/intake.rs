//! What a peer says of documents: taken in if it is plausible, held if it is from the future, refused otherwise; and what
//! its claims at the end of a catch-up remove.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::slice;

use rejoin_causal::{Dot, Floor, Frontier, plant};

use crate::body::Document;
use crate::effect::{Alarm, Effect};
use crate::input::{LinkId, Now};
use crate::message::Entry;
use crate::quarantine::Quarantine;
use crate::replica::{Group, Replica};
use crate::unit;
use crate::view::View;

impl Replica {
    pub(crate) fn count_received(&mut self, id: LinkId, documents: u64) {
        self.tally.documents_received += documents;
        for round in self.rounds.iter_mut().filter(|round| round.waiting.contains(&id)) {
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
        // All are looked at before any is merged: half of a batch must not be what is left of a bad frame.
        for entry in &entries {
            if !self.plausible(group, id, &entry.document) {
                return Ok(false);
            }
        }
        // Nearly every frame: no two of its documents have to stay together.
        if entries.iter().all(|entry| unit::units(&entry.document).next().is_none()) {
            for entry in entries {
                match self.lead_ms(slice::from_ref(&entry), group.now) {
                    Some(lead_ms) => self.quarantine(group, id, alloc::vec![entry], lead_ms),
                    None => self.absorb(group, entry, Some(id))?,
                }
            }
            return Ok(true);
        }
        let bundles = unit::bundles(&entries);
        let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
        for places in bundles {
            let bundle: Vec<Entry> = places.into_iter().filter_map(|at| entries[at].take()).collect();
            if let Some(lead_ms) = self.lead_ms(&bundle, group.now) {
                self.quarantine(group, id, bundle, lead_ms);
                continue;
            }
            for entry in bundle {
                self.absorb(group, entry, Some(id))?;
            }
        }
        Ok(true)
    }

    /// How far documents that belong together are ahead of this clock, where that is too far to merge them now.
    fn lead_ms(&mut self, bundle: &[Entry], now: Now) -> Option<u64> {
        let lead = |entry| Quarantine::lead_ms(entry, &self.frontier, now.wall_ms);
        let lead_ms = bundle.iter().map(lead).max().unwrap_or(0);
        self.skew_max_ms = self.skew_max_ms.max(lead_ms);
        (lead_ms > self.config.clock_skew_max_ms).then_some(lead_ms)
    }

    /// Holds documents that belong together until the latest of their stamps has come.
    pub(crate) fn quarantine<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        bundle: Vec<Entry>,
        lead_ms: u64,
    ) {
        for entry in &bundle {
            if let Some(newest) = entry.document.versions().iter().max_by_key(|version| version.hlc) {
                let (path, dot) = (entry.path.clone(), newest.dot);
                group.effects.push(Effect::Alarm(Alarm::Quarantined { path, dot, ahead_ms: lead_ms }));
            }
        }
        self.tally.quarantined += bundle.len() as u64;
        let release_ms = group.now.wall_ms + lead_ms;
        let left = self.quarantine.hold(bundle, release_ms, self.config.quarantine_entries_max);
        self.refuse(id, left);
    }

    /// Leaves documents to a later catch-up. Until then the peer may take them for known, and claim what they replaced.
    fn refuse(&mut self, id: LinkId, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let dots: Frontier = entries.iter().flat_map(Entry::claims).collect();
        self.update(id, |link| {
            link.refused.union_with(&dots);
            link.refuses_claims = true;
        });
    }

    /// Whether a peer's void claims may be taken over: never while what replaced them may be held or was refused.
    fn may_claim(&mut self, id: LinkId, claims: &Frontier) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        link.refused.remove_all(&self.frontier);
        let refused_since = core::mem::take(&mut link.refuses_claims);
        // What was refused before and is claimed now was not sent again, so it is void as well.
        let may = self.quarantine.len() == 0 && !refused_since && claims.is_superset(&link.refused);
        let may = may || plant::is("claim-quarantined");
        if may {
            link.refused = Frontier::new();
        }
        may
    }

    /// Whether a document says nothing about this node's own writes that this node knows to be untrue.
    pub(crate) fn plausible<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, document: &Document) -> bool {
        let named = document.vv().tops().filter(|dot| dot.node == self.node).max();
        let Some(named) = named else { return true };
        if named.epoch > self.epoch {
            self.clone_seen(group, named.epoch);
        } else if named.epoch == self.epoch && named.seq > self.seq {
            self.violation(group, id, "it names a write of ours that we never made");
            return false;
        }
        true
    }

    /// The same of dots that a peer has applied.
    pub(crate) fn plausible_claims<V>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
    ) -> bool {
        for (epoch, set) in claims.epochs(self.node) {
            if epoch > self.epoch {
                self.clone_seen(group, epoch);
            } else if epoch == self.epoch && set.last().is_some_and(|last| last > self.seq) {
                self.violation(group, id, "it claims a write of ours that we never made");
                return false;
            }
        }
        true
    }

    /// The end of a catch-up: every dot of it is applied, those without a live version included.
    pub(crate) fn caught_up<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
    ) -> Result<(), V::Error> {
        if !self.plausible_claims(group, id, claims) {
            return Ok(());
        }
        let carried =
            self.links.get_mut(&id).map_or_else(Frontier::new, |link| core::mem::take(&mut link.carried));
        // A claim never covers a held document, nor what only that document would supersede. What a held document
        // covers cannot be told apart here, so nothing is claimed; the next round tries again.
        if self.may_claim(id, claims) {
            if !plant::is("bury-nothing") && !self.bury(group, id, claims, &carried)? {
                return Ok(());
            }
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
    /// collected, so nothing but this claim would ever say so. False when that would remove too much.
    fn bury<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        id: LinkId,
        claims: &Frontier,
        carried: &Frontier,
    ) -> Result<bool, V::Error> {
        // What is not applied here cannot be live here: as a rule next to nothing is left to look for.
        let unknown = claims.difference(&self.frontier);
        let suspects = claims.difference(&unknown).difference(carried);
        let mut paths = BTreeSet::new();
        for (node, epoch, set) in suspects.rows() {
            for &(first, last) in set.ranges() {
                paths.extend(group.rows.log(node, epoch, first, last)?);
            }
        }
        let share = self.counters.records.saturating_mul(self.config.removals_share_percent) / 100;
        if paths.len() as u64 > self.config.removals_max.max(share) && !self.config.removals_allowed {
            self.stop_removals(group, id, paths.len() as u64);
            return Ok(false);
        }
        for path in paths {
            self.merge(group, &path, Document::new(), Some(&suspects))?;
        }
        Ok(true)
    }

    /// Joins a peer's floor: what it had collected is gone here too, or never comes.
    pub(crate) fn join_floor<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, floor: &Floor) {
        for top in floor.rows() {
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
