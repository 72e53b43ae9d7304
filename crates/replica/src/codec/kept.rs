//! Bytes of an answer that is kept for a request which may come again.

use alloc::vec::Vec;

use rejoin_causal::codec::{
    DecodeError, LifeIndex, LifeLookup, Reader, put_dot, put_hlc, put_varint, put_version_vector, take_dot,
    take_hlc, take_version_vector,
};

use super::{Source, take_extent};
use crate::config::{EXPIRES_MS_MAX, KEPT_TOPS_MAX};
use crate::key::Once;
use crate::once::{Kept, Shown};

const KEPT_CREATED: u8 = 1;
const KEPT_ETAG: u8 = 2;
const KEPT_CONFLICTS: u8 = 4;
const KEPT_EXPIRES: u8 = 8;
const KEPT_PAST: u8 = 16;
/// Where the two bits of [`Shown`] begin.
const KEPT_SHOWN_SHIFT: u8 = 5;

/// The bytes of the least answer.
pub(super) const KEPT_BYTES_MIN: usize = 37;

/// Appends what was answered to a write.
pub fn put_kept(out: &mut Vec<u8>, lives: &mut impl LifeIndex, kept: &Kept) {
    put_dot(out, lives, kept.dot);
    put_hlc(out, kept.hlc);
    out.extend_from_slice(&kept.once.id);
    out.extend_from_slice(&kept.once.print);
    put_varint(out, kept.dot.seq.saturating_sub(kept.unit.first));
    put_varint(out, kept.unit.last.saturating_sub(kept.dot.seq));
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    let shown = match kept.shown {
        Shown::Nothing => 0,
        Shown::Sent => 1,
        Shown::Written => 2,
        Shown::Other => 3,
    };
    out.push(
        flag(kept.created, KEPT_CREATED)
            | flag(kept.etag.is_some(), KEPT_ETAG)
            | flag(kept.conflicts > 0, KEPT_CONFLICTS)
            | flag(kept.expires_ms.is_some(), KEPT_EXPIRES)
            | flag(kept.past.is_some(), KEPT_PAST)
            | shown << KEPT_SHOWN_SHIFT,
    );
    if let Some(etag) = &kept.etag {
        out.extend_from_slice(etag);
    }
    if kept.conflicts > 0 {
        put_varint(out, kept.conflicts);
    }
    if let Some(expires_ms) = kept.expires_ms {
        put_varint(out, expires_ms);
    }
    if let Some(past) = &kept.past {
        put_version_vector(out, lives, past);
    }
}

/// Reads what was answered to a write.
pub fn take_kept(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
    source: Source,
) -> Result<Kept, DecodeError> {
    const WHAT: &str = "kept answer";
    let (dot, hlc) = (take_dot(from, lives)?, take_hlc(from)?);
    let once = Once { id: from.array(WHAT)?, print: from.array(WHAT)? };
    let unit = take_extent(from, dot.seq, 1, WHAT)?;
    let flags = from.byte(WHAT)?;
    let is = |flag: u8| flags & flag > 0;
    let shown = match flags >> KEPT_SHOWN_SHIFT {
        0 => Shown::Nothing,
        1 => Shown::Sent,
        2 => Shown::Written,
        3 => Shown::Other,
        _ => return Err(DecodeError(WHAT)),
    };
    let etag = if is(KEPT_ETAG) { Some(from.array(WHAT)?) } else { None };
    let conflicts = if is(KEPT_CONFLICTS) { from.varint(WHAT)? } else { 0 };
    let expires_ms = if is(KEPT_EXPIRES) { Some(from.varint(WHAT)?) } else { None };
    let past = if is(KEPT_PAST) { Some(take_version_vector(from, lives)?) } else { None };
    let too_many = past.as_ref().is_some_and(|past| past.len() > source.bound(KEPT_TOPS_MAX));
    // Each is written in one way, so that none decodes into another.
    if too_many || is(KEPT_CONFLICTS) != (conflicts > 0) || expires_ms.is_some_and(|ms| ms > EXPIRES_MS_MAX) {
        return Err(DecodeError(WHAT));
    }
    let created = is(KEPT_CREATED);
    Ok(Kept { dot, hlc, once, unit, created, shown, etag, conflicts, expires_ms, past })
}
