//! The world: real replicas over real stores, in virtual time, on one thread, from one seed.
//!
//! It performs effects as the node's shell does, and everything between replicas and around them goes wrong as often as
//! the scenario asks. Nothing here reads a clock or iterates in an order that depends on a hash.

mod account;
mod checks;
mod effects;
mod end;
mod group;
mod liar;
mod memory;
mod receipts;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rejoin_causal::{Dot, Epoch, NodeId};
use rejoin_replica::config::PART_BYTES;
use rejoin_replica::path::Prefix;
use rejoin_replica::{
    Alarm, BatchRefusal, Config, Doubt, DoubtReason, Held, Input, Key, LinkId, Once, Refusal, Replica,
    RequestId, RoundReport, Start, Status, Write, Written,
};
use rejoin_store::{Engine, Store, SyncPolicy};

pub use memory::{Image, Tells};

use crate::clock::Clock;
use crate::disk::{Disk, DiskFault};
use crate::network::{Connection, Edge};
use crate::node::{Backup, CrashPoint, Node, NodeSnapshot, Process};
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::rng::Rng;
use crate::strategies::policy;
use crate::trace::Trace;
use crate::violation::{Promise, Violation};

/// What holds for a whole world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of every replica.
    pub config: Config,
    /// How long a frame takes, from and to, in milliseconds.
    pub delay_ms: (u64, u64),
    /// Commits of a node between two full scans of its store.
    pub commits_per_scan: u64,
    /// Inputs in one group, at most.
    pub group_max: u64,
    /// Bytes of a frame beyond which it goes in parts, of so many each.
    pub part_bytes: usize,
    /// Values are written with a time to live.
    pub ttl: bool,
    /// Nodes sign that their lives have begun, so that a copy of one is told from a lie.
    pub signs: bool,
    /// A defect to plant.
    pub plant: Option<Plant>,
    /// Keep a readable trace.
    pub trace: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            config: Config::default(),
            delay_ms: (1, 10),
            commits_per_scan: 50,
            group_max: 8,
            part_bytes: PART_BYTES,
            ttl: true,
            signs: true,
            plant: None,
            trace: false,
        }
    }
}

/// The answer to a write.
pub type Answer = Result<Box<Written>, Box<Refusal>>;

/// What a client was answered to an atomic batch.
pub type BatchAnswer = Result<Vec<Written>, Box<BatchRefusal>>;

/// Something due at a point of virtual time.
#[derive(Clone, Debug)]
enum Event {
    Work { node: usize, life: u64 },
    Tick { node: usize, life: u64, token: u64 },
    Deliver { connection: u64, from: usize },
    Step { node: usize, life: u64, link: LinkId, token: u64 },
    AuditStep { node: usize, life: u64, link: LinkId, token: u64 },
    Dial { edge: usize },
    EndDown { connection: u64, end: usize },
    Renewed { node: usize, life: u64, doubts: Vec<Doubt> },
    Detect { node: usize, life: u64, reason: DoubtReason },
    LiarLeaves { connection: u64, from: usize },
    Scheduled(u64),
}

/// The world.
pub struct World {
    now_ms: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    connections: BTreeMap<u64, Connection>,
    links: BTreeMap<LinkId, u64>,
    /// The world's chance; scenarios draw from it as well.
    pub rng: Rng,
    /// The account of writes.
    pub oracle: Oracle,
    /// What happened.
    pub trace: Trace,
    /// What holds for all nodes.
    pub settings: Settings,
    next_id: u64,
    /// Of each new identity, the one that was left for it.
    was: BTreeMap<NodeId, NodeId>,
    next_request: u64,
    failure: Option<Violation>,
    answers: BTreeMap<RequestId, Answer>,
    batch_answers: BTreeMap<RequestId, BatchAnswer>,
    rounds: BTreeMap<RequestId, RoundReport>,
    statuses: BTreeMap<RequestId, Box<Status>>,
    held: BTreeMap<RequestId, Vec<Held>>,
    asked: BTreeMap<RequestId, Vec<Dot>>,
    holders: BTreeMap<RequestId, BTreeSet<NodeId>>,
    pending: BTreeMap<RequestId, Write>,
    pending_batches: BTreeMap<RequestId, Vec<Write>>,
    /// Writes that are to be done once, as they were asked for.
    once: Vec<Write>,
    /// Those that were done, with the request.
    keyed: BTreeMap<Dot, Once>,
    /// The dots of each atomic batch that was done.
    units: Vec<Vec<Dot>>,
    /// A disk went back in time or was copied: what replaced a value may be known to nobody now.
    pub history_was_lost: bool,
    /// Somebody has lied.
    pub(crate) lied: bool,
    /// What members have told nodes is gone, and is not.
    denied: BTreeMap<(usize, NodeId), BTreeSet<Dot>>,
    hlc_max_ms: u64,
    /// Paths where a version was minted again.
    restamped: BTreeSet<rejoin_replica::path::Path>,
    /// Scheduled moments that have come, for scenarios.
    pub due: VecDeque<u64>,
    /// Frames by message name, since the start.
    pub sent: BTreeMap<&'static str, u64>,
    /// Bytes of frames, since the start.
    pub sent_bytes: u64,
    /// The longest that healed nodes took to become equal, in virtual milliseconds.
    pub settled_ms: u64,
    /// Bytes of pushes that the group at hand has sent, by link.
    pushed_now: BTreeMap<LinkId, u64>,
    /// How often catch-ups have brought a document with these versions to a node that holds it back, by connection and
    /// direction.
    waiting: BTreeMap<(u64, usize, Vec<Dot>), u32>,
    /// Counts live dots per connection and direction when set.
    pub crossings: Option<BTreeMap<(u64, usize, Dot), u64>>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, settings: Settings) -> World {
        World {
            now_ms: 0,
            order: 0,
            events: BTreeMap::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            rng: Rng::of_seed(seed),
            oracle: Oracle::new(),
            trace: Trace::new(settings.trace),
            settings,
            next_id: 1,
            was: BTreeMap::new(),
            next_request: 1,
            failure: None,
            answers: BTreeMap::new(),
            batch_answers: BTreeMap::new(),
            rounds: BTreeMap::new(),
            statuses: BTreeMap::new(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            holders: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_batches: BTreeMap::new(),
            once: Vec::new(),
            keyed: BTreeMap::new(),
            units: Vec::new(),
            lied: false,
            denied: BTreeMap::new(),
            history_was_lost: false,
            hlc_max_ms: 0,
            restamped: BTreeSet::new(),
            due: VecDeque::new(),
            sent: BTreeMap::new(),
            sent_bytes: 0,
            settled_ms: 0,
            pushed_now: BTreeMap::new(),
            waiting: BTreeMap::new(),
            crossings: None,
        }
    }

    // Building

    /// A new node with an empty disk, started.
    pub fn add_node(&mut self, name: &str, sync: SyncPolicy) -> usize {
        let id = self.new_node_id();
        self.place(name, id, Disk::new(), sync)
    }

    fn place(&mut self, name: &str, id: NodeId, engine: Disk, sync: SyncPolicy) -> usize {
        let node = self.rack(name, id, sync);
        self.nodes[node].engine = engine;
        self.start(node);
        node
    }

    /// A machine with an empty disk that is not up.
    fn rack(&mut self, name: &str, id: NodeId, sync: SyncPolicy) -> usize {
        self.nodes.push(Node {
            name: name.into(),
            id,
            epoch: Epoch(0),
            engine: Disk::new(),
            sync,
            config: self.settings.config.clone(),
            policy: Arc::new(policy()),
            clock: Clock::default(),
            process: None,
            away_until_ms: 0,
            life: 0,
            crash: None,
            disk_fault: None,
            promised: BTreeSet::new(),
            alarms: Vec::new(),
            damaged: false,
        });
        self.nodes.len() - 1
    }

    fn new_node_id(&mut self) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.rng.bits().to_be_bytes());
        id[8..].copy_from_slice(&self.rng.bits().to_be_bytes());
        NodeId(id)
    }

    /// Makes two nodes dial each other from now on.
    pub fn connect(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        if let Some(edge) = self.edge_between(one, other) {
            self.edges[edge].removed = false;
            self.redial(edge, 1, 20);
            return;
        }
        self.edges.push(Edge {
            nodes: [one, other],
            blocked: false,
            removed: false,
            dialer: None,
            connection: None,
            away_until_ms: 0,
            dialing: false,
            delay_ms: self.settings.delay_ms,
        });
        self.redial(self.edges.len() - 1, 1, 20);
    }

    /// Two nodes no longer dial each other, unless that would cut some nodes off from the others for good.
    pub fn disconnect(&mut self, edge: usize) -> bool {
        if self.edges[edge].removed {
            return false;
        }
        self.edges[edge].removed = true;
        let mut reached = BTreeSet::from([0]);
        loop {
            let before = reached.len();
            for [one, other] in self.edges.iter().filter(|edge| !edge.removed).map(|edge| edge.nodes) {
                if reached.contains(&one) || reached.contains(&other) {
                    reached.extend([one, other]);
                }
            }
            if reached.len() == before {
                break;
            }
        }
        self.edges[edge].removed = reached.len() == self.nodes.len();
        if self.edges[edge].removed {
            self.cut_edge(edge);
        }
        self.edges[edge].removed
    }

    /// From now on, only this node can dial the other on this edge.
    pub fn set_dialer(&mut self, edge: usize, end: usize) {
        self.edges[edge].dialer = Some(self.edges[edge].nodes[end & 1]);
    }

    /// The edges there are.
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// The edge between two nodes.
    pub fn edge_between(&self, one: usize, other: usize) -> Option<usize> {
        self.edges.iter().position(|edge| edge.nodes == [one, other] || edge.nodes == [other, one])
    }

    // Time

    /// Virtual time.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((at_ms.max(self.now_ms), self.order), event);
    }

    fn after(&mut self, first_ms: u64, last_ms: u64, event: Event) {
        let delay = self.rng.between(first_ms, last_ms);
        self.at(self.now_ms + delay, event);
    }

    /// Puts `what` into [`World::due`] at that time.
    pub fn schedule(&mut self, at_ms: u64, what: u64) {
        self.at(at_ms, Event::Scheduled(what));
    }

    /// Lets everything happen that is due until then.
    pub fn run_until(&mut self, until_ms: u64) -> Result<(), Violation> {
        while let Some((&(at_ms, _), _)) = self.events.first_key_value() {
            if at_ms > until_ms {
                break;
            }
            self.step()?;
        }
        self.now_ms = self.now_ms.max(until_ms);
        Ok(())
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) -> Result<(), Violation> {
        let Some(((at_ms, _), event)) = self.events.pop_first() else { return Ok(()) };
        self.now_ms = at_ms;
        match event {
            Event::Work { node, life } => self.work(node, life)?,
            Event::Tick { node, life, token } => {
                let current = self.process(node, life).is_some_and(|process| process.tick == token);
                if current {
                    self.tell(node, Input::Tick);
                }
            }
            Event::Deliver { connection, from } => self.deliver(connection, from)?,
            Event::Step { node, life, link, token } => self.serve_step(node, life, link, token)?,
            Event::AuditStep { node, life, link, token } => self.audit_step(node, life, link, token)?,
            Event::Dial { edge } => self.dial(edge),
            Event::EndDown { connection, end } => self.end_down(connection, end),
            Event::Renewed { node, life, doubts } => self.renewed(node, life, &doubts)?,
            Event::Detect { node, life, reason } => self.detected(node, life, reason),
            Event::LiarLeaves { connection, from } => self.liar_leaves(connection, from),
            Event::Scheduled(what) => self.due.push_back(what),
        }
        match self.failure.take() {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn process(&mut self, node: usize, life: u64) -> Option<&mut Process> {
        let node = &mut self.nodes[node];
        if node.life == life { node.process.as_mut() } else { None }
    }

    fn fail(&mut self, promise: Promise, detail: String) {
        if self.failure.is_none() {
            self.failure = Some(Violation::new(promise, detail));
        }
    }

    /// Counts a fault that a scenario has injected.
    pub fn count_fault(&mut self, kind: &'static str) {
        self.trace.fault(kind);
        self.note(|_| format!("fault: {kind}"));
    }

    fn note(&mut self, line: impl FnOnce(&World) -> String) {
        if self.settings.trace {
            let line = format!("{:>8} {}", self.now_ms, line(self));
            self.trace.line(|| line);
        }
    }

    // Processes

    /// Whether a node is up.
    pub fn is_up(&self, node: usize) -> bool {
        self.nodes[node].process.is_some()
    }

    /// Starts a node on its disk, in a new epoch.
    pub fn start(&mut self, node: usize) {
        if self.is_up(node) {
            return;
        }
        if let Err(violation) = self.try_start(node, None) {
            self.failure = Some(violation);
        }
    }

    fn try_start(&mut self, node: usize, reuse: Option<Epoch>) -> Result<(), Violation> {
        let random = self.rng.bits();
        let seed = self.rng.bits();
        let this = &mut self.nodes[node];
        let failed = |error: rejoin_store::StoreError| {
            Violation::new(Promise::RowsAgree, format!("a store does not open: {error}"))
        };
        let sync = match self.settings.plant {
            Some(Plant::NoSync) => SyncPolicy::Never,
            _ => this.sync,
        };
        this.engine.mend();
        let mut store = Store::open(this.engine.clone(), sync).map_err(failed)?;
        match store.note("id").map_err(failed)? {
            Some(id) => {
                if let Ok(id) = <[u8; 16]>::try_from(id.as_slice()) {
                    this.id = NodeId(id);
                }
            }
            None => store.set_note("id", &this.id.0).map_err(failed)?,
        }
        let now = this.clock.now(self.now_ms);
        let epoch = match reuse {
            Some(epoch) => epoch,
            None => store.begin_epoch(now.wall_ms, (random & 0xffff) as u16).map_err(failed)?,
        };
        this.epoch = epoch;
        this.life += 1;
        let statements = self.statements_at_start(node, &store, epoch);
        let this = &mut self.nodes[node];
        let snapshot = store.snapshot();
        let start = Start {
            node: this.id,
            epoch,
            seed,
            config: this.config.clone(),
            policy: Arc::clone(&this.policy),
            statements,
        };
        let replica = Replica::open(start, now, &snapshot).map_err(failed)?;
        let lost = this.promised.iter().find(|dot| !replica.frontier().contains(**dot));
        if let Some(lost) = lost {
            let detail = format!("{} acknowledged {lost:?} and does not have it after a restart", this.name);
            return Err(Violation::new(Promise::Durable, detail));
        }
        this.process = Some(Process::new(store, replica, 0));
        self.trace.mix(&[1, self.now_ms, node as u64, epoch.0]);
        self.note(|world| {
            format!("{} starts as {:?} in epoch {:?}", world.nodes[node].name, world.nodes[node].id, epoch)
        });
        self.schedule_tick(node);
        for edge in 0..self.edges.len() {
            if self.edges[edge].nodes.contains(&node) {
                self.redial(edge, 1, 100);
            }
        }
        Ok(())
    }

    /// The process dies now; the disk keeps what was committed.
    pub fn kill(&mut self, node: usize) {
        if self.nodes[node].process.take().is_none() {
            return;
        }
        self.nodes[node].crash = None;
        self.nodes[node].disk_fault = None;
        self.nodes[node].engine.mend();
        self.trace.mix(&[2, self.now_ms, node as u64]);
        self.trace.mark("process died");
        self.note(|world| format!("{} dies", world.nodes[node].name));
        let ends: Vec<(u64, usize)> = self
            .connections
            .iter()
            .flat_map(|(id, connection)| {
                connection
                    .ends
                    .iter()
                    .enumerate()
                    .filter(|(_, end)| end.node == node)
                    .map(|(at, _)| (*id, at))
            })
            .collect();
        for (connection, end) in ends {
            self.cut(connection);
            self.end_down(connection, end);
        }
    }

    /// The process dies at that point of its next group's way.
    pub fn kill_at(&mut self, node: usize, point: CrashPoint) -> bool {
        let up = self.is_up(node);
        if up {
            self.nodes[node].crash = Some(point);
        }
        up
    }

    /// The machine loses power: the process dies, and what was not synced is gone.
    pub fn power_cut(&mut self, node: usize) -> bool {
        let was_up = self.is_up(node);
        self.kill(node);
        let this = &mut self.nodes[node];
        let tail = this.engine.unsynced();
        let kept = self.rng.index(tail + 1);
        this.engine = this.engine.after_power_cut(kept);
        if this.sync == SyncPolicy::Never {
            this.promised.clear();
            self.history_was_lost = true;
        }
        if kept < tail {
            self.trace.mark("unsynced tail lost");
        }
        if kept > 0 && kept < tail {
            self.trace.mark("part of the unsynced tail lost");
        }
        was_up
    }

    /// A node's disk fails in its next group or reader's step that this concerns.
    pub fn break_disk(&mut self, node: usize, fault: DiskFault) -> bool {
        let up = self.is_up(node);
        if up {
            self.nodes[node].disk_fault = Some(fault);
        }
        up
    }

    /// A node's disk is gone; the machine comes back with an empty one, and so with a new identity.
    pub fn lose_disk(&mut self, node: usize) {
        self.kill(node);
        self.history_was_lost = true;
        self.note(|world| format!("{} loses its disk", world.nodes[node].name));
        let id = self.new_node_id();
        let this = &mut self.nodes[node];
        this.engine = Disk::new();
        this.id = id;
        this.promised.clear();
        self.start(node);
    }

    /// The operating system writes its buffers to the device.
    pub fn sync_disk(&mut self, node: usize) {
        if self.nodes[node].engine.sync().is_err() {
            self.fail(Promise::RowsAgree, "a sync failed".into());
        }
    }

    /// A copy of the disk as it is.
    pub fn backup(&self, node: usize) -> Backup {
        let node = &self.nodes[node];
        Backup { engine: node.engine.fork(), id: node.id, epoch: node.epoch }
    }

    /// Stops the node, puts a backup in place of its disk and starts it again.
    pub fn restore(&mut self, node: usize, backup: &Backup) {
        self.kill(node);
        self.trace.mark("backup restored");
        self.history_was_lost = true;
        self.note(|world| format!("{} is restored", world.nodes[node].name));
        let this = &mut self.nodes[node];
        this.engine = backup.engine.fork();
        this.id = backup.id;
        this.promised.clear();
        let reuse = (self.settings.plant == Some(Plant::ReuseEpoch)).then_some(backup.epoch);
        if let Err(violation) = self.try_start(node, reuse) {
            self.failure = Some(violation);
        }
    }

    /// Starts a copy of a node's disk as another process under the same identity.
    pub fn clone_node(&mut self, node: usize, name: &str) -> usize {
        let backup = self.backup(node);
        self.trace.mark("node cloned");
        self.history_was_lost = true;
        self.note(|world| format!("{} is cloned", world.nodes[node].name));
        let sync = self.nodes[node].sync;
        let clock = self.nodes[node].clock;
        let twin = self.place(name, backup.id, backup.engine.fork(), sync);
        self.nodes[twin].clock = clock;
        twin
    }

    /// Puts something into a node's queue.
    pub(crate) fn tell(&mut self, node: usize, input: Input) {
        let life = self.nodes[node].life;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.inbox.push_back(input);
        if !process.working {
            process.working = true;
            self.after(0, 2, Event::Work { node, life });
        }
    }

    /// A client writes at a node; the answer is kept.
    pub fn submit(&mut self, node: usize, write: Write) -> RequestId {
        let request = self.new_request();
        if self.is_up(node) {
            self.pending.insert(request, write.clone());
            self.note(|world| format!("{} <- {write:?}", world.nodes[node].name));
            self.tell(node, Input::Write(request, write));
        }
        request
    }

    /// The same for a write that may be sent again: it has a key of its own.
    pub fn submit_once(&mut self, node: usize, mut write: Write) -> RequestId {
        let key = Key::parse(&format!("w{}", self.once.len()));
        write.once = key.ok().map(|key| Once::new(&key, std::slice::from_ref(&write)));
        self.once.push(write.clone());
        self.submit(node, write)
    }

    /// A client that did not hear an answer sends one of those again, here or elsewhere.
    pub fn submit_again(&mut self, number: usize) {
        if let Some(write) = self.once.get(number % self.once.len().max(1)).cloned() {
            self.submit(number % self.nodes.len(), write);
        }
    }

    /// A client writes several things at once, all or nothing; the answer is kept.
    pub fn submit_all(&mut self, node: usize, writes: Vec<Write>) -> RequestId {
        let request = self.new_request();
        if self.is_up(node) {
            self.pending_batches.insert(request, writes.clone());
            self.note(|world| format!("{} <- all of {writes:?}", world.nodes[node].name));
            self.tell(node, Input::WriteAll(request, writes));
        }
        request
    }

    /// What a batch was answered.
    pub fn batch_answer(&self, request: RequestId) -> Option<&BatchAnswer> {
        self.batch_answers.get(&request)
    }

    /// A client asks for an anti-entropy round, over everything or over the paths that begin with this.
    pub fn ask_for_round(&mut self, node: usize, prefix: Prefix) -> RequestId {
        let request = self.new_request();
        self.tell(node, Input::AntiEntropy(request, prefix));
        request
    }

    /// A client asks how things are.
    pub fn ask_for_status(&mut self, node: usize) -> RequestId {
        let request = self.new_request();
        self.tell(node, Input::Status(request));
        request
    }

    /// An operator takes everything out of quarantine.
    pub fn release_all(&mut self, node: usize) -> RequestId {
        let request = self.new_request();
        self.tell(node, Input::Release { request, path: None, node: None });
        request
    }

    /// What waits in quarantine at a node was asked for.
    pub fn ask_for_quarantine(&mut self, node: usize) -> RequestId {
        let request = self.new_request();
        self.tell(node, Input::Quarantine(request));
        request
    }

    /// What waited in quarantine, once answered.
    pub fn quarantine(&self, request: RequestId) -> Option<&[Held]> {
        self.held.get(&request).map(Vec::as_slice)
    }

    fn new_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// The answer to a write, once it is there.
    pub fn answer(&self, request: RequestId) -> Option<&Answer> {
        self.answers.get(&request)
    }

    /// What a round did, once it is over.
    pub fn round(&self, request: RequestId) -> Option<&RoundReport> {
        self.rounds.get(&request)
    }

    /// How things were, once answered.
    pub fn status(&self, request: RequestId) -> Option<&Status> {
        self.statuses.get(&request).map(|status| &**status)
    }

    /// What an operator was told.
    pub fn alarms(&self, node: usize) -> &[Alarm] {
        &self.nodes[node].alarms
    }

    /// A node's identity now.
    pub fn id(&self, node: usize) -> NodeId {
        self.nodes[node].id
    }

    /// What is committed on a node's disk; none while it is down.
    pub fn snapshot(&self, node: usize) -> Option<NodeSnapshot> {
        self.nodes[node].process.as_ref().map(|process| process.store.snapshot())
    }

    /// A node's wall clock.
    pub fn clock(&self, node: usize) -> Clock {
        self.nodes[node].clock
    }

    /// Sets a node's wall clock.
    pub fn set_clock(&mut self, node: usize, clock: Clock) {
        self.nodes[node].clock = clock;
        self.note(|world| format!("{} has {clock:?}", world.nodes[node].name));
        self.schedule_tick(node);
    }

    fn schedule_tick(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let this = &mut self.nodes[node];
        let now = this.clock.now(now_ms);
        let life = this.life;
        let Some(process) = this.process.as_mut() else { return };
        let due_ms = process.replica.deadline(now).max(now_ms + 1);
        if due_ms != process.tick_ms || process.tick_ms <= now_ms {
            process.tick += 1;
            process.tick_ms = due_ms;
            let token = process.tick;
            self.at(due_ms, Event::Tick { node, life, token });
        }
    }
}
