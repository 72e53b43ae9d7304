//! Names of write events: which node, in which of its lives, as which write.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::hex::Hex;

/// A node: the first 16 bytes of the BLAKE3 hash of its Ed25519 public key. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

/// A process life of a node: `unix_ms << 16 | random`, new at every start and durable before the first write.
///
/// Epochs alone keep dots unique: a restored backup, a copied directory or a lost log tail goes on in a new
/// epoch, so it can never mint a dot that was used before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// One write event. `seq` is dense from 1 within an epoch; dots of one node are ordered by `(epoch, seq)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The node that minted it.
    pub node: NodeId,
    /// The life of that node in which it was minted.
    pub epoch: Epoch,
    /// Its place within that life, from 1.
    pub seq: u64,
}

impl Epoch {
    /// The epoch of a start at `unix_ms`, strictly greater than `last` even when the clock stepped back.
    ///
    /// It carries `random` in any case: two copies of one directory, both started with a clock that is behind, must
    /// not both go on in the same epoch.
    pub fn after(last: Epoch, unix_ms: u64, random: u16) -> Epoch {
        let start = |ms: u64| (ms << 16) | u64::from(random);
        let by_clock = start(unix_ms);
        if by_clock > last.0 {
            return Epoch(by_clock);
        }
        Epoch(start(last.unix_ms() + 1).max(last.0.saturating_add(1)))
    }

    /// The wall clock of the start, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }
}

/// 2020-09-13, before any epoch of this software: keeps [`Dot::ordinal`] inside 53 bits until 2090.
const ORDINAL_BASE_MS: u64 = 1_600_000_000_000;

impl Dot {
    /// The dot's place among its node's dots: what a [`crate::VersionVector`] compares.
    pub fn position(self) -> (Epoch, u64) {
        (self.epoch, self.seq)
    }

    /// `(epoch, seq)` as one integer below 2^53, the same on every node and order-preserving for a node that
    /// mints fewer than 4,096 writes a millisecond: what JSON shows in a `vectorClock`.
    pub fn ordinal(self) -> u64 {
        ordinal(self.epoch, self.seq)
    }
}

/// See [`Dot::ordinal`].
pub(crate) fn ordinal(epoch: Epoch, seq: u64) -> u64 {
    let start = epoch.unix_ms().saturating_sub(ORDINAL_BASE_MS) << 12;
    start.saturating_add(seq) & ((1 << 53) - 1)
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight digits tell nodes apart in a trace.
        write!(f, "{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.node, f)?;
        f.write_str(".")?;
        fmt::Display::fmt(&Hex(&self.epoch.0.to_be_bytes()), f)?;
        f.write_str(".")?;
        fmt::Display::fmt(&self.seq, f)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{:x}.{}", self.node, self.epoch.0, self.seq)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The text is not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseNodeIdError;

impl fmt::Display for ParseNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id is 32 hexadecimal digits")
    }
}

impl core::error::Error for ParseNodeIdError {}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<NodeId, ParseNodeIdError> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(ParseNodeIdError);
        }
        let mut id = [0u8; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Ok(NodeId(id))
    }
}

fn hex_digit(digit: u8) -> Result<u8, ParseNodeIdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseNodeIdError),
    }
}

/// The text is not `<node>.<epoch>.<seq>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseDotError(pub String);

impl fmt::Display for ParseDotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not a version: expected <node>.<epoch>.<number>", self.0)
    }
}

impl core::error::Error for ParseDotError {}

impl FromStr for Dot {
    type Err = ParseDotError;

    fn from_str(text: &str) -> Result<Dot, ParseDotError> {
        let refuse = || ParseDotError(text.into());
        let mut parts = text.split('.');
        let (Some(node), Some(epoch), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        // One dot has one text: `from_str_radix` alone would take upper case and signs too.
        if epoch.len() != 16
            || epoch.bytes().any(|digit| hex_digit(digit).is_err())
            || seq.starts_with(['+', '0'])
        {
            return Err(refuse());
        }
        Ok(Dot {
            node: node.parse().map_err(|_| refuse())?,
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| refuse())?),
            seq: seq.parse().map_err(|_| refuse())?,
        })
    }
}
