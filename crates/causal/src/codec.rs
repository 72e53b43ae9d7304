//! Bytes of causal values: variable-length integers, a table of lives, and total decoding with bounded allocation.
//!
//! Integers are LEB128. A life (node id and epoch) is written as an index of a table that the enclosing format
//! carries (a frame has its own, a store has one for all its rows), so that its 24 bytes are paid once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::{Dot, Epoch, Floor, Frontier, Hlc, IntervalSet, NodeId, VersionVector};

/// The bytes do not say what they should; the text names what was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl core::error::Error for DecodeError {}

/// Gives each life of a node (its id and one epoch) an index, for encoding.
pub trait LifeIndex {
    /// The index of that life, a new one when it has none yet.
    fn index_of(&mut self, node: NodeId, epoch: Epoch) -> u32;
}

/// Finds the life of an index, for decoding.
pub trait LifeLookup {
    /// The node and epoch with that index.
    fn life_at(&self, index: u32) -> Option<(NodeId, Epoch)>;
}

/// A table of lives in order of first use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifeTable {
    lives: Vec<(NodeId, Epoch)>,
    indexes: BTreeMap<(NodeId, Epoch), u32>,
}

impl LifeTable {
    /// The lives in index order.
    pub fn lives(&self) -> &[(NodeId, Epoch)] {
        &self.lives
    }

    /// The index of a life that is in the table.
    pub fn find(&self, node: NodeId, epoch: Epoch) -> Option<u32> {
        self.indexes.get(&(node, epoch)).copied()
    }

    /// Appends the table: distinct nodes once, then each life as a node and an epoch.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut nodes: Vec<NodeId> = self.lives.iter().map(|life| life.0).collect();
        nodes.sort_unstable();
        nodes.dedup();
        put_varint(out, nodes.len() as u64);
        for node in &nodes {
            out.extend_from_slice(&node.0);
        }
        put_varint(out, self.lives.len() as u64);
        for (node, epoch) in &self.lives {
            let at = nodes.partition_point(|other| other < node);
            put_varint(out, at as u64);
            out.extend_from_slice(&epoch.0.to_be_bytes());
        }
    }

    /// Reads a table; a life that stands in it twice is refused.
    pub fn take(from: &mut Reader<'_>) -> Result<LifeTable, DecodeError> {
        const WHAT: &str = "table of lives";
        let nodes = (0..from.count(16, WHAT)?)
            .map(|_| from.array(WHAT).map(NodeId))
            .collect::<Result<Vec<_>, DecodeError>>()?;
        let count = from.count(9, WHAT)?;
        let mut table = LifeTable::default();
        for _ in 0..count {
            let at = usize::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
            let node = *nodes.get(at).ok_or(DecodeError(WHAT))?;
            table.index_of(node, take_epoch(from)?);
        }
        if table.lives.len() == count { Ok(table) } else { Err(DecodeError(WHAT)) }
    }
}

impl LifeIndex for LifeTable {
    fn index_of(&mut self, node: NodeId, epoch: Epoch) -> u32 {
        // A table outgrows u32 only with four billion process starts in one frame.
        let next = u32::try_from(self.lives.len()).unwrap_or(u32::MAX);
        *self.indexes.entry((node, epoch)).or_insert_with(|| {
            self.lives.push((node, epoch));
            next
        })
    }
}

impl LifeLookup for LifeTable {
    fn life_at(&self, index: u32) -> Option<(NodeId, Epoch)> {
        self.lives.get(index as usize).copied()
    }
}

/// Appends `value` in LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads bytes from the front of a slice; every read checks that they are there.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Refuses bytes after the end.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError(what)) }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// A LEB128 integer of at most 64 bits, in its shortest form only.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(DecodeError(what)) } else { Ok(value) };
            }
        }
        Err(DecodeError(what))
    }

    /// A length-prefixed run of bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.varint(what)?;
        self.take(usize::try_from(len).map_err(|_| DecodeError(what))?, what)
    }

    /// A count of things that take at least `each` bytes, so that a lie cannot make us allocate.
    pub fn count(&mut self, each: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint(what)?).map_err(|_| DecodeError(what))?;
        if count > self.rest.len() / each.max(1) { Err(DecodeError(what)) } else { Ok(count) }
    }
}

/// Appends the index of a life.
pub fn put_life(out: &mut Vec<u8>, lives: &mut impl LifeIndex, node: NodeId, epoch: Epoch) {
    put_varint(out, u64::from(lives.index_of(node, epoch)));
}

/// Reads the index of a life.
pub fn take_life(from: &mut Reader<'_>, lives: &impl LifeLookup) -> Result<(NodeId, Epoch), DecodeError> {
    let index = from.varint("index of a life")?;
    u32::try_from(index).ok().and_then(|index| lives.life_at(index)).ok_or(DecodeError("index of a life"))
}

/// Appends a dot.
pub fn put_dot(out: &mut Vec<u8>, lives: &mut impl LifeIndex, dot: Dot) {
    put_life(out, lives, dot.node, dot.epoch);
    put_varint(out, dot.seq);
}

/// Reads a dot; `seq` 0 is refused.
pub fn take_dot(from: &mut Reader<'_>, lives: &impl LifeLookup) -> Result<Dot, DecodeError> {
    let (node, epoch) = take_life(from, lives)?;
    match from.varint("dot")? {
        0 => Err(DecodeError("dot")),
        seq => Ok(Dot { node, epoch, seq }),
    }
}

/// Reads an epoch.
pub fn take_epoch(from: &mut Reader<'_>) -> Result<Epoch, DecodeError> {
    Ok(Epoch(u64::from_be_bytes(from.array("epoch")?)))
}

/// Appends a stamp.
pub fn put_hlc(out: &mut Vec<u8>, hlc: Hlc) {
    out.extend_from_slice(&hlc.0.to_be_bytes());
}

/// Reads a stamp.
pub fn take_hlc(from: &mut Reader<'_>) -> Result<Hlc, DecodeError> {
    Ok(Hlc(u64::from_be_bytes(from.array("stamp")?)))
}

/// Appends a version vector.
pub fn put_version_vector(out: &mut Vec<u8>, lives: &mut impl LifeIndex, vv: &VersionVector) {
    put_varint(out, vv.len() as u64);
    for dot in vv.tops() {
        put_dot(out, lives, dot);
    }
}

/// Reads a version vector.
pub fn take_version_vector(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
) -> Result<VersionVector, DecodeError> {
    let count = from.count(2, "version vector")?;
    (0..count).map(|_| take_dot(from, lives)).collect()
}

/// Appends an interval set: its ranges as gaps and lengths.
pub fn put_interval_set(out: &mut Vec<u8>, set: &IntervalSet) {
    put_varint(out, set.ranges().len() as u64);
    let mut end = 0;
    for &(first, last) in set.ranges() {
        put_varint(out, first - end);
        put_varint(out, last - first);
        end = last;
    }
}

/// Reads an interval set; 0, overlaps, touching ranges and overflow are refused.
pub fn take_interval_set(from: &mut Reader<'_>) -> Result<IntervalSet, DecodeError> {
    const WHAT: &str = "interval set";
    let count = from.count(2, WHAT)?;
    let mut set = IntervalSet::new();
    let mut end = 0u64;
    for at in 0..count {
        let gap = from.varint(WHAT)?;
        if gap == 0 || (at > 0 && gap == 1) {
            return Err(DecodeError(WHAT));
        }
        let first = end.checked_add(gap).ok_or(DecodeError(WHAT))?;
        let last = first.checked_add(from.varint(WHAT)?).ok_or(DecodeError(WHAT))?;
        set.insert_range(first, last);
        end = last;
    }
    Ok(set)
}

/// Appends a frontier.
pub fn put_frontier(out: &mut Vec<u8>, lives: &mut impl LifeIndex, frontier: &Frontier) {
    put_varint(out, frontier.rows().count() as u64);
    for (node, epoch, set) in frontier.rows() {
        put_life(out, lives, node, epoch);
        put_interval_set(out, set);
    }
}

/// Reads a frontier.
pub fn take_frontier(from: &mut Reader<'_>, lives: &impl LifeLookup) -> Result<Frontier, DecodeError> {
    let mut frontier = Frontier::new();
    for _ in 0..from.count(2, "frontier")? {
        let (node, epoch) = take_life(from, lives)?;
        frontier.insert_row(node, epoch, &take_interval_set(from)?);
    }
    Ok(frontier)
}

/// Appends a floor.
pub fn put_floor(out: &mut Vec<u8>, lives: &mut impl LifeIndex, floor: &Floor) {
    put_varint(out, floor.rows().count() as u64);
    for dot in floor.rows() {
        put_dot(out, lives, dot);
    }
}

/// Reads a floor.
pub fn take_floor(from: &mut Reader<'_>, lives: &impl LifeLookup) -> Result<Floor, DecodeError> {
    let mut floor = Floor::new();
    for _ in 0..from.count(2, "floor")? {
        floor.raise(take_dot(from, lives)?);
    }
    Ok(floor)
}
