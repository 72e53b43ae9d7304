//! Messages of peers that are broken, old, restored, hostile or right.

use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, IntervalSet, NodeId, VersionVector};
use rejoin_replica::config::EXPIRES_MS_MAX;
use rejoin_replica::digest::range_digest;
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::message::{Entry, Holder, Leaf, PathState, Question, Range};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Body, Content, Document, Expiry, Field, Fields, Kept, Message, Once, Replica, Shown, Summary, Unit,
    Version, View as _, frontier_digest,
};
use rejoin_store::Snapshot;
use rejoin_store::engine::MemorySnapshot;

use crate::bytes::Bytes;

/// What a message is made of besides bytes.
pub(super) struct Maker<'a> {
    pub(super) replica: &'a Replica,
    pub(super) snapshot: &'a Snapshot<MemorySnapshot>,
    pub(super) own: (NodeId, Epoch, u64),
    pub(super) wall_ms: u64,
    pub(super) skew_ms: u64,
    /// The next number of each peer, so that most dots are new and in order.
    pub(super) next: &'a mut [u64; PEERS],
    /// The number of the last exchange that a peer opened. Odd and even ones are of either end.
    pub(super) exchange: &'a mut u64,
}

/// Nodes other than the replica.
pub(super) const PEERS: usize = 4;

/// The node of a number.
pub(super) fn peer(number: u64) -> NodeId {
    NodeId([2 + number as u8; 16])
}

/// The kinds that [`Maker::message`] makes.
const KINDS: u64 = 23;

/// Paths that start runs of digests, of every level, beside ordinary ones and ones under other strategies.
const NAMES: [&str; 24] = [
    "a", "a/b", "a/c", "a/b/c", "b", "c", "k7", "k376", "k399", "k446", "k22541", "k28520", "k32620",
    "k3629", "k58153", "k367955", "m", "m/x", "m/y", "f/x", "f/y", "ü", "x", "y",
];

const VALUES: [&str; 10] = [
    "1",
    "null",
    "{}",
    "\"text\"",
    "{\"a\":1}",
    "{\"a\":null,\"b\":2}",
    "{\"a\":{\"b\":1}}",
    "[1,[2]]",
    "{\"a\":1.0,\"c\":\"a rather long text, so that limits of bytes matter now and then\"}",
    "true",
];

pub(super) fn path(bytes: &mut Bytes<'_>) -> Path {
    let name = match bytes.below(8) {
        0 => format!("n/{}", bytes.byte()),
        _ => (*bytes.pick(&NAMES)).to_owned(),
    };
    Path::parse(&name).expect("a path")
}

pub(super) fn value(bytes: &mut Bytes<'_>) -> Json {
    Json::parse(bytes.pick(&VALUES).as_bytes(), &JsonLimits::default()).expect("JSON")
}

impl Maker<'_> {
    /// A message that a peer could send after it got `last`.
    pub(super) fn answer(&mut self, bytes: &mut Bytes<'_>, last: Option<&Message>) -> Message {
        let kind = match last {
            Some(Message::Probe { .. }) => *bytes.pick(&[4, 4, 4, 2, 3]),
            Some(Message::Nodes(_)) => 5,
            Some(Message::Ask { .. }) => 6,
            Some(Message::Answer { .. }) | Some(Message::Credit(_)) => *bytes.pick(&[8, 9]),
            Some(Message::Chunk(_)) => 10,
            Some(Message::AuditOpen { .. }) => *bytes.pick(&[12, 12, 11]),
            Some(Message::AuditAccept { .. }) => *bytes.pick(&[13, 15, 17]),
            Some(Message::Compare(_)) => 14,
            Some(Message::Differences { .. }) => *bytes.pick(&[15, 13, 17]),
            Some(Message::Exchange(_)) => 16,
            Some(Message::Exchanged { .. }) => *bytes.pick(&[15, 17, 13]),
            Some(Message::AuditDone) => 17,
            _ => *bytes.pick(&[7, 1, 11, 9]),
        };
        self.of_kind(bytes, kind)
    }

    /// Any message.
    pub(super) fn message(&mut self, bytes: &mut Bytes<'_>) -> Message {
        let kind = 1 + bytes.below(KINDS);
        self.of_kind(bytes, kind)
    }

    fn of_kind(&mut self, bytes: &mut Bytes<'_>, kind: u64) -> Message {
        match kind {
            1 => {
                let garbled = bytes.below(4);
                let mut frontier = frontier_digest(self.replica.frontier());
                let mut values = self.replica.counters().values;
                frontier[0] ^= u8::from(garbled & 1 > 0);
                values.count ^= u64::from(garbled & 2 > 0);
                // Now and then one that was used before.
                *self.exchange += bytes.below(3);
                Message::Probe { exchange: *self.exchange, frontier, values }
            }
            2 => Message::Same,
            3 => Message::Differ,
            4 => {
                let count = bytes.below(6);
                Message::Nodes((0..count).map(|_| (self.node(bytes), [bytes.byte(); 8])).collect())
            }
            5 => Message::Ask {
                nodes: self.nodes(bytes),
                rows: self.frontier(bytes),
                documents: bytes.below(3),
            },
            6 => Message::Answer { rows: self.frontier(bytes), documents: bytes.below(3) },
            7 => Message::Push(self.entries(bytes)),
            8 => Message::Chunk(self.entries(bytes)),
            9 => {
                let exchange = *bytes.pick(&[1, 2, 3, *self.exchange, *self.exchange, 0]);
                Message::CaughtUp { exchange, claims: self.frontier(bytes) }
            }
            10 => Message::Credit(if bytes.one_in(16) { bytes.word() } else { bytes.below(256) }),
            11 => Message::AuditOpen { frontier: self.frontier(bytes), floor: self.floor(bytes) },
            12 => Message::AuditAccept { frontier: self.frontier(bytes), floor: self.floor(bytes) },
            13 => Message::Compare(self.ranges(bytes)),
            14 => {
                let splits = self.ranges(bytes);
                let leaf = |maker: &mut Self, bytes: &mut Bytes<'_>| {
                    let (lower, upper) = bounds(bytes);
                    let half = |maker: &Self, bytes: &mut Bytes<'_>| {
                        let path = path(bytes);
                        let sum = range_digest(maker.snapshot, &path.key(), None).expect("a digest");
                        (path, (sum.fingerprint >> 64) as u64)
                    };
                    Leaf { lower, upper, items: (0..bytes.below(4)).map(|_| half(maker, bytes)).collect() }
                };
                Message::Differences {
                    splits,
                    leaves: (0..bytes.below(3)).map(|_| leaf(self, bytes)).collect(),
                }
            }
            15 => Message::Exchange(self.states(bytes)),
            16 => Message::Exchanged { states: self.states(bytes), last: !bytes.one_in(4) },
            17 => Message::AuditDone,
            18 => Message::Floor(self.floor(bytes)),
            19 => Message::Question((0..bytes.below(3)).map(|_| self.question(bytes)).collect()),
            20 => Message::Holders(
                (0..bytes.below(4))
                    .map(|_| {
                        let (id, node) = (self.any_dot(bytes), self.node(bytes));
                        Holder { id, digest: [0; 16], node, key: [0; 32], signature: [0; 64] }
                    })
                    .collect(),
            ),
            21 => Message::Have(self.frontier(bytes)),
            22 => Message::Graft,
            // Of what there is already: the corpus keeps its meaning.
            _ if *self.exchange % 3 == 1 => Message::Kept(vec![self.kept()]),
            _ => Message::Prune,
        }
    }

    /// What was answered to a write that there is, or is not.
    fn kept(&self) -> Kept {
        let seq = 1 + *self.exchange / 2;
        let dot = Dot { node: peer(0), epoch: Epoch(1), seq };
        Kept {
            dot,
            hlc: Hlc::of_wall(self.wall_ms),
            once: Once { id: [seq as u8 & 3; 16], print: [0; 8] },
            unit: Unit { first: seq, last: seq },
            created: true,
            shown: Shown::Sent,
            etag: None,
            conflicts: 0,
            expires_ms: None,
            past: None,
        }
    }

    /// Documents enough to split ranges of a digest session.
    pub(super) fn many(&mut self, count: u64) -> Message {
        let entry = |number: u64| {
            let dot = Dot { node: peer(0), epoch: Epoch(1), seq: 1 + number };
            let version =
                Version { dot, hlc: Hlc::of_wall(self.wall_ms), body: Body::Value(Json::null()).into() };
            let document =
                Document::from_parts([dot].into_iter().collect(), vec![version]).expect("a document");
            let path = Path::parse(&format!("n/{number}")).expect("a path");
            Entry { path, document, superseded: Vec::new() }
        };
        let many = Message::Push((0..count).map(entry).collect());
        self.next[0] = self.next[0].max(1 + count);
        many
    }

    /// Mostly a peer, at times the replica itself.
    fn node(&self, bytes: &mut Bytes<'_>) -> NodeId {
        if bytes.one_in(16) { self.own.0 } else { peer(bytes.below(PEERS as u64)) }
    }

    fn nodes(&self, bytes: &mut Bytes<'_>) -> Vec<NodeId> {
        match bytes.one_in(2) {
            true => self.replica.frontier().nodes().collect(),
            false => (0..bytes.below(6)).map(|_| self.node(bytes)).collect(),
        }
    }

    /// The next dot of a peer, or any dot.
    fn dot(&mut self, bytes: &mut Bytes<'_>) -> Dot {
        if !bytes.one_in(4) {
            let number = bytes.below(PEERS as u64);
            let next = &mut self.next[number as usize];
            *next += 1;
            return Dot { node: peer(number), epoch: Epoch(1), seq: *next };
        }
        self.any_dot(bytes)
    }

    fn any_dot(&mut self, bytes: &mut Bytes<'_>) -> Dot {
        let node = self.node(bytes);
        let epoch = match node == self.own.0 {
            true => Epoch(self.own.1.0.saturating_sub(1).saturating_add(bytes.below(3))),
            false => Epoch(bytes.below(3)),
        };
        let seq = match bytes.below(16) {
            0 => u64::MAX,
            1 => u64::MAX - 1,
            2 => bytes.word(),
            3..=5 if node == self.own.0 => self.own.2,
            _ => bytes.below(12),
        };
        Dot { node, epoch, seq: seq.max(1) }
    }

    fn question(&mut self, bytes: &mut Bytes<'_>) -> Question {
        let wait_ms = if bytes.one_in(4) { bytes.word() } else { bytes.below(1_000) };
        let dots = (0..bytes.below(4)).map(|_| self.any_dot(bytes)).collect();
        Question { id: self.any_dot(bytes), hops: bytes.byte(), wait_ms, dots }
    }

    fn hlc(&self, bytes: &mut Bytes<'_>) -> Hlc {
        let counter = |hlc: Hlc, by: u64| Hlc(hlc.0 | by);
        match bytes.below(8) {
            0 => Hlc::of_wall(self.wall_ms + self.skew_ms + 1 + bytes.below(200)),
            1 => Hlc(bytes.word()),
            2 => Hlc::of_wall(self.wall_ms + self.skew_ms),
            3 => Hlc(*bytes.pick(&[u64::MAX, u64::MAX - 1, 0, 1])),
            _ => counter(Hlc::of_wall(self.wall_ms.saturating_sub(bytes.below(200))), bytes.below(4)),
        }
    }

    fn version(&mut self, bytes: &mut Bytes<'_>) -> Version {
        let (dot, hlc) = (self.dot(bytes), self.hlc(bytes));
        let body = match bytes.below(6) {
            0 | 1 => Body::Tombstone,
            2..=4 => Body::Value(value(bytes)),
            _ => {
                let field = |maker: &mut Self, bytes: &mut Bytes<'_>, number: u64| Field {
                    name: ["a", "b", "c", ""][number as usize].into(),
                    hlc: maker.hlc(bytes).min(hlc),
                    dot: maker.any_dot(bytes),
                    value: (!bytes.one_in(3)).then(|| value(bytes)),
                };
                let count = bytes.below(5);
                Body::Fields(Fields((0..count).map(|number| field(self, bytes, number)).collect()))
            }
        };
        // Of what there is already: the corpus keeps its meaning.
        let unit = (dot.seq > 1 && dot.seq % 5 == 0).then(|| Unit { first: dot.seq - 1, last: dot.seq });
        // Some values end, and some deletes are the ends of values.
        let expiry = (dot.seq % 3 == 0).then(|| match body {
            Body::Tombstone => Expiry::Of(Hlc(hlc.0 / 2), dot),
            _ => Expiry::At(hlc.unix_ms().saturating_add(dot.seq).min(EXPIRES_MS_MAX)),
        });
        let expiry = expiry.filter(|expiry| !matches!(expiry, Expiry::Of(of, _) if *of >= hlc));
        Version { dot, hlc, body: Content { body, unit, expiry } }
    }

    /// A state of a path: written over what is there, or of its own making.
    fn document(&mut self, bytes: &mut Bytes<'_>, path: &Path) -> Document {
        let there = self.snapshot.record(path).expect("a record").map(|record| record.document);
        let there = there.unwrap_or_default();
        let written = |maker: &mut Self, bytes: &mut Bytes<'_>| {
            let seen = bytes.byte();
            there.written(maker.version(bytes), |version| (seen >> (version.dot.seq % 4)) & 1 > 0)
        };
        match bytes.below(8) {
            0..=3 => written(self, bytes),
            4 => {
                let version = self.version(bytes);
                Document::from_parts([version.dot].into_iter().collect(), vec![version]).unwrap_or_default()
            }
            5 => there,
            _ => {
                let count = 1 + bytes.below(3);
                let versions: Vec<Version> = (0..count).map(|_| self.version(bytes)).collect();
                let mut vv: VersionVector = versions.iter().map(|version| version.dot).collect();
                for _ in 0..bytes.below(3) {
                    vv.raise(self.any_dot(bytes));
                }
                Document::from_parts(vv, versions).unwrap_or_default()
            }
        }
    }

    fn entries(&mut self, bytes: &mut Bytes<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        for _ in 0..=bytes.below(4) {
            let path = path(bytes);
            let document = self.document(bytes, &path);
            let mut superseded: Vec<Dot> = (0..bytes.below(3)).map(|_| self.any_dot(bytes)).collect();
            superseded.retain(|dot| document.vv().covers(*dot));
            entries.push(Entry { path, document, superseded });
        }
        entries
    }

    fn states(&mut self, bytes: &mut Bytes<'_>) -> Vec<PathState> {
        let mut states = Vec::new();
        for _ in 0..bytes.below(4) {
            let path = path(bytes);
            let document = (!bytes.one_in(3)).then(|| self.document(bytes, &path));
            states.push((path, document));
        }
        states
    }

    fn frontier(&mut self, bytes: &mut Bytes<'_>) -> Frontier {
        let mut frontier = match bytes.below(4) {
            0 => self.replica.frontier().clone(),
            _ => Frontier::new(),
        };
        for _ in 0..bytes.below(4) {
            let dot = self.any_dot(bytes);
            frontier.insert_row(dot.node, dot.epoch, &IntervalSet::range(1, dot.seq));
        }
        let without: Frontier = (0..bytes.below(3)).map(|_| self.any_dot(bytes)).collect();
        frontier.remove_all(&without);
        frontier
    }

    fn floor(&mut self, bytes: &mut Bytes<'_>) -> Floor {
        let mut floor = Floor::new();
        for _ in 0..bytes.below(8).saturating_sub(4) {
            floor.raise(self.any_dot(bytes));
        }
        floor
    }

    fn ranges(&self, bytes: &mut Bytes<'_>) -> Vec<Range> {
        let range = |bytes: &mut Bytes<'_>| {
            let (lower, upper) = bounds(bytes);
            let right = range_digest(self.snapshot, &lower, upper.as_deref()).expect("a digest");
            let summary = match bytes.one_in(2) {
                true => right,
                false => Summary { fingerprint: right.fingerprint ^ 1, count: right.count },
            };
            Range { lower, upper, summary }
        };
        (0..bytes.below(4)).map(|_| range(bytes)).collect()
    }
}

/// Any two keys, in order.
fn bounds(bytes: &mut Bytes<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = |bytes: &mut Bytes<'_>| match bytes.below(4) {
        0 => Vec::new(),
        1 => bytes.take(2).to_vec(),
        _ => path(bytes).key(),
    };
    let (one, other) = (key(bytes), key(bytes));
    match one.cmp(&other) {
        std::cmp::Ordering::Less => (one, Some(other)),
        _ => (other, None),
    }
}
