//! The documents that are written: some 200 bytes of JSON at `bench/<8 digits>`.

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

/// Where the documents are.
pub(crate) const PREFIX: &str = "bench/";

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const HEAD: &[u8] = br#"{"name":"User of the benchmark","active":true,"age":41,"tags":["a","b"],"text":""#;
const TAIL: &[u8] = br#""}"#;
/// Half of a document does not compress below a half.
const NOISE_BYTES: usize = 120;

/// The key of a document.
pub(crate) fn key(number: u32) -> String {
    format!("{PREFIX}{number:08}")
}

/// Makes documents, each different, the same in every run.
#[derive(Debug)]
pub(crate) struct Documents {
    random: StdRng,
    text: Vec<u8>,
}

impl Documents {
    pub(crate) fn new(seed: u64) -> Documents {
        Documents { random: StdRng::seed_from_u64(seed), text: Vec::new() }
    }

    /// The next document, valid until the one behind it.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.text.clear();
        self.text.extend_from_slice(HEAD);
        for _ in 0..NOISE_BYTES / 16 {
            let mut noise = self.random.next_u64();
            for _ in 0..16 {
                self.text.push(DIGITS[(noise & 15) as usize]);
                noise >>= 4;
            }
        }
        self.text.extend_from_slice(TAIL);
        &self.text
    }

    /// Some number below `end`.
    pub(crate) fn number(&mut self, end: u32) -> u32 {
        self.random.random_range(0..end.max(1))
    }

    /// Whether something of this chance happens.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }
}
