//! Bytes of documents and messages. Decoding is total: any bytes give a value or an error, within bounded memory.
//!
//! A frame is `type u8 · table of lives · body`; it stands alone, so that a decoder needs no state of the link.
//! docs/protocol.md has the layout byte by byte.

use alloc::boxed::Box;
use alloc::vec::Vec;

use rejoin_causal::codec::{
    DecodeError, LifeIndex, LifeLookup, LifeTable, Reader, put_bytes, put_dot, put_floor, put_frontier,
    put_hlc, put_varint, put_version_vector, take_dot, take_floor, take_frontier, take_hlc,
    take_version_vector,
};
use rejoin_causal::{Hlc, NodeId, VersionVector};

use crate::body::{Body, Content, Document, Field, Fields, Unit, Version};
use crate::config::{
    BATCH_WRITES_MAX, EXPIRES_MS_MAX, RECEIPT_DOTS_MAX, RECEIPTS_PER_MESSAGE_MAX, VALUE_BYTES_PROTOCOL_MAX,
    VALUE_DEPTH_PROTOCOL_MAX,
};
use crate::expiry::Expiry;
use crate::json::{Json, JsonLimits};
use crate::message::{Entry, Holder, Leaf, Message, PathState, Question, Range};
use crate::path::Path;
use crate::view::Summary;

/// Where bytes come from decides what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a peer: JSON is parsed again.
    Peer,
    /// From our own store, which verifies checksums: JSON was checked when it was written.
    Store,
}

const BODY_TOMBSTONE: u8 = 0;
const BODY_VALUE: u8 = 1;
const BODY_FIELDS: u8 = 2;

/// Set when the version was written in an atomic batch of several writes; its extent follows.
const FLAG_UNIT: u8 = 0x20;

/// Set when a value has an end, which follows, or a tombstone is the end of a version, whose stamp and dot follow.
const FLAG_EXPIRY: u8 = 0x40;

/// Set when the version vector is not just the tops of the live versions.
const FLAG_VV: u8 = 1;

/// Appends a document.
pub fn put_document(out: &mut Vec<u8>, lives: &mut impl LifeIndex, document: &Document) {
    let vv_follows = match document.versions() {
        [only] => !document.vv().tops().eq([only.dot]),
        versions => versions.iter().map(|version| version.dot).collect::<VersionVector>() != *document.vv(),
    };
    out.push(if vv_follows { FLAG_VV } else { 0 });
    if vv_follows {
        put_version_vector(out, lives, document.vv());
    }
    put_varint(out, document.versions().len() as u64);
    for version in document.versions() {
        put_version(out, lives, version);
    }
}

/// Reads a document.
pub fn take_document(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
    source: Source,
) -> Result<Document, DecodeError> {
    const WHAT: &str = "document";
    let vv = match from.byte(WHAT)? {
        0 => None,
        FLAG_VV => Some(take_version_vector(from, lives)?),
        _ => return Err(DecodeError(WHAT)),
    };
    let versions = (0..from.count(11, WHAT)?)
        .map(|_| take_version(from, lives, source))
        .collect::<Result<Vec<_>, DecodeError>>()?;
    let vv = vv.unwrap_or_else(|| versions.iter().map(|version| version.dot).collect());
    Document::from_parts(vv, versions).ok_or(DecodeError(WHAT))
}

/// Appends one version.
pub fn put_version(out: &mut Vec<u8>, lives: &mut impl LifeIndex, version: &Version) {
    put_dot(out, lives, version.dot);
    put_hlc(out, version.hlc);
    let Content { body, unit, expiry } = &version.body;
    let kind = match body {
        Body::Tombstone => BODY_TOMBSTONE,
        Body::Value(_) => BODY_VALUE,
        Body::Fields(_) => BODY_FIELDS,
    };
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    out.push(kind | flag(unit.is_some(), FLAG_UNIT) | flag(expiry.is_some(), FLAG_EXPIRY));
    if let Some(unit) = unit {
        put_varint(out, version.dot.seq.saturating_sub(unit.first));
        put_varint(out, unit.last.saturating_sub(version.dot.seq));
    }
    match expiry {
        Some(Expiry::At(ms)) => put_varint(out, *ms),
        Some(Expiry::Of(hlc, dot)) => {
            put_hlc(out, *hlc);
            put_dot(out, lives, *dot);
        }
        None => {}
    }
    match body {
        Body::Tombstone => {}
        Body::Value(json) => put_bytes(out, json.as_str().as_bytes()),
        Body::Fields(fields) => {
            put_varint(out, fields.0.len() as u64);
            for field in &fields.0 {
                put_bytes(out, field.name.as_bytes());
                put_hlc(out, field.hlc);
                put_dot(out, lives, field.dot);
                // The empty text is no JSON, so it can stand for a removed field.
                put_bytes(out, field.value.as_ref().map_or("", Json::as_str).as_bytes());
            }
        }
    }
}

/// Reads one version.
pub fn take_version(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
    source: Source,
) -> Result<Version, DecodeError> {
    let dot = take_dot(from, lives)?;
    let hlc = take_hlc(from)?;
    let flags = from.byte("version")?;
    let unit = match flags & FLAG_UNIT {
        0 => None,
        _ => Some(take_unit(from, dot.seq)?),
    };
    let kind = flags & !(FLAG_UNIT | FLAG_EXPIRY);
    let expiry = match flags & FLAG_EXPIRY {
        0 => None,
        _ => Some(take_expiry(from, lives, kind, hlc)?),
    };
    let body = match kind {
        BODY_TOMBSTONE => Body::Tombstone,
        BODY_VALUE => Body::Value(take_json(from.bytes("value")?, source)?),
        BODY_FIELDS => {
            let mut fields: Vec<Field> = Vec::new();
            for _ in 0..from.count(12, "fields")? {
                let name: Box<str> = text(from.bytes("field name")?)?.into();
                let (hlc, dot) = (take_hlc(from)?, take_dot(from, lives)?);
                let value = match from.bytes("field")? {
                    [] => None,
                    json => Some(take_json(json, source)?),
                };
                fields.push(Field { name, hlc, dot, value });
            }
            let mut names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
            names.sort_unstable();
            let distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
            // A field is as old as the write that carries it, or older; a newer stamp would escape quarantine.
            if !distinct || fields.iter().any(|field| field.hlc > hlc) {
                return Err(DecodeError("fields"));
            }
            Body::Fields(Fields(fields))
        }
        _ => return Err(DecodeError("version")),
    };
    Ok(Version { dot, hlc, body: Content { body, unit, expiry } })
}

/// The end of a value, or what a tombstone is the end of.
fn take_expiry(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
    kind: u8,
    stamp: Hlc,
) -> Result<Expiry, DecodeError> {
    const WHAT: &str = "expiry";
    if kind != BODY_TOMBSTONE {
        let ms = from.varint(WHAT)?;
        return if ms <= EXPIRES_MS_MAX { Ok(Expiry::At(ms)) } else { Err(DecodeError(WHAT)) };
    }
    let (hlc, dot) = (take_hlc(from)?, take_dot(from, lives)?);
    // An end comes after what it ends; a newer stamp would escape quarantine.
    if hlc < stamp { Ok(Expiry::Of(hlc, dot)) } else { Err(DecodeError(WHAT)) }
}

/// The extent of an atomic batch around one of its writes.
fn take_unit(from: &mut Reader<'_>, seq: u64) -> Result<Unit, DecodeError> {
    const WHAT: &str = "batch";
    let (before, behind) = (from.varint(WHAT)?, from.varint(WHAT)?);
    // Whoever serves one reads all of it at once.
    let length = before.saturating_add(behind).saturating_add(1);
    if before >= seq || !(2..=BATCH_WRITES_MAX as u64).contains(&length) {
        return Err(DecodeError(WHAT));
    }
    let last = seq.checked_add(behind).ok_or(DecodeError(WHAT))?;
    Ok(Unit { first: seq - before, last })
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError("text"))
}

fn take_json(bytes: &[u8], source: Source) -> Result<Json, DecodeError> {
    match source {
        Source::Store => Ok(Json::trusted(text(bytes)?)),
        Source::Peer => {
            let limits = JsonLimits { bytes: VALUE_BYTES_PROTOCOL_MAX, depth: VALUE_DEPTH_PROTOCOL_MAX };
            Json::parse(bytes, &limits).map_err(|_| DecodeError("JSON value"))
        }
    }
}

fn put_path(out: &mut Vec<u8>, path: &Path) {
    put_bytes(out, path.as_str().as_bytes());
}

fn take_path(from: &mut Reader<'_>) -> Result<Path, DecodeError> {
    Path::parse(text(from.bytes("path")?)?).map_err(|_| DecodeError("path"))
}

fn put_summary(out: &mut Vec<u8>, summary: &Summary) {
    out.extend_from_slice(&summary.fingerprint.to_be_bytes());
    put_varint(out, summary.count);
}

fn take_summary(from: &mut Reader<'_>) -> Result<Summary, DecodeError> {
    let fingerprint = u128::from_be_bytes(from.array("digest")?);
    Ok(Summary { fingerprint, count: from.varint("digest")? })
}

fn put_bounds(out: &mut Vec<u8>, lower: &[u8], upper: Option<&[u8]>) {
    put_bytes(out, lower);
    // No key is empty, so an empty upper bound can stand for "to the end".
    put_bytes(out, upper.unwrap_or_default());
}

fn take_bounds(from: &mut Reader<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>), DecodeError> {
    let lower = from.bytes("range")?.to_vec();
    let upper = from.bytes("range")?.to_vec();
    match upper.is_empty() {
        true => Ok((lower, None)),
        false if lower < upper => Ok((lower, Some(upper))),
        false => Err(DecodeError("range")),
    }
}

fn put_entries(out: &mut Vec<u8>, lives: &mut LifeTable, entries: &[Entry]) {
    put_varint(out, entries.len() as u64);
    for entry in entries {
        put_path(out, &entry.path);
        put_document(out, lives, &entry.document);
        put_varint(out, entry.superseded.len() as u64);
        for dot in &entry.superseded {
            put_dot(out, lives, *dot);
        }
    }
}

fn take_entries(from: &mut Reader<'_>, lives: &LifeTable) -> Result<Vec<Entry>, DecodeError> {
    let count = from.count(4, "entries")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let path = take_path(from)?;
        let document = take_document(from, lives, Source::Peer)?;
        let superseded = (0..from.count(2, "claims")?)
            .map(|_| take_dot(from, lives))
            .collect::<Result<Vec<_>, DecodeError>>()?;
        // A claim without a state that covers it would hide a write for ever.
        if document.is_empty() || !superseded.iter().all(|dot| document.vv().covers(*dot)) {
            return Err(DecodeError("claims"));
        }
        entries.push(Entry { path, document, superseded });
    }
    Ok(entries)
}

fn put_states(out: &mut Vec<u8>, lives: &mut LifeTable, states: &[PathState]) {
    put_varint(out, states.len() as u64);
    for (path, document) in states {
        put_path(out, path);
        out.push(u8::from(document.is_some()));
        if let Some(document) = document {
            put_document(out, lives, document);
        }
    }
}

fn take_states(from: &mut Reader<'_>, lives: &LifeTable) -> Result<Vec<PathState>, DecodeError> {
    let count = from.count(3, "states")?;
    let mut states = Vec::new();
    for _ in 0..count {
        let path = take_path(from)?;
        let document = match from.byte("state")? {
            0 => None,
            1 => Some(take_document(from, lives, Source::Peer)?),
            _ => return Err(DecodeError("state")),
        };
        // Nobody sends one. Its past would remove live versions, which no limit of removals would count.
        if document.as_ref().is_some_and(Document::is_empty) {
            return Err(DecodeError("state"));
        }
        states.push((path, document));
    }
    Ok(states)
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[Range]) {
    put_varint(out, ranges.len() as u64);
    for range in ranges {
        put_bounds(out, &range.lower, range.upper.as_deref());
        put_summary(out, &range.summary);
    }
}

fn take_ranges(from: &mut Reader<'_>) -> Result<Vec<Range>, DecodeError> {
    let count = from.count(19, "ranges")?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (lower, upper) = take_bounds(from)?;
        ranges.push(Range { lower, upper, summary: take_summary(from)? });
    }
    Ok(ranges)
}

fn put_questions(out: &mut Vec<u8>, lives: &mut LifeTable, questions: &[Question]) {
    put_varint(out, questions.len() as u64);
    for question in questions {
        put_dot(out, lives, question.id);
        out.push(question.hops);
        put_varint(out, question.wait_ms);
        put_varint(out, question.dots.len() as u64);
        for dot in &question.dots {
            put_dot(out, lives, *dot);
        }
    }
}

fn take_questions(from: &mut Reader<'_>, lives: &LifeTable) -> Result<Vec<Question>, DecodeError> {
    let mut questions = Vec::new();
    for _ in 0..bounded(from.count(5, "questions")?, RECEIPTS_PER_MESSAGE_MAX)? {
        let id = take_dot(from, lives)?;
        let (hops, wait_ms) = (from.byte("question")?, from.varint("question")?);
        let count = bounded(from.count(2, "question")?, RECEIPT_DOTS_MAX)?;
        let dots = (0..count).map(|_| take_dot(from, lives)).collect::<Result<Vec<_>, DecodeError>>()?;
        questions.push(Question { id, hops, wait_ms, dots });
    }
    Ok(questions)
}

fn take_holders(from: &mut Reader<'_>, lives: &LifeTable) -> Result<Vec<Holder>, DecodeError> {
    let count = bounded(from.count(18, "holders")?, RECEIPTS_PER_MESSAGE_MAX)?;
    (0..count)
        .map(|_| Ok(Holder { id: take_dot(from, lives)?, node: NodeId(from.array("holders")?) }))
        .collect()
}

fn bounded(count: usize, max: usize) -> Result<usize, DecodeError> {
    if count > max { Err(DecodeError("receipts")) } else { Ok(count) }
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeId]) {
    put_varint(out, nodes.len() as u64);
    for node in nodes {
        out.extend_from_slice(&node.0);
    }
}

fn take_nodes(from: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    (0..from.count(16, "nodes")?).map(|_| from.array("nodes").map(NodeId)).collect()
}

/// The frame of a message.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut lives = LifeTable::default();
    let mut body = Vec::new();
    let kind = match message {
        Message::Probe { frontier, values } => {
            body.extend_from_slice(frontier);
            put_summary(&mut body, values);
            1
        }
        Message::Same => 2,
        Message::Differ => 3,
        Message::Nodes(nodes) => {
            put_varint(&mut body, nodes.len() as u64);
            for (node, digest) in nodes {
                body.extend_from_slice(&node.0);
                body.extend_from_slice(digest);
            }
            4
        }
        Message::Ask { nodes, rows, documents } => {
            put_nodes(&mut body, nodes);
            put_frontier(&mut body, &mut lives, rows);
            put_varint(&mut body, *documents);
            5
        }
        Message::Answer { rows, documents } => {
            put_frontier(&mut body, &mut lives, rows);
            put_varint(&mut body, *documents);
            6
        }
        Message::Push(entries) => {
            put_entries(&mut body, &mut lives, entries);
            7
        }
        Message::Chunk(entries) => {
            put_entries(&mut body, &mut lives, entries);
            8
        }
        Message::CaughtUp { claims } => {
            put_frontier(&mut body, &mut lives, claims);
            9
        }
        Message::Credit(bytes) => {
            put_varint(&mut body, *bytes);
            10
        }
        Message::AuditOpen { frontier, floor } => {
            put_frontier(&mut body, &mut lives, frontier);
            put_floor(&mut body, &mut lives, floor);
            11
        }
        Message::AuditAccept { frontier, floor } => {
            put_frontier(&mut body, &mut lives, frontier);
            put_floor(&mut body, &mut lives, floor);
            12
        }
        Message::Compare(ranges) => {
            put_ranges(&mut body, ranges);
            13
        }
        Message::Differences { splits, leaves } => {
            put_ranges(&mut body, splits);
            put_varint(&mut body, leaves.len() as u64);
            for leaf in leaves {
                put_bounds(&mut body, &leaf.lower, leaf.upper.as_deref());
                put_varint(&mut body, leaf.items.len() as u64);
                for (path, fingerprint) in &leaf.items {
                    put_path(&mut body, path);
                    body.extend_from_slice(&fingerprint.to_be_bytes());
                }
            }
            14
        }
        Message::Exchange(states) => {
            put_states(&mut body, &mut lives, states);
            15
        }
        Message::Exchanged { states, last } => {
            body.push(u8::from(*last));
            put_states(&mut body, &mut lives, states);
            16
        }
        Message::AuditDone => 17,
        Message::Floor(floor) => {
            put_floor(&mut body, &mut lives, floor);
            18
        }
        Message::Question(questions) => {
            put_questions(&mut body, &mut lives, questions);
            19
        }
        Message::Holders(holders) => {
            put_varint(&mut body, holders.len() as u64);
            for holder in holders {
                put_dot(&mut body, &mut lives, holder.id);
                body.extend_from_slice(&holder.node.0);
            }
            20
        }
        Message::Have(dots) => {
            put_frontier(&mut body, &mut lives, dots);
            21
        }
        Message::Graft => 22,
        Message::Prune => 23,
    };
    let mut frame = Vec::with_capacity(body.len() + 2 + lives.lives().len() * 26);
    frame.push(kind);
    lives.put(&mut frame);
    frame.extend_from_slice(&body);
    frame
}

/// The message of a frame.
pub fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    let mut from = Reader::new(frame);
    let kind = from.byte("frame")?;
    let lives = LifeTable::take(&mut from)?;
    let message = match kind {
        1 => Message::Probe { frontier: from.array("probe")?, values: take_summary(&mut from)? },
        2 => Message::Same,
        3 => Message::Differ,
        4 => Message::Nodes(
            (0..from.count(24, "nodes")?)
                .map(|_| Ok((NodeId(from.array("nodes")?), from.array("nodes")?)))
                .collect::<Result<_, DecodeError>>()?,
        ),
        5 => Message::Ask {
            nodes: take_nodes(&mut from)?,
            rows: take_frontier(&mut from, &lives)?,
            documents: from.varint("ask")?,
        },
        6 => Message::Answer { rows: take_frontier(&mut from, &lives)?, documents: from.varint("answer")? },
        7 => Message::Push(take_entries(&mut from, &lives)?),
        8 => Message::Chunk(take_entries(&mut from, &lives)?),
        9 => Message::CaughtUp { claims: take_frontier(&mut from, &lives)? },
        10 => Message::Credit(from.varint("credit")?),
        11 => Message::AuditOpen {
            frontier: take_frontier(&mut from, &lives)?,
            floor: take_floor(&mut from, &lives)?,
        },
        12 => Message::AuditAccept {
            frontier: take_frontier(&mut from, &lives)?,
            floor: take_floor(&mut from, &lives)?,
        },
        13 => Message::Compare(take_ranges(&mut from)?),
        14 => {
            let splits = take_ranges(&mut from)?;
            let mut leaves = Vec::new();
            for _ in 0..from.count(3, "leaves")? {
                let (lower, upper) = take_bounds(&mut from)?;
                let mut items = Vec::new();
                for _ in 0..from.count(10, "leaf")? {
                    items.push((take_path(&mut from)?, u64::from_be_bytes(from.array("leaf")?)));
                }
                leaves.push(Leaf { lower, upper, items });
            }
            Message::Differences { splits, leaves }
        }
        15 => Message::Exchange(take_states(&mut from, &lives)?),
        16 => {
            let last = match from.byte("exchanged")? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError("exchanged")),
            };
            Message::Exchanged { states: take_states(&mut from, &lives)?, last }
        }
        17 => Message::AuditDone,
        18 => Message::Floor(take_floor(&mut from, &lives)?),
        19 => Message::Question(take_questions(&mut from, &lives)?),
        20 => Message::Holders(take_holders(&mut from, &lives)?),
        21 => Message::Have(take_frontier(&mut from, &lives)?),
        22 => Message::Graft,
        23 => Message::Prune,
        _ => return Err(DecodeError("frame: unknown type")),
    };
    from.finish("frame: bytes after its end")?;
    Ok(message)
}
