//! The nodes of a large network in one event queue.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rejoin_causal::{Dot, Epoch, NodeId};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::path::Path;
use rejoin_replica::{
    CatchUp, CatchUpStep, Change, Condition, Config, Effect, Input, LinkId, Message, Now, Observed, Policy,
    Replica, RequestId, Start, Strategy, Write, codec,
};
use rejoin_store::{MemoryEngine, Snapshot, Store, SyncPolicy};

use super::graph::Edge;
use crate::clock::WALL_BASE_MS;
use crate::rng::Rng;

/// What a node takes for a group of inputs: its work and one sync of a good disk.
pub(super) const HOP_US: u64 = 500;

/// What a link carries, in bytes per microsecond: 100 Mbit/s.
const BYTES_PER_US: u64 = 12;

/// A node that stopped is back after this.
const AWAY_US: u64 = 10_000_000;

type View = Snapshot<<MemoryEngine as rejoin_store::Engine>::Snapshot>;

struct Node {
    id: NodeId,
    epoch: Epoch,
    engine: MemoryEngine,
    process: Option<Process>,
    /// Counts starts, so that events of an earlier one are known.
    life: u64,
    /// When it last started, in microseconds.
    since_us: u64,
    edges: Vec<usize>,
}

struct Process {
    store: Store<MemoryEngine>,
    replica: Replica,
    inbox: VecDeque<Input>,
    working: bool,
    serving: BTreeMap<LinkId, CatchUp<View>>,
    tick_us: u64,
}

struct Link {
    edge: Edge,
    /// The link's names at its two ends, while both run.
    names: Option<[LinkId; 2]>,
    /// When the last frame of each direction arrives.
    last_us: [u64; 2],
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(LinkId, Bytes),
    Work(usize, u64),
    Tick(usize, u64),
    Start(usize),
    Down(LinkId),
}

/// When an update was where.
pub(super) struct Arrivals {
    /// Of nodes that ran all the time, in milliseconds since the write, ascending.
    pub(super) times_ms: Vec<f64>,
    /// How many such nodes there are.
    pub(super) expected: usize,
}

/// Nodes and links.
pub(super) struct Network {
    nodes: Vec<Node>,
    links: Vec<Link>,
    /// The link and end that a name stands for.
    ends: BTreeMap<LinkId, (usize, usize)>,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    now_us: u64,
    next: u64,
    rng: Rng,
    /// Nodes that stop per minute, in a thousand, and when the next one does.
    churn: (u64, u64),
    written: BTreeMap<Dot, u64>,
    /// When an update was applied by each node, in microseconds.
    arrived: BTreeMap<Dot, Vec<Option<u64>>>,
    /// Updates that are looked for in each commit.
    open: Vec<Dot>,
    counts_of_the_stopped: (u64, u64),
    /// Documents pushed.
    pub(super) pushes: u64,
    /// Bytes sent.
    pub(super) bytes: u64,
    /// Of them, in pushes.
    pub(super) push_bytes: u64,
    /// Nodes that stopped.
    pub(super) churned: u64,
}

impl Network {
    pub(super) fn new(nodes: usize, edges: &[Edge], seed: u64) -> Network {
        let mut rng = Rng::of_seed(seed);
        let node = |at: usize| {
            let hash = blake3::hash(&(at as u64).to_be_bytes());
            let mut id = [0; 16];
            id.copy_from_slice(&hash.as_bytes()[..16]);
            Node {
                id: NodeId(id),
                epoch: Epoch(0),
                engine: MemoryEngine::new(),
                process: None,
                life: 0,
                since_us: 0,
                edges: Vec::new(),
            }
        };
        let mut network = Network {
            nodes: (0..nodes).map(node).collect(),
            links: edges.iter().map(|edge| Link { edge: *edge, names: None, last_us: [0; 2] }).collect(),
            ends: BTreeMap::new(),
            queue: BinaryHeap::new(),
            now_us: 0,
            next: 1,
            churn: (0, u64::MAX),
            written: BTreeMap::new(),
            arrived: BTreeMap::new(),
            open: Vec::new(),
            counts_of_the_stopped: (0, 0),
            pushes: 0,
            bytes: 0,
            push_bytes: 0,
            churned: 0,
            rng: Rng::of_seed(rng.bits()),
        };
        for (at, edge) in edges.iter().enumerate() {
            edge.nodes.iter().for_each(|node| network.nodes[*node].edges.push(at));
        }
        for node in 0..nodes {
            let at = rng.below(100_000);
            network.at(at, Event::Start(node));
        }
        network
    }

    pub(super) fn neighbours(&self) -> Vec<Vec<(usize, u64)>> {
        let mut neighbours = vec![Vec::new(); self.nodes.len()];
        for Link { edge: Edge { nodes: [one, other], delay_us }, .. } in &self.links {
            neighbours[*one].push((*other, *delay_us));
            neighbours[*other].push((*one, *delay_us));
        }
        neighbours
    }

    /// A client writes on this node; `None` when it is away.
    pub(super) fn write(&mut self, node: usize) -> Option<Dot> {
        let number = self.next;
        // About 200 bytes, as documents of such systems are.
        let text = format!(r#"{{"number":{number},"text":"{}"}}"#, "x".repeat(170));
        let value = Json::parse(text.as_bytes(), &JsonLimits::default()).ok()?;
        let path = Path::parse(&format!("doc/{:03}", number % 100)).ok()?;
        let write = Write {
            path,
            change: Change::Put(value),
            condition: Condition::Always,
            observed: Observed::All,
            ttl: None,
            once: None,
        };
        let process = self.nodes[node].process.as_ref()?;
        let before = process.replica.frontier().clone();
        self.tell(node, Input::Write(RequestId(number), write));
        self.next += 1;
        let life = self.nodes[node].life;
        self.work(node, life);
        let process = self.nodes[node].process.as_ref()?;
        let id = self.nodes[node].id;
        let fresh = process.replica.frontier().difference(&before);
        let dot = fresh
            .rows()
            .find(|(of, ..)| *of == id)
            .and_then(|(node, epoch, set)| Some(Dot { node, epoch, seq: set.last()? }))?;
        self.written.insert(dot, self.now_us);
        let mut arrived = vec![None; self.nodes.len()];
        arrived[node] = Some(self.now_us);
        self.arrived.insert(dot, arrived);
        self.open.push(dot);
        if self.open.len() > 64 {
            self.open.remove(0);
        }
        Some(dot)
    }

    /// From now on so many nodes in a thousand stop in a minute.
    pub(super) fn churn(&mut self, per_mille: u64) {
        let per_minute = self.nodes.len() as u64 * per_mille / 1_000;
        let pause_us = 60_000_000u64.checked_div(per_minute).unwrap_or(u64::MAX);
        self.churn = (pause_us, self.now_us.saturating_add(pause_us));
    }

    /// Links pruned and grafted so far.
    pub(super) fn branches(&mut self) -> (u64, u64) {
        let (mut pruned, mut grafted) = self.counts_of_the_stopped;
        for node in 0..self.nodes.len() {
            let (one, other) = self.counts_of(node);
            pruned += one;
            grafted += other;
        }
        (pruned, grafted)
    }

    fn counts_of(&mut self, node: usize) -> (u64, u64) {
        let now = self.now();
        let Some(process) = self.nodes[node].process.as_mut() else { return (0, 0) };
        let view = process.store.snapshot();
        let handled = process.replica.handle([Input::Status(RequestId(0))], now, &view);
        let Some(effects) = handled.ok().and_then(|effects| effects.commit(&mut process.store).ok()) else {
            return (0, 0);
        };
        let mut counts = (0, 0);
        for effect in effects {
            match effect {
                Effect::Status(_, status) => counts = (status.tally.links_pruned, status.tally.links_grafted),
                other => self.perform(node, other),
            }
        }
        counts
    }

    /// When an update arrived at nodes that have run since before it was written.
    pub(super) fn arrivals(&self, dot: Dot) -> Arrivals {
        let written_us = self.written.get(&dot).copied().unwrap_or(0);
        let ran = |node: &Node| node.process.is_some() && node.since_us <= written_us;
        let arrived = self.arrived.get(&dot).map_or(&[][..], Vec::as_slice);
        let ran_and_has = |(node, at_us): (&Node, &Option<u64>)| at_us.filter(|_| ran(node));
        let mut times_ms: Vec<f64> = self
            .nodes
            .iter()
            .zip(arrived)
            .filter_map(ran_and_has)
            .map(|at_us| (at_us - written_us) as f64 / 1_000.0)
            .collect();
        times_ms.sort_by(f64::total_cmp);
        Arrivals { times_ms, expected: self.nodes.iter().filter(|node| ran(node)).count() }
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let until = self.now_us + ms * 1_000;
        loop {
            let next_us = self.queue.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            if self.churn.1 <= next_us.min(until) {
                self.now_us = self.now_us.max(self.churn.1);
                self.churn.1 = self.churn.1.saturating_add(self.churn.0);
                let node = self.rng.index(self.nodes.len());
                self.stop(node);
                continue;
            }
            if next_us > until {
                break;
            }
            let Some(Reverse((at_us, _, event))) = self.queue.pop() else { break };
            self.now_us = at_us;
            self.step(event);
        }
        self.now_us = until;
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((at_us, self.next, event)));
    }

    fn now(&self) -> Now {
        let ms = self.now_us / 1_000;
        Now { wall_ms: WALL_BASE_MS.unsigned_abs() + ms, steady_ms: ms }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrives(link, frame) => {
                let Some(&(at, end)) = self.ends.get(&link) else { return };
                let Ok(message) = codec::decode(&frame) else { return };
                let node = self.links[at].edge.nodes[end];
                self.tell(node, Input::Message(link, message));
            }
            Event::Work(node, life) => self.work(node, life),
            Event::Tick(node, life) => {
                if self.nodes[node].life == life {
                    self.tell(node, Input::Tick);
                }
            }
            Event::Start(node) => self.start(node),
            Event::Down(link) => {
                if let Some((at, end)) = self.ends.remove(&link) {
                    let node = self.links[at].edge.nodes[end];
                    if let Some(process) = &mut self.nodes[node].process {
                        process.serving.remove(&link);
                    }
                    self.tell(node, Input::LinkDown(link));
                }
            }
        }
    }

    /// Hands an input over; the node works it off a little later, with others that came meanwhile.
    fn tell(&mut self, node: usize, input: Input) {
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.inbox.push_back(input);
        if !std::mem::replace(&mut process.working, true) {
            self.at(self.now_us + HOP_US, Event::Work(node, life));
        }
    }

    fn start(&mut self, node: usize) {
        let (now, now_us) = (self.now(), self.now_us);
        let (seed, random) = (self.rng.bits(), (self.rng.bits() & 0xffff) as u16);
        let this = &mut self.nodes[node];
        if this.process.is_some() {
            return;
        }
        let Ok(mut store) = Store::open(this.engine.clone(), SyncPolicy::Never) else { return };
        let Ok(epoch) = store.begin_epoch(now.wall_ms, random) else { return };
        let start = Start {
            node: this.id,
            epoch,
            seed,
            config: Config::default(),
            policy: Arc::new(Policy::new(Strategy::LastWriteWins)),
            statements: Vec::new(),
        };
        let Ok(replica) = Replica::open(start, now, &store.snapshot()) else { return };
        this.life += 1;
        this.epoch = epoch;
        this.since_us = now_us;
        this.process = Some(Process {
            store,
            replica,
            inbox: VecDeque::new(),
            working: false,
            serving: BTreeMap::new(),
            tick_us: u64::MAX,
        });
        for edge in this.edges.clone() {
            self.link(edge);
        }
    }

    /// Links two nodes if both run.
    fn link(&mut self, at: usize) {
        let Edge { nodes, .. } = self.links[at].edge;
        let lives = nodes.map(|node| {
            let this = &self.nodes[node];
            this.process.as_ref().map(|_| (this.id, this.epoch))
        });
        let [Some(one), Some(other)] = lives else { return };
        if self.links[at].names.is_some() {
            return;
        }
        let names = [LinkId(self.next), LinkId(self.next + 1)];
        self.next += 2;
        self.links[at].names = Some(names);
        self.links[at].last_us = [self.now_us; 2];
        for end in 0..2 {
            self.ends.insert(names[end], (at, end));
            let (peer, epoch) = if end == 0 { other } else { one };
            self.tell(nodes[end], Input::LinkUp { link: names[end], peer, epoch, dialed: end == 0 });
        }
    }

    fn stop(&mut self, node: usize) {
        if self.nodes[node].process.is_none() {
            return;
        }
        let (pruned, grafted) = self.counts_of(node);
        self.counts_of_the_stopped.0 += pruned;
        self.counts_of_the_stopped.1 += grafted;
        self.nodes[node].process = None;
        self.churned += 1;
        self.at(self.now_us + AWAY_US, Event::Start(node));
        for at in self.nodes[node].edges.clone() {
            let Some(names) = self.links[at].names.take() else { continue };
            let end = usize::from(self.links[at].edge.nodes[1] == node);
            self.ends.remove(&names[end]);
            // The other end hears of it as it hears of anything.
            self.at(self.now_us + self.links[at].edge.delay_us, Event::Down(names[1 - end]));
        }
    }

    fn work(&mut self, node: usize, life: u64) {
        let (now, now_us) = (self.now(), self.now_us);
        let this = &mut self.nodes[node];
        if this.life != life {
            return;
        }
        let Some(process) = &mut this.process else { return };
        process.working = false;
        let view = process.store.snapshot();
        let inputs = std::mem::take(&mut process.inbox);
        let Ok(effects) = process.replica.handle(inputs, now, &view) else { return };
        drop(view);
        let Ok(effects) = effects.commit(&mut process.store) else { return };
        let frontier = process.replica.frontier();
        for dot in &self.open {
            if let Some(arrived) = self.arrived.get_mut(dot)
                && arrived[node].is_none()
                && frontier.contains(*dot)
            {
                arrived[node] = Some(now_us);
            }
        }
        let due_us = process.replica.deadline(now).saturating_mul(1_000);
        if due_us < process.tick_us || process.tick_us <= now_us {
            process.tick_us = due_us;
            self.at(due_us.max(now_us), Event::Tick(node, life));
        }
        for effect in effects {
            self.perform(node, effect);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send(link, frame) => self.send(node, link, frame),
            Effect::Serve { link, known, exchange } => {
                let Some(process) = &mut self.nodes[node].process else { return };
                let config = Config::default();
                let snapshot = process.store.snapshot();
                let (chunk, document) = (config.chunk_bytes_max, config.document_bytes_max);
                if let Ok(reader) =
                    CatchUp::new(snapshot, &known, exchange, chunk, config.credit_bytes, document)
                {
                    process.serving.insert(link, reader);
                    self.serve(node, link);
                }
            }
            Effect::Grant(link, bytes) => {
                if let Some(reader) =
                    self.nodes[node].process.as_mut().and_then(|process| process.serving.get_mut(&link))
                {
                    reader.grant(bytes);
                    self.serve(node, link);
                }
            }
            _ => {}
        }
    }

    fn serve(&mut self, node: usize, link: LinkId) {
        loop {
            let Some(process) = &mut self.nodes[node].process else { return };
            let Some(reader) = process.serving.get_mut(&link) else { return };
            match reader.step() {
                Ok(CatchUpStep::Send(message)) => {
                    self.send_bytes(node, link, Bytes::from(codec::encode(&message)));
                }
                // Documents are small in these worlds.
                Ok(CatchUpStep::Withheld(_)) => {}
                Ok(CatchUpStep::Done { claims, documents, unclaimed, withheld }) => {
                    process.serving.remove(&link);
                    self.tell(node, Input::Served { link, claims, documents, unclaimed, withheld });
                    return;
                }
                Ok(CatchUpStep::Wait) | Err(_) => return,
            }
        }
    }

    fn send(&mut self, node: usize, link: LinkId, frame: Bytes) {
        let bytes = frame.len() as u64;
        if let Some(process) = &mut self.nodes[node].process {
            // No reason to wake up.
            process.inbox.push_back(Input::Sent(link, bytes));
        }
        if let Ok(Message::Push(entries)) = codec::decode(&frame) {
            self.pushes += entries.len() as u64;
            self.push_bytes += bytes;
        }
        self.send_bytes(node, link, frame);
    }

    fn send_bytes(&mut self, node: usize, link: LinkId, frame: Bytes) {
        let Some(&(at, end)) = self.ends.get(&link) else { return };
        debug_assert_eq!(self.links[at].edge.nodes[end], node);
        let Some(names) = self.links[at].names else { return };
        self.bytes += frame.len() as u64;
        let this = &mut self.links[at];
        let sent_us = self.now_us + frame.len() as u64 / BYTES_PER_US;
        let arrives_us = (sent_us + this.edge.delay_us).max(this.last_us[end]);
        this.last_us[end] = arrives_us;
        self.at(arrives_us, Event::Arrives(names[1 - end], frame));
    }
}
