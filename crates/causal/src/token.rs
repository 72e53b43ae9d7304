//! A frontier as opaque text: "what this node has applied", handed to a client and back to any node.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Frontier;
use crate::codec::{DecodeError, LifeTable, Reader, put_frontier, take_frontier};

/// First byte of every token: a token of an unknown format is refused, never misread.
const FORMAT: u8 = 1;

/// Longest text [`decode`] looks at, in bytes: a client cannot make us allocate more.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// The frontier as URL-safe text.
pub fn encode(frontier: &Frontier) -> String {
    let mut lives = LifeTable::default();
    let mut rows = Vec::new();
    put_frontier(&mut rows, &mut lives, frontier);
    let mut bytes = Vec::with_capacity(2 + lives.lives().len() * 25 + rows.len());
    bytes.push(FORMAT);
    lives.put(&mut bytes);
    bytes.extend_from_slice(&rows);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The frontier a token stands for.
pub fn decode(token: &str) -> Result<Frontier, DecodeError> {
    const WHAT: &str = "token";
    if token.len() > TOKEN_BYTES_MAX {
        return Err(DecodeError(WHAT));
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| DecodeError(WHAT))?;
    let mut from = Reader::new(&bytes);
    if from.byte(WHAT)? != FORMAT {
        return Err(DecodeError(WHAT));
    }
    let lives = LifeTable::take(&mut from)?;
    let frontier = take_frontier(&mut from, &lives)?;
    from.finish(WHAT)?;
    Ok(frontier)
}
