//! Receipts: which other nodes have applied certain writes, each told after its own commit.
//!
//! Nothing is kept up for them: a node that wants to know asks its peers, who ask theirs, and each answers once,
//! when it has applied what was asked for. The answers go back the way the question came. An answer is an effect of
//! a group that holds the writes, or of a later one, so no node can give it before those are committed. It is signed by the
//! node that gives it, after that commit, and whoever passes it on cannot make one up.
//!
//! A question floods [`RECEIPT_HOPS_MAX`] links beyond the direct peers. Each node keeps it once, however often it
//! comes, until it is answered by all or its time is up; every table here is bounded.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use rejoin_causal::{Dot, NodeId};

use crate::config::{
    RECEIPT_HOLDERS_MAX, RECEIPT_HOPS_MAX, RECEIPT_WAIT_MS_MAX, RECEIPTS_DOTS_OPEN_MAX,
    RECEIPTS_HOLDERS_OPEN_MAX, RECEIPTS_OPEN_MAX, RECEIPTS_PER_MESSAGE_MAX,
};
use crate::effect::Effect;
use crate::input::{LinkId, RequestId};
use crate::message::{Holder, Message, Question};
use crate::replica::{Group, Replica};

/// Questions that are open here, and what is to be sent of them at the end of the group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts {
    open: BTreeMap<Dot, Open>,
    /// Answers that the open questions keep.
    kept: usize,
    questions: BTreeMap<LinkId, Vec<Question>>,
    holders: BTreeMap<LinkId, Vec<Holder>>,
}

/// One question, asked here or by a peer.
#[derive(Clone, Debug)]
struct Open {
    dots: Vec<Dot>,
    /// Names `dots` in what is signed.
    digest: [u8; 16],
    /// Who asked here.
    request: Option<RequestId>,
    /// The links that it came over, where answers go.
    askers: BTreeSet<LinkId>,
    /// Nodes that have said that they have applied all of `dots`, this one included once it has.
    holders: BTreeMap<NodeId, Holder>,
    /// This node was asked to sign that it has.
    attested: bool,
    /// On the steady clock.
    until_ms: u64,
    hops: u8,
}

impl Receipts {
    /// Makes room for a question about so many writes by dropping what nobody waits for any more; false when there is
    /// none.
    fn has_room(&mut self, dots: usize, now_ms: u64) -> bool {
        if self.open.len() >= RECEIPTS_OPEN_MAX {
            self.expire(now_ms);
        }
        // Questions about one write are bounded by their number.
        let asked = || self.open.values().map(|open| open.dots.len()).sum::<usize>();
        self.open.len() < RECEIPTS_OPEN_MAX && (dots <= 1 || asked() + dots <= RECEIPTS_DOTS_OPEN_MAX)
    }

    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.keep(|_, open| open.until_ms > now_ms);
    }

    fn keep(&mut self, which: impl FnMut(&Dot, &mut Open) -> bool) {
        self.open.retain(which);
        self.kept = self.open.values().map(|open| open.holders.len()).sum();
    }

    /// Puts down that a node has applied what a question asks for; tells those who want to know.
    fn note(&mut self, holder: Holder, effects: &mut Vec<Effect>) {
        let (id, node) = (holder.id, holder.node);
        let Some(open) = self.open.get_mut(&id) else { return };
        let full = open.holders.len() >= RECEIPT_HOLDERS_MAX || self.kept >= RECEIPTS_HOLDERS_OPEN_MAX;
        // An answer about other writes under the same name is none.
        if node == id.node || full || open.digest != holder.digest || open.holders.contains_key(&node) {
            return;
        }
        effects.extend(open.request.map(|request| Effect::Holder(request, node)));
        for link in &open.askers {
            self.holders.entry(*link).or_default().push(holder.clone());
        }
        open.holders.insert(node, holder);
        self.kept += 1;
    }

    /// This node has applied what a question asks for: it is to sign that.
    fn attest(&mut self, id: Dot, effects: &mut Vec<Effect>) {
        let Some(open) = self.open.get_mut(&id).filter(|open| !open.attested) else { return };
        open.attested = true;
        effects.push(Effect::Attest { id, digest: open.digest });
    }
}

impl Replica {
    /// A client here wants to know who has applied `dots`; ends by [`Replica::forget_holders`], or by itself.
    pub(crate) fn ask_holders<V>(
        &mut self,
        group: &Group<'_, V>,
        request: RequestId,
        dots: Vec<Dot>,
        wait_ms: u64,
    ) {
        let now_ms = group.now.steady_ms;
        // Without room there is no answer, and whoever asked goes by its own time.
        if !self.receipts.has_room(dots.len(), now_ms) {
            return;
        }
        let id = Dot { node: self.node, epoch: self.epoch, seq: request.0 };
        let open = Open {
            digest: Question::digest(&dots),
            dots,
            request: Some(request),
            askers: BTreeSet::new(),
            holders: BTreeMap::new(),
            attested: true,
            until_ms: now_ms + wait_ms.min(RECEIPT_WAIT_MS_MAX),
            hops: RECEIPT_HOPS_MAX + 1,
        };
        self.receipts.open.insert(id, open);
        self.pass_on(id, now_ms);
    }

    /// Whoever asked has heard enough.
    pub(crate) fn forget_holders(&mut self, request: RequestId) {
        self.receipts.keep(|_, open| open.request != Some(request));
    }

    /// A peer asks, for itself or for another.
    pub(crate) fn question<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, question: Question) {
        let Question { id, hops, wait_ms, dots } = question;
        let now_ms = group.now.steady_ms;
        if id.node == self.node {
            return;
        }
        if let Some(open) = self.receipts.open.get_mut(&id) {
            // It came another way as well: answers go both ways, in case one of them breaks.
            if open.askers.insert(link) {
                let known = open.holders.values().cloned();
                self.receipts.holders.entry(link).or_default().extend(known);
            }
            return;
        }
        if !self.receipts.has_room(dots.len(), now_ms) {
            return;
        }
        let open = Open {
            digest: Question::digest(&dots),
            dots,
            request: None,
            askers: BTreeSet::from([link]),
            holders: BTreeMap::new(),
            attested: false,
            until_ms: now_ms + wait_ms.min(RECEIPT_WAIT_MS_MAX),
            hops: hops.min(RECEIPT_HOPS_MAX),
        };
        let here = open.dots.iter().all(|dot| self.frontier.contains(*dot));
        self.receipts.open.insert(id, open);
        if here {
            self.receipts.attest(id, &mut group.effects);
        }
        self.pass_on(id, now_ms);
    }

    /// A peer has an answer, its own or another's.
    pub(crate) fn holder<V>(&mut self, group: &mut Group<'_, V>, holder: Holder) {
        // What nobody asked, or no longer, is late and not wrong.
        if holder.node != self.node {
            self.receipts.note(holder, &mut group.effects);
        }
    }

    /// This node's own answer is signed.
    pub(crate) fn attested<V>(&mut self, group: &mut Group<'_, V>, holder: Holder) {
        // It may have taken another identity meanwhile.
        if holder.node == self.node {
            self.receipts.note(holder, &mut group.effects);
        }
    }

    /// Asks all who have not asked: the peers beyond the one that it came from.
    fn pass_on(&mut self, id: Dot, now_ms: u64) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.ask_link(id, link, now_ms);
        }
    }

    fn ask_link(&mut self, id: Dot, link: LinkId, now_ms: u64) {
        let (Some(open), Some(to)) = (self.receipts.open.get(&id), self.links.get(&link)) else { return };
        let wait_ms = open.until_ms.saturating_sub(now_ms);
        if open.hops == 0 || wait_ms == 0 || open.askers.contains(&link) || to.peer == id.node {
            return;
        }
        let question = Question { id, hops: open.hops - 1, wait_ms, dots: open.dots.clone() };
        self.receipts.questions.entry(link).or_default().push(question);
    }

    /// A link that came up while questions are open is asked as well.
    pub(crate) fn ask_new_link<V>(&mut self, group: &Group<'_, V>, link: LinkId) {
        let open: Vec<Dot> = self.receipts.open.keys().copied().collect();
        for id in open {
            self.ask_link(id, link, group.now.steady_ms);
        }
    }

    /// Questions that nobody waits for any more go with the link.
    pub(crate) fn lost_link(&mut self, link: LinkId) {
        self.receipts.questions.remove(&link);
        self.receipts.holders.remove(&link);
        self.receipts.keep(|_, open| {
            open.askers.remove(&link);
            open.request.is_some() || !open.askers.is_empty()
        });
    }

    /// Answers what this group has made answerable, and sends what it has to say of receipts, behind its pushes.
    pub(crate) fn answer_questions<V>(&mut self, group: &mut Group<'_, V>) {
        if !group.grown.is_empty() && !self.receipts.open.is_empty() {
            let frontier = &self.frontier;
            let has_all = |open: &Open| open.dots.iter().all(|dot| frontier.contains(*dot));
            let unanswered = self.receipts.open.iter().filter(|(_, open)| !open.attested && has_all(open));
            let answerable: Vec<Dot> = unanswered.map(|(id, _)| *id).collect();
            for id in answerable {
                self.receipts.attest(id, &mut group.effects);
            }
        }
        for (link, questions) in core::mem::take(&mut self.receipts.questions) {
            let Some(state) = self.links.get_mut(&link) else { continue };
            for part in questions.chunks(RECEIPTS_PER_MESSAGE_MAX) {
                group.send(link, state, &Message::Question(part.to_vec()));
            }
        }
        for (link, holders) in core::mem::take(&mut self.receipts.holders) {
            let Some(state) = self.links.get_mut(&link) else { continue };
            for part in holders.chunks(RECEIPTS_PER_MESSAGE_MAX) {
                group.send(link, state, &Message::Holders(part.to_vec()));
            }
        }
    }
}
