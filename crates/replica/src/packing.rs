//! Frames made smaller: what a catch-up sends is many documents that look alike.
//!
//! A packed frame is `64 . length varint . LZ4 block of that many bytes`, and what is in it is any other frame. LZ4 because
//! it costs less than the rows of a document do, on both sides, and needs no memory but its output.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use rejoin_causal::codec::{DecodeError, Reader, put_varint};

/// The type of a packed frame: beyond those of messages, of which there will be more.
const PACKED: u8 = 64;

/// Frames below this many bytes go out as they are: an answer in one packet gains nothing.
const PACKED_BYTES_MIN: usize = 1024;

/// Bytes that one packed byte may stand for: far beyond what documents give, and a bound on what a peer can make us hold
/// for the bytes that it sends.
const RATIO_MAX: usize = 32;

/// The greatest frame that may come out of a packed one, in bytes: four of the largest values. What is longer than that is
/// mostly text that its writer chose, and goes unpacked.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024 + 64 * 1024;

/// The frame packed, where that makes it smaller.
pub fn pack(frame: Vec<u8>) -> Vec<u8> {
    if frame.len() < PACKED_BYTES_MIN || frame.len() > UNPACKED_BYTES_MAX {
        return frame;
    }
    let block = lz4_flex::block::compress(&frame);
    if block.len() >= frame.len() || frame.len() > block.len().saturating_mul(RATIO_MAX) {
        return frame;
    }
    let mut packed = Vec::with_capacity(block.len() + 6);
    packed.push(PACKED);
    put_varint(&mut packed, frame.len() as u64);
    packed.extend_from_slice(&block);
    packed
}

/// How long a frame is before it was packed, by what it says; the length of one that was not.
pub fn unpacked_bytes(frame: &[u8]) -> Result<usize, DecodeError> {
    if frame.first() != Some(&PACKED) {
        return Ok(frame.len());
    }
    parse(frame).map(|(length, _)| length)
}

/// The length and the block of a packed frame, within the bounds.
fn parse(frame: &[u8]) -> Result<(usize, &[u8]), DecodeError> {
    let mut from = Reader::new(&frame[1..]);
    let length = usize::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
    let block = from.take(from.remaining(), WHAT)?;
    if length > UNPACKED_BYTES_MAX || length > block.len().saturating_mul(RATIO_MAX) {
        return Err(DecodeError(WHAT));
    }
    Ok((length, block))
}

const WHAT: &str = "packed frame";

/// The frame as it was before it was packed; one that was not, as it is.
///
/// # Errors
/// Refuses a length beyond the bounds before anything is allocated, and a block that does not give that many bytes.
pub fn unpack(frame: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    if frame.first() != Some(&PACKED) {
        return Ok(Cow::Borrowed(frame));
    }
    let (length, block) = parse(frame)?;
    match lz4_flex::block::decompress(block, length) {
        Ok(unpacked) if unpacked.len() == length => Ok(Cow::Owned(unpacked)),
        _ => Err(DecodeError(WHAT)),
    }
}
