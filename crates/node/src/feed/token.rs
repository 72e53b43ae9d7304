//! A place in one store's change feed, as opaque text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_replica::path::PATH_BYTES_MAX;

use crate::Error;

/// Where a subscription is: everything before it has been told.
///
/// It is a place in the feed of one store, in the state that this store was in. On another node, or on this one after
/// an older copy of its data was restored, it is recognised as foreign and answered with [`crate::Event::Resync`].
/// Send it as text ([`fmt::Display`], [`FromStr`]); its content is nobody else's business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedToken {
    /// The start of the store in which the position was given.
    pub(crate) generation: u64,
    /// The last sequence told; of a reading of the current values: the sequence at which it began.
    pub(crate) position: u64,
    /// How far a reading of the current values has come.
    pub(crate) scan: Option<Box<Scanned>>,
}

/// The place of a reading of the current values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scanned {
    /// The storage key of the last path that was looked at.
    pub(crate) after: Vec<u8>,
    /// Values told so far.
    pub(crate) count: u64,
    /// Names the scopes that were read: others begin at other paths.
    pub(crate) scopes: u64,
}

const VERSION: u8 = 1;

/// Version, generation, position.
const LIVE_BYTES: usize = 1 + 8 + 8;

/// Also the scopes and the count; the key follows.
const SCAN_BYTES: usize = LIVE_BYTES + 8 + 8;

impl fmt::Display for FeedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(LIVE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        if let Some(scan) = &self.scan {
            bytes.extend_from_slice(&scan.scopes.to_be_bytes());
            bytes.extend_from_slice(&scan.count.to_be_bytes());
            bytes.extend_from_slice(&scan.after);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for FeedToken {
    type Err = Error;

    /// Reads what [`fmt::Display`] wrote.
    ///
    /// # Errors
    /// [`Error::BadFeedToken`] when it did not.
    fn from_str(text: &str) -> Result<FeedToken, Error> {
        if text.len() > (SCAN_BYTES + PATH_BYTES_MAX).div_ceil(3) * 4 {
            return Err(Error::BadFeedToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::BadFeedToken)?;
        let (Some(&VERSION), length) = (bytes.first(), bytes.len()) else { return Err(Error::BadFeedToken) };
        if length != LIVE_BYTES && length < SCAN_BYTES {
            return Err(Error::BadFeedToken);
        }
        let mut rest = &bytes[1..];
        let mut next = || {
            let (first, after) = rest.split_first_chunk::<8>().ok_or(Error::BadFeedToken)?;
            rest = after;
            Ok::<u64, Error>(u64::from_be_bytes(*first))
        };
        let (generation, position) = (next()?, next()?);
        let scan = match length {
            LIVE_BYTES => None,
            _ => {
                let (scopes, count) = (next()?, next()?);
                Some(Box::new(Scanned { after: rest.to_vec(), count, scopes }))
            }
        };
        Ok(FeedToken { generation, position, scan })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let live = FeedToken { generation: u64::MAX, position: 7, scan: None };
        let scan = |after: &[u8]| {
            let scanned = Scanned { after: after.to_vec(), count: 3, scopes: 9 };
            FeedToken { scan: Some(Box::new(scanned)), ..live.clone() }
        };
        for token in [live.clone(), scan(b""), scan(b"users\0alice"), scan(&[b'x'; PATH_BYTES_MAX])] {
            assert_eq!(token.to_string().parse::<FeedToken>().unwrap(), token);
        }
        assert_eq!(live.to_string().len(), 23, "short enough for a header and a URL");
    }

    #[test]
    fn other_text_is_refused() {
        let whole = FeedToken { generation: 1, position: 2, scan: None }.to_string();
        let long = "A".repeat(4_000);
        for text in ["", "0", "now", "AA", &whole[1..], &whole[..20], &format!("{whole}AAAA"), "é", &long] {
            assert!(matches!(text.parse::<FeedToken>(), Err(Error::BadFeedToken)), "{text}");
        }
    }
}
