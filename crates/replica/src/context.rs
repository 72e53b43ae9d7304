//! What a client has read of one path, as opaque text: handed out with a read, and back with a write that is to
//! replace exactly that.
//!
//! A context is the dots of the versions that were live. It names no past: a node that has applied those dots no
//! longer holds anything that they replaced, and one that has not refuses the write until it has. So a context that
//! was made up can at most leave siblings in place.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_causal::Dot;
use rejoin_causal::codec::{DecodeError, LifeTable, Reader, put_dot, put_varint, take_dot};

use crate::body::Document;
use crate::path::Path;

/// First byte of every context: other than that of tokens, so that one is never taken for the other.
const FORMAT: u8 = 2;

/// Longest text of a context, in bytes: 8 KiB, as a header may have; some 200 siblings of as many nodes.
pub const CONTEXT_BYTES_MAX: usize = 8 * 1024;

/// The live versions of a path that a client has read; none: it has read that nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Context {
    dots: Vec<Dot>,
}

/// A text is no context of this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextError {
    /// It is longer than [`CONTEXT_BYTES_MAX`].
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// It is none at all, or was damaged.
    Malformed,
    /// It is of another path.
    OtherPath,
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContextError::TooLong { bytes } => {
                write!(f, "the context has {bytes} bytes, and at most {CONTEXT_BYTES_MAX} are read")
            }
            ContextError::Malformed => f.write_str("the text is not a context"),
            ContextError::OtherPath => f.write_str("the context is of another path"),
        }
    }
}

impl core::error::Error for ContextError {}

impl Context {
    /// What a reader of `document` has read.
    pub fn of(document: &Document) -> Context {
        Context::new(document.versions().iter().map(|version| version.dot))
    }

    /// The context of these versions.
    pub fn new(dots: impl IntoIterator<Item = Dot>) -> Context {
        let mut dots: Vec<Dot> = dots.into_iter().collect();
        dots.sort_unstable();
        dots.dedup();
        Context { dots }
    }

    /// The versions, ascending.
    pub fn dots(&self) -> &[Dot] {
        &self.dots
    }

    /// The context as URL-safe text, which is good for `path` only.
    pub fn encode(&self, path: &Path) -> String {
        let mut lives = LifeTable::default();
        let mut dots = Vec::new();
        put_varint(&mut dots, self.dots.len() as u64);
        for dot in &self.dots {
            put_dot(&mut dots, &mut lives, *dot);
        }
        let mut bytes = Vec::with_capacity(8 + lives.lives().len() * 26 + dots.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&mark(path));
        lives.put(&mut bytes);
        bytes.extend_from_slice(&dots);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The context that a text stands for.
    pub fn decode(text: &str, path: &Path) -> Result<Context, ContextError> {
        if text.len() > CONTEXT_BYTES_MAX {
            return Err(ContextError::TooLong { bytes: text.len() });
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ContextError::Malformed)?;
        let (of, dots) = parse(&bytes).map_err(|_| ContextError::Malformed)?;
        if of != mark(path) {
            return Err(ContextError::OtherPath);
        }
        Ok(Context::new(dots))
    }
}

fn parse(bytes: &[u8]) -> Result<([u8; 4], Vec<Dot>), DecodeError> {
    const WHAT: &str = "context";
    let mut from = Reader::new(bytes);
    if from.byte(WHAT)? != FORMAT {
        return Err(DecodeError(WHAT));
    }
    let of = from.array(WHAT)?;
    let lives = LifeTable::take(&mut from)?;
    let dots = (0..from.count(2, WHAT)?).map(|_| take_dot(&mut from, &lives)).collect::<Result<_, _>>()?;
    from.finish(WHAT)?;
    Ok((of, dots))
}

/// Tells contexts of different paths apart: a mistake of a program, not an attack.
fn mark(path: &Path) -> [u8; 4] {
    let hash = blake3::hash(path.as_str().as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}
