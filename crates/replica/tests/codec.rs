//! Frames: what is encoded is decoded, and any bytes give a message or an error.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, IntervalSet, NodeId};
use rejoin_replica::codec::{decode, encode};
use rejoin_replica::json::{Json, JsonLimits};
use rejoin_replica::message::{Entry, Holder, Leaf, Message, PathState, Question, Range};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Body, Content, Document, Expiry, Field, Fields, Kept, Once, Proof, Shown, Statement, StatementKind,
    Summary, Unit, Version,
};

fn dot() -> impl Strategy<Value = Dot> {
    (0u8..4, 1u64..4, prop_oneof![1u64..20, Just(u64::MAX)]).prop_map(|(node, epoch, seq)| Dot {
        node: NodeId([node; 16]),
        epoch: Epoch(epoch << 16),
        seq,
    })
}

fn json() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just("null"),
        Just("-0"),
        Just("1E4"),
        Just(r#""\u00e9 \\ \" \n""#),
        Just(r#"{"b":1.50,"a":[{}]}"#),
        Just("123456789012345678901234567890"),
    ]
    .prop_map(|text| Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap())
}

fn path() -> impl Strategy<Value = Path> {
    vec("[a-c~é]{1,3}", 1..4).prop_map(|segments| Path::parse(&segments.join("/")).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    let body = prop_oneof![
        Just(Body::Tombstone),
        json().prop_map(Body::Value),
        btree_map("[a-d]{0,2}", (0u64..1 << 20, dot(), proptest::option::of(json())), 0..4).prop_map(
            |fields| {
                let field = |(name, (hlc, dot, value)): (String, _)| Field {
                    name: name.into(),
                    hlc: Hlc(hlc),
                    dot,
                    value,
                };
                Body::Fields(Fields(fields.into_iter().map(field).collect()))
            }
        ),
    ];
    let unit = proptest::option::of((0u64..500, 0u64..500));
    let expiry = proptest::option::of((0u64..1 << 20, dot()));
    (dot(), (1u64 << 20)..1 << 60, body, unit, expiry).prop_map(|(dot, hlc, body, unit, expiry)| {
        let expiry = expiry.map(|(at, of)| match body {
            Body::Tombstone => Expiry::Of(Hlc(at), of),
            _ => Expiry::At(at << 28),
        });
        let unit = unit.map(|(before, behind)| Unit {
            first: dot.seq.saturating_sub(before).max(1),
            last: dot.seq.saturating_add(behind),
        });
        let unit = unit.filter(|unit| unit.first < unit.last);
        Version { dot, hlc: Hlc(hlc), body: Content { body, unit, expiry } }
    })
}

fn document(versions: std::ops::Range<usize>) -> impl Strategy<Value = Document> {
    (vec(version(), versions), vec(dot(), 0..4)).prop_map(|(mut versions, past)| {
        versions.sort_by_key(|version| version.dot);
        versions.dedup_by_key(|version| version.dot);
        let vv = versions.iter().map(|version| version.dot).chain(past).collect();
        Document::from_parts(vv, versions).unwrap()
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (path(), document(1..4)).prop_map(|(path, document)| {
        let superseded = document.vv().tops().filter(|dot| document.version(*dot).is_none()).collect();
        Entry { path, document, superseded }
    })
}

fn frontier() -> impl Strategy<Value = Frontier> {
    vec((dot(), 0u64..5), 0..8).prop_map(|runs| {
        let mut frontier = Frontier::new();
        for (dot, more) in runs {
            frontier.insert_row(
                dot.node,
                dot.epoch,
                &IntervalSet::range(dot.seq, dot.seq.saturating_add(more)),
            );
        }
        frontier
    })
}

fn floor() -> impl Strategy<Value = Floor> {
    vec(dot(), 0..4).prop_map(|dots| {
        let mut floor = Floor::new();
        for dot in dots {
            floor.raise(dot);
        }
        floor
    })
}

fn summary() -> impl Strategy<Value = Summary> {
    (any::<u128>(), any::<u64>()).prop_map(|(fingerprint, count)| Summary { fingerprint, count })
}

fn bounds() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
    (vec(any::<u8>(), 0..4), proptest::option::of(vec(any::<u8>(), 0..4))).prop_map(|(lower, more)| {
        let upper = more.map(|more| [&*lower, &[1], &*more].concat());
        (lower, upper)
    })
}

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    let range = (bounds(), summary()).prop_map(|((lower, upper), summary)| Range { lower, upper, summary });
    vec(range, 0..4)
}

fn states() -> impl Strategy<Value = Vec<PathState>> {
    vec((path(), proptest::option::of(document(1..3))), 0..4)
}

fn question() -> impl Strategy<Value = Question> {
    (dot(), any::<u8>(), any::<u64>(), vec(dot(), 0..4)).prop_map(|(id, hops, wait_ms, dots)| Question {
        id,
        hops,
        wait_ms,
        dots,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let leaf = (bounds(), vec((path(), any::<u64>()), 0..4)).prop_map(|((lower, upper), items)| Leaf {
        lower,
        upper,
        items,
    });
    let node = any::<[u8; 16]>().prop_map(NodeId);
    prop_oneof![
        (any::<u64>(), any::<[u8; 16]>(), summary())
            .prop_map(|(exchange, frontier, values)| Message::Probe { exchange, frontier, values }),
        Just(Message::Same),
        Just(Message::Differ),
        vec((node.clone(), any::<[u8; 8]>()), 0..4).prop_map(Message::Nodes),
        (btree_set(node, 0..4), frontier(), any::<u64>()).prop_map(|(nodes, rows, documents)| Message::Ask {
            nodes: nodes.into_iter().collect(),
            rows,
            documents
        }),
        (frontier(), any::<u64>()).prop_map(|(rows, documents)| Message::Answer { rows, documents }),
        vec(entry(), 0..4).prop_map(Message::Push),
        vec(entry(), 0..4).prop_map(Message::Chunk),
        (any::<u64>(), frontier()).prop_map(|(exchange, claims)| Message::CaughtUp { exchange, claims }),
        floor().prop_map(Message::Floor),
        any::<u64>().prop_map(Message::Credit),
        (frontier(), floor()).prop_map(|(frontier, floor)| Message::AuditOpen { frontier, floor }),
        (frontier(), floor()).prop_map(|(frontier, floor)| Message::AuditAccept { frontier, floor }),
        ranges().prop_map(Message::Compare),
        (ranges(), vec(leaf, 0..3)).prop_map(|(splits, leaves)| Message::Differences { splits, leaves }),
        states().prop_map(Message::Exchange),
        (states(), any::<bool>()).prop_map(|(states, last)| Message::Exchanged { states, last }),
        Just(Message::AuditDone),
        vec(question(), 0..4).prop_map(Message::Question),
        vec((dot(), any::<[u8; 16]>()), 0..4).prop_map(|holders| {
            let holder = |(id, node)| {
                let (digest, key, signature) = ([1; 16], [2; 32], [3; 64]);
                Holder { id, digest, node: NodeId(node), key, signature }
            };
            Message::Holders(holders.into_iter().map(holder).collect())
        }),
        frontier().prop_map(Message::Have),
        Just(Message::Graft),
        Just(Message::Prune),
        vec(statement(), 0..4).prop_map(Message::Statements),
        vec(kept(), 0..4).prop_map(Message::Kept),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    let shown =
        prop_oneof![Just(Shown::Nothing), Just(Shown::Sent), Just(Shown::Written), Just(Shown::Other)];
    let said = (any::<bool>(), shown, proptest::option::of(any::<[u8; 16]>()), 0u64..3);
    let more =
        (proptest::option::of(0u64..1 << 40), proptest::option::of(vec(dot(), 0..4)), 0u64..3, 0u64..3);
    (dot(), any::<u64>(), any::<[u8; 16]>(), any::<[u8; 8]>(), said, more).prop_map(
        |(dot, hlc, id, print, (created, shown, etag, conflicts), (expires_ms, past, before, behind))| Kept {
            dot,
            hlc: Hlc(hlc),
            once: Once { id, print },
            unit: Unit { first: dot.seq - before.min(dot.seq - 1), last: dot.seq.saturating_add(behind) },
            created,
            shown,
            etag,
            conflicts,
            expires_ms,
            past: past.map(|dots| dots.into_iter().collect()),
        },
    )
}

fn statement() -> impl Strategy<Value = Statement> {
    (dot(), 0u8..5, any::<[u8; 32]>(), any::<[u8; 64]>()).prop_map(|(dot, kind, key, signature)| Statement {
        life: (dot.node, dot.epoch),
        kind: StatementKind::of_byte(kind).unwrap(),
        proof: Proof { key, signature },
    })
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        let frame = encode(&message);
        prop_assert_eq!(decode(&frame), Ok(message));
    }

    #[test]
    fn a_cut_frame_is_an_error(message in message(), cut in any::<prop::sample::Index>()) {
        let frame = encode(&message);
        prop_assert!(decode(&frame[..cut.index(frame.len())]).is_err());
    }

    #[test]
    fn a_frame_with_bytes_behind_it_is_an_error(message in message(), more in vec(any::<u8>(), 1..4)) {
        let frame = [encode(&message), more].concat();
        prop_assert!(decode(&frame).is_err());
    }

    #[test]
    fn a_damaged_frame_is_a_message_or_an_error(
        message in message(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let mut frame = encode(&message);
        let at = at.index(frame.len());
        frame[at] = with;
        // Whatever it says now, it can be said again.
        if let Ok(message) = decode(&frame) {
            prop_assert_eq!(decode(&encode(&message)), Ok(message));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(kind in 0u8..34, bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode(&[&[kind], &*bytes].concat());
    }
}

#[test]
fn a_frame_cannot_promise_more_than_it_holds() {
    // Two billion entries, in nine bytes.
    let lie = [7, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert!(decode(&lie).is_err());
}

#[test]
fn a_message_has_256_statements_at_most() {
    let statement = |epoch| Statement {
        life: (NodeId([1; 16]), Epoch(epoch)),
        kind: StatementKind::Alive,
        proof: Proof { key: [2; 32], signature: [3; 64] },
    };
    let of = |count| encode(&Message::Statements((0..count).map(statement).collect()));
    assert!(decode(&of(256)).is_ok());
    assert!(decode(&of(257)).is_err());
    assert!(of(1).len() < 140, "one costs {} bytes", of(1).len());
}

#[test]
fn a_claim_needs_a_document_that_covers_it() {
    let dot = |seq| Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq };
    let version = Version { dot: dot(2), hlc: Hlc(5), body: Body::Tombstone.into() };
    let document = Document::from_parts([dot(2)].into_iter().collect(), vec![version]).unwrap();
    let entry =
        |superseded| Entry { path: Path::parse("a").unwrap(), document: document.clone(), superseded };
    assert!(decode(&encode(&Message::Push(vec![entry(vec![dot(1)])]))).is_ok());
    assert!(decode(&encode(&Message::Push(vec![entry(vec![dot(3)])]))).is_err(), "a write nobody here has");
}

#[test]
fn a_field_is_not_newer_than_the_write_that_carries_it() {
    let dot = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq: 1 };
    let field = |hlc| Field { name: "a".into(), hlc: Hlc(hlc), dot, value: None };
    let message = |field| {
        let version = Version { dot, hlc: Hlc(5), body: Body::Fields(Fields(vec![field])).into() };
        let document = Document::from_parts([dot].into_iter().collect(), vec![version]).unwrap();
        Message::Push(vec![Entry { path: Path::parse("a").unwrap(), document, superseded: vec![] }])
    };
    assert!(decode(&encode(&message(field(5)))).is_ok());
    assert!(decode(&encode(&message(field(6)))).is_err(), "it would escape the quarantine of its write");
}

#[test]
fn a_document_in_a_full_frame_costs_little_more_than_its_value() {
    let value = Json::parse(format!("\"{}\"", "x".repeat(200)).as_bytes(), &JsonLimits::default()).unwrap();
    let entry = |seq| {
        let dot = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq };
        let version = Version { dot, hlc: Hlc(1 << 50), body: Body::Value(value.clone()).into() };
        let document = Document::from_parts([dot].into_iter().collect(), vec![version]).unwrap();
        Entry { path: Path::parse(&format!("bench/{seq:08}")).unwrap(), document, superseded: vec![] }
    };
    let frame = encode(&Message::Chunk((1..=1000).map(entry).collect()));
    let payload = 1000 * (200 + 2 + 14);
    assert!(frame.len() < payload * 109 / 100, "{} bytes for {payload}", frame.len());
}

#[test]
fn the_extent_of_a_batch_is_around_its_write_and_bounded() {
    let message = |seq, first, last| {
        let dot = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq };
        let content = Content { unit: Some(Unit { first, last }), ..Body::Tombstone.into() };
        let version = Version { dot, hlc: Hlc(5), body: content };
        let document = Document::from_parts([dot].into_iter().collect(), vec![version]).unwrap();
        Message::Push(vec![Entry { path: Path::parse("a").unwrap(), document, superseded: vec![] }])
    };
    for (seq, first, last) in [(1, 1, 2), (2, 1, 2), (5, 3, 9), (1, 1, 1_000), (1_000, 1, 1_000)] {
        let message = message(seq, first, last);
        assert_eq!(decode(&encode(&message)).unwrap(), message);
    }
    for (seq, first, last) in [(3, 3, 3), (1, 0, 2), (1, 1, 1_001), (1_001, 1, 1_001)] {
        assert!(decode(&encode(&message(seq, first, last))).is_err(), "{first} to {last} around {seq}");
    }
}

#[test]
fn the_end_of_a_value_is_bounded_and_an_end_is_newer_than_what_it_ends() {
    let dot = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq: 2 };
    let ended = Dot { seq: 1, ..dot };
    let message = |body: Body, expiry| {
        let version = Version { dot, hlc: Hlc(5), body: Content { expiry: Some(expiry), ..body.into() } };
        let document = Document::from_parts([dot].into_iter().collect(), vec![version]).unwrap();
        Message::Push(vec![Entry { path: Path::parse("a").unwrap(), document, superseded: vec![] }])
    };
    let value = || Body::Value(Json::null());
    for expiry in [Expiry::At(0), Expiry::At((1 << 48) - 1)] {
        let message = message(value(), expiry);
        assert_eq!(decode(&encode(&message)).unwrap(), message);
    }
    let end = message(Body::Tombstone, Expiry::Of(Hlc(4), ended));
    assert_eq!(decode(&encode(&end)).unwrap(), end);
    for (body, expiry) in [
        (value(), Expiry::At(1 << 48)),
        // It would win over what came after the version that it ends, and escape the quarantine of its own stamp.
        (Body::Tombstone, Expiry::Of(Hlc(5), ended)),
        (Body::Tombstone, Expiry::Of(Hlc(6), ended)),
    ] {
        assert!(decode(&encode(&message(body, expiry))).is_err(), "{expiry:?}");
    }
}

#[test]
fn a_version_without_an_end_takes_the_bytes_that_it_always_took() {
    // Name, stamp, kind and value: as stores of before have them.
    let mut bytes = Vec::new();
    let mut lives = rejoin_causal::codec::LifeTable::default();
    let dot = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq: 1 };
    let value = Json::parse(b"7", &JsonLimits::default()).unwrap();
    let version = Version { dot, hlc: Hlc(5), body: Body::Value(value).into() };
    let mut written = Vec::new();
    rejoin_replica::codec::put_version(&mut written, &mut lives, &version);
    rejoin_causal::codec::put_dot(&mut bytes, &mut lives, dot);
    rejoin_causal::codec::put_hlc(&mut bytes, Hlc(5));
    bytes.extend([1, 1, b'7']);
    assert_eq!(written, bytes);
    let mut ending = Vec::new();
    let content = Content { expiry: Some(Expiry::At(300)), ..version.body.clone() };
    let version = Version { body: content, ..version };
    rejoin_replica::codec::put_version(&mut ending, &mut lives, &version);
    let stamp = bytes.len() - 3;
    assert_eq!(ending[..stamp], bytes[..stamp]);
    assert_eq!(ending[stamp..], [0x41, 0xac, 0x02, 1, b'7'], "the kind bit, the time, the value");
}
