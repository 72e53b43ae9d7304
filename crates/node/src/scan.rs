//! Reading a range of paths: in pages with a cursor, or as one lazy walk over a snapshot.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_replica::Policy;
use rejoin_replica::path::{Path, Prefix};
use rejoin_store::{Snapshot, StoreError};

use crate::Error;
use crate::config::{SCAN_ITEMS_DEFAULT, SCAN_ITEMS_MAX, SCAN_PAGE_BYTES_MAX};
use crate::engine::NodeSnapshot;
use crate::entry::Entry;
use crate::token::{Applied, Token};

/// A scan to be run: what to read and how. Deleted documents are left out.
#[derive(Clone, Debug)]
pub struct Scan {
    pub(crate) snapshot: Snapshot<NodeSnapshot>,
    applied: Arc<Applied>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) prefix: Result<Prefix, rejoin_replica::path::PathError>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) end: Option<Vec<u8>>,
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The values, in path order.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` at the end. Valid on any node.
    pub cursor: Option<String>,
    /// Covers what the page shows: see [`Scan::token`].
    pub token: Token,
}

impl Scan {
    pub(crate) fn new(
        snapshot: Snapshot<NodeSnapshot>,
        applied: Arc<Applied>,
        policy: Arc<Policy>,
        prefix: Result<Prefix, rejoin_replica::path::PathError>,
    ) -> Scan {
        let limit = SCAN_ITEMS_DEFAULT;
        let (cursor, start, end) = (None, None, None);
        Scan {
            snapshot,
            applied,
            policy,
            prefix,
            limit,
            cursor,
            reverse: false,
            keys_only: false,
            start,
            end,
        }
    }

    /// At most this many items in a page; 100 unless said, 1,000 at most.
    #[must_use]
    pub fn limit(mut self, items: usize) -> Scan {
        self.limit = items.clamp(1, SCAN_ITEMS_MAX);
        self
    }

    /// Go on where another page ended.
    #[must_use]
    pub fn cursor(mut self, cursor: &str) -> Scan {
        self.cursor = Some(cursor.to_string());
        self
    }

    /// From the last path to the first.
    #[must_use]
    pub fn reverse(mut self, reverse: bool) -> Scan {
        self.reverse = reverse;
        self
    }

    /// Leave the values out: entries carry `None` for a value that is there.
    #[must_use]
    pub fn keys_only(mut self, keys_only: bool) -> Scan {
        self.keys_only = keys_only;
        self
    }

    /// Only paths at or after this one in path order.
    #[must_use]
    pub fn start(mut self, path: &str) -> Scan {
        self.start = Some(bound(path));
        self
    }

    /// Only paths before this one in path order.
    #[must_use]
    pub fn end(mut self, path: &str) -> Scan {
        self.end = Some(bound(path));
        self
    }

    /// Names everything that the node had applied when the scan's snapshot was taken, and so all that it shows.
    pub fn token(&self) -> Token {
        self.applied.token()
    }

    /// One page.
    pub fn page(self) -> Result<Page, Error> {
        let (limit, token, mut bytes) = (self.limit, self.token(), 0);
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.entries() {
            let entry = entry?;
            bytes += entry.path.as_str().len() + entry.value.as_ref().map_or(0, |value| value.as_str().len());
            if entries.len() == limit || (bytes > SCAN_PAGE_BYTES_MAX && !entries.is_empty()) {
                let cursor = entries.last().map(|last| URL_SAFE_NO_PAD.encode(last.path.as_str()));
                return Ok(Page { entries, cursor, token });
            }
            entries.push(entry);
        }
        Ok(Page { entries, cursor: None, token })
    }

    /// How many values there are. Reads them all.
    pub fn count(self) -> Result<u64, Error> {
        self.keys_only(true).entries().try_fold(0, |count, entry| entry.map(|_| count + 1))
    }

    /// Every value, read lazily from one snapshot, whatever the limit. A walk over a whole store takes seconds: give
    /// it a thread that may block.
    pub fn entries(self) -> Entries {
        let range = self.range();
        let (lower, upper, error) = match range {
            Ok((lower, upper)) => (lower, upper, None),
            Err(error) => (Vec::new(), Some(Vec::new()), Some(error)),
        };
        Entries { scan: self, lower, upper, read: Vec::new().into_iter(), error, ended: false }
    }

    /// The keys that are left to read, `lower..upper`.
    fn range(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
        let (mut lower, mut upper) = self.prefix.clone()?.key_range();
        if let Some(start) = &self.start {
            lower = lower.max(start.clone());
        }
        if let Some(end) = &self.end {
            upper = Some(upper.map_or(end.clone(), |upper| upper.min(end.clone())));
        }
        if let Some(cursor) = &self.cursor {
            let text = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::BadCursor)?;
            let text = String::from_utf8(text).map_err(|_| Error::BadCursor)?;
            let last = Path::parse(&text).map_err(|_| Error::BadCursor)?.key();
            if self.reverse {
                upper = Some(upper.map_or(last.clone(), |upper| upper.min(last)));
            } else {
                lower = lower.max([last.as_slice(), &[0]].concat());
            }
        }
        Ok((lower, upper))
    }
}

/// Records read at a time by a walk.
const RECORDS_PER_READ: usize = 256;

/// A lazy walk; see [`Scan::entries`].
#[derive(Debug)]
pub struct Entries {
    scan: Scan,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    read: std::vec::IntoIter<Entry>,
    error: Option<Error>,
    ended: bool,
}

impl Entries {
    /// Reads on; leaves the range that is left.
    fn fill(&mut self) -> Result<(), StoreError> {
        let rows = self.scan.snapshot.documents(&self.lower, self.upper.as_deref());
        let page: Vec<_> = match self.scan.reverse {
            false => rows.take(RECORDS_PER_READ).collect::<Result<_, _>>()?,
            true => rows.rev().take(RECORDS_PER_READ).collect::<Result<_, _>>()?,
        };
        match page.last() {
            Some((last, _)) if page.len() == RECORDS_PER_READ && self.scan.reverse => {
                self.upper = Some(last.key());
            }
            Some((last, _)) if page.len() == RECORDS_PER_READ => self.lower = [&*last.key(), &[0]].concat(),
            _ => self.ended = true,
        }
        let policy = &self.scan.policy;
        let keys_only = self.scan.keys_only;
        let entries = page.into_iter().filter_map(|(path, record)| {
            let mut entry = Entry::of(policy, path, &record.document)?;
            entry.value.as_ref()?;
            if keys_only {
                entry.value = None;
                entry.siblings.iter_mut().for_each(|sibling| sibling.value = None);
            }
            Some(entry)
        });
        self.read = entries.collect::<Vec<_>>().into_iter();
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        if let Some(error) = self.error.take() {
            self.ended = true;
            return Some(Err(error));
        }
        loop {
            if let Some(entry) = self.read.next() {
                return Some(Ok(entry));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.ended = true;
                return Some(Err(error.into()));
            }
        }
    }
}

/// A bound on path text as a bound on keys.
fn bound(path: &str) -> Vec<u8> {
    path.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect()
}
