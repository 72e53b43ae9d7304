//! Rows: the keys and values of each keyspace, byte by byte. docs/storage.md is this file in prose.
//!
//! Integers in keys are big endian, so that key order is number order. A path's key is its segments joined by 0x00.
//! Control characters are illegal in paths, so 0x01 can end a path inside a longer key.

use rejoin_causal::codec::{
    DecodeError, LifeIndex, LifeLookup, LifeTable, Reader, put_dot, put_hlc, put_varint, take_dot, take_hlc,
};
use rejoin_causal::{Dot, Epoch, Hlc, NodeId};
use rejoin_replica::codec::{Source, put_document, put_version, take_document, take_version};
use rejoin_replica::path::Path;
use rejoin_replica::{Counters, Record, Summary, Superseded};

/// The layout this code writes. A store with another one is refused.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const META_FORMAT: &[u8] = b"format";
pub(crate) const META_COUNTERS: &[u8] = b"counters";
pub(crate) const META_EPOCH: &[u8] = b"epoch";
pub(crate) const META_LIFE: &[u8] = b"life/";
pub(crate) const META_FRONTIER: &[u8] = b"frontier/";
pub(crate) const META_FLOOR: &[u8] = b"floor/";
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
    key.extend_from_slice(&(!hlc.0).to_be_bytes());
    key.extend_from_slice(&log_key(lives.index_of(dot.node, dot.epoch), dot.seq));
    key
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
}

pub(crate) fn take_record(lives: &impl LifeLookup, value: &[u8]) -> Result<Record, DecodeError> {
    const WHAT: &str = "record";
    let mut from = Reader::new(value);
    let sequence = from.varint(WHAT)?;
    let history = u32::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
    let document = take_document(&mut from, lives, Source::Store)?;
    from.finish(WHAT)?;
    Ok(Record { document, sequence, history })
}

/// Others were live beside the version when it was replaced.
const HISTORY_CONCURRENT: u8 = 1;
/// The successor's dot follows.
const HISTORY_SUCCESSOR: u8 = 2;
/// Readers saw this one of them.
const HISTORY_SHOWN: u8 = 4;
/// Its time had come.
const HISTORY_EXPIRED: u8 = 8;

pub(crate) fn put_superseded(out: &mut Vec<u8>, lives: &mut LifeTable, row: &Superseded) {
    let flag = |holds: bool, flag: u8| if holds { flag } else { 0 };
    out.push(
        flag(row.concurrent, HISTORY_CONCURRENT)
            | flag(row.by.is_some(), HISTORY_SUCCESSOR)
            | flag(row.shown, HISTORY_SHOWN)
            | flag(row.expired, HISTORY_EXPIRED),
    );
    if let Some(by) = row.by {
        put_dot(out, lives, by);
    }
    put_version(out, lives, &row.version);
}

pub(crate) fn take_superseded(lives: &impl LifeLookup, value: &[u8]) -> Result<Superseded, DecodeError> {
    const WHAT: &str = "history row";
    let mut from = Reader::new(value);
    let flags = from.byte(WHAT)?;
    if flags > (HISTORY_CONCURRENT | HISTORY_SUCCESSOR | HISTORY_SHOWN | HISTORY_EXPIRED) {
        return Err(DecodeError(WHAT));
    }
    let by = if flags & HISTORY_SUCCESSOR > 0 { Some(take_dot(&mut from, lives)?) } else { None };
    let version = take_version(&mut from, lives, Source::Store)?;
    from.finish(WHAT)?;
    let flag = |flag: u8| flags & flag > 0;
    let (concurrent, shown) = (flag(HISTORY_CONCURRENT), flag(HISTORY_SHOWN));
    Ok(Superseded { version, by, concurrent, shown, expired: flag(HISTORY_EXPIRED) })
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
}

pub(crate) fn take_counters(value: &[u8]) -> Result<Counters, DecodeError> {
    const WHAT: &str = "counters";
    let mut from = Reader::new(value);
    let counters = Counters {
        records: from.varint(WHAT)?,
        tombstones: from.varint(WHAT)?,
        conflicts: from.varint(WHAT)?,
        history: from.varint(WHAT)?,
        sequence: from.varint(WHAT)?,
        sequence_floor: from.varint(WHAT)?,
        values: Summary { fingerprint: u128::from_be_bytes(from.array(WHAT)?), count: from.varint(WHAT)? },
        hlc: take_hlc(&mut from)?,
    };
    from.finish(WHAT)?;
    Ok(counters)
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
