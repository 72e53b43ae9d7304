//! What happened, as a hash that two runs of one seed must share, and as text for whoever has to find out why.

use std::collections::BTreeMap;

/// A running hash of everything that happened, counts of situations, and lines when they are wanted.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    marks: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines, or only hashes them.
    pub fn new(keep_lines: bool) -> Trace {
        Trace {
            hash: 0xcbf2_9ce4_8422_2325,
            marks: BTreeMap::new(),
            faults: BTreeMap::new(),
            lines: keep_lines.then(Vec::new),
        }
    }

    /// Mixes numbers that describe an event into the hash.
    pub fn mix(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }

    /// Mixes bytes into the hash (FNV-1a).
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Adds a line, when lines are kept.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// Counts a situation.
    pub fn mark(&mut self, situation: &'static str) {
        *self.marks.entry(situation).or_default() += 1;
    }

    /// How often a situation occurred.
    pub fn marks(&self) -> &BTreeMap<&'static str, u64> {
        &self.marks
    }

    /// Counts a fault that was injected.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// How often each fault was injected.
    pub fn faults(&self) -> &BTreeMap<&'static str, u64> {
        &self.faults
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines so far.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
