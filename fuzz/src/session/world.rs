//! A replica over a store in memory, its shell, and what the two promise after every commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rejoin_causal::{Dot, Epoch, Frontier, NodeId};
use rejoin_replica::codec::{decode, encode};
use rejoin_replica::message::Holder;
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{
    Audit, AuditStep, CatchUp, CatchUpStep, Change, Condition, Config, Doubt, Effect, Input, Key, LinkId,
    Message, Now, Observed, Once, Policy, Proof, Replica, RequestId, Start, Statement, Strategy, Ttl,
    View as _, Write,
};
use rejoin_store::engine::MemorySnapshot;
use rejoin_store::{MemoryEngine, Snapshot, Store, SyncPolicy};

use super::ledger::Ledger;
use super::messages::{Maker, PEERS, path, peer, value};
use super::recount::recount;
use crate::bytes::Bytes;

type Reading = Snapshot<MemorySnapshot>;

/// Messages in one session.
const MESSAGES_MAX: usize = 200;

/// Everything else that happens in one session.
const EVENTS_MAX: usize = 1_000;

/// Commits between two recounts of the whole store.
const COMMITS_PER_RECOUNT: usize = 64;

/// The greatest document that is sent, in bytes.
const DOCUMENT_BYTES_MAX: usize = 600;

/// One link, as the shell has it.
#[derive(Default)]
struct Port {
    /// What the replica or a reader said last.
    last: Option<Message>,
    queued_bytes: u64,
    serving: Option<CatchUp<Reading>>,
    audit: Option<Audit<Reading>>,
}

pub(super) struct World<'a> {
    script: Bytes<'a>,
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    replica: Replica,
    config: Config,
    policy: Arc<Policy>,
    node: NodeId,
    epoch: Epoch,
    /// Writes answered under this identity and epoch.
    seq: u64,
    now: Now,
    wall_max_ms: u64,
    ports: BTreeMap<LinkId, Port>,
    group: Vec<Input>,
    writes: BTreeMap<RequestId, Write>,
    rounds: BTreeSet<RequestId>,
    ledger: Ledger,
    next: [u64; PEERS],
    exchange: u64,
    next_id: u64,
    messages: usize,
    commits: usize,
    /// A clone was seen: the shell will answer with a new identity.
    renewing: bool,
    /// Doubts of the identity that is left.
    signed: Vec<Statement>,
    frontier: Frontier,
}

impl<'a> World<'a> {
    pub(super) fn new(mut script: Bytes<'a>) -> World<'a> {
        let flags = script.byte();
        let config = Config {
            redundant_links_max: 1,
            versions_max: [2, 0, 1, 10][usize::from(flags & 3)],
            value_bytes_max: 100,
            value_depth_max: 8,
            batch_bytes_max: 200,
            anti_entropy_interval_ms: (flags & 4 == 0).then_some(1_000),
            tombstone_retention_ms: 5_000,
            clock_skew_max_ms: 1_000,
            quarantine_entries_max: 4,
            quarantine_bytes_max: 2_000,
            quarantine_peer_entries_max: 3,
            quarantine_peer_bytes_max: 1_000,
            session_silence_max_ms: 60_000,
            push_queue_bytes_max: 512,
            chunk_bytes_max: 256,
            credit_bytes: 512,
            siblings_max: 3,
            siblings_bytes_max: 250,
            document_bytes_max: DOCUMENT_BYTES_MAX,
            removals_max: 3,
            removals_share_percent: 5,
            removals_window_ms: 1_000,
            removals_allowed: flags & 8 > 0,
            suspicions_max: 2,
            suspicion_hold_ms: 2_000,
            unexplained_rows_max: 8,
            collect_batch_max: 3,
            collect_interval_ms: 500,
            expire_grace_ms: 1_000,
            expire_stagger_ms: 200,
            expire_batch_max: 2,
            expire_interval_ms: 50,
            kept_retention_ms: 4_000,
            kept_max: 5,
        };
        let rule = |prefix| Path::parse(prefix).expect("a path");
        let policy = Policy::new(Strategy::LastWriteWins)
            .with(&rule("m"), Strategy::MergeFields)
            .with(&rule("f"), Strategy::FirstWriteWins);
        let engine = MemoryEngine::new();
        let mut store = Store::open(engine.clone(), SyncPolicy::EveryCommit).expect("an empty store");
        let now = Now { wall_ms: 1_700_000_000_000, steady_ms: 5_000 };
        let epoch = store.begin_epoch(now.wall_ms, 1).expect("an epoch");
        let (node, policy) = (NodeId([1; 16]), Arc::new(policy));
        let start = Start {
            node,
            epoch,
            seed: 1,
            config: config.clone(),
            policy: Arc::clone(&policy),
            statements: Vec::new(),
        };
        let replica = Replica::open(start, now, &store.snapshot()).expect("a replica");
        let mut world = World {
            script,
            engine,
            store,
            replica,
            config,
            policy,
            node,
            epoch,
            seq: 0,
            now,
            wall_max_ms: now.wall_ms,
            ports: BTreeMap::new(),
            group: Vec::new(),
            writes: BTreeMap::new(),
            rounds: BTreeSet::new(),
            ledger: Ledger::default(),
            next: [0; PEERS],
            exchange: 0,
            next_id: 1,
            messages: 0,
            commits: 0,
            renewing: false,
            signed: Vec::new(),
            frontier: Frontier::new(),
        };
        world.link_up();
        if flags & 0x70 == 0x70 {
            let snapshot = world.store.snapshot();
            let many = world.maker(&snapshot, |maker, _| maker.many(80));
            world.hear(LinkId(1), many);
        }
        world
    }

    pub(super) fn run(mut self) {
        for _ in 0..EVENTS_MAX {
            if self.script.is_empty() || self.messages >= MESSAGES_MAX {
                break;
            }
            let what = self.script.byte();
            self.happen(what % 32);
            // Most groups are of one input; some commit several, which read each other's writes.
            if what < 0xA0 || self.group.len() >= 6 {
                self.commit();
            }
        }
        self.commit();
        self.status();
        self.commit();
        self.recount();
        self.reopen();
        self.recount();
    }

    fn happen(&mut self, what: u8) {
        match what {
            0..=9 => self.peer_speaks(|maker, bytes, last| maker.answer(bytes, last)),
            10..=14 => self.peer_speaks(|maker, bytes, _| maker.message(bytes)),
            15 => {
                let frame = self.script.run().to_vec();
                self.frame(&frame);
            }
            16 => {
                // A real frame with damage.
                let snapshot = self.store.snapshot();
                let mut frame = self.maker(&snapshot, |maker, bytes| encode(&maker.message(bytes)));
                for _ in 0..=self.script.below(3) {
                    let at = usize::from(self.script.byte()) % frame.len();
                    frame[at] = self.script.byte();
                }
                self.frame(&frame);
            }
            17..=20 => self.write(),
            21 | 22 => self.link_up(),
            23 => {
                if let Some(link) = self.pick_link() {
                    self.ports.remove(&link);
                    self.group.push(Input::LinkDown(link));
                }
            }
            24 | 25 => self.tick(),
            26 => {
                if let Some(link) = self.pick_link()
                    && let Some(port) = self.ports.get_mut(&link)
                {
                    let bytes = port.queued_bytes.min(u64::from(self.script.byte()) * 8);
                    port.queued_bytes -= bytes;
                    self.group.push(Input::Sent(link, bytes));
                }
            }
            27 | 28 => self.read(),
            29 => {
                let request = self.request();
                self.rounds.insert(request);
                let part = ["", "a"][usize::from(self.script.byte() % 2)];
                let prefix = Prefix::parse(part).expect("a prefix");
                self.group.push(Input::AntiEntropy(request, prefix));
            }
            30 => match self.script.below(4) {
                0 => {
                    self.commit();
                    self.recount();
                    self.reopen();
                }
                1 => {
                    let by = self.script.below(3);
                    self.group.push(Input::CloneSeen { epoch: Epoch(self.epoch.0.saturating_sub(1) + by) });
                }
                _ => self.echo(),
            },
            _ => self.status(),
        }
    }

    fn pick_link(&mut self) -> Option<LinkId> {
        let at = usize::from(self.script.byte());
        let links: Vec<LinkId> = self.ports.keys().copied().collect();
        (!links.is_empty()).then(|| links[at % links.len()])
    }

    fn request(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    fn link_up(&mut self) {
        if self.ports.len() >= 4 {
            return;
        }
        let link = LinkId(self.next_id);
        self.next_id += 1;
        let choice = self.script.byte();
        self.ports.insert(link, Port::default());
        let dialed = choice & 1 > 0;
        let peer = if choice >= 0xF8 { self.node } else { peer(u64::from(choice >> 1) % PEERS as u64) };
        self.group.push(Input::LinkUp { link, peer, epoch: Epoch(u64::from(choice >> 5)), dialed });
    }

    fn maker<T>(&mut self, snapshot: &Reading, make: impl FnOnce(&mut Maker<'_>, &mut Bytes<'a>) -> T) -> T {
        let mut maker = Maker {
            replica: &self.replica,
            snapshot,
            own: (self.node, self.epoch, self.seq),
            wall_ms: self.now.wall_ms,
            skew_ms: self.config.clock_skew_max_ms,
            next: &mut self.next,
            exchange: &mut self.exchange,
        };
        make(&mut maker, &mut self.script)
    }

    fn peer_speaks(
        &mut self,
        make: impl FnOnce(&mut Maker<'_>, &mut Bytes<'a>, Option<&Message>) -> Message,
    ) {
        let Some(link) = self.pick_link() else { return self.link_up() };
        let last = self.ports.get(&link).and_then(|port| port.last.clone());
        let snapshot = self.store.snapshot();
        let message = self.maker(&snapshot, |maker, bytes| make(maker, bytes, last.as_ref()));
        self.hear(link, message);
    }

    /// Bytes of a link.
    fn frame(&mut self, frame: &[u8]) {
        if let Ok(message) = decode(frame)
            && let Some(link) = self.pick_link()
        {
            self.hear(link, message);
        }
    }

    /// What the replica said over one link comes in over another.
    fn echo(&mut self) {
        let (Some(from), Some(to)) = (self.pick_link(), self.pick_link()) else { return };
        if let Some(message) = self.ports.get(&from).and_then(|port| port.last.clone()) {
            self.hear(to, message);
        }
    }

    /// Hands a message over as a link would: what is no legal frame never arrives.
    fn hear(&mut self, link: LinkId, message: Message) {
        if let Ok(message) = decode(&encode(&message)) {
            self.messages += 1;
            self.group.push(Input::Message(link, message));
        }
    }

    fn write(&mut self) {
        let path = path(&mut self.script);
        let snapshot = self.store.snapshot();
        let document =
            snapshot.record(&path).expect("a record").map(|record| record.document).unwrap_or_default();
        let bytes = &mut self.script;
        let change = match bytes.below(8) {
            0..=3 => Change::Put(value(bytes)),
            4 => Change::Replace(value(bytes)),
            5 => Change::Patch(value(bytes)),
            6 => Change::Resolve(value(bytes)),
            _ => Change::Delete,
        };
        let tag = || vec![rejoin_replica::etag(&document)];
        let condition = match bytes.below(16) {
            0 => Condition::Absent,
            1 => Condition::Present,
            2 => Condition::Matches(tag()),
            3 => Condition::NoneOf(tag()),
            _ => Condition::Always,
        };
        let observed = match bytes.below(4) {
            0 => {
                let seen = bytes.byte();
                let dots = document.versions().iter().map(|version| version.dot);
                let mut dots: Vec<Dot> = dots
                    .enumerate()
                    .filter(|(at, _)| (seen >> (at % 8)) & 1 > 0)
                    .map(|(_, dot)| dot)
                    .collect();
                dots.push(Dot { node: peer(3), epoch: Epoch(9), seq: 9 });
                Observed::These(dots)
            }
            _ => Observed::All,
        };
        // Of what there is already: the corpus keeps its meaning.
        let ttl = (self.writes.len() % 4 == 3)
            .then(|| Ttl::of_ms(self.writes.len() as u64 * 50))
            .and_then(Result::ok);
        let mut write = Write { path, change, condition, observed, ttl, once: None };
        if self.writes.len() % 3 == 1 {
            // Each with a key of its own: a write is done here as often as it is asked for.
            let key = Key::parse(&self.writes.len().to_string()).expect("a key");
            write.once = Some(Once::new(&key, std::slice::from_ref(&write)));
        }
        let request = self.request();
        self.writes.insert(request, write.clone());
        self.group.push(Input::Write(request, write));
    }

    fn status(&mut self) {
        let request = self.request();
        self.group.push(Input::Status(request));
    }

    /// Time passes, at times by a jump of the wall clock either way.
    fn tick(&mut self) {
        // A group has one time.
        self.commit();
        let (steps, scale) = (u64::from(self.script.byte()), self.script.byte());
        self.now.steady_ms += steps * 10;
        self.now.wall_ms = match scale {
            0xFF => 1_800_000_000_000,
            0xFE => 1_600_000_000_000,
            0xFD => 0,
            0xFC => (1 << 48) - 1,
            0xF0..=0xFB => self.now.wall_ms.saturating_sub(steps * 100),
            _ => self.now.wall_ms + steps * u64::from(scale),
        };
        self.wall_max_ms = self.wall_max_ms.max(self.now.wall_ms);
        self.group.push(Input::Tick);
        self.commit();
        let deadline = self.replica.deadline(self.now);
        assert!(deadline > self.now.steady_ms, "due again at once: {deadline} at {}", self.now.steady_ms);
    }

    /// Lets a link's reader work: a catch-up that is being served.
    fn read(&mut self) {
        let Some(link) = self.pick_link() else { return };
        let steps = 1 + self.script.below(8);
        for _ in 0..steps {
            let Some(port) = self.ports.get_mut(&link) else { return };
            let Some(serving) = &mut port.serving else { return };
            match serving.step().expect("a chunk") {
                CatchUpStep::Send(message) => {
                    if let Message::Chunk(entries) = &message {
                        let most = self.config.chunk_bytes_max;
                        let all_but_last: usize =
                            entries.iter().rev().skip(1).map(|entry| entry.path.as_str().len()).sum();
                        assert!(all_but_last < most, "a chunk of {} entries", entries.len());
                    }
                    port.said(message);
                }
                CatchUpStep::Wait => return,
                CatchUpStep::Withheld(path) => {
                    self.group.push(Input::Withheld { link, path, unswept: false });
                }
                CatchUpStep::Done { claims, documents, unclaimed, withheld } => {
                    port.serving = None;
                    self.group.push(Input::Served { link, claims, documents, unclaimed, withheld });
                    return;
                }
            }
        }
    }

    /// Handles the group and does what came of it, until nothing does.
    fn commit(&mut self) {
        loop {
            let group = std::mem::take(&mut self.group);
            if group.is_empty() {
                return;
            }
            let heard: Vec<Message> = group
                .iter()
                .filter_map(|input| match input {
                    Input::Message(_, message) => Some(message.clone()),
                    _ => None,
                })
                .collect();
            let inputs = group.len();
            let effects = self.replica.handle(group, self.now, &self.store.snapshot()).expect("a group");
            let effects = effects.commit(&mut self.store).expect("a commit");
            self.commits += 1;
            let bound = 8 + 4 * (inputs + self.ports.len()) + 200;
            assert!(effects.len() <= bound, "{} effects of {inputs} inputs", effects.len());
            self.perform(effects, inputs == 1);
            heard.iter().for_each(|message| self.ledger.heard(message));
            self.check();
            if self.commits.is_multiple_of(COMMITS_PER_RECOUNT) {
                self.recount();
            }
            if self.renewing {
                self.renewing = false;
                self.node = NodeId([0x40 + (self.commits % 64) as u8; 16]);
                self.epoch = self.store.begin_epoch(self.now.wall_ms, 3).expect("an epoch");
                self.seq = 0;
                let statements = std::mem::take(&mut self.signed);
                self.group.push(Input::Renewed { node: self.node, epoch: self.epoch, statements });
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, alone: bool) {
        // Pushed bytes by link, and what was queued before them.
        let mut pushed: BTreeMap<LinkId, (u64, u64)> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Reply(request, answer) => {
                    let write = self.writes.remove(&request).expect("an answer to a question");
                    let Ok(written) = answer else { continue };
                    self.pass_ends(written.dot.seq);
                    self.seq += 1;
                    let expected = Dot { node: self.node, epoch: self.epoch, seq: self.seq };
                    assert_eq!(written.dot, expected, "writes are numbered one by one");
                    assert_eq!(written.path, write.path);
                    assert!(written.vector_clock.covers(written.dot));
                    let tombstone = matches!(write.change, Change::Delete);
                    self.ledger.answered(written.dot, &write.path, written.hlc, tombstone, &write.observed);
                    if write.ttl.is_some() {
                        // Its time may come at any tick.
                        self.ledger.forget(written.dot);
                    }
                }
                Effect::Send(link, frame) => {
                    let message = decode(&frame).expect("our own frame");
                    let Some(port) = self.ports.get_mut(&link) else { continue };
                    if matches!(message, Message::Push(_)) {
                        pushed.entry(link).or_insert((port.queued_bytes, 0)).1 += frame.len() as u64;
                    }
                    port.queued_bytes += frame.len() as u64;
                    port.last = Some(message);
                }
                Effect::Close(link, why) => {
                    assert!(!why.is_empty());
                    self.ports.remove(&link);
                }
                Effect::Serve { link, known, exchange } => {
                    let Some(port) = self.ports.get_mut(&link) else { continue };
                    assert!(port.serving.is_none(), "a catch-up is served while another is");
                    let (most, credit) = (self.config.chunk_bytes_max, self.config.credit_bytes);
                    let document = self.config.document_bytes_max;
                    let snapshot = self.store.snapshot();
                    let serving = CatchUp::new(snapshot, &known, exchange, most, credit, document);
                    port.serving = Some(serving.expect("a catch-up"));
                }
                Effect::Grant(link, bytes) => {
                    if let Some(serving) = self.ports.get_mut(&link).and_then(|port| port.serving.as_mut()) {
                        serving.grant(bytes);
                    }
                }
                Effect::Audit(link, step) => {
                    let snapshot = self.store.snapshot();
                    if let Some(port) = self.ports.get_mut(&link) {
                        port.audit(step, snapshot);
                    }
                }
                Effect::Committed(sequence) => assert_eq!(sequence, self.replica.counters().sequence),
                Effect::RoundDone(request, report) => {
                    assert!(self.rounds.remove(&request), "a round is reported twice");
                    assert_eq!(report.links, report.equal + report.unequal);
                }
                Effect::Status(_, status) => {
                    assert!(status.quarantined <= self.config.quarantine_entries_max as u64);
                    let queued: BTreeMap<LinkId, u64> =
                        status.links.iter().map(|link| (link.link, link.queued_bytes)).collect();
                    let ours = self.ports.iter().map(|(link, port)| (*link, port.queued_bytes)).collect();
                    // A status within a group is of its place in it.
                    assert!(!alone || queued == ours, "{queued:?} are counted, {ours:?} are queued");
                }
                Effect::ReplyAll(..) => panic!("nobody asked for a batch"),
                Effect::Alarm(_) | Effect::Restamped { .. } => {}
                Effect::Held(..) | Effect::Released(..) => panic!("nobody asked for what is held"),
                Effect::Attest { id, digest } => {
                    let (node, key, signature) = (self.node, [0; 32], [0; 64]);
                    self.group.push(Input::Attested(Holder { id, digest, node, key, signature }));
                }
                Effect::Holder(_, node) => assert_ne!(node, self.node, "a node gives itself a receipt"),
                Effect::Renew { doubts } => {
                    let proof = Proof { key: [0; 32], signature: [0; 64] };
                    let sign = |doubt: Doubt| Statement { life: doubt.life, kind: doubt.kind(), proof };
                    self.signed = doubts.into_iter().map(sign).collect();
                    self.renewing = true;
                }
            }
        }
        for (link, (before, bytes)) in pushed {
            let most = self.config.push_queue_bytes_max;
            assert!(before == 0 || before + bytes <= most, "{link:?}: {bytes} pushed behind {before} queued");
        }
    }

    /// Own numbers below that, which answer nobody: each is the delete of a value whose time had come, unless it was replaced
    /// within its group.
    fn pass_ends(&mut self, below: u64) {
        let snapshot = self.store.snapshot();
        for seq in self.seq + 1..below {
            let rows = snapshot.log(self.node, self.epoch, seq, seq, 1).expect("a log row");
            for (_, path) in rows {
                let record = snapshot.record(&path).expect("a record").expect("what the log names");
                let version = record.document.version(Dot { node: self.node, epoch: self.epoch, seq });
                assert!(version.is_some_and(|version| version.body.is_end()), "nobody asked for {version:?}");
            }
            self.seq = seq;
        }
    }

    /// What is cheap enough to check after every commit.
    fn check(&mut self) {
        let frontier = self.replica.frontier();
        assert!(frontier.is_superset(&self.frontier), "the frontier shrank");
        self.frontier = frontier.clone();
        if !self.renewing {
            let own = frontier.row(self.node, self.epoch).and_then(|set| set.last()).unwrap_or(0);
            self.pass_ends(own + 1);
            assert_eq!(own, self.seq, "own writes applied that were never made");
        }
        let reach_ms = self.wall_max_ms + self.config.clock_skew_max_ms + 1;
        let clock = self.replica.counters().hlc;
        assert!(
            clock.unix_ms() <= reach_ms,
            "the clock was dragged to {clock:?}, {reach_ms} is within reach"
        );

        let retention_ms = self.config.tombstone_retention_ms;
        self.ledger.forget_deletes(self.wall_max_ms.saturating_sub(retention_ms));
        let snapshot = self.store.snapshot();
        for (dot, path) in self.ledger.standing() {
            let record = snapshot.record(path).expect("a record");
            let live = record.as_ref().is_some_and(|record| record.document.version(dot).is_some());
            assert!(live, "an answered write is lost: {dot} at {path}; there is {record:?}");
        }
    }

    fn recount(&self) {
        recount(&self.replica, &self.store.snapshot(), &self.engine, self.config.versions_max);
    }

    /// The process ends and starts again, over the same store.
    fn reopen(&mut self) {
        let before =
            (self.replica.frontier().clone(), self.replica.floor().clone(), *self.replica.counters());
        self.ports.clear();
        self.writes.clear();
        self.rounds.clear();
        self.renewing = false;
        self.engine.crash();
        self.store =
            Store::open(self.engine.clone(), SyncPolicy::EveryCommit).expect("the store opens again");
        let older = self.epoch;
        self.epoch = self.store.begin_epoch(self.now.wall_ms, 2).expect("an epoch");
        assert!(self.epoch > older, "an epoch is used again");
        self.seq = 0;
        let start = Start {
            node: self.node,
            epoch: self.epoch,
            seed: 2,
            config: self.config.clone(),
            policy: Arc::clone(&self.policy),
            statements: Vec::new(),
        };
        self.replica = Replica::open(start, self.now, &self.store.snapshot()).expect("a replica");
        let after = (self.replica.frontier().clone(), self.replica.floor().clone(), *self.replica.counters());
        assert_eq!(before, after, "a replica that is opened again is another");
    }
}

impl Port {
    fn said(&mut self, message: Message) {
        assert_eq!(
            decode(&encode(&message)).as_ref(),
            Ok(&message),
            "what a reader says does not survive the wire"
        );
        self.last = Some(message);
    }

    /// A step of a digest session.
    fn audit(&mut self, step: AuditStep, snapshot: Reading) {
        let messages = match (step, &mut self.audit) {
            (AuditStep::Open(prefix), audit) => {
                let (opened, messages) =
                    Audit::open(snapshot, &prefix, DOCUMENT_BYTES_MAX).expect("a digest session");
                *audit = Some(opened);
                messages
            }
            (AuditStep::Accept, audit) => {
                let (accepted, messages) =
                    Audit::accept(snapshot, DOCUMENT_BYTES_MAX).expect("a digest session");
                *audit = Some(accepted);
                messages
            }
            (AuditStep::Compare(message), Some(audit)) => audit.compare(message).expect("a comparison"),
            (AuditStep::Continue, Some(audit)) => audit.go_on().expect("a request"),
            (AuditStep::Reply(paths), Some(audit)) => {
                let mut messages = audit.reply(paths).expect("states");
                while audit.has_more() {
                    messages.extend(audit.more().expect("states"));
                }
                messages
            }
            (_, audit) => {
                *audit = None;
                return;
            }
        };
        for message in messages {
            self.said(message);
        }
    }
}
