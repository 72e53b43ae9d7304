//! Who is sent documents at once and who only hears of them: a spanning tree over the links, as in Plumtree (Leitão, Pereira
//! and Rodrigues, "Epidemic Broadcast Trees", SRDS 2007).
//!
//! Every link begins eager: commits are pushed over it. A push that brings nothing shows that the link closes a circle,
//! and its receiver prunes it: from then on both ends only announce what they have applied. What was announced and does
//! not come within [`GRAFT_AFTER_MS`] is asked for by grafting the link: it is eager again, and what was held back is
//! served as lag is. So the tree heals around nodes and links that fail, and nothing relies on it: rounds of
//! anti-entropy find whatever is missing.
//!
//! Who has few links keeps all of them eager: a copy more of each update buys the shortest way, and one that a failing
//! link does not delay.

use rejoin_causal::{Frontier, plant};

use crate::config::{ANNOUNCE_AFTER_MS, GRAFT_AFTER_MS, PRUNE_PAUSE_MS};
use crate::input::LinkId;
use crate::message::Message;
use crate::replica::{Group, Replica};

/// One link as a branch of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    /// Commits are pushed; otherwise they are announced.
    pub(crate) eager: bool,
    /// It was not at some time, so that either end may announce and graft.
    pub(crate) ever_lazy: bool,
    /// Dots that were not pushed because the link is not eager, less those that the peer is known to have: as lag, but
    /// nothing is done about them.
    pub(crate) held_back: Frontier,
    /// Of those, the ones that are still to be announced.
    unannounced: Frontier,
    /// When they are, on the steady clock.
    announce_at_ms: Option<u64>,
    /// What the peer announced, and has to come by `graft_at_ms`.
    awaited: Frontier,
    /// What it announced since then.
    announced_since: Frontier,
    /// When the link is grafted for what is missing of `awaited`, on the steady clock.
    graft_at_ms: Option<u64>,
}

impl Branch {
    pub(crate) fn new() -> Branch {
        Branch {
            eager: true,
            ever_lazy: false,
            held_back: Frontier::new(),
            unannounced: Frontier::new(),
            announce_at_ms: None,
            awaited: Frontier::new(),
            announced_since: Frontier::new(),
            graft_at_ms: None,
        }
    }

    /// Keeps dots back, to be announced soon.
    pub(crate) fn hold_back(&mut self, dots: &Frontier, now_ms: u64) {
        self.held_back.union_with(dots);
        self.unannounced.union_with(dots);
        self.announce_at_ms.get_or_insert(now_ms + ANNOUNCE_AFTER_MS);
    }

    /// When something is to be done, on the steady clock.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        [self.announce_at_ms, self.graft_at_ms].into_iter().flatten().min()
    }
}

impl Replica {
    /// The peer has applied these.
    pub(crate) fn announced<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, mut dots: Frontier) {
        if self.links.get(&id).is_some_and(|link| !link.branch.ever_lazy) {
            self.unasked(group, id, "an announcement");
            return;
        }
        self.made_dots(group, id, &mut dots);
        let dots = &dots;
        let missing = dots.difference(&self.frontier);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.lag.remove_all(dots);
        let branch = &mut link.branch;
        branch.held_back.remove_all(dots);
        if missing.is_empty() {
            return;
        }
        if branch.graft_at_ms.is_some() {
            branch.announced_since.union_with(&missing);
        } else {
            branch.awaited = missing;
            branch.graft_at_ms = Some(group.now.steady_ms + GRAFT_AFTER_MS);
        }
    }

    /// The peer has seen announced what does not come: it gets all that was held back, and pushes from now on.
    pub(crate) fn grafted<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.branch.ever_lazy {
            self.unasked(group, id, "a graft");
            return;
        }
        link.branch.eager = true;
        let held_back = core::mem::take(&mut link.branch.held_back);
        link.lag.union_with(&held_back);
        link.branch.unannounced = Frontier::new();
        link.branch.announce_at_ms = None;
    }

    /// The peer gets everything over other links as well.
    pub(crate) fn pruned(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.branch.eager = false;
            link.branch.ever_lazy = true;
        }
    }

    /// A push over this link brought nothing: prunes it, unless few links are left, or another was pruned just now. Two
    /// pushes that cross would otherwise cut a node off until it grafts.
    pub(crate) fn prune<V>(&mut self, group: &mut Group<'_, V>, id: LinkId) {
        let open = || self.links.values().filter(|link| link.session.pushes());
        let eager = open().filter(|link| link.branch.eager).count();
        let few = open().count() <= self.config.redundant_links_max || eager <= 1;
        if few || group.now.steady_ms < self.next_prune_ms {
            return;
        }
        self.next_prune_ms = group.now.steady_ms + PRUNE_PAUSE_MS;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.branch.eager = false;
        link.branch.ever_lazy = true;
        self.tally.links_pruned += 1;
        group.send(id, link, &Message::Prune);
    }

    /// Announces and grafts what is due.
    pub(crate) fn broadcast<V>(&mut self, group: &mut Group<'_, V>) {
        let now_ms = group.now.steady_ms;
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now_ms);
        for (id, link) in self.links.iter_mut().filter(|(_, link)| is_due(link.branch.announce_at_ms)) {
            link.branch.announce_at_ms = None;
            let dots = core::mem::take(&mut link.branch.unannounced);
            if !dots.is_empty() {
                group.send(*id, link, &Message::Have(dots));
            }
        }
        if !self.links.values().any(|link| is_due(link.branch.graft_at_ms)) {
            return;
        }
        // What waits for its time is here already. What one link is asked for now, the next one is not.
        let mut expected = self.quarantine.claims();
        self.links.values().for_each(|link| expected.union_with(&link.refused));
        for (id, link) in self.links.iter_mut().filter(|(_, link)| is_due(link.branch.graft_at_ms)) {
            let branch = &mut link.branch;
            let missing = branch.awaited.difference(&self.frontier).difference(&expected);
            branch.awaited = core::mem::take(&mut branch.announced_since).difference(&self.frontier);
            branch.graft_at_ms = (!branch.awaited.is_empty()).then_some(now_ms + GRAFT_AFTER_MS);
            if missing.is_empty() || plant::is("never-graft") {
                continue;
            }
            branch.eager = true;
            expected.union_with(&missing);
            self.tally.links_grafted += 1;
            group.send(*id, link, &Message::Graft);
        }
    }
}
