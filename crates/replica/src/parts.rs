//! Frames in parts: what is too long to be held at once before it is whole.
//!
//! A part is `26 . length of the frame varint . place varint . bytes`, where the frame is any other, packed or not. The parts of
//! a frame follow each other in order, and nothing is sent between them: a link is ordered, and what follows a document may
//! rely on it.
//!
//! [`Assembly`] takes room only for what has come. Who holds one decides, before the first part, whether there is room for
//! all of it ([`announced`]).

use alloc::vec::Vec;

use rejoin_causal::codec::{DecodeError, Reader, put_varint};
use rejoin_causal::plant;

use crate::config::{ASSEMBLED_BYTES_MAX, PART_BYTES};

/// The type of a part.
const PART: u8 = 26;

const WHAT: &str = "part of a frame";

/// The parts of a frame, each of at most `part_bytes` of it. A frame that fits one part is to go as it is.
pub fn split(frame: &[u8], part_bytes: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let part_bytes = part_bytes.clamp(1, PART_BYTES);
    frame.chunks(part_bytes).enumerate().map(move |(number, bytes)| {
        let mut part = Vec::with_capacity(bytes.len() + 21);
        part.push(PART);
        put_varint(&mut part, frame.len() as u64);
        put_varint(&mut part, (number * part_bytes) as u64);
        part.extend_from_slice(bytes);
        part
    })
}

/// Whether a frame is a part of another.
pub fn is_part(frame: &[u8]) -> bool {
    frame.first() == Some(&PART)
}

/// The length of the frame that this is the first part of, which is within the bounds; `None` when it is not the first.
pub fn announced(part: &[u8]) -> Result<Option<usize>, DecodeError> {
    let (length, place, _) = parse(part)?;
    Ok((place == 0).then_some(length))
}

/// A frame that is not whole yet.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    length: usize,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Nothing has come.
    pub fn new() -> Assembly {
        Assembly::default()
    }

    /// Whether parts of a frame have come, and not all.
    pub fn is_open(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Adds a part; the frame when it is whole.
    ///
    /// # Errors
    /// Refuses a part that does not follow the one before, one beyond the frame's end, and lengths beyond the bounds.
    pub fn add(&mut self, part: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
        let (length, place, bytes) = parse(part)?;
        if place == 0 && self.bytes.is_empty() {
            self.length = length;
        }
        if place != self.bytes.len() || length != self.length {
            return Err(DecodeError(WHAT));
        }
        if plant::is("lose-a-part") && place > 0 && self.bytes.len() + bytes.len() < length {
            self.bytes.resize(self.bytes.len() + bytes.len(), b' ');
            return Ok(None);
        }
        // In steps of a quarter, and never beyond the whole: while it grows, it is there twice.
        let capacity = (self.bytes.len() + bytes.len()).max(self.bytes.capacity() / 4 * 5).min(length);
        self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(bytes);
        Ok((self.bytes.len() == length).then(|| core::mem::take(&mut self.bytes)))
    }
}

fn parse(part: &[u8]) -> Result<(usize, usize, &[u8]), DecodeError> {
    let mut from = Reader::new(part);
    if from.byte(WHAT)? != PART {
        return Err(DecodeError(WHAT));
    }
    let mut number = || usize::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT));
    let (length, place) = (number()?, number()?);
    let bytes = from.take(from.remaining(), WHAT)?;
    let end = place.checked_add(bytes.len()).ok_or(DecodeError(WHAT))?;
    // A part of nothing would be progress without end.
    if length > ASSEMBLED_BYTES_MAX || end > length || bytes.is_empty() || bytes.len() > PART_BYTES {
        return Err(DecodeError(WHAT));
    }
    Ok((length, place, bytes))
}
