//! Keys by which requests are named, so that a request that is sent again is done once.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::str::FromStr;
use std::time::SystemTime;

use hyper::header::{HeaderName, HeaderValue};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of a key, at most.
const KEY_CHARS_MAX: usize = 64;

/// Names a write, so that it is done once however often it is sent, for a day and on every node that has it.
///
/// Every write of this crate has one of its own, and is sent again with it when its answer is lost. Give one to go on after a
/// restart of the program: keep it beside what is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// The text is no key: that is 1 to 64 visible characters of ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key has 1 to {KEY_CHARS_MAX} visible characters of ASCII, and no spaces")
    }
}

impl std::error::Error for KeyError {}

impl Default for IdempotencyKey {
    /// A new one, like no other: 128 bits of the randomness that the standard library keys its maps with, and the time.
    fn default() -> IdempotencyKey {
        let half = || {
            let mut hasher = RandomState::new().build_hasher();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            hasher.write_u128(now.unwrap_or_default().as_nanos());
            hasher.finish()
        };
        IdempotencyKey(format!("{:016x}{:016x}", half(), half()))
    }
}

impl FromStr for IdempotencyKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<IdempotencyKey, KeyError> {
        let legal =
            (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if legal { Ok(IdempotencyKey(text.to_owned())) } else { Err(KeyError) }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl IdempotencyKey {
    pub(crate) fn header(&self) -> HeaderValue {
        // Visible ASCII is always legal there.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("?"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_are_ones() {
        let keys: std::collections::HashSet<IdempotencyKey> =
            (0..1_000).map(|_| IdempotencyKey::default()).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|key| key.to_string().parse() == Ok(key.clone())));
        for bad in ["", "two words", "schl\u{fc}ssel", &"k".repeat(65)] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(KeyError), "{bad}");
        }
    }
}
