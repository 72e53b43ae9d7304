//! Choices made by arbitrary bytes.

/// Reads choices from the front of a slice; where it ends, every choice is the first.
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        word.fill_with(|| self.byte());
        u64::from_le_bytes(word)
    }

    /// A number below `bound`, at most 256; one byte.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound
    }

    /// True about once in `bound` bytes, and never where the bytes have ended.
    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == bound - 1
    }

    pub(crate) fn pick<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[usize::from(self.byte()) % of.len()]
    }

    /// The next bytes, as many as there are.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A run of bytes whose length is the first of them.
    pub(crate) fn run(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
