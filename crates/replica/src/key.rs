//! The name of a request that may be sent again, and what it asks for: both as hashes, the same on every node.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use rejoin_causal::Dot;

use crate::config::KEY_CHARS_MAX;
use crate::input::{Change, Condition, Observed, Write};
use crate::json::Json;
use crate::policy::first_16;

/// What a client names a request by, to send it again: 1 to 64 visible characters of ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Box<str>);

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key has 1 to {KEY_CHARS_MAX} visible characters of ASCII, and no spaces")
    }
}

impl core::error::Error for KeyError {}

impl Key {
    /// Checks a key.
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        let legal =
            (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if legal { Ok(Key(text.into())) } else { Err(KeyError) }
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        Key::parse(text)
    }
}

/// That a write is to be done once, whatever comes of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Once {
    /// Names the request: a hash of its key.
    pub id: [u8; 16],
    /// A hash of what it asks for: the same key with another request is refused.
    pub print: [u8; 8],
}

impl Once {
    /// Of a request that is these writes, all or nothing.
    pub fn new(key: &Key, writes: &[Write]) -> Once {
        Once::of_part(key, 0, writes)
    }

    /// Of one of several writes of a request that are each done on their own: of the first, 0, of the second, 1.
    pub fn of_part(key: &Key, part: u32, writes: &[Write]) -> Once {
        let mut hasher = blake3::Hasher::new();
        hasher.update(KEY_DOMAIN);
        put(&mut hasher, key.as_str().as_bytes());
        hasher.update(&part.to_be_bytes());
        let id = first_16(&hasher.finalize());
        let mut print = [0; 8];
        print.copy_from_slice(&print_of(writes).as_bytes()[..8]);
        Once { id, print }
    }
}

impl Write {
    /// The same, to be done once: a request that is sent again with this key, and asks for exactly this, gets the first answer.
    #[must_use]
    pub fn with_key(mut self, key: &Key) -> Write {
        self.once = Some(Once::new(key, core::slice::from_ref(&self)));
        self
    }

    /// The same for the writes of an atomic batch, which are one request.
    #[must_use]
    pub fn all_with_key(mut writes: Vec<Write>, key: &Key) -> Vec<Write> {
        let once = Once::new(key, &writes);
        writes.iter_mut().for_each(|write| write.once = Some(once));
        writes
    }
}

/// Keep these hashes apart from all others.
const KEY_DOMAIN: &[u8] = b"rejoin idempotency key 1\0";
const PRINT_DOMAIN: &[u8] = b"rejoin request 1\0";

fn put(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// What writes ask for. The same on every node: it goes by nothing but the request.
fn print_of(writes: &[Write]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(PRINT_DOMAIN);
    for Write { path, change, condition, observed, ttl, once: _ } in writes {
        put(&mut hasher, path.as_str().as_bytes());
        let (kind, value) = match change {
            Change::Put(value) => (0, Some(value)),
            Change::Replace(value) => (1, Some(value)),
            Change::Patch(patch) => (2, Some(patch)),
            Change::Delete => (3, None),
            Change::Resolve(value) => (4, Some(value)),
            Change::Keep(_) => (5, None),
        };
        hasher.update(&[kind]);
        put(&mut hasher, value.map_or("", Json::as_str).as_bytes());
        if let Change::Keep(dot) = change {
            put_dot(&mut hasher, *dot);
        }
        let (kind, tags): (u8, &[[u8; 16]]) = match condition {
            Condition::Always => (0, &[]),
            Condition::Absent => (1, &[]),
            Condition::Present => (2, &[]),
            Condition::Matches(tags) => (3, tags),
            Condition::NoneOf(tags) => (4, tags),
        };
        hasher.update(&[kind]);
        put(&mut hasher, tags.as_flattened());
        let seen: Option<&[Dot]> = match observed {
            Observed::All => None,
            Observed::These(dots) => Some(dots),
        };
        hasher.update(&(seen.map_or(u64::MAX, |dots| dots.len() as u64)).to_be_bytes());
        seen.into_iter().flatten().for_each(|dot| put_dot(&mut hasher, *dot));
        hasher.update(&ttl.map_or(0, |ttl| ttl.ms()).to_be_bytes());
    }
    hasher.finalize()
}

fn put_dot(hasher: &mut blake3::Hasher, dot: Dot) {
    hasher.update(&dot.node.0);
    hasher.update(&dot.epoch.0.to_be_bytes());
    hasher.update(&dot.seq.to_be_bytes());
}
