//! Bytes as text.

use core::fmt;

/// Bytes that are turned into digits at once: an id, an entity tag.
const BYTES_AT_ONCE: usize = 16;

/// Bytes, shown as hexadecimal digits in lower case. Every answer names a version and an entity tag, and digits by hand take
/// a fifth of what formatting does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for bytes in self.0.chunks(BYTES_AT_ONCE) {
            let mut digits = [0; 2 * BYTES_AT_ONCE];
            for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
            // Digits are ASCII.
            f.write_str(core::str::from_utf8(&digits[..2 * bytes.len()]).unwrap_or_default())?;
        }
        Ok(())
    }
}
