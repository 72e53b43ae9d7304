//! Every bound of the table in docs/protocol.md: what is at it is taken, what is one beyond is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use rejoin_causal::codec::put_varint;
use rejoin_causal::{Dot, Epoch, Floor, Frontier, Hlc, IntervalSet, NodeId, VersionVector};
use rejoin_replica::codec::{allowance, decode, decode_counted, encode};
use rejoin_replica::config::*;
use rejoin_replica::json::Json;
use rejoin_replica::message::{Entry, Holder, Leaf, Message, Question, Range};
use rejoin_replica::parts::{Assembly, announced, split};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Body, Content, Document, Field, Fields, Kept, Once, Shown, Summary, Unit, Version, packing,
};

fn node(number: usize) -> NodeId {
    NodeId((number as u128 + 1).to_be_bytes())
}

fn dot(seq: usize) -> Dot {
    Dot { node: node(0), epoch: Epoch(1), seq: seq as u64 }
}

/// A write of a life of its own, of one node.
fn life(number: usize) -> Dot {
    Dot { node: node(0), epoch: Epoch(number as u64), seq: 1 }
}

fn path(number: usize) -> Path {
    Path::parse(&format!("p{number}")).unwrap()
}

fn version(dot: Dot, body: Body) -> Version {
    Version { dot, hlc: Hlc(1 << 20), body: Content::from(body) }
}

fn document(versions: Vec<Version>) -> Document {
    Document::from_parts(versions.iter().map(|version| version.dot).collect(), versions).unwrap()
}

fn push(document: Document) -> Message {
    Message::Push(vec![Entry { path: path(0), document, superseded: Vec::new() }])
}

fn value(body: Body) -> Message {
    push(document(vec![version(dot(1), body)]))
}

fn range(key_bytes: usize) -> Range {
    let summary = Summary { fingerprint: 1, count: 1 };
    Range { lower: vec![b'a'; key_bytes], upper: None, summary }
}

fn leaf(items: usize) -> Leaf {
    Leaf { lower: Vec::new(), upper: None, items: (0..items).map(|at| (path(at), 1)).collect() }
}

fn question(dots: usize) -> Question {
    Question { id: dot(1), hops: 1, wait_ms: 1, dots: (1..=dots).map(dot).collect() }
}

fn kept(seq: usize, past: Option<VersionVector>, writes: u64) -> Kept {
    let dot = dot(seq);
    Kept {
        dot,
        hlc: Hlc(1),
        once: Once { id: [1; 16], print: [2; 8] },
        unit: Unit { first: dot.seq, last: dot.seq + writes - 1 },
        created: true,
        shown: Shown::Sent,
        etag: None,
        conflicts: 0,
        expires_ms: None,
        past,
    }
}

/// A bound, and a message with so many of what it bounds.
type Row = (&'static str, usize, fn(usize) -> Message);

const TABLE: [Row; 25] = [
    ("lives of a frame", LIVES_PER_FRAME_MAX, |count| Message::Have((1..=count).map(life).collect())),
    ("digests of nodes", NODES_PER_MESSAGE_MAX, |count| {
        Message::Nodes((0..count).map(|at| (node(at), [0; 8])).collect())
    }),
    ("nodes asked for", NODES_PER_MESSAGE_MAX, |count| Message::Ask {
        nodes: (0..count).map(node).collect(),
        rows: Frontier::new(),
        documents: 1,
    }),
    ("ranges of numbers", RANGES_PER_MESSAGE_MAX, |count| {
        let numbers: IntervalSet = (0..count).map(|at| 2 * at as u64 + 1).collect();
        let mut claims = Frontier::new();
        claims.insert_row(node(0), Epoch(1), &numbers);
        Message::CaughtUp { exchange: 1, claims }
    }),
    ("documents of a push", ENTRIES_PER_MESSAGE_MAX, |count| {
        let tombstone = document(vec![version(dot(1), Body::Tombstone)]);
        let entry = |at| Entry { path: path(at), document: tombstone.clone(), superseded: Vec::new() };
        Message::Push((0..count).map(entry).collect())
    }),
    ("claims of a document", CLAIMS_PER_ENTRY_MAX, |count| {
        let document = document(vec![version(dot(count + 1), Body::Tombstone)]);
        let superseded = (1..=count).map(dot).collect();
        Message::Chunk(vec![Entry { path: path(0), document, superseded }])
    }),
    ("versions of a document", VERSIONS_PER_DOCUMENT_MAX, |count| {
        push(document((1..=count).map(|at| version(dot(at), Body::Tombstone)).collect()))
    }),
    ("nodes in a past", VV_ENTRIES_MAX, |count| {
        let past = (0..count).map(|at| Dot { node: node(at), epoch: Epoch(1), seq: 1 }).collect();
        push(Document::from_parts(past, vec![version(dot(1), Body::Tombstone)]).unwrap())
    }),
    ("fields of a version", FIELDS_PER_VERSION_MAX, |count| {
        let field = |at| Field { name: format!("{at}").into(), hlc: Hlc(1), dot: dot(1), value: None };
        value(Body::Fields(Fields((0..count).map(field).collect())))
    }),
    ("bytes of a value", VALUE_BYTES_PROTOCOL_MAX, |bytes| {
        value(Body::Value(Json::trusted(format!("\"{}\"", "x".repeat(bytes - 2)))))
    }),
    ("levels of a value", VALUE_DEPTH_PROTOCOL_MAX, |depth| {
        value(Body::Value(Json::trusted("[".repeat(depth) + &"]".repeat(depth))))
    }),
    ("writes of an atomic batch", BATCH_WRITES_MAX, |count| {
        let mut version = version(dot(1), Body::Tombstone);
        version.body.unit = Some(Unit { first: 1, last: count as u64 });
        push(document(vec![version]))
    }),
    ("states asked for", STATES_PER_MESSAGE_MAX, |count| {
        Message::Exchange((0..count).map(|at| (path(at), None)).collect())
    }),
    ("states answered", STATES_PER_MESSAGE_MAX, |count| Message::Exchanged {
        states: (0..count).map(|at| (path(at), None)).collect(),
        last: true,
    }),
    ("kept answers", KEPT_PER_MESSAGE_MAX, |count| {
        Message::Kept((1..=count).map(|at| kept(at, None, 1)).collect())
    }),
    ("nodes in the past of a kept answer", KEPT_TOPS_MAX, |count| {
        let past = (0..count).map(|at| Dot { node: node(at), epoch: Epoch(1), seq: 1 }).collect();
        Message::Kept(vec![kept(1, Some(past), 1)])
    }),
    ("writes of a kept answer", BATCH_WRITES_MAX, |count| Message::Kept(vec![kept(1, None, count as u64)])),
    ("paths withheld", STATES_PER_MESSAGE_MAX, |count| Message::Withheld((0..count).map(path).collect())),
    ("ranges compared", RANGES_PER_COMPARE_MAX, |count| {
        Message::Compare((0..count).map(|_| range(1)).collect())
    }),
    ("parts of ranges", RANGES_PER_COMPARE_MAX * PARTS_PER_RANGE_MAX, |count| Message::Differences {
        splits: (0..count).map(|_| range(1)).collect(),
        leaves: Vec::new(),
    }),
    ("ranges listed", RANGES_PER_COMPARE_MAX, |count| Message::Differences {
        splits: Vec::new(),
        leaves: (0..count).map(|_| leaf(1)).collect(),
    }),
    ("documents of a listed range", LEAF_ITEMS_MAX, |count| Message::Differences {
        splits: Vec::new(),
        leaves: vec![leaf(count)],
    }),
    ("bytes of the bound of a range", RANGE_KEY_BYTES_MAX, |bytes| Message::Compare(vec![range(bytes)])),
    ("questions", RECEIPTS_PER_MESSAGE_MAX, |count| {
        Message::Question((0..count).map(|_| question(1)).collect())
    }),
    ("answers", RECEIPTS_PER_MESSAGE_MAX, |count| {
        Message::Holders(
            (0..count)
                .map(|at| Holder {
                    id: dot(1),
                    digest: [0; 16],
                    node: node(at),
                    key: [0; 32],
                    signature: [0; 64],
                })
                .collect(),
        )
    }),
];

#[test]
fn what_is_at_a_bound_is_taken_and_what_is_one_beyond_is_refused() {
    for (bound, most, message) in TABLE {
        let largest = message(most);
        let frame = encode(&largest);
        assert!(decode(&frame) == Ok(largest), "{bound}: {most} are refused: {:?}", decode(&frame).err());
        let beyond = encode(&message(most + 1));
        assert!(decode(&beyond).is_err(), "{bound}: {} are taken", most + 1);
    }
}

#[test]
fn the_dots_of_all_questions_of_a_message_are_bounded_together() {
    let most = RECEIPT_DOTS_PER_MESSAGE_MAX / RECEIPT_DOTS_MAX;
    let message = |more: usize| {
        let mut questions: Vec<Question> = (0..most).map(|_| question(RECEIPT_DOTS_MAX)).collect();
        questions.push(question(more));
        Message::Question(questions)
    };
    assert!(decode(&encode(&message(0))).is_ok());
    assert!(decode(&encode(&message(1))).is_err());
    assert!(decode(&encode(&Message::Question(vec![question(RECEIPT_DOTS_MAX + 1)]))).is_err());
}

#[test]
fn messages_that_name_no_write_have_no_table_of_lives() {
    let table = encode(&Message::Have([dot(1)].into_iter().collect()));
    for message in [Message::Same, Message::Differ, Message::AuditDone, Message::Graft, Message::Prune] {
        let mut frame = encode(&message);
        assert!(decode(&frame).is_ok());
        // One node and one life, behind the type.
        frame.splice(1.., table[1..1 + 1 + 16 + 1 + 9].iter().copied());
        assert!(decode(&frame).is_err(), "{message:?} with a life");
    }
}

#[test]
fn a_frontier_of_more_nodes_than_memory_allows_is_refused() {
    let frontier = |nodes: usize| {
        let claims = (0..nodes).map(|at| Dot { node: node(at), epoch: Epoch(1), seq: 1 }).collect();
        encode(&Message::CaughtUp { exchange: 1, claims })
    };
    let legal = frontier(NODES_PER_MESSAGE_MAX);
    let (_, counted) = decode_counted(&legal).unwrap();
    assert!(counted <= 64 << 20, "{counted} bytes for {NODES_PER_MESSAGE_MAX} nodes");
    // Each life of a node of its own: within the bound of lives, and beyond what a frame may take.
    let beyond = frontier(LIVES_PER_FRAME_MAX);
    assert!(allowance(beyond.len()).memory < LIVES_PER_FRAME_MAX * 480);
    assert!(decode(&beyond).is_err());
}

#[test]
fn a_frontier_and_a_floor_of_as_many_lives_as_a_frame_may_name_are_taken() {
    let frontier: Frontier = (1..=LIVES_PER_FRAME_MAX).map(life).collect();
    let mut floor = Floor::new();
    for number in 1..=LIVES_PER_FRAME_MAX {
        floor.raise(life(number));
    }
    let open = Message::AuditOpen { frontier, floor };
    assert!(decode(&encode(&open)) == Ok(open));
}

#[test]
fn rows_that_stand_twice_or_out_of_order_are_refused() {
    let frame = encode(&Message::Have([life(1), life(2)].into_iter().collect()));
    assert!(decode(&frame).is_ok());
    // Two rows: each a life, one range, its gap and its length.
    let rows = frame.len() - 8;
    assert_eq!(frame[rows..], [0, 1, 1, 0, 1, 1, 1, 0]);
    for lives in [[0, 0], [1, 0], [1, 1]] {
        let mut other = frame.clone();
        (other[rows], other[rows + 4]) = (lives[0], lives[1]);
        assert!(decode(&other).is_err(), "{lives:?}");
    }
}

#[test]
fn a_packed_frame_gives_no_more_than_it_says_and_no_more_than_it_may() {
    let packed = |length: usize, block: &[u8]| {
        let mut frame = vec![64];
        put_varint(&mut frame, length as u64);
        frame.extend_from_slice(block);
        frame
    };
    let most = 64 * 1024 * 1024 + 64 * 1024;
    assert_eq!(packing::unpacked_bytes(&packed(most, &vec![0; most / 32])).unwrap(), most);
    assert!(packing::unpacked_bytes(&packed(most + 1, &vec![0; most / 32 + 1])).is_err(), "beyond the bytes");
    assert!(packing::unpacked_bytes(&packed(33, &[0])).is_err(), "beyond the ratio");
    assert!(packing::unpack(&packed(33, &[0])).is_err());
}

#[test]
fn a_frame_comes_together_out_of_its_parts_and_out_of_nothing_else() {
    let frame: Vec<u8> = (0..10_000u32).map(|at| at.to_be_bytes()[3]).collect();
    let parts: Vec<Vec<u8>> = split(&frame, 999).collect();
    assert_eq!(parts.len(), 11);
    let mut assembly = Assembly::new();
    assert_eq!(announced(&parts[0]), Ok(Some(frame.len())));
    assert_eq!(announced(&parts[1]), Ok(None));
    for part in &parts[..10] {
        assert_eq!(assembly.add(part), Ok(None));
    }
    assert!(assembly.clone().add(&parts[9]).is_err(), "a part twice");
    assert!(assembly.clone().add(&parts[0]).is_err(), "another frame in between");
    assert_eq!(assembly.add(&parts[10]), Ok(Some(frame)));
    assert!(!assembly.is_open());
    assert!(assembly.add(&parts[1]).is_err(), "a part of nothing");
}

#[test]
fn parts_are_within_their_bounds() {
    let part = |length: usize, place: usize, bytes: usize| {
        let mut part = vec![26];
        put_varint(&mut part, length as u64);
        put_varint(&mut part, place as u64);
        part.resize(part.len() + bytes, 7);
        part
    };
    assert_eq!(announced(&part(ASSEMBLED_BYTES_MAX, 0, PART_BYTES)), Ok(Some(ASSEMBLED_BYTES_MAX)));
    for (what, part) in [
        ("a frame that is too long", part(ASSEMBLED_BYTES_MAX + 1, 0, 1)),
        ("a part that is too long", part(ASSEMBLED_BYTES_MAX, 0, PART_BYTES + 1)),
        ("a part of nothing", part(10, 0, 0)),
        ("a part beyond the end", part(10, 5, 6)),
    ] {
        assert!(announced(&part).is_err(), "{what}");
        assert!(Assembly::new().add(&part).is_err(), "{what}");
    }
}
