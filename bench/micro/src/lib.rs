//! The small operations that every write and read is made of.
//!
//! [`CASES`] is the list. `cargo bench --package rejoin-micro` times each; the program `rejoin-micro` does one so often
//! that `cargo xtask bench --instructions` can count what it takes, which is the same in every run.

use std::hint::black_box;

use rejoin_causal::{Dot, Epoch, Frontier, Hlc, IntervalSet, NodeId, VersionVector};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::message::Entry;
use rejoin_replica::path::Path;
use rejoin_replica::{Body, Document, Message, Version, codec, digest, etag, packing};

/// One operation: its name, and what makes it ready. What comes back does it once; the result only has to be used.
pub type Case = (&'static str, fn() -> Box<dyn FnMut() -> usize>);

/// All operations.
pub const CASES: &[Case] = &[
    ("path: parse", || {
        Box::new(|| {
            Path::parse(black_box("users/alice@example.com/inbox")).map_or(0, |path| path.as_str().len())
        })
    }),
    ("path: parse, percent-encoded", || {
        Box::new(|| {
            Path::parse_encoded(black_box("donn%C3%A9es/%c3%a9/inbox")).map_or(0, |path| path.as_str().len())
        })
    }),
    ("json: parse 200 bytes", || {
        let text = text(1);
        Box::new(move || {
            Json::parse(black_box(text.as_bytes()), &JsonLimits::default())
                .map_or(0, |json| json.as_str().len())
        })
    }),
    ("interval set: insert in order", || {
        let (mut set, mut number) = (IntervalSet::new(), 0);
        Box::new(move || {
            number += 1;
            usize::from(set.insert(black_box(number)))
        })
    }),
    ("interval set: insert with gaps", || {
        let (mut set, mut number) = (IntervalSet::new(), 1_u64);
        Box::new(move || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) % 100_003;
            usize::from(set.insert(black_box(number + 1)))
        })
    }),
    ("interval set: difference of 1,000 ranges", || {
        let every = |step: u64| {
            (1..=1_000).map(|at| at * step).fold(IntervalSet::new(), |mut set, at| {
                set.insert(at);
                set
            })
        };
        let (twos, threes) = (every(2), every(3));
        Box::new(move || black_box(&twos).difference(black_box(&threes)).ranges().len())
    }),
    ("version vector: join of two", || {
        let vector = |nodes: [u8; 2]| nodes.map(|node| dot(node, 7)).into_iter().collect::<VersionVector>();
        let (ours, theirs) = (vector([1, 2]), vector([2, 3]));
        Box::new(move || {
            let mut joined = black_box(&ours).clone();
            joined.join(black_box(&theirs));
            joined.len()
        })
    }),
    ("merge: a write over one version", || {
        let (applied, before) = (Frontier::new(), document(1));
        let written = version(dot(1, 900), 900);
        Box::new(move || {
            let state = black_box(&before).written(black_box(&written).clone(), |_| true);
            before.clone().merge(state, &applied, None).added.len()
        })
    }),
    ("merge: a concurrent version", || {
        let (applied, ours, theirs) = (Frontier::new(), document(1), concurrent());
        Box::new(move || {
            black_box(&ours).clone().merge(theirs.clone(), &applied, None).document.versions().len()
        })
    }),
    ("digest: fingerprint of a document", || {
        let (path, document) = (path(1), document(1));
        Box::new(move || usize::from(digest::fingerprint(black_box(&path), black_box(&document)).count > 0))
    }),
    ("digest: entity tag", || {
        let document = document(1);
        Box::new(move || usize::from(etag(black_box(&document))[0]))
    }),
    ("codec: encode a push", || {
        let message = Message::Push(vec![entry(1)]);
        Box::new(move || codec::encode(black_box(&message)).len())
    }),
    ("codec: decode a push", || {
        let frame = codec::encode(&Message::Push(vec![entry(1)]));
        Box::new(move || usize::from(codec::decode(black_box(&frame)).is_ok()))
    }),
    ("codec: encode 1,000 documents", || {
        let message = Message::Chunk((0..1_000).map(entry).collect());
        Box::new(move || codec::encode(black_box(&message)).len())
    }),
    ("codec: decode 1,000 documents", || {
        let frame = codec::encode(&Message::Chunk((0..1_000).map(entry).collect()));
        Box::new(move || usize::from(codec::decode(black_box(&frame)).is_ok()))
    }),
    ("packing: pack 1,000 documents", || {
        let frame = codec::encode(&Message::Chunk((0..1_000).map(entry).collect()));
        Box::new(move || packing::pack(black_box(&frame).clone()).len())
    }),
    ("packing: unpack 1,000 documents", || {
        let frame = packing::pack(codec::encode(&Message::Chunk((0..1_000).map(entry).collect())));
        Box::new(move || packing::unpack(black_box(&frame)).map_or(0, |frame| frame.len()))
    }),
];

fn path(number: u64) -> Path {
    let text = format!("bench/{number:08}");
    match Path::parse(&text) {
        Ok(path) => path,
        Err(_) => unreachable!("digits are legal"),
    }
}

/// Some 200 bytes, over a half of them without pattern.
fn text(number: u64) -> String {
    let mut state = number;
    let noise: String = (0..8)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:014x}", state >> 8)
        })
        .collect();
    format!(r#"{{"name":"User of the benchmark","active":true,"age":41,"tags":["a","b"],"text":"{noise}"}}"#)
}

fn dot(node: u8, seq: u64) -> Dot {
    Dot { node: NodeId([node; 16]), epoch: Epoch(1), seq }
}

fn version(dot: Dot, number: u64) -> Version {
    let body = Body::Value(Json::trusted(text(number)));
    Version { dot, hlc: Hlc((1_795_000_000_000 + number) << 16), body: body.into() }
}

fn document(number: u64) -> Document {
    Document::new().written(version(dot(1, number + 1), number), |_| true)
}

fn concurrent() -> Document {
    Document::new().written(version(dot(2, 1), 2), |_| true)
}

fn entry(number: u64) -> Entry {
    Entry { path: path(number), document: document(number), superseded: Vec::new() }
}
