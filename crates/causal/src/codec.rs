//! Bytes of causal values: variable-length integers, a table of lives, and total decoding with bounded allocation.
//!
//! Every read that makes something grow is charged to the reader's [`Bounds`] before memory is taken, so bytes that lie, or
//! that are few and stand for much, end in an error and not in an allocation.
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

/// What decoding may take. Counted as structures grow, in what they are made of and not in what bytes are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory: usize,
    /// Ranges of interval sets, all together.
    pub ranges: usize,
    /// Entries of one version vector.
    pub tops: usize,
}

/// Bytes of memory that decoding may take whatever the input: 4 KiB, as much as the nodes of a few small trees.
pub const DECODE_BYTES_FIXED: usize = 4 * 1024;

/// Bytes of memory that decoding may take for each byte of the input: 32. The worst is a frontier of one write per node,
/// 29 bytes that become nodes of two trees; then documents with one tombstone, 16 bytes that become some 300.
pub const DECODE_BYTES_PER_BYTE: usize = 32;

impl Bounds {
    /// In proportion to the input, and no more than memory: what was written by this process, or is itself bounded.
    pub const fn of(bytes: usize) -> Bounds {
        let memory = DECODE_BYTES_FIXED.saturating_add(bytes.saturating_mul(DECODE_BYTES_PER_BYTE));
        Bounds { memory, ranges: usize::MAX, tops: usize::MAX }
    }
}

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

    /// Reads a table, to look lives up and to find them; a life that stands in it twice is refused.
    pub fn take(from: &mut Reader<'_>) -> Result<LifeTable, DecodeError> {
        let Lives(lives) = Lives::take(from, usize::MAX)?;
        from.charge(lives.len().saturating_mul(INDEX_BYTES), Lives::WHAT)?;
        let indexes = (0u32..).zip(&lives).map(|(at, life)| (*life, at)).collect();
        Ok(LifeTable { lives, indexes })
    }
}

/// A table of lives as it was read: lives by their index, and no way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives(Vec<(NodeId, Epoch)>);

impl Lives {
    const WHAT: &str = "table of lives";

    /// Reads a table of at most `lives_max` lives; one that stands in it twice is refused.
    pub fn take(from: &mut Reader<'_>, lives_max: usize) -> Result<Lives, DecodeError> {
        const WHAT: &str = Lives::WHAT;
        let (count, mut nodes) = from.list(16, lives_max, WHAT)?;
        for _ in 0..count {
            nodes.push(NodeId(from.array(WHAT)?));
        }
        let count = from.bounded(9, lives_max, WHAT)?;
        // Once to keep, once sorted to find repetitions.
        from.charge(count.saturating_mul(2 * size_of::<(NodeId, Epoch)>()), WHAT)?;
        let mut lives = Vec::with_capacity(count);
        for _ in 0..count {
            let at = usize::try_from(from.varint(WHAT)?).map_err(|_| DecodeError(WHAT))?;
            let node = *nodes.get(at).ok_or(DecodeError(WHAT))?;
            lives.push((node, take_epoch(from)?));
        }
        let mut sorted = lives.clone();
        sorted.sort_unstable();
        match sorted.windows(2).all(|pair| pair[0] != pair[1]) {
            true => Ok(Lives(lives)),
            false => Err(DecodeError(WHAT)),
        }
    }
}

impl LifeLookup for Lives {
    fn life_at(&self, index: u32) -> Option<(NodeId, Epoch)> {
        self.0.get(index as usize).copied()
    }
}

/// Memory of one life in an index, tree node included.
const INDEX_BYTES: usize = 80;

/// Memory of one node in a frontier: its place in the outer tree, and the smallest inner tree.
const FRONTIER_NODE_BYTES: usize = 480;

/// Memory of one further row of a node, and of one row of a floor.
const ROW_BYTES: usize = 80;

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

/// Reads bytes from the front of a slice; every read checks that they are there, and what they grow into.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    bounds: Bounds,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`, which may take memory in proportion.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::within(bytes, Bounds::of(bytes.len()))
    }

    /// A reader at the start of `bytes` that may take so much.
    pub fn within(bytes: &'a [u8], bounds: Bounds) -> Reader<'a> {
        Reader { rest: bytes, bounds }
    }

    /// What it may still take.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Counts memory that is about to be taken.
    pub fn charge(&mut self, bytes: usize, what: &'static str) -> Result<(), DecodeError> {
        self.bounds.memory = self.bounds.memory.checked_sub(bytes).ok_or(DecodeError(what))?;
        Ok(())
    }

    /// A count of at most `max` things that take at least `each` bytes.
    pub fn bounded(&mut self, each: usize, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.count(each, what)?;
        if count > max { Err(DecodeError(what)) } else { Ok(count) }
    }

    /// A count of at most `max` things that take at least `each` bytes, and room for all of them, charged: nothing grows
    /// while it is filled.
    pub fn list<T>(
        &mut self,
        each: usize,
        max: usize,
        what: &'static str,
    ) -> Result<(usize, Vec<T>), DecodeError> {
        let count = self.bounded(each, max, what)?;
        self.charge(count.saturating_mul(size_of::<T>()), what)?;
        Ok((count, Vec::with_capacity(count)))
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether the next byte is this one.
    pub fn is_next(&self, byte: u8) -> bool {
        self.rest.first() == Some(&byte)
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
    const WHAT: &str = "version vector";
    let (count, mut tops) = from.list::<Dot>(2, from.bounds.tops, WHAT)?;
    for _ in 0..count {
        let top = take_dot(from, lives)?;
        // Ascending, as they are written: so no node stands there twice.
        if tops.last().is_some_and(|last| last.node >= top.node) {
            return Err(DecodeError(WHAT));
        }
        tops.push(top);
    }
    from.charge(tops.len().saturating_mul(size_of::<Dot>()), WHAT)?;
    Ok(tops.into_iter().collect())
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
    let (count, mut ranges) = from.list(2, from.bounds.ranges, WHAT)?;
    from.bounds.ranges -= count;
    let mut end = 0u64;
    for at in 0..count {
        let gap = from.varint(WHAT)?;
        if gap == 0 || (at > 0 && gap == 1) {
            return Err(DecodeError(WHAT));
        }
        let first = end.checked_add(gap).ok_or(DecodeError(WHAT))?;
        let last = first.checked_add(from.varint(WHAT)?).ok_or(DecodeError(WHAT))?;
        ranges.push((first, last));
        end = last;
    }
    Ok(IntervalSet::from_ranges(ranges))
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
    const WHAT: &str = "frontier";
    let mut frontier = Frontier::new();
    let mut last = None;
    for _ in 0..from.count(2, WHAT)? {
        let (node, epoch) = take_life(from, lives)?;
        let known = last.is_some_and(|(known, _)| known == node);
        from.charge(if known { ROW_BYTES } else { FRONTIER_NODE_BYTES }, WHAT)?;
        // Ascending, as they are written: so each row stands there once.
        if last.is_some_and(|last| last >= (node, epoch)) {
            return Err(DecodeError(WHAT));
        }
        last = Some((node, epoch));
        frontier.put_row(node, epoch, take_interval_set(from)?);
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
    const WHAT: &str = "floor";
    let mut floor = Floor::new();
    let count = from.count(2, WHAT)?;
    from.charge(count.saturating_mul(ROW_BYTES), WHAT)?;
    let mut last = None;
    for _ in 0..count {
        let top = take_dot(from, lives)?;
        if last.is_some_and(|last| last >= (top.node, top.epoch)) {
            return Err(DecodeError(WHAT));
        }
        last = Some((top.node, top.epoch));
        floor.raise(top);
    }
    Ok(floor)
}
