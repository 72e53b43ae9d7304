//! Bytes of documents and messages. Decoding is total: any bytes give a value or an error, within bounded memory.
//!
//! Invariant: every count is checked against its bound, and every growth against the frame's allowance, before memory is
//! taken. docs/protocol.md has the table.
//!
//! A frame is `type u8 · table of lives · body`; it stands alone, so that a decoder needs no state of the link.
//! docs/protocol.md has the layout byte by byte.

use alloc::boxed::Box;
use alloc::vec::Vec;

use rejoin_causal::codec::{
    Bounds, DecodeError, LifeIndex, LifeLookup, LifeTable, Lives, Reader, put_bytes, put_dot, put_floor,
    put_frontier, put_hlc, put_varint, put_version_vector, take_dot, take_floor, take_frontier, take_hlc,
    take_version_vector,
};
use rejoin_causal::{Dot, Hlc, NodeId, VersionVector};

use crate::body::{Body, Content, Document, Field, Fields, Unit, Version};
use crate::config::{
    BATCH_WRITES_MAX, CLAIMS_PER_ENTRY_MAX, DECODE_BYTES_MAX, DECODE_BYTES_PER_LONG_BYTE,
    ENTRIES_PER_MESSAGE_MAX, EXPIRES_MS_MAX, FIELDS_PER_VERSION_MAX, KEPT_PER_MESSAGE_MAX, LEAF_ITEMS_MAX,
    LIVES_PER_FRAME_MAX, NODES_PER_MESSAGE_MAX, PARTS_PER_RANGE_MAX, RANGE_KEY_BYTES_MAX,
    RANGES_PER_COMPARE_MAX, RANGES_PER_MESSAGE_MAX, RECEIPT_DOTS_MAX, RECEIPT_DOTS_PER_MESSAGE_MAX,
    RECEIPTS_PER_MESSAGE_MAX, STATEMENTS_PER_MESSAGE_MAX, STATES_PER_MESSAGE_MAX, VALUE_BYTES_PROTOCOL_MAX,
    VALUE_DEPTH_PROTOCOL_MAX, VERSIONS_PER_DOCUMENT_MAX, VV_ENTRIES_MAX,
};
use crate::expiry::Expiry;
use crate::json::{Json, JsonLimits};
use crate::message::{Entry, Holder, Leaf, Message, PathState, Question, Range};
use crate::path::Path;
use crate::statement::{STATEMENT_BYTES_MIN, put_statement, take_statement};
use crate::view::Summary;

mod kept;

use kept::KEPT_BYTES_MIN;
pub use kept::{put_kept, take_kept};

/// Where bytes come from decides what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a peer: JSON is parsed again.
    Peer,
    /// From our own store, which verifies checksums: JSON was checked when it was written.
    Store,
}

impl Source {
    /// What is in our own store came in within the bounds of its time, and has to come out under those of any other.
    fn bound(self, max: usize) -> usize {
        match self {
            Source::Peer => max,
            Source::Store => usize::MAX,
        }
    }
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
    let (count, mut versions) = from.list::<Version>(11, source.bound(VERSIONS_PER_DOCUMENT_MAX), WHAT)?;
    for _ in 0..count {
        versions.push(take_version(from, lives, source)?);
    }
    let vv = match vv {
        Some(vv) => vv,
        None => {
            from.charge(count.saturating_mul(size_of::<Dot>()), WHAT)?;
            versions.iter().map(|version| version.dot).collect()
        }
    };
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
        BODY_VALUE => Body::Value(take_json(from, "value", source)?),
        BODY_FIELDS => {
            let (count, mut fields) =
                from.list::<Field>(12, source.bound(FIELDS_PER_VERSION_MAX), "fields")?;
            for _ in 0..count {
                let name = text(from.bytes("field name")?)?;
                from.charge(name.len() + ALLOCATION_BYTES, "field name")?;
                let (name, hlc, dot) = (Box::from(name), take_hlc(from)?, take_dot(from, lives)?);
                let value = match from.is_next(0) {
                    true => from.byte("field").map(|_| None)?,
                    false => Some(take_json(from, "field", source)?),
                };
                fields.push(Field { name, hlc, dot, value });
            }
            from.charge(count.saturating_mul(size_of::<&str>()), "fields")?;
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
    take_extent(from, seq, 2, "batch")
}

/// At least so many consecutive writes around one of them.
fn take_extent(from: &mut Reader<'_>, seq: u64, least: u64, what: &'static str) -> Result<Unit, DecodeError> {
    let (before, behind) = (from.varint(what)?, from.varint(what)?);
    // Whoever serves one reads all of it at once.
    let length = before.saturating_add(behind).saturating_add(1);
    if before >= seq || !(least..=BATCH_WRITES_MAX as u64).contains(&length) {
        return Err(DecodeError(what));
    }
    let last = seq.checked_add(behind).ok_or(DecodeError(what))?;
    Ok(Unit { first: seq - before, last })
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    core::str::from_utf8(bytes).map_err(|_| DecodeError("text"))
}

/// What an allocation costs beside its bytes: a counter of references, and rounding.
const ALLOCATION_BYTES: usize = 32;

fn take_json(from: &mut Reader<'_>, what: &'static str, source: Source) -> Result<Json, DecodeError> {
    let bytes = from.bytes(what)?;
    from.charge(bytes.len().saturating_add(ALLOCATION_BYTES), what)?;
    match source {
        Source::Store => Ok(Json::trusted(text(bytes)?)),
        Source::Peer => {
            let limits = JsonLimits { bytes: VALUE_BYTES_PROTOCOL_MAX, depth: VALUE_DEPTH_PROTOCOL_MAX };
            Json::parse(bytes, &limits).map_err(|_| DecodeError("JSON value"))
        }
    }
}

/// A reading of a wall clock, as far as stamps go.
fn take_wall(from: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let wall_ms = from.varint("clock")?;
    if wall_ms <= EXPIRES_MS_MAX { Ok(wall_ms) } else { Err(DecodeError("clock")) }
}

fn put_path(out: &mut Vec<u8>, path: &Path) {
    put_bytes(out, path.as_str().as_bytes());
}

fn take_path(from: &mut Reader<'_>) -> Result<Path, DecodeError> {
    let bytes = from.bytes("path")?;
    from.charge(bytes.len() + ALLOCATION_BYTES, "path")?;
    Path::parse(text(bytes)?).map_err(|_| DecodeError("path"))
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
    let mut key = || {
        let bytes = from.bytes("range")?;
        if bytes.len() > RANGE_KEY_BYTES_MAX {
            return Err(DecodeError("range"));
        }
        from.charge(bytes.len() + ALLOCATION_BYTES, "range")?;
        Ok(bytes.to_vec())
    };
    let (lower, upper) = (key()?, key()?);
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

fn take_dots(
    from: &mut Reader<'_>,
    lives: &Lives,
    max: usize,
    what: &'static str,
) -> Result<Vec<Dot>, DecodeError> {
    let (count, mut dots) = from.list(2, max, what)?;
    for _ in 0..count {
        dots.push(take_dot(from, lives)?);
    }
    Ok(dots)
}

fn take_entries(from: &mut Reader<'_>, lives: &Lives) -> Result<Vec<Entry>, DecodeError> {
    let (count, mut entries) = from.list(4, ENTRIES_PER_MESSAGE_MAX, "entries")?;
    for _ in 0..count {
        let path = take_path(from)?;
        let document = take_document(from, lives, Source::Peer)?;
        let superseded = take_dots(from, lives, CLAIMS_PER_ENTRY_MAX, "claims")?;
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

fn take_states(from: &mut Reader<'_>, lives: &Lives) -> Result<Vec<PathState>, DecodeError> {
    let (count, mut states) = from.list(3, STATES_PER_MESSAGE_MAX, "states")?;
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

fn take_ranges(from: &mut Reader<'_>, max: usize) -> Result<Vec<Range>, DecodeError> {
    let (count, mut ranges) = from.list(19, max, "ranges")?;
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

fn take_questions(from: &mut Reader<'_>, lives: &Lives) -> Result<Vec<Question>, DecodeError> {
    let (count, mut questions) = from.list(5, RECEIPTS_PER_MESSAGE_MAX, "questions")?;
    let mut dots_left = RECEIPT_DOTS_PER_MESSAGE_MAX;
    for _ in 0..count {
        let id = take_dot(from, lives)?;
        let (hops, wait_ms) = (from.byte("question")?, from.varint("question")?);
        let dots = take_dots(from, lives, RECEIPT_DOTS_MAX.min(dots_left), "question")?;
        dots_left -= dots.len();
        questions.push(Question { id, hops, wait_ms, dots });
    }
    Ok(questions)
}

fn take_holders(from: &mut Reader<'_>, lives: &Lives) -> Result<Vec<Holder>, DecodeError> {
    const WHAT: &str = "holders";
    let (count, mut holders) = from.list(130, RECEIPTS_PER_MESSAGE_MAX, WHAT)?;
    for _ in 0..count {
        holders.push(Holder {
            id: take_dot(from, lives)?,
            digest: from.array(WHAT)?,
            node: NodeId(from.array(WHAT)?),
            key: from.array(WHAT)?,
            signature: from.array(WHAT)?,
        });
    }
    Ok(holders)
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeId]) {
    put_varint(out, nodes.len() as u64);
    for node in nodes {
        out.extend_from_slice(&node.0);
    }
}

fn take_nodes(from: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let (count, mut nodes) = from.list(16, NODES_PER_MESSAGE_MAX, "nodes")?;
    for _ in 0..count {
        nodes.push(NodeId(from.array("nodes")?));
    }
    Ok(nodes)
}

/// The frame of a message.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut lives = LifeTable::default();
    let mut body = Vec::new();
    let kind = match message {
        Message::Probe { exchange, frontier, values } => {
            put_varint(&mut body, *exchange);
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
        Message::CaughtUp { exchange, claims } => {
            put_varint(&mut body, *exchange);
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
                body.extend_from_slice(&holder.digest);
                body.extend_from_slice(&holder.node.0);
                body.extend_from_slice(&holder.key);
                body.extend_from_slice(&holder.signature);
            }
            20
        }
        Message::Have(dots) => {
            put_frontier(&mut body, &mut lives, dots);
            21
        }
        Message::Graft => 22,
        Message::Prune => 23,
        Message::Statements(statements) => {
            put_varint(&mut body, statements.len() as u64);
            for statement in statements {
                put_statement(&mut body, &mut lives, statement);
            }
            27
        }
        Message::Held(dots) => {
            put_frontier(&mut body, &mut lives, dots);
            28
        }
        Message::Clock { wall_ms } => {
            put_varint(&mut body, *wall_ms);
            29
        }
        Message::Kept(kept) => {
            put_varint(&mut body, kept.len() as u64);
            for kept in kept {
                put_kept(&mut body, &mut lives, kept);
            }
            32
        }
        Message::Withheld(paths) => {
            put_varint(&mut body, paths.len() as u64);
            for path in paths {
                put_path(&mut body, path);
            }
            31
        }
    };
    let mut frame = Vec::with_capacity(body.len() + 2 + lives.lives().len() * 26);
    frame.push(kind);
    lives.put(&mut frame);
    frame.extend_from_slice(&body);
    frame
}

/// What decoding a frame of so many bytes may take.
///
/// Small frames in proportion, so that few bytes do not become many; long ones what their text is, and a fixed amount for
/// everything that is not text.
pub fn allowance(frame_bytes: usize) -> Bounds {
    let long = DECODE_BYTES_MAX.saturating_add(frame_bytes.saturating_mul(DECODE_BYTES_PER_LONG_BYTE));
    Bounds {
        memory: Bounds::of(frame_bytes).memory.min(long),
        ranges: RANGES_PER_MESSAGE_MAX,
        tops: VV_ENTRIES_MAX,
    }
}

/// The message of a frame.
pub fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    decode_counted(frame).map(|(message, _)| message)
}

/// The message of a frame, and how many bytes of memory it was counted to take.
pub fn decode_counted(frame: &[u8]) -> Result<(Message, usize), DecodeError> {
    let allowed = allowance(frame.len());
    let mut from = Reader::within(frame, allowed);
    let kind = from.byte("frame")?;
    // Messages that name no write have no table to fill.
    let lives_max = match kind {
        1..=4 | 10 | 13 | 14 | 17 | 22 | 23 | 29 | 31 => 0,
        _ => LIVES_PER_FRAME_MAX,
    };
    let lives = Lives::take(&mut from, lives_max)?;
    let message = take_message(kind, &mut from, &lives)?;
    let counted = allowed.memory - from.bounds().memory;
    from.finish("frame: bytes after its end")?;
    Ok((message, counted))
}

fn take_message(kind: u8, from: &mut Reader<'_>, lives: &Lives) -> Result<Message, DecodeError> {
    Ok(match kind {
        1 => Message::Probe {
            exchange: from.varint("probe")?,
            frontier: from.array("probe")?,
            values: take_summary(from)?,
        },
        2 => Message::Same,
        3 => Message::Differ,
        4 => {
            let (count, mut nodes) = from.list(24, NODES_PER_MESSAGE_MAX, "nodes")?;
            for _ in 0..count {
                nodes.push((NodeId(from.array("nodes")?), from.array("nodes")?));
            }
            Message::Nodes(nodes)
        }
        5 => Message::Ask {
            nodes: take_nodes(from)?,
            rows: take_frontier(from, lives)?,
            documents: from.varint("ask")?,
        },
        6 => Message::Answer { rows: take_frontier(from, lives)?, documents: from.varint("answer")? },
        7 => Message::Push(take_entries(from, lives)?),
        8 => Message::Chunk(take_entries(from, lives)?),
        9 => Message::CaughtUp { exchange: from.varint("caught up")?, claims: take_frontier(from, lives)? },
        10 => Message::Credit(from.varint("credit")?),
        11 => Message::AuditOpen { frontier: take_frontier(from, lives)?, floor: take_floor(from, lives)? },
        12 => Message::AuditAccept { frontier: take_frontier(from, lives)?, floor: take_floor(from, lives)? },
        13 => Message::Compare(take_ranges(from, RANGES_PER_COMPARE_MAX)?),
        14 => Message::Differences {
            splits: take_ranges(from, RANGES_PER_COMPARE_MAX * PARTS_PER_RANGE_MAX)?,
            leaves: take_leaves(from)?,
        },
        15 => Message::Exchange(take_states(from, lives)?),
        16 => {
            let last = match from.byte("exchanged")? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError("exchanged")),
            };
            Message::Exchanged { states: take_states(from, lives)?, last }
        }
        17 => Message::AuditDone,
        18 => Message::Floor(take_floor(from, lives)?),
        19 => Message::Question(take_questions(from, lives)?),
        20 => Message::Holders(take_holders(from, lives)?),
        21 => Message::Have(take_frontier(from, lives)?),
        22 => Message::Graft,
        23 => Message::Prune,
        27 => {
            let (count, mut statements) =
                from.list(STATEMENT_BYTES_MIN, STATEMENTS_PER_MESSAGE_MAX, "statements")?;
            for _ in 0..count {
                statements.push(take_statement(from, lives)?);
            }
            Message::Statements(statements)
        }
        31 => {
            let (count, mut paths) = from.list(2, STATES_PER_MESSAGE_MAX, "withheld")?;
            for _ in 0..count {
                paths.push(take_path(from)?);
            }
            Message::Withheld(paths)
        }
        28 => Message::Held(take_frontier(from, lives)?),
        32 => {
            let (count, mut kept) = from.list(KEPT_BYTES_MIN, KEPT_PER_MESSAGE_MAX, "kept answers")?;
            for _ in 0..count {
                kept.push(take_kept(from, lives, Source::Peer)?);
            }
            Message::Kept(kept)
        }
        29 => Message::Clock { wall_ms: take_wall(from)? },
        _ => return Err(DecodeError("frame: unknown type")),
    })
}

fn take_leaves(from: &mut Reader<'_>) -> Result<Vec<Leaf>, DecodeError> {
    let (count, mut leaves) = from.list(3, RANGES_PER_COMPARE_MAX, "leaves")?;
    for _ in 0..count {
        let (lower, upper) = take_bounds(from)?;
        let (count, mut items) = from.list(10, LEAF_ITEMS_MAX, "leaf")?;
        for _ in 0..count {
            items.push((take_path(from)?, u64::from_be_bytes(from.array("leaf")?)));
        }
        leaves.push(Leaf { lower, upper, items });
    }
    Ok(leaves)
}
