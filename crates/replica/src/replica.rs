//! One replica as a state machine: inputs and time in, a batch to commit and sealed effects out.
//!
//! It owns the frontier, the clock and the sessions. It never performs I/O, never reads a clock, and never releases
//! an effect: [`Effects::commit`] does, once the batch is durable. See docs/protocol.md for the conversation that
//! its sessions hold, and docs/consistency.md for what follows from the merge.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, Floor, Frontier, HlcClock, Lost, NodeId, VersionVector, plant};

use crate::apply::{self, Keep};
use crate::batch::Overlay;
use crate::body::Document;
use crate::codec;
use crate::config::{
    CLAIMS_PER_ENTRY_MAX, Config, ENTRIES_PER_MESSAGE_MAX, FLOOR_ROWS_PER_MESSAGE, UNASKED_MAX,
};
use crate::digest::Fences;
use crate::doubt::Lives;
use crate::effect::{Alarm, Effect, Effects, LinkStatus, RoundReport, Status};
use crate::expiry::{self, is_contested};
use crate::input::{Input, LinkId, Now, RequestId};
use crate::lives::Unproved;
use crate::message::{Entry, Message};
use crate::once::{self, Forgetting, KeptCache};
use crate::path::{Path, Prefix};
use crate::policy::Policy;
use crate::quarantine::{self, Quarantine};
use crate::random::Random;
use crate::receipts::Receipts;
use crate::removals::{Gone, Removals};
use crate::session::Link;
use crate::size::{encoded_bytes, travels};
use crate::statement::Statement;
use crate::tally::Tally;
use crate::unit::{self, Companions};
use crate::view::{Counters, Record, View};
use crate::wall::Wall;

/// Who a replica is and where it starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its node.
    pub node: NodeId,
    /// Its epoch: new at every start and already durable.
    pub epoch: Epoch,
    /// Seed of its jitter.
    pub seed: u64,
    /// Bounds.
    pub config: Config,
    /// Strategies by path.
    pub policy: Arc<Policy>,
    /// What this node has signed: that this life has begun, and doubts of earlier ones that may not be stored yet.
    pub statements: Vec<Statement>,
}

/// One durable copy and the logic that keeps it in step with others.
///
/// A clone of it is a second process in one life, which is what a copied machine is: for simulations of that.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) node: NodeId,
    pub(crate) epoch: Epoch,
    /// The last `seq` minted in this epoch.
    pub(crate) seq: u64,
    pub(crate) config: Config,
    pub(crate) policy: Arc<Policy>,
    pub(crate) clock: HlcClock,
    pub(crate) frontier: Frontier,
    pub(crate) floor: Floor,
    pub(crate) counters: Counters,
    pub(crate) fences: Fences,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) quarantine: Quarantine,
    pub(crate) removals: Removals,
    pub(crate) unproved: Unproved,
    pub(crate) quarantine_alarms: quarantine::Alarms,
    pub(crate) wall: Wall,
    pub(crate) rounds: Vec<RunningRound>,
    pub(crate) receipts: Receipts,
    pub(crate) lives: Lives,
    /// Writes that wait for a new identity, once a clone was seen: the old one covers dots that were never seen here.
    pub(crate) renewing: Option<Vec<Input>>,
    pub(crate) last_round: Option<(u64, u64)>,
    pub(crate) skew_max_ms: u64,
    pub(crate) tally: Tally,
    pub(crate) next_anti_entropy_ms: Option<u64>,
    pub(crate) next_collect_ms: u64,
    /// Before this no link is pruned.
    pub(crate) next_prune_ms: u64,
    pub(crate) collect_after: Option<(rejoin_causal::Hlc, Path)>,
    /// The same among those with stamps from the future.
    pub(crate) collect_ageless_after: Option<(rejoin_causal::Hlc, Path)>,
    pub(crate) expiries: expiry::Schedule,
    pub(crate) forgetting: Forgetting,
    pub(crate) random: Random,
}

/// An anti-entropy request that waits for its links.
#[derive(Clone, Debug)]
pub(crate) struct RunningRound {
    pub(crate) request: RequestId,
    /// The links, each with the digest sessions of this request so far: only those over a part are counted.
    pub(crate) waiting: BTreeMap<LinkId, u8>,
    /// What is compared, if that is not everything.
    pub(crate) part: Option<Prefix>,
    pub(crate) report: RoundReport,
}

impl RunningRound {
    /// Whether it compares everything over this link, and is not done.
    pub(crate) fn is_whole_over(&self, link: LinkId) -> bool {
        self.part.is_none() && self.waiting.contains_key(&link)
    }
}

/// One group of inputs in the making: rows to write and effects to release after them.
pub(crate) struct Group<'a, V> {
    pub(crate) rows: Overlay<'a, V>,
    pub(crate) effects: Vec<Effect>,
    /// Dots that became known, by path, with the link they came over.
    pub(crate) fresh: BTreeMap<Path, Vec<(Dot, Option<LinkId>)>>,
    /// Other links that they came over as well.
    pub(crate) senders: BTreeSet<(Dot, LinkId)>,
    /// Frontier rows that grew.
    pub(crate) grown: BTreeSet<(NodeId, Epoch)>,
    /// Nodes of which the first write of a life became known.
    pub(crate) begun: BTreeSet<NodeId>,
    pub(crate) now: Now,
}

impl<V> Group<'_, V> {
    pub(crate) fn send(&mut self, link: LinkId, link_state: &mut Link, message: &Message) {
        self.send_frame(link, link_state, Bytes::from(codec::encode(message)));
    }

    /// Tells a peer how far collection has gone, if that is news.
    ///
    /// A document may cover a tombstone that is collected here and still live there. Merging it removes that tombstone
    /// with nothing in its place, and only the floor keeps the receiver from claiming it as void to a third replica
    /// that still has what it deleted. So the floor goes ahead of documents, on the same ordered link.
    pub(crate) fn tell_floor(&mut self, id: LinkId, link: &mut Link) {
        if !link.untold.is_empty() {
            let floor = core::mem::take(&mut link.untold);
            let rows: Vec<Dot> = floor.rows().collect();
            for rows in rows.chunks(FLOOR_ROWS_PER_MESSAGE) {
                let mut floor = Floor::new();
                for top in rows {
                    floor.raise(*top);
                }
                self.send(id, link, &Message::Floor(floor));
            }
        }
    }

    fn send_frame(&mut self, link: LinkId, link_state: &mut Link, frame: Bytes) {
        link_state.queued_bytes = link_state.queued_bytes.saturating_add(frame.len() as u64);
        self.effects.push(Effect::Send(link, frame));
    }
}

impl Replica {
    /// A replica that goes on from the committed state in `view`.
    pub fn open<V: View>(start: Start, now: Now, view: &V) -> Result<Replica, V::Error> {
        let counters = view.counters()?;
        let mut random = Random::new(start.seed);
        let next_anti_entropy_ms =
            start.config.anti_entropy_interval_ms.map(|interval| now.steady_ms + random.jitter(interval));
        Ok(Replica {
            node: start.node,
            epoch: start.epoch,
            seq: 0,
            next_collect_ms: now.steady_ms + random.jitter(start.config.collect_interval_ms),
            config: start.config,
            policy: start.policy,
            clock: HlcClock::resume(counters.hlc),
            frontier: view.frontier()?,
            floor: view.floor()?,
            counters,
            fences: Fences::load(view)?,
            links: BTreeMap::new(),
            quarantine: Quarantine::default(),
            removals: Removals::default(),
            unproved: Unproved::default(),
            quarantine_alarms: quarantine::Alarms::default(),
            wall: Wall::open(view.restamp()?),
            rounds: Vec::new(),
            receipts: Receipts::default(),
            lives: Lives::open(view, start.statements)?,
            renewing: None,
            last_round: None,
            skew_max_ms: 0,
            tally: Tally::default(),
            next_anti_entropy_ms,
            next_prune_ms: 0,
            collect_after: None,
            collect_ageless_after: None,
            expiries: expiry::Schedule::open(view, now)?,
            forgetting: Forgetting::default(),
            random,
        })
    }

    /// Handles a group of inputs over the committed state in `view`; later inputs read what earlier ones write.
    ///
    /// The effects must be committed before the next group. After an error (a failed read) or a failed commit this
    /// replica is ahead of its store and must be opened anew.
    pub fn handle<V: View>(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Now,
        view: &V,
    ) -> Result<Effects, V::Error> {
        let mut group = Group {
            rows: Overlay::new(view),
            effects: Vec::new(),
            fresh: BTreeMap::new(),
            senders: BTreeSet::new(),
            grown: BTreeSet::new(),
            begun: BTreeSet::new(),
            now,
        };
        let sequence_before = self.counters.sequence;
        let counters_before = self.counters;
        self.settle_identity(&mut group);
        self.mind_clock(&mut group);
        for input in inputs {
            self.handle_one(&mut group, input)?;
        }
        self.vouch_for_news(&mut group);
        self.push(&mut group)?;
        self.broadcast(&mut group);
        self.drain(&mut group)?;
        self.answer_questions(&mut group);
        // A peer may have said what time it is.
        self.mind_clock(&mut group);
        self.store_walk(&mut group);
        for (expires_ms, _) in
            group.rows.batch.expiries.iter().filter(|(_, there)| **there).map(|(row, _)| row)
        {
            self.expiries.note(*expires_ms, now);
        }
        for (node, epoch) in &group.grown {
            if let Some(set) = self.frontier.row(*node, *epoch) {
                group.rows.batch.frontier.insert((*node, *epoch), set.clone());
            }
        }
        self.fences.write(&mut group.rows.batch);
        self.counters.hlc = self.clock.last();
        if self.counters != counters_before {
            group.rows.batch.counters = Some(self.counters);
        }
        if self.counters.sequence != sequence_before {
            group.effects.push(Effect::Committed(self.counters.sequence));
        }
        Ok(Effects { batch: group.rows.batch, sealed: group.effects })
    }

    /// When [`Input::Tick`] is next due, on the steady clock.
    pub fn deadline(&self, now: Now) -> u64 {
        let release = self.quarantine.next_release_ms();
        let reach_ms = now.wall_ms + self.config.clock_skew_max_ms;
        let release = release.map(|wall_ms| now.steady_ms + wall_ms.saturating_sub(reach_ms));
        let broadcast = self.links.values().filter_map(|link| link.branch.deadline_ms()).min();
        // Under an identity that is about to change nothing is written.
        let expiry = self.expiries.deadline(now).filter(|_| self.renewing.is_none());
        let clock = self.clock_deadline(now);
        let forgetting = (self.counters.kept > 0).then_some(self.forgetting.next_ms);
        [self.next_anti_entropy_ms, Some(self.next_collect_ms), release, broadcast, expiry, clock, forgetting]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The policy.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Goes by other strategies from the next input on. Documents are what they were: a strategy only reads them, and
    /// shapes what is written from now on.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// Every dot applied, uncommitted ones of the last group included.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The collection floor.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Sums over the store.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The links that are up.
    pub fn links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.keys().copied()
    }

    /// How many documents wait in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.quarantine.len() as u64
    }

    /// Whether own versions that a wrong clock has stamped are being minted again, or wait for it.
    pub fn is_restamping(&self) -> bool {
        self.wall.walk.is_some()
    }

    /// Whether no exchange, catch-up or digest session is going on on any link.
    pub fn is_quiet(&self) -> bool {
        self.links.values().all(|link| link.is_quiet() && link.lag.is_empty())
    }

    fn handle_one<V: View>(&mut self, group: &mut Group<'_, V>, input: Input) -> Result<(), V::Error> {
        match input {
            input @ (Input::Write(..) | Input::WriteAll(..)) => self.client_write(group, input)?,
            Input::LinkUp { link, peer, epoch, dialed } => self.link_up(group, link, peer, epoch, dialed),
            Input::LinkDown(link) => self.link_down(group, link),
            Input::Message(link, message) => self.message(group, link, message)?,
            Input::Sent(link, bytes) => self.sent(link, bytes),
            Input::Served { link, claims, documents, unclaimed, withheld } => {
                self.served(group, link, &claims, documents, (unclaimed, withheld));
            }
            Input::Withheld { link, path, unswept } => self.left_out(group, link, path, unswept)?,
            Input::AntiEntropy(request, prefix) if prefix.as_str().is_empty() => {
                self.anti_entropy(group, Some(request));
            }
            Input::AntiEntropy(request, prefix) => self.compare_part(group, request, prefix),
            Input::Status(request) => {
                let status = Box::new(self.status());
                group.effects.push(Effect::Status(request, status));
            }
            Input::Quarantine(request) => {
                group.effects.push(Effect::Held(request, self.quarantine.list()));
            }
            Input::Release { request, path, node } => {
                let released = self.release_now(group, path.as_ref(), node)?;
                group.effects.push(Effect::Released(request, released));
            }
            Input::AskHolders { request, dots, wait_ms } => self.ask_holders(group, request, dots, wait_ms),
            Input::Attested(holder) => self.attested(group, holder),
            Input::ForgetHolders(request) => self.forget_holders(request),
            Input::CloneSeen { epoch } if epoch < self.epoch => {
                group.effects.push(Effect::Alarm(Alarm::OlderClone { epoch }));
            }
            Input::CloneSeen { epoch } => self.clone_seen(group, epoch),
            Input::SelfDoubt { epoch, reason } => self.self_doubt(group, epoch, reason),
            Input::Renewed { node, epoch, statements } => {
                self.renewed(group, (node, epoch), statements);
                for write in self.renewing.take().unwrap_or_default() {
                    self.client_write(group, write)?;
                }
            }
            Input::Tick => self.tick(group)?,
        }
        Ok(())
    }

    /// A reader has left out what is too large to travel: the operator hears of it, and by name.
    fn left_out<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        link: LinkId,
        path: Path,
        unswept: bool,
    ) -> Result<(), V::Error> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        let peer = state.peer;
        if unswept {
            state.unswept = true;
        }
        let record = group.rows.record(&path)?;
        let bytes = record.as_ref().map_or(0, |record| encoded_bytes(&path, &record.document) as u64);
        let versions = record.map_or(0, |record| record.document.versions().len() as u64);
        group.effects.push(Effect::Alarm(Alarm::Undeliverable { path, bytes, versions, peer }));
        Ok(())
    }

    fn client_write<V: View>(&mut self, group: &mut Group<'_, V>, input: Input) -> Result<(), V::Error> {
        if let Some(waiting) = &mut self.renewing {
            waiting.push(input);
            return Ok(());
        }
        match input {
            Input::Write(request, write) => {
                let answer = self.write(group, write)?;
                group.effects.push(Effect::Reply(request, answer.map(Box::new).map_err(Box::new)));
            }
            Input::WriteAll(request, writes) => {
                let answer = self.write_all(group, writes)?;
                group.effects.push(Effect::ReplyAll(request, answer));
            }
            _ => {}
        }
        Ok(())
    }

    fn tick<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        for (entry, link) in self.quarantine.release(group.now.wall_ms + self.config.clock_skew_max_ms) {
            self.absorb(group, entry, Some(link))?;
        }
        self.expire(group)?;
        self.restamp(group)?;
        if self.counters.kept > 0 && self.forgetting.next_ms <= group.now.steady_ms {
            self.forget_kept(group)?;
        }
        if self.next_anti_entropy_ms.is_some_and(|due| due <= group.now.steady_ms) {
            self.anti_entropy(group, None);
            let interval = self.config.anti_entropy_interval_ms;
            self.next_anti_entropy_ms = interval.map(|ms| group.now.steady_ms + self.random.jitter(ms));
        }
        if self.next_collect_ms <= group.now.steady_ms {
            // Between two turns of one pass of collection there is a moment, not a minute.
            if self.collect_after.is_none() {
                self.quarantine_alarms.tell(group);
                self.receipts.expire(group.now.steady_ms);
                self.close_silent(group);
            }
            self.collect(group)?;
            self.forget_removals(group)?;
        }
        Ok(())
    }

    /// Notes that `dot` at `path` is applied; remembers to pass it on when that is new.
    pub(crate) fn applied<V>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
        dot: Dot,
        source: Option<LinkId>,
    ) {
        if self.frontier.insert(dot) {
            if group.grown.insert((dot.node, dot.epoch)) {
                self.note_begun(group, dot);
            }
            // Nothing is told to whoever told it; a link that comes up later in this group compares frontiers first.
            let to_others = self.links.keys().any(|link| Some(*link) != source);
            if to_others || plant::is("echo") {
                group.fresh.entry(path.clone()).or_default().push((dot, source));
            }
        } else if let Some(link) = source {
            Replica::note_sender(group, path, dot, link);
        }
    }

    /// A peer sends what came out of quarantine in this very group, or from another peer: it need not be told of it.
    pub(crate) fn note_sender<V>(group: &mut Group<'_, V>, path: &Path, dot: Dot, link: LinkId) {
        if group.fresh.get(path).is_some_and(|news| news.iter().any(|(known, _)| *known == dot)) {
            group.senders.insert((dot, link));
        }
    }

    /// Merges a document that came from a peer, and takes its dots as applied.
    pub(crate) fn absorb<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        entry: Entry,
        source: Option<LinkId>,
    ) -> Result<(), V::Error> {
        let path = entry.path.clone();
        self.absorb_alone(group, entry, source)?;
        self.release_settled(group, &path)
    }

    /// The same, whatever waits in quarantine for that path.
    pub(crate) fn absorb_alone<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        entry: Entry,
        source: Option<LinkId>,
    ) -> Result<(), V::Error> {
        let claims: Vec<Dot> = entry.claims().collect();
        self.merge(group, &entry.path, entry.document, None)?;
        if plant::is("forget-claims") {
            return Ok(());
        }
        for dot in claims {
            self.applied(group, &entry.path, dot, source);
        }
        Ok(())
    }

    /// Merges `incoming` at `path` and writes the outcome.
    pub(crate) fn merge<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
        incoming: Document,
        gone: Option<Gone<'_>>,
    ) -> Result<Moved, V::Error> {
        let before = group.rows.record(path)?;
        self.merge_with(group, path, before, incoming, gone)
    }

    /// The same for a caller who has just read what is there.
    pub(crate) fn merge_with<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: &Path,
        before: Option<Record>,
        incoming: Document,
        gone: Option<Gone<'_>>,
    ) -> Result<Moved, V::Error> {
        let local = before.as_ref().map_or_else(Document::new, |record| record.document.clone());
        // What the peer says is gone are numbers of the versions here. What replaced them there may rest on anything.
        let may_remove = self.may_remove(&local);
        let doubtful = !may_remove || self.rests_on_doubt(&incoming);
        let held = gone.filter(|_| !may_remove).is_some_and(|gone| would_fence(&local, &incoming, gone.dots));
        let gone = gone.filter(|_| may_remove);
        let merged = local.merge(incoming, &self.frontier, gone.map(|gone| gone.dots));
        // Where nothing comes in for what goes, only numbers say that it is to go: those of the frontier here.
        let emptied = doubtful && merged.added.is_empty() && !merged.removed.is_empty();
        if held || emptied {
            self.hold_removals(1);
        }
        if emptied {
            return Ok(Moved::default());
        }
        // Only what comes in has passed quarantine; a version that is known and gone may carry any stamp. So may one that an
        // operator let out of quarantine, or that this node wrote itself under a wrong clock and lost since.
        let reach = self.reach(group.now);
        for version in merged.added.iter().filter_map(|dot| merged.document.version(*dot)) {
            if version.hlc <= reach {
                self.clock.observe(version.hlc);
            } else if version.dot.node == self.node || self.lives.left().any(|left| left == version.dot.node)
            {
                self.walk_to(version.dot);
            }
        }
        for gone in merged.removed.iter().filter(|gone| gone.why == Lost::Fenced) {
            // It went with nothing in its place, as a collected delete does, and what deleted it may still be unknown
            // here: nobody may take it for void who has what it replaced.
            self.raise_floor(group, None, gone.version.dot);
        }
        let moved = Moved { added: merged.added.len() as u64, removed: merged.removed.len() as u64 };
        let past = merged.document.is_empty() && !is_applied(&self.frontier, merged.document.vv());
        let was_open = before.as_ref().is_some_and(|record| is_contested(&record.document));
        let open = is_contested(&merged.document);
        if was_open || open {
            self.tally.contest(self.policy.strategy(path), was_open, open);
        }
        let contested = before.as_ref().map(|record| &record.document);
        let contested = contested.filter(|document| is_contested(document) && moved.removed > 0);
        let shown = contested.and_then(|document| self.policy.visible(path, document, group.now.wall_ms));
        let shown = shown.map(|visible| visible.version);
        self.warn_of_siblings(group, path, before.as_ref().map(|record| &record.document), &merged.document);
        let word = gone.map(|gone| gone.word);
        let keep = Keep { past, history_max: self.config.versions_max, shown, word, reach };
        apply::write(&mut group.rows, &mut self.counters, &mut self.fences, path, before, merged, keep)?;
        Ok(moved)
    }

    /// Live push: one frame per eager link with the documents of this group and the dots it added, less what that peer
    /// is known to have. A full queue turns the push into lag, which a later catch-up drains.
    fn push<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let (fresh, senders) = (core::mem::take(&mut group.fresh), core::mem::take(&mut group.senders));
        if fresh.is_empty() || !self.links.values().any(|link| link.session.pushes()) {
            return Ok(());
        }
        let mut documents: BTreeMap<Path, Document> = BTreeMap::new();
        for path in fresh.keys() {
            let record = group.rows.record(path)?.filter(|record| !record.document.is_empty());
            // What is too large to travel lags, and the catch-up that is to bring it names it.
            let record =
                record.filter(|record| travels(path, &record.document, self.config.document_bytes_max));
            if let Some(record) = record {
                documents.insert(path.clone(), record.document);
            }
        }
        let documents = Companions::of(&group.rows, documents, self.config.document_bytes_max)?;
        let mut kept = KeptCache::new(self, &fresh);
        // Most links get the same documents: encode once and share the bytes.
        let mut encoded: Vec<(Vec<Entry>, Vec<Bytes>)> = Vec::new();
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.session.pushes()) {
            let mut entries = Vec::new();
            let (mut unsendable, mut held_back) = (Frontier::new(), Frontier::new());
            for (path, dots) in &fresh {
                let news = dots.iter().filter(|(dot, source)| {
                    let own = dot.node == link.peer && dot.epoch == link.peer_epoch;
                    let has = *source == Some(*id) || senders.contains(&(*dot, *id));
                    (!has || plant::is("echo")) && !own
                });
                let news: Vec<Dot> = news.map(|(dot, _)| *dot).collect();
                if news.is_empty() {
                    continue;
                }
                if !link.branch.eager {
                    held_back.union_with(&news.into_iter().collect());
                    continue;
                }
                let Some(document) = documents.document(path) else {
                    // Without a document there is nothing that covers the dots; a catch-up claims them.
                    unsendable.union_with(&news.into_iter().collect());
                    continue;
                };
                let live = |dot: &Dot| document.version(*dot).is_some();
                let mut superseded: Vec<Dot> = news.into_iter().filter(|dot| !live(dot)).collect();
                if superseded.len() > CLAIMS_PER_ENTRY_MAX {
                    unsendable.union_with(&superseded.drain(CLAIMS_PER_ENTRY_MAX..).collect());
                }
                entries.push(Entry { path: path.clone(), document: document.clone(), superseded });
            }
            link.lag.union_with(&unsendable);
            if !held_back.is_empty() {
                link.branch.hold_back(&held_back, group.now.steady_ms);
            }
            if entries.is_empty() {
                continue;
            }
            documents.join(&mut entries);
            let at = match encoded.iter().position(|(known, _)| *known == entries) {
                Some(at) => at,
                None => {
                    let frames = frames(&entries, self.config.chunk_bytes_max);
                    encoded.push((entries, frames));
                    encoded.len() - 1
                }
            };
            let (entries, frames) = &encoded[at];
            // What was answered to the writes goes ahead of them: to all that the documents carry, since a catch-up that is on
            // its way may not have come to those that are no news.
            let mut answers = Vec::new();
            for dot in entries.iter().flat_map(Entry::claims) {
                answers.extend(kept.get(&group.rows, dot)?);
            }
            let answers = once::messages(answers).filter(|_| !plant::is("push-without-answers"));
            let answers: Vec<Bytes> = answers.map(|message| Bytes::from(codec::encode(&message))).collect();
            let bytes: u64 = answers.iter().chain(frames).map(|frame| frame.len() as u64).sum();
            group.tell_floor(*id, link);
            let full = link.queued_bytes > 0 && link.queued_bytes + bytes > self.config.push_queue_bytes_max;
            if full && plant::is("forget-lag") {
                continue;
            }
            if full && !plant::is("queue-without-bound") {
                link.lag.union_with(&entries.iter().flat_map(Entry::claims).collect());
            } else {
                for frame in answers.iter().chain(frames) {
                    group.send_frame(*id, link, frame.clone());
                }
            }
        }
        Ok(())
    }

    /// Closes a link because its peer said what no replica says.
    pub(crate) fn violation<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, why: &str) {
        self.close(group, link, format!("protocol violation: {why}"));
    }

    /// Ignores what a peer sent without having been asked, and tells of it; closes the link when that goes on.
    pub(crate) fn unasked<V>(&mut self, group: &mut Group<'_, V>, id: LinkId, what: &'static str) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.unasked += 1;
        let (peer, too_often) = (link.peer, link.unasked > UNASKED_MAX);
        self.tally.unasked += 1;
        group.effects.push(Effect::Alarm(Alarm::Unasked { link: id, peer, what }));
        if too_often {
            self.violation(group, id, "it keeps on sending what nobody asked for");
        }
    }

    pub(crate) fn close<V>(&mut self, group: &mut Group<'_, V>, link: LinkId, why: String) {
        group.effects.push(Effect::Close(link, why));
        self.link_down(group, link);
    }

    pub(crate) fn clone_seen<V>(&mut self, group: &mut Group<'_, V>, epoch: Epoch) {
        // The older process keeps the identity's dots apart by epoch, but two writers under one id would still
        // hide each other's writes to a path: whoever sees a newer one gives way.
        if epoch > self.epoch && self.renewing.is_none() && !plant::is("ignore-clone") {
            group.effects.push(Effect::Alarm(Alarm::Clone { epoch }));
            self.renew(group);
        }
    }

    /// How it is doing; between groups, as the last commit has left it.
    pub fn status(&self) -> Status {
        let link = |(id, link): (&LinkId, &Link)| LinkStatus {
            link: *id,
            peer: link.peer,
            session: link.session.name(),
            caught_up: link.caught_up,
            ahead: link.lag.len().saturating_add(link.serving).saturating_add(link.withheld.len()),
            behind: link.behind,
            queued_bytes: link.queued_bytes,
            held_by_us: self.quarantine.of_peer(link.peer) as u64,
            held_by_peer: link.peer_holds.len(),
            clock_ahead_ms: link.clock.map(|clock| clock.lead_ms(self.wall.now)),
        };
        Status {
            node: self.node,
            epoch: self.epoch,
            frontier: self.frontier.clone(),
            counters: self.counters,
            floor: self.floor.clone(),
            links: self.links.iter().map(link).collect(),
            removals: self.removals_status(),
            quarantined: self.quarantine.len() as u64,
            quarantined_bytes: self.quarantine.bytes() as u64,
            clock: self.clock_status(),
            skew_max_ms: self.skew_max_ms,
            doubted: self.doubted().iter().map(|(life, doubted)| (*life, *doubted)).collect(),
            suspected: self.suspected().collect(),
            tally: self.tally,
            last_round: self.last_round,
        }
    }
}

/// Whether everything that a past covers has been applied: nothing older can come in any more.
pub(crate) fn is_applied(frontier: &Frontier, past: &VersionVector) -> bool {
    past.tops().all(|top| frontier.is_dense_to(top))
}

/// How many versions a merge moved.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) added: u64,
    pub(crate) removed: u64,
}

/// Whether a peer's frontier alone would take a version out of `local`.
fn would_fence(local: &Document, incoming: &Document, senders: &Frontier) -> bool {
    local.versions().iter().any(|ours| {
        let known_there = incoming.version(ours.dot).is_some() || incoming.vv().covers(ours.dot);
        !known_there && senders.contains(ours.dot)
    })
}

/// The push frames of some documents: one, unless they are more than a frame should hold. What was written in one batch
/// stays in one frame.
fn frames(entries: &[Entry], chunk_bytes_max: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut push = |entries: Vec<Entry>| frames.push(Bytes::from(codec::encode(&Message::Push(entries))));
    let mut pushed: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    for bundle in unit::bundles(entries) {
        let bundle: Vec<&Entry> = bundle.into_iter().map(|at| &entries[at]).collect();
        let weight: usize =
            bundle.iter().map(|entry| crate::catch_up::weight(&entry.path, &entry.document)).sum();
        let full = bytes + weight > chunk_bytes_max || pushed.len() + bundle.len() > ENTRIES_PER_MESSAGE_MAX;
        if !pushed.is_empty() && full {
            push(core::mem::take(&mut pushed));
            bytes = 0;
        }
        bytes += weight;
        pushed.extend(bundle.into_iter().cloned());
    }
    push(pushed);
    frames
}
