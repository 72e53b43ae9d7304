//! Rows: the keys and values of each keyspace, byte by byte. docs/storage.md is this file in prose.
//!
//! Integers in keys are big endian, so that key order is number order. A path's key is its segments joined by 0x00.
//! Control characters are illegal in paths, so 0x01 can end a path inside a longer key.

use rejoin_causal::codec::{
    DecodeError, LifeIndex, LifeLookup, LifeTable, Reader, put_dot, put_hlc, put_varint, take_dot,
    take_epoch, take_hlc,
};
use rejoin_causal::{Dot, Epoch, Hlc, NodeId};
use rejoin_replica::codec::{
    Source, put_document, put_kept, put_version, take_document, take_kept, take_version,
};
use rejoin_replica::history::{OLDEST_MAX, Row};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Counters, DoubtReason, Doubted, Extent, KeptRow, Life, Place, Proof, Reason, Record, Removal, Summary,
    Superseded, Word, put_proof, take_proof,
};

/// The layout this code writes. A store with a greater one is refused.
///
/// 2: what of a row a later part of format 2 has added may be missing, and then reads as its default. So a store of format
/// 1 is one of format 2 as it is, and is marked as such with the first commit.
pub(crate) const FORMAT: u32 = 2;

/// The oldest layout this code reads.
pub(crate) const FORMAT_MIN: u32 = 1;

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_COUNTERS: &[u8] = b"counters";
/// Where the walk that mints own versions again goes on; there while it does.
pub(crate) const META_RESTAMP: &[u8] = b"restamp";
pub(crate) const META_EPOCH: &[u8] = b"epoch";
pub(crate) const META_LIFE: &[u8] = b"life/";
pub(crate) const META_FRONTIER: &[u8] = b"frontier/";
pub(crate) const META_FLOOR: &[u8] = b"floor/";
/// The newest life that a node has signed to be alive; the node id follows.
pub(crate) const META_ALIVE: &[u8] = b"alive/";
/// A doubted life; node id and epoch follow.
pub(crate) const META_DOUBT: &[u8] = b"doubt/";
/// Rows that other layers keep: the node's key, for one.
pub(crate) const META_NOTE: &[u8] = b"note/";

/// Ends a path inside a key.
const PATH_END: u8 = 1;

pub(crate) fn prefixed(prefix: &[u8], rest: &[u8]) -> Vec<u8> {
    [prefix, rest].concat()
}

/// The least key above all keys that begin with `prefix`.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if last < u8::MAX {
            after.push(last + 1);
            break;
        }
    }
    after
}

pub(crate) fn log_key(life: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&life.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(crate) fn log_seq(key: &[u8]) -> Result<u64, DecodeError> {
    let mut from = Reader::new(key);
    from.take(4, "log key")?;
    let seq = u64::from_be_bytes(from.array("log key")?);
    from.finish("log key").map(|()| seq)
}

pub(crate) fn path_value(value: &[u8]) -> Result<Path, DecodeError> {
    let text = std::str::from_utf8(value).map_err(|_| DecodeError("path"))?;
    Path::parse(text).map_err(|_| DecodeError("path"))
}

/// History sorts newest first: the stamp is stored inverted.
pub(crate) fn history_key(lives: &mut impl LifeIndex, path: &Path, hlc: Hlc, dot: Dot) -> Vec<u8> {
    let mut key = history_prefix(path);
    put_history_rank(&mut key, hlc, lives.index_of(dot.node, dot.epoch), dot.seq);
    key
}

/// Above all history rows of a path with that stamp, and below those of older ones.
pub(crate) fn history_stamp_end(path: &Path, hlc: Hlc) -> Vec<u8> {
    let mut key = history_prefix(path);
    key.extend_from_slice(&(!hlc.0).to_be_bytes());
    after_prefix(&key)
}

pub(crate) fn put_history_rank(key: &mut Vec<u8>, hlc: Hlc, life: u32, seq: u64) {
    key.extend_from_slice(&(!hlc.0).to_be_bytes());
    key.extend_from_slice(&log_key(life, seq));
}

pub(crate) fn history_prefix(path: &Path) -> Vec<u8> {
    let mut key = path.key();
    key.push(PATH_END);
    key
}

pub(crate) fn history_rank(
    lives: &impl LifeLookup,
    prefix: usize,
    key: &[u8],
) -> Result<(Hlc, Dot), DecodeError> {
    const WHAT: &str = "history key";
    let mut from = Reader::new(key);
    from.take(prefix, WHAT)?;
    let hlc = Hlc(!u64::from_be_bytes(from.array(WHAT)?));
    let life = u32::from_be_bytes(from.array(WHAT)?);
    let seq = u64::from_be_bytes(from.array(WHAT)?);
    from.finish(WHAT)?;
    let (node, epoch) = lives.life_at(life).ok_or(DecodeError(WHAT))?;
    Ok((hlc, Dot { node, epoch, seq }))
}

pub(crate) fn digest_key(level: u8, key: &[u8]) -> Vec<u8> {
    prefixed(&[level], key)
}

pub(crate) fn tombstone_key(hlc: Hlc, path: &Path) -> Vec<u8> {
    prefixed(&hlc.0.to_be_bytes(), &path.key())
}

pub(crate) fn tombstone_parts(key: &[u8]) -> Result<(Hlc, Path), DecodeError> {
    let (hlc, path) = key.split_first_chunk::<8>().ok_or(DecodeError("tombstone key"))?;
    let path = Path::from_key(path).map_err(|_| DecodeError("tombstone key"))?;
    Ok((Hlc(u64::from_be_bytes(*hlc)), path))
}

/// Begins the keys of the documents with more than one live version.
pub(crate) const CONFLICT_OPEN: u8 = 0;
/// Begins the keys of the paths with a conflict in their history.
pub(crate) const CONFLICT_SETTLED: u8 = 1;

/// Begins the keys of the paths with a value that ends: the time follows. They share the keyspace of the conflicts because
/// one more keyspace costs a write buffer, and stores of before would not open.
pub(crate) const EXPIRY: u8 = 2;

/// Begins the keys of what was removed by a peer's word: the time follows, and which history row it is. In the keyspace of
/// the conflicts for the same reason.
pub(crate) const REMOVAL: u8 = 3;

/// Begins the keys of the answers that are kept for requests that may come again: life and number of the write follow.
pub(crate) const KEPT: u8 = 4;
/// Begins the keys that name those requests: the hash of the client's key follows.
pub(crate) const KEPT_ID: u8 = 5;
/// Begins the keys of the same by time: that follows, with life and number.
pub(crate) const KEPT_TIME: u8 = 6;

pub(crate) fn kept_key(life: u32, seq: u64) -> Vec<u8> {
    prefixed(&[KEPT], &log_key(life, seq))
}

pub(crate) fn put_kept_row(out: &mut Vec<u8>, lives: &mut LifeTable, row: &KeptRow) {
    put_varint(out, row.at_ms);
    put_kept(out, lives, &row.kept);
}

pub(crate) fn take_kept_row(lives: &impl LifeLookup, value: &[u8]) -> Result<KeptRow, DecodeError> {
    const WHAT: &str = "kept answer";
    let mut from = Reader::new(value);
    let (at_ms, kept) = (from.varint(WHAT)?, take_kept(&mut from, lives, Source::Store)?);
    from.finish(WHAT).map(|()| KeptRow { at_ms, kept })
}

pub(crate) fn put_extent(out: &mut Vec<u8>, lives: &mut LifeTable, extent: &Extent) {
    put_dot(out, lives, extent.first);
    put_varint(out, extent.last.saturating_sub(extent.first.seq));
}

pub(crate) fn take_extent(lives: &impl LifeLookup, value: &[u8]) -> Result<Extent, DecodeError> {
    const WHAT: &str = "name of a request";
    let mut from = Reader::new(value);
    let first = take_dot(&mut from, lives)?;
    let last = first.seq.checked_add(from.varint(WHAT)?).ok_or(DecodeError(WHAT))?;
    from.finish(WHAT).map(|()| Extent { first, last })
}

pub(crate) fn kept_time_key(at_ms: u64, life: u32, seq: u64) -> Vec<u8> {
    [&[KEPT_TIME], at_ms.to_be_bytes().as_slice(), &log_key(life, seq)].concat()
}

pub(crate) fn kept_time_parts(lives: &impl LifeLookup, key: &[u8]) -> Result<(u64, Dot), DecodeError> {
    const WHAT: &str = "time of a kept answer";
    let mut from = Reader::new(key);
    from.take(1, WHAT)?;
    let at_ms = u64::from_be_bytes(from.array(WHAT)?);
    let life = u32::from_be_bytes(from.array(WHAT)?);
    let seq = u64::from_be_bytes(from.array(WHAT)?);
    from.finish(WHAT)?;
    let (node, epoch) = lives.life_at(life).ok_or(DecodeError(WHAT))?;
    Ok((at_ms, Dot { node, epoch, seq }))
}

pub(crate) fn removal_key(lives: &mut impl LifeIndex, row: &Removal) -> Vec<u8> {
    let life = lives.index_of(row.dot.node, row.dot.epoch);
    let (at_ms, hlc) = (row.at_ms.to_be_bytes(), row.hlc.0.to_be_bytes());
    [&[REMOVAL], at_ms.as_slice(), &hlc, &log_key(life, row.dot.seq), &row.path.key()].concat()
}

pub(crate) fn removal_parts(lives: &impl LifeLookup, key: &[u8]) -> Result<Removal, DecodeError> {
    const WHAT: &str = "removal key";
    let mut from = Reader::new(key);
    from.take(1, WHAT)?;
    let at_ms = u64::from_be_bytes(from.array(WHAT)?);
    let hlc = Hlc(u64::from_be_bytes(from.array(WHAT)?));
    let life = u32::from_be_bytes(from.array(WHAT)?);
    let seq = u64::from_be_bytes(from.array(WHAT)?);
    let (node, epoch) = lives.life_at(life).ok_or(DecodeError(WHAT))?;
    let path = key.get(29..).ok_or(DecodeError(WHAT))?;
    let path = Path::from_key(path).map_err(|_| DecodeError(WHAT))?;
    Ok(Removal { at_ms, path, hlc, dot: Dot { node, epoch, seq } })
}

pub(crate) fn expiry_key(expires_ms: u64, key: &[u8]) -> Vec<u8> {
    [&[EXPIRY], expires_ms.to_be_bytes().as_slice(), key].concat()
}

pub(crate) fn expiry_parts(key: &[u8]) -> Result<(u64, Path), DecodeError> {
    const WHAT: &str = "expiry key";
    let mut from = Reader::new(key);
    from.take(1, WHAT)?;
    let expires_ms = u64::from_be_bytes(from.array(WHAT)?);
    let path = key.get(9..).ok_or(DecodeError(WHAT))?;
    Ok((expires_ms, Path::from_key(path).map_err(|_| DecodeError(WHAT))?))
}

pub(crate) fn conflict_key(kind: u8, key: &[u8]) -> Vec<u8> {
    prefixed(&[kind], key)
}

pub(crate) fn conflict_path(key: &[u8]) -> Result<Path, DecodeError> {
    let (_, path) = key.split_first().ok_or(DecodeError("conflict key"))?;
    Path::from_key(path).map_err(|_| DecodeError("conflict key"))
}

pub(crate) fn life_bytes((node, epoch): Life) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&node.0);
    bytes[16..].copy_from_slice(&epoch.0.to_be_bytes());
    bytes
}

pub(crate) fn put_alive(out: &mut Vec<u8>, (epoch, proof): (Epoch, Proof)) {
    out.extend_from_slice(&epoch.0.to_be_bytes());
    put_proof(out, &proof);
}

pub(crate) fn take_alive(value: &[u8]) -> Result<(Epoch, Proof), DecodeError> {
    let mut from = Reader::new(value);
    let alive = (take_epoch(&mut from)?, take_proof(&mut from)?);
    from.finish("row of a living node").map(|()| alive)
}

pub(crate) fn put_doubted(out: &mut Vec<u8>, doubted: &Doubted) {
    out.push(doubted.reason.byte());
    out.extend_from_slice(&doubted.since_ms.to_be_bytes());
    out.push(u8::from(doubted.own));
    if let Some(proof) = &doubted.proof {
        put_proof(out, proof);
    }
}

pub(crate) fn take_doubted(value: &[u8]) -> Result<Doubted, DecodeError> {
    const WHAT: &str = "row of a doubted life";
    let mut from = Reader::new(value);
    let reason = DoubtReason::of_byte(from.byte(WHAT)?).ok_or(DecodeError(WHAT))?;
    let since_ms = u64::from_be_bytes(from.array(WHAT)?);
    let own = match from.byte(WHAT)? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError(WHAT)),
    };
    let proof = if from.remaining() == 0 { None } else { Some(take_proof(&mut from)?) };
    from.finish(WHAT).map(|()| Doubted { reason, since_ms, proof, own })
}

pub(crate) fn put_settled(out: &mut Vec<u8>, count: u32) {
    put_varint(out, u64::from(count));
}

pub(crate) fn take_settled(value: &[u8]) -> Result<u32, DecodeError> {
    const WHAT: &str = "settled conflicts";
    let mut from = Reader::new(value);
    let count = u32::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
    from.finish(WHAT)?;
    if count == 0 { Err(DecodeError(WHAT)) } else { Ok(count) }
}

pub(crate) fn put_record(out: &mut Vec<u8>, lives: &mut LifeTable, record: &Record) {
    put_varint(out, record.sequence);
    put_varint(out, u64::from(record.history));
    put_document(out, lives, &record.document);
    put_varint(out, record.oldest.len() as u64);
    for (hlc, dot, concurrent) in &record.oldest {
        put_hlc(out, *hlc);
        put_dot(out, lives, *dot);
        out.push(u8::from(*concurrent));
    }
}

pub(crate) fn take_record(lives: &impl LifeLookup, value: &[u8]) -> Result<Record, DecodeError> {
    const WHAT: &str = "record";
    let mut from = Reader::new(value);
    let sequence = from.varint(WHAT)?;
    let history = u32::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
    let document = take_document(&mut from, lives, Source::Store)?;
    // Format 1 ends here.
    let named = if from.remaining() == 0 { 0 } else { from.varint(WHAT)? };
    if named > u64::from(history).min(OLDEST_MAX as u64) {
        return Err(DecodeError(WHAT));
    }
    let mut oldest: Vec<Row> = Vec::new();
    for _ in 0..named {
        let (hlc, dot) = (take_hlc(&mut from)?, take_dot(&mut from, lives)?);
        let concurrent = match from.byte(WHAT)? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError(WHAT)),
        };
        if oldest.last().is_some_and(|last| (last.0, last.1) >= (hlc, dot)) {
            return Err(DecodeError(WHAT));
        }
        oldest.push((hlc, dot, concurrent));
    }
    from.finish(WHAT)?;
    Ok(Record { document, sequence, history, oldest })
}

/// Others were live beside the version when it was replaced.
const HISTORY_CONCURRENT: u8 = 1;
/// The successor's dot follows.
const HISTORY_SUCCESSOR: u8 = 2;
/// Readers saw this one of them.
const HISTORY_SHOWN: u8 = 4;
/// Its time had come.
const HISTORY_EXPIRED: u8 = 8;
/// It was removed by a peer's word, which follows. Since format 2.
const HISTORY_REMOVED: u8 = 16;

pub(crate) fn put_superseded(out: &mut Vec<u8>, lives: &mut LifeTable, row: &Superseded) {
    let flag = |holds: bool, flag: u8| if holds { flag } else { 0 };
    out.push(
        flag(row.concurrent, HISTORY_CONCURRENT)
            | flag(row.by.is_some(), HISTORY_SUCCESSOR)
            | flag(row.shown, HISTORY_SHOWN)
            | flag(row.expired, HISTORY_EXPIRED)
            | flag(row.word.is_some(), HISTORY_REMOVED),
    );
    if let Some(word) = row.word {
        out.extend_from_slice(&word.peer.0);
        out.push(match word.reason {
            Reason::Claim => REASON_CLAIM,
            Reason::Digest => REASON_DIGEST,
        });
        put_varint(out, word.at_ms);
    }
    if let Some(by) = row.by {
        put_dot(out, lives, by);
    }
    put_version(out, lives, &row.version);
}

pub(crate) fn take_superseded(lives: &impl LifeLookup, value: &[u8]) -> Result<Superseded, DecodeError> {
    const WHAT: &str = "history row";
    let mut from = Reader::new(value);
    let flags = from.byte(WHAT)?;
    if flags >= 2 * HISTORY_REMOVED {
        return Err(DecodeError(WHAT));
    }
    let word = if flags & HISTORY_REMOVED > 0 { Some(take_word(&mut from)?) } else { None };
    let by = if flags & HISTORY_SUCCESSOR > 0 { Some(take_dot(&mut from, lives)?) } else { None };
    let version = take_version(&mut from, lives, Source::Store)?;
    from.finish(WHAT)?;
    let flag = |flag: u8| flags & flag > 0;
    let (concurrent, shown) = (flag(HISTORY_CONCURRENT), flag(HISTORY_SHOWN));
    Ok(Superseded { version, by, concurrent, shown, expired: flag(HISTORY_EXPIRED), word })
}

const REASON_CLAIM: u8 = 1;
const REASON_DIGEST: u8 = 2;

fn take_word(from: &mut Reader<'_>) -> Result<Word, DecodeError> {
    const WHAT: &str = "history row";
    let peer = NodeId(from.array(WHAT)?);
    let reason = match from.byte(WHAT)? {
        REASON_CLAIM => Reason::Claim,
        REASON_DIGEST => Reason::Digest,
        _ => return Err(DecodeError(WHAT)),
    };
    Ok(Word { peer, reason, at_ms: from.varint(WHAT)? })
}

/// Whether a history row is there by a peer's word, by its first byte.
pub(crate) fn is_removed(value: &[u8]) -> Result<bool, DecodeError> {
    let flags = value.first().ok_or(DecodeError("history row"))?;
    Ok(flags & HISTORY_REMOVED > 0)
}

/// Whether a history row is of a conflict, by its first byte.
pub(crate) fn is_concurrent(value: &[u8]) -> Result<bool, DecodeError> {
    let flags = value.first().ok_or(DecodeError("history row"))?;
    Ok(flags & HISTORY_CONCURRENT > 0)
}

pub(crate) fn put_summary(out: &mut Vec<u8>, summary: &Summary) {
    out.extend_from_slice(&summary.fingerprint.to_be_bytes());
    put_varint(out, summary.count);
}

pub(crate) fn take_summary(value: &[u8]) -> Result<Summary, DecodeError> {
    const WHAT: &str = "digest row";
    let mut from = Reader::new(value);
    let fingerprint = u128::from_be_bytes(from.array(WHAT)?);
    let count = from.varint(WHAT)?;
    from.finish(WHAT)?;
    Ok(Summary { fingerprint, count })
}

pub(crate) fn put_counters(out: &mut Vec<u8>, counters: &Counters) {
    for number in [
        counters.records,
        counters.tombstones,
        counters.conflicts,
        counters.history,
        counters.sequence,
        counters.sequence_floor,
    ] {
        put_varint(out, number);
    }
    out.extend_from_slice(&counters.values.fingerprint.to_be_bytes());
    put_varint(out, counters.values.count);
    put_hlc(out, counters.hlc);
    put_varint(out, counters.kept);
}

pub(crate) fn take_counters(value: &[u8]) -> Result<Counters, DecodeError> {
    const WHAT: &str = "counters";
    let mut from = Reader::new(value);
    let mut counters = Counters {
        records: from.varint(WHAT)?,
        tombstones: from.varint(WHAT)?,
        conflicts: from.varint(WHAT)?,
        history: from.varint(WHAT)?,
        sequence: from.varint(WHAT)?,
        sequence_floor: from.varint(WHAT)?,
        values: Summary { fingerprint: u128::from_be_bytes(from.array(WHAT)?), count: from.varint(WHAT)? },
        hlc: take_hlc(&mut from)?,
        kept: 0,
    };
    // Format 1 ends here.
    if from.remaining() > 0 {
        counters.kept = from.varint(WHAT)?;
    }
    from.finish(WHAT)?;
    Ok(counters)
}

pub(crate) fn put_place(out: &mut Vec<u8>, (node, epoch, seq): Place) {
    out.extend_from_slice(&node.0);
    out.extend_from_slice(&epoch.0.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
}

pub(crate) fn take_place(value: &[u8]) -> Result<Place, DecodeError> {
    const WHAT: &str = "place of a walk";
    let mut from = Reader::new(value);
    let node = NodeId(from.array(WHAT)?);
    let (epoch, seq) = (u64::from_be_bytes(from.array(WHAT)?), u64::from_be_bytes(from.array(WHAT)?));
    from.finish(WHAT)?;
    Ok((node, Epoch(epoch), seq))
}

pub(crate) fn put_life(out: &mut Vec<u8>, (node, epoch): (NodeId, Epoch)) {
    out.extend_from_slice(&node.0);
    out.extend_from_slice(&epoch.0.to_be_bytes());
}

pub(crate) fn take_life(value: &[u8]) -> Result<(NodeId, Epoch), DecodeError> {
    const WHAT: &str = "life";
    let mut from = Reader::new(value);
    let node = NodeId(from.array(WHAT)?);
    let epoch = Epoch(u64::from_be_bytes(from.array(WHAT)?));
    from.finish(WHAT)?;
    Ok((node, epoch))
}
