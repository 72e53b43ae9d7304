//! Named stories in domain words: a few nodes, a few writes, one thing that goes wrong.
//!
//! Every method that cannot do what it says fails the test at once: a story that did not happen must not pass.

// A story is a test: a step that fails has to stop it, and a panic is how tests stop.
#![allow(clippy::panic)]

use rejoin_causal::Dot;
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{
    Alarm, Batch, Change, Commit, Condition, Config, Key, Observed, Once, RequestId, RoundReport, Status,
    Ttl, View, Write, Written,
};
use rejoin_store::SyncPolicy;

use crate::clock::Clock;
use crate::node::Backup;
use crate::violation::Violation;
use crate::world::{Answer, BatchAnswer, Image, Settings, Tells, World};

/// How long a story waits for an answer or for nodes to become equal, in virtual milliseconds.
const PATIENCE_MS: u64 = 120_000;

/// A few named nodes.
pub struct Cluster {
    /// The world they live in.
    pub world: World,
}

impl Cluster {
    /// Nodes of these names, each connected to each, with these bounds.
    pub fn with(names: &[&str], config: Config) -> Cluster {
        Cluster::new(names, Settings { config, commits_per_scan: 5, ..Settings::default() })
    }

    /// Nodes of these names, each connected to each.
    pub fn mesh(names: &[&str]) -> Cluster {
        Cluster::with(names, Config::default())
    }

    /// Nodes of these names, each connected to the next.
    pub fn line(names: &[&str]) -> Cluster {
        let mut cluster = Cluster::mesh(&[]);
        for name in names {
            let node = cluster.world.add_node(name, SyncPolicy::EveryCommit);
            if node > 0 {
                cluster.world.connect(node - 1, node);
            }
        }
        cluster.run_ms(1_000);
        cluster
    }

    fn new(names: &[&str], settings: Settings) -> Cluster {
        let mut cluster = Cluster { world: World::new(1, settings) };
        for name in names {
            cluster.join(name, names);
        }
        cluster.run_ms(1_000);
        cluster
    }

    /// A new node, connected to those of `peers` that exist.
    pub fn join(&mut self, name: &str, peers: &[&str]) {
        let node = self.world.add_node(name, SyncPolicy::EveryCommit);
        for peer in peers.iter().filter(|peer| **peer != name) {
            if let Some(other) = self.world.nodes.iter().position(|node| node.name == *peer) {
                self.world.connect(node, other);
            }
        }
    }

    /// The index of a node.
    pub fn node(&self, name: &str) -> usize {
        match self.world.nodes.iter().position(|node| node.name == name) {
            Some(node) => node,
            None => panic!("there is no node {name}"),
        }
    }

    fn edge(&self, one: &str, other: &str) -> usize {
        match self.world.edge_between(self.node(one), self.node(other)) {
            Some(edge) => edge,
            None => panic!("{one} and {other} are not connected"),
        }
    }

    // Time

    /// What the wall clock of a node says, in Unix milliseconds.
    pub fn wall_ms(&self, name: &str) -> u64 {
        self.world.nodes[self.node(name)].clock.now(self.world.now_ms()).wall_ms
    }

    /// Lets virtual time pass.
    pub fn run_ms(&mut self, ms: u64) {
        let until = self.world.now_ms() + ms;
        held(self.world.run_until(until));
    }

    /// Ends every fault, waits until all are equal and quiet, and checks everything that a world checks.
    pub fn settle(&mut self) {
        held(self.world.converge(PATIENCE_MS));
    }

    /// Waits until all are equal, without healing anything.
    pub fn agree(&mut self) {
        let until = self.world.now_ms() + PATIENCE_MS;
        while !self.world.is_converged() {
            assert!(self.world.now_ms() < until, "the nodes do not become equal");
            self.run_ms(50);
        }
        held(self.world.check_all());
    }

    // Writes and reads

    fn write(&mut self, name: &str, write: Write) -> Answer {
        let node = self.node(name);
        let request = self.world.submit(node, write);
        let until = self.world.now_ms() + PATIENCE_MS;
        loop {
            if let Some(answer) = self.world.answer(request) {
                return answer.clone();
            }
            assert!(self.world.now_ms() < until, "{name} does not answer");
            self.run_ms(5);
        }
    }

    /// Several writes, all or nothing; the answer may be a refusal.
    pub fn attempt_all(&mut self, name: &str, writes: &[(&str, Change, Condition)]) -> BatchAnswer {
        let node = self.node(name);
        let write = |(path, change, condition): &(&str, Change, Condition)| Write {
            path: parsed(path),
            change: change.clone(),
            condition: condition.clone(),
            observed: Observed::All,
            ttl: None,
            once: None,
        };
        let request = self.world.submit_all(node, writes.iter().map(write).collect());
        self.batch_answer(name, request)
    }

    /// Puts flat objects, given as JSON text, at several paths at once.
    pub fn put_all(&mut self, name: &str, values: &[(&str, &str)]) -> Vec<Written> {
        let writes: Vec<_> =
            values.iter().map(|(path, json)| (*path, Change::Put(value(json)), Condition::Always)).collect();
        match self.attempt_all(name, &writes) {
            Ok(written) => written,
            Err(refusal) => panic!("{name} refuses a batch: {refusal:?}"),
        }
    }

    /// A write of any kind; the answer may be a refusal.
    pub fn attempt(&mut self, name: &str, path: &str, change: Change, condition: Condition) -> Answer {
        let path = parsed(path);
        self.write(name, Write { path, change, condition, observed: Observed::All, ttl: None, once: None })
    }

    /// A write that is to be done once, under that key; the answer may be a refusal.
    pub fn attempt_once(&mut self, name: &str, key: &str, path: &str, change: Change) -> Answer {
        self.write(name, keyed(key, &[(path, change)]).remove(0))
    }

    /// The same; it is done, or was.
    pub fn once(&mut self, name: &str, key: &str, path: &str, change: Change) -> Written {
        match self.attempt_once(name, key, path, change) {
            Ok(written) => *written,
            Err(refusal) => panic!("{name} refuses to write {path}: {refusal:?}"),
        }
    }

    /// Several writes, all or nothing, that are to be done once.
    pub fn attempt_all_once(&mut self, name: &str, key: &str, writes: &[(&str, Change)]) -> BatchAnswer {
        let node = self.node(name);
        let request = self.world.submit_all(node, keyed(key, writes));
        self.batch_answer(name, request)
    }

    fn batch_answer(&mut self, name: &str, request: RequestId) -> BatchAnswer {
        let until = self.world.now_ms() + PATIENCE_MS;
        loop {
            if let Some(answer) = self.world.batch_answer(request) {
                return answer.clone();
            }
            assert!(self.world.now_ms() < until, "{name} does not answer");
            self.run_ms(5);
        }
    }

    fn done(&mut self, name: &str, path: &str, change: Change) -> Written {
        match self.attempt(name, path, change, Condition::Always) {
            Ok(written) => *written,
            Err(refusal) => panic!("{name} refuses to write {path}: {refusal:?}"),
        }
    }

    /// Puts a flat object, given as JSON text.
    pub fn put(&mut self, name: &str, path: &str, json: &str) -> Written {
        self.done(name, path, Change::Put(value(json)))
    }

    /// Puts a flat object that lives for that long.
    pub fn put_for(&mut self, name: &str, path: &str, json: &str, ttl_ms: u64) -> Written {
        let ttl = Ttl::of_ms(ttl_ms).ok();
        assert!(ttl.is_some(), "{ttl_ms} ms is no time to live");
        let (change, condition) = (Change::Put(value(json)), Condition::Always);
        let write = Write { path: parsed(path), change, condition, observed: Observed::All, ttl, once: None };
        match self.write(name, write) {
            Ok(written) => *written,
            Err(refusal) => panic!("{name} refuses to write {path}: {refusal:?}"),
        }
    }

    /// Replaces a document.
    pub fn replace(&mut self, name: &str, path: &str, json: &str) -> Written {
        self.done(name, path, Change::Replace(value(json)))
    }

    /// Applies a merge patch.
    pub fn patch(&mut self, name: &str, path: &str, json: &str) -> Written {
        self.done(name, path, Change::Patch(value(json)))
    }

    /// Deletes.
    pub fn delete(&mut self, name: &str, path: &str) -> Written {
        self.done(name, path, Change::Delete)
    }

    /// Puts over exactly the versions that a client has read.
    pub fn put_over(&mut self, name: &str, path: &str, json: &str, read: Vec<Dot>) -> Written {
        self.over(name, path, Change::Put(value(json)), read)
    }

    /// Applies a merge patch over exactly the versions that a client has read.
    pub fn patch_over(&mut self, name: &str, path: &str, json: &str, read: Vec<Dot>) -> Written {
        self.over(name, path, Change::Patch(value(json)), read)
    }

    /// A write over exactly the versions that a client has read; the answer may be a refusal.
    pub fn attempt_over(&mut self, name: &str, path: &str, change: Change, read: Vec<Dot>) -> Answer {
        let observed = Observed::These(read);
        self.write(
            name,
            Write {
                path: parsed(path),
                change,
                condition: Condition::Always,
                observed,
                ttl: None,
                once: None,
            },
        )
    }

    fn over(&mut self, name: &str, path: &str, change: Change, read: Vec<Dot>) -> Written {
        match self.attempt_over(name, path, change, read) {
            Ok(written) => *written,
            Err(refusal) => panic!("{name} refuses to write {path}: {refusal:?}"),
        }
    }

    /// What a reader sees at a node.
    pub fn get(&self, name: &str, path: &str) -> Option<String> {
        let path = parsed(path);
        let record = self.world.snapshot(self.node(name))?.record(&path).ok()??;
        let visible = crate::strategies::policy().visible(&path, &record.document, self.wall_ms(name))?;
        visible.value.map(|json| json.as_str().to_string())
    }

    /// How many versions are live at a node.
    pub fn siblings(&self, name: &str, path: &str) -> usize {
        let record = self.world.snapshot(self.node(name)).and_then(|snapshot| {
            let record = snapshot.record(&parsed(path));
            record.ok().flatten()
        });
        record.map_or(0, |record| record.document.versions().len())
    }

    /// Records that a node keeps, bare tombstones included.
    pub fn records(&self, name: &str) -> u64 {
        let counters = self.world.snapshot(self.node(name)).and_then(|snapshot| snapshot.counters().ok());
        counters.map_or(0, |counters| counters.records)
    }

    // Faults

    /// Cuts every link between nodes of different groups.
    pub fn partition(&mut self, groups: &[&[&str]]) {
        let group_of = |name: &str| groups.iter().position(|group| group.contains(&name));
        for edge in 0..self.world.edge_count() {
            let [one, other] = self.world.edges[edge].nodes;
            let (one, other) = (&self.world.nodes[one].name, &self.world.nodes[other].name);
            if group_of(one) != group_of(other) {
                self.world.block_edge(edge);
            }
        }
        self.run_ms(2_000);
    }

    /// Writes a path twice while one node is cut off, and runs on for a round: only a claim can tell that node of the first write.
    pub fn overwrite_behind(&mut self, apart: &str, writer: &str, path: &str) {
        let names: Vec<String> = self.world.nodes.iter().map(|node| node.name.clone()).collect();
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != apart).collect();
        self.partition(&[&others, &[apart]]);
        self.put(writer, path, r#"{"n":1}"#);
        self.put(writer, path, r#"{"n":2}"#);
        self.heal();
        self.run_ms(70_000);
    }

    /// Opens every link again.
    pub fn heal(&mut self) {
        for edge in 0..self.world.edge_count() {
            self.world.open_edge(edge);
        }
    }

    /// Cuts one link; it is dialed again at once.
    pub fn cut(&mut self, one: &str, other: &str) {
        let edge = self.edge(one, other);
        self.world.cut_edge(edge);
    }

    /// Makes frames take that long between two nodes.
    pub fn slow(&mut self, one: &str, other: &str, ms: u64) {
        let edge = self.edge(one, other);
        self.world.set_delay(edge, (ms, ms));
    }

    /// Stops a node.
    pub fn down(&mut self, name: &str) {
        let node = self.node(name);
        self.world.kill(node);
        self.run_ms(2_000);
    }

    /// Starts a node.
    pub fn up(&mut self, name: &str) {
        let node = self.node(name);
        self.world.start(node);
    }

    /// A copy of a node's disk.
    pub fn backup(&self, name: &str) -> Backup {
        self.world.backup(self.node(name))
    }

    /// Puts a copy in place of a node's disk and starts it.
    pub fn restore(&mut self, name: &str, backup: &Backup) {
        let node = self.node(name);
        self.world.restore(node, backup);
    }

    /// Starts a copy of a node's disk as a second process, connected to `peers`.
    pub fn clone_of(&mut self, name: &str, twin: &str, peers: &[&str]) {
        let node = self.node(name);
        let twin = self.world.clone_node(node, twin);
        for peer in peers {
            let peer = self.node(peer);
            self.world.connect(peer, twin);
        }
    }

    /// A running machine is copied with its memory, and the copy is connected to those of `peers`.
    pub fn copy_machine(&mut self, name: &str, twin: &str, peers: &[&str], tells: Tells) {
        let node = self.node(name);
        let Some(copy) = self.world.copy_machine(node, twin, tells) else {
            panic!("{name} cannot be copied now")
        };
        for peer in peers {
            let peer = self.node(peer);
            self.world.connect(copy, peer);
        }
    }

    /// A running machine as it is, to set it back to.
    pub fn image(&self, name: &str) -> Image {
        let image = self.world.image(self.node(name));
        image.unwrap_or_else(|| panic!("{name} cannot be copied now"))
    }

    /// Sets a machine back to what it was, memory and disk.
    pub fn set_back(&mut self, name: &str, image: &Image, tells: Tells) {
        let node = self.node(name);
        self.world.set_back(node, image, tells);
    }

    /// Steps a node's wall clock.
    pub fn clock_step(&mut self, name: &str, ms: i64) {
        let node = self.node(name);
        let clock = self.world.clock(node);
        self.world.set_clock(node, Clock { offset_ms: clock.offset_ms + ms, ..clock });
    }

    /// Lets every wall clock move on by that much at once: a long time in which nothing happens.
    pub fn years_pass(&mut self, ms: i64) {
        for node in 0..self.world.nodes.len() {
            let clock = self.world.clock(node);
            self.world.set_clock(node, Clock { offset_ms: clock.offset_ms + ms, ..clock });
        }
    }

    /// Damages a node's store behind its back: it goes back to `backup`, but claims to have all that it had.
    pub fn forget(&mut self, name: &str, backup: &Backup) {
        let node = self.node(name);
        let Some(snapshot) = self.world.snapshot(node) else { panic!("{name} is down") };
        let Ok(frontier) = snapshot.frontier() else { panic!("{name} has no frontier") };
        self.world.kill(node);
        let engine = backup.engine.fork();
        let Ok(mut store) = rejoin_store::Store::open(engine.clone(), SyncPolicy::EveryCommit) else {
            panic!("the backup does not open")
        };
        let rows = frontier.rows().map(|(node, epoch, set)| ((node, epoch), set.clone()));
        let batch = Batch { frontier: rows.collect(), ..Batch::default() };
        assert!(store.commit(batch).is_ok(), "the damage could not be done");
        self.world.nodes[node].engine = engine;
        self.world.nodes[node].damaged = true;
        self.world.start(node);
    }

    // What operators see

    /// Runs an anti-entropy round and waits for it.
    pub fn anti_entropy(&mut self, name: &str) -> RoundReport {
        self.anti_entropy_below(name, "")
    }

    /// The same over the paths that begin with this.
    pub fn anti_entropy_below(&mut self, name: &str, prefix: &str) -> RoundReport {
        let node = self.node(name);
        let Ok(prefix) = Prefix::parse(prefix) else { panic!("{prefix:?} is no prefix") };
        let request = self.world.ask_for_round(node, prefix);
        let until = self.world.now_ms() + PATIENCE_MS;
        loop {
            if let Some(report) = self.world.round(request) {
                return *report;
            }
            assert!(self.world.now_ms() < until, "{name} does not finish its round");
            self.run_ms(5);
        }
    }

    /// Asks which other nodes hold a write, for as long as that takes; gives their names.
    pub fn holders(&mut self, name: &str, written: &Written, wait_ms: u64) -> Vec<String> {
        let node = self.node(name);
        let request = self.world.ask_for_holders(node, vec![written.dot], wait_ms);
        self.run_ms(wait_ms);
        self.held(request)
    }

    /// The names of the nodes that were said to hold what was asked for.
    pub fn held(&self, request: RequestId) -> Vec<String> {
        let holders = self.world.holders(request);
        let named = (0..self.world.nodes.len()).filter(|node| holders.contains(&self.world.id(*node)));
        named.map(|node| self.world.nodes[node].name.clone()).collect()
    }

    /// Asks how things are.
    pub fn status(&mut self, name: &str) -> Status {
        let node = self.node(name);
        let request = self.world.ask_for_status(node);
        loop {
            if let Some(status) = self.world.status(request) {
                return status.clone();
            }
            self.run_ms(5);
        }
    }

    /// Whether a node's operator was told something of that kind.
    pub fn alarmed(&self, name: &str, kind: impl Fn(&Alarm) -> bool) -> bool {
        self.world.alarms(self.node(name)).iter().any(kind)
    }

    /// How often a situation occurred so far.
    pub fn count(&self, mark: &str) -> u64 {
        self.world.trace.marks().get(mark).copied().unwrap_or(0)
    }

    /// Frames of that name so far.
    pub fn sent(&self, message: &str) -> u64 {
        self.world.sent.get(message).copied().unwrap_or(0)
    }
}

/// Writes of one request, with its key.
fn keyed(key: &str, writes: &[(&str, Change)]) -> Vec<Write> {
    let Ok(key) = Key::parse(key) else { panic!("{key} is no key") };
    let write = |(path, change): &(&str, Change)| Write {
        path: parsed(path),
        change: change.clone(),
        condition: Condition::Always,
        observed: Observed::All,
        ttl: None,
        once: None,
    };
    let mut writes: Vec<Write> = writes.iter().map(write).collect();
    let once = Some(Once::new(&key, &writes));
    writes.iter_mut().for_each(|write| write.once = once);
    writes
}

fn parsed(path: &str) -> Path {
    match Path::parse(path) {
        Ok(path) => path,
        Err(error) => panic!("{path}: {error}"),
    }
}

fn value(json: &str) -> rejoin_replica::json::Json {
    match rejoin_replica::json::Json::parse(json.as_bytes(), &Default::default()) {
        Ok(json) => json,
        Err(error) => panic!("{json}: {error}"),
    }
}

fn held(outcome: Result<(), Violation>) {
    if let Err(violation) = outcome {
        panic!("{violation}");
    }
}
