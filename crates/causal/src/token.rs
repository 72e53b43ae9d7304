//! What a session has seen, as opaque text that a client brings to any node.
//!
//! A token of a node names every dot that the node had applied, row by row, while its text fits. When it does not, it
//! demands more rather than less, because a session must never be shown less than it saw: rows with many gaps are
//! named up to their greatest dot, and the oldest rows by one hash of all of them, which only a node with exactly
//! these rows meets. Old epochs get no new dots, so nodes that have converged agree on them.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::codec::{
    DecodeError, LifeTable, Reader, put_frontier, put_interval_set, take_epoch, take_frontier,
};
use crate::{Epoch, Frontier, IntervalSet, NodeId};

/// First byte of every token: a token of an unknown format is refused, never misread.
const FORMAT: u8 = 1;

/// Longest text of a token, in bytes, given and accepted alike: it travels in a header, and common servers and
/// clients accept 8 KiB of one (Node.js 16 KiB of all together).
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Bytes below the text: base64 makes four characters of three.
const RAW_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3;

/// Greatest size of one row's numbers in a token that has to be shortened, in bytes: some 30 gaps.
const GAPS_BYTES_MAX: usize = 128;

/// What a session has seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Token {
    rows: Frontier,
    older: Option<Older>,
}

/// The oldest rows as one hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Older {
    /// The greatest epoch of these rows.
    through: Epoch,
    hash: [u8; HASH_BYTES],
}

const HASH_BYTES: usize = 16;

impl Token {
    /// The token of a node that has applied exactly that.
    pub fn of(applied: &Frontier) -> Token {
        let exact = Token { rows: applied.clone(), older: None };
        if exact.bytes().len() <= RAW_BYTES_MAX { exact } else { Token::shortened(applied) }
    }

    fn shortened(applied: &Frontier) -> Token {
        let mut newest: Vec<(Epoch, NodeId, &IntervalSet)> =
            applied.rows().map(|(node, epoch, set)| (epoch, node, set)).collect();
        newest.sort_unstable_by_key(|&(epoch, node, _)| (epoch, node));
        let mut rows = Frontier::new();
        let mut bytes = FIXED_BYTES;
        let mut older = None;
        for (epoch, node, set) in newest.into_iter().rev() {
            let whole = IntervalSet::range(1, set.last().unwrap_or(0));
            let set = if set_bytes(set) <= GAPS_BYTES_MAX { set } else { &whole };
            bytes +=
                ROW_BYTES + set_bytes(set) + if rows.epochs(node).next().is_none() { NODE_BYTES } else { 0 };
            if bytes > RAW_BYTES_MAX {
                older = Some(epoch);
                break;
            }
            rows.insert_row(node, epoch, set);
        }
        let older = older.map(|through| Older { through, hash: hash_through(applied, through) });
        if let Some(Older { through, .. }) = older {
            // Two nodes may have started in the same instant: an epoch is on one side, whole.
            rows = later_than(&rows, through);
        }
        Token { rows, older }
    }

    /// Whether a node that has applied that has everything the session has seen.
    pub fn is_met_by(&self, applied: &Frontier) -> bool {
        applied.is_superset(&self.rows)
            && self.older.is_none_or(|older| hash_through(applied, older.through) == older.hash)
    }

    /// The dots that a node lacks, as far as the token names them one by one: a token that is not met may list none.
    pub fn missing(&self, applied: &Frontier) -> Frontier {
        self.rows.difference(applied)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut lives = LifeTable::default();
        let mut rows = Vec::new();
        put_frontier(&mut rows, &mut lives, &self.rows);
        let mut bytes =
            Vec::with_capacity(FIXED_BYTES + lives.lives().len() * (ROW_BYTES + NODE_BYTES) + rows.len());
        bytes.push(FORMAT);
        lives.put(&mut bytes);
        bytes.extend_from_slice(&rows);
        if let Some(older) = &self.older {
            bytes.extend_from_slice(&older.through.0.to_be_bytes());
            bytes.extend_from_slice(&older.hash);
        }
        bytes
    }
}

impl fmt::Display for Token {
    /// URL-safe text of at most [`TOKEN_BYTES_MAX`] bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl FromStr for Token {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Token, DecodeError> {
        const WHAT: &str = "token";
        if text.len() > TOKEN_BYTES_MAX {
            return Err(DecodeError(WHAT));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| DecodeError(WHAT))?;
        let mut from = Reader::new(&bytes);
        if from.byte(WHAT)? != FORMAT {
            return Err(DecodeError(WHAT));
        }
        let lives = LifeTable::take(&mut from)?;
        let rows = take_frontier(&mut from, &lives)?;
        let older = match from.remaining() {
            0 => None,
            _ => Some(Older { through: take_epoch(&mut from)?, hash: from.array(WHAT)? }),
        };
        from.finish(WHAT)?;
        Ok(Token { rows, older })
    }
}

/// Everything but the rows: the format, three counts and the hash.
const FIXED_BYTES: usize = 1 + 3 * 5 + 8 + HASH_BYTES;

/// A row without its numbers, at most: the index of its node, its epoch, its own index.
const ROW_BYTES: usize = 3 + 8 + 3;

const NODE_BYTES: usize = 16;

fn set_bytes(set: &IntervalSet) -> usize {
    let mut bytes = Vec::new();
    put_interval_set(&mut bytes, set);
    bytes.len()
}

fn later_than(frontier: &Frontier, through: Epoch) -> Frontier {
    frontier.rows().filter(|(_, epoch, _)| *epoch > through).fold(
        Frontier::new(),
        |mut rows, (node, epoch, set)| {
            rows.insert_row(node, epoch, set);
            rows
        },
    )
}

/// A hash of the rows of all epochs up to that one. 128 bits: clients do not choose epochs, so nobody can search.
fn hash_through(frontier: &Frontier, through: Epoch) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for (node, epoch, set) in frontier.rows().filter(|(_, epoch, _)| *epoch <= through) {
        bytes.clear();
        put_interval_set(&mut bytes, set);
        hasher.update(&node.0).update(&epoch.0.to_be_bytes()).update(&bytes);
    }
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..HASH_BYTES]);
    hash
}
