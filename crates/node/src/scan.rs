//! Reading a range of paths: in pages with a cursor, or as one lazy walk over a snapshot.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{Policy, Record};

use crate::clock::wall_ms;
use crate::config::{
    SCAN_EXAMINED_BYTES_MAX, SCAN_EXAMINED_MAX, SCAN_ITEMS_DEFAULT, SCAN_ITEMS_MAX, SCAN_PAGE_BYTES_MAX,
    SCAN_READ_AHEAD, SCAN_READ_AHEAD_BYTES,
};
use crate::entry::Entry;
use crate::listing::{Listed, Listing, ListingPage};
use crate::pins::Pinned;
use crate::token::{Applied, Token};
use crate::{Error, Filter, Projection};

/// A scan to be run: what to read and how. Deleted documents are left out.
#[derive(Clone, Debug)]
pub struct Scan {
    pin: Pinned,
    applied: Arc<Applied>,
    /// When the snapshot was taken: what had ended then is not shown.
    wall_ms: u64,
    pub(crate) policy: Arc<Policy>,
    pub(crate) prefix: Result<Prefix, rejoin_replica::path::PathError>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
    pub(crate) start: Option<Vec<u8>>,
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) filter: Option<Filter>,
    pub(crate) fields: Option<Projection>,
}

/// A page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The values, in path order.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` at the end. Valid on any node. A page that looked at 10,000 documents or at
    /// 32 MiB of values ends there, whatever it has found: only `None` means that nothing more will come.
    pub cursor: Option<String>,
    /// Covers what the page shows: see [`Scan::token`].
    pub token: Token,
}

impl Scan {
    pub(crate) fn new(
        pin: Pinned,
        applied: Arc<Applied>,
        policy: Arc<Policy>,
        prefix: Result<Prefix, rejoin_replica::path::PathError>,
    ) -> Scan {
        let limit = SCAN_ITEMS_DEFAULT;
        Scan {
            pin,
            applied,
            wall_ms: wall_ms(),
            policy,
            prefix,
            limit,
            cursor: None,
            reverse: false,
            keys_only: false,
            start: None,
            end: None,
            filter: None,
            fields: None,
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

    /// Only values that the filter matches.
    #[must_use]
    pub fn matching(mut self, filter: Filter) -> Scan {
        self.filter = Some(filter);
        self
    }

    /// Only these members of values. [`Entry::siblings`] have no values then.
    #[must_use]
    pub fn fields(mut self, fields: Projection) -> Scan {
        self.fields = Some(fields);
        self
    }

    /// One page.
    pub fn page(self) -> Result<Page, Error> {
        let (limit, token) = (self.limit, self.token());
        let weight = |entry: &Entry| {
            entry.path.as_str().len() + entry.value.as_ref().map_or(0, |value| value.as_str().len())
        };
        let mut entries = self.entries();
        let (entries, cursor) = page(limit, weight, || entries.step())?;
        Ok(Page { entries, cursor, token })
    }

    /// One page of a directory listing: of what is at most `depth` segments below the directory that the prefix is in,
    /// values one by one, and what is deeper as directories. A filter has no effect on directories.
    pub fn list(self, depth: usize) -> Result<ListingPage, Error> {
        let (limit, token) = (self.limit, self.token());
        let mut listing = self.listing(depth);
        let (items, cursor) = page(limit, Listed::weight, || listing.step())?;
        Ok(ListingPage { items, cursor, token })
    }

    /// A whole directory listing, read lazily from one snapshot, whatever the limit; see [`Scan::list`].
    pub fn listing(self, depth: usize) -> Listing {
        Listing::new(self, depth)
    }

    /// How many values there are. Reads them all.
    pub fn count(self) -> Result<u64, Error> {
        self.keys_only(true).entries().try_fold(0, |count, entry| entry.map(|_| count + 1))
    }

    /// Every value, read lazily, whatever the limit: all of one moment, unless the walk takes more than a minute. Then
    /// what is read after that is of a later moment; each path is still told at most once, in order. A walk over a whole store takes seconds: give
    /// it a thread that may block.
    pub fn entries(self) -> Entries {
        Entries { rows: Rows::new(self, None) }
    }

    /// The keys that are left to read, `lower..upper`. A cursor of a listing may name a directory, by a slash at its end.
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
            let (path, directory) = match text.strip_suffix('/') {
                Some(path) => (path, true),
                None => (text.as_str(), false),
            };
            let last = Path::parse(path).map_err(|_| Error::BadCursor)?.key();
            let (before, after) = match directory {
                true => (directory_first(&last), directory_end(&last)),
                false => (last.clone(), [last.as_slice(), &[0]].concat()),
            };
            if self.reverse {
                upper = Some(upper.map_or(before.clone(), |upper| upper.min(before)));
            } else {
                lower = lower.max(after);
            }
        }
        Ok((lower, upper))
    }

    /// What a reader of this scan sees of a record; nothing when it is deleted or the filter does not match.
    pub(crate) fn shown(&self, path: Path, record: &Record) -> Option<Entry> {
        let mut entry = Entry::of(&self.policy, path, &record.document, self.wall_ms)?;
        let value = entry.value.as_ref()?;
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(value)) {
            return None;
        }
        if self.keys_only {
            entry.value = None;
        } else if let Some(fields) = &self.fields {
            entry.value = Some(fields.of(value));
        }
        if self.keys_only || self.fields.is_some() {
            entry.siblings.iter_mut().for_each(|sibling| sibling.value = None);
        }
        Some(entry)
    }
}

/// The key below everything in a directory, and above the document of its name.
pub(crate) fn directory_first(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The key above everything in a directory: paths have no control characters.
pub(crate) fn directory_end(key: &[u8]) -> Vec<u8> {
    [key, &[1]].concat()
}

/// One document that a walk looked at.
pub(crate) struct Step<T> {
    /// Where the walk is now: a path, or a directory with a slash at its end.
    pub(crate) at: String,
    /// Bytes of values that it read for this.
    pub(crate) bytes: usize,
    /// What a reader gets.
    pub(crate) found: Option<T>,
}

/// Takes what one page may hold from a walk, and the cursor of the next.
fn page<T>(
    limit: usize,
    weight: impl Fn(&T) -> usize,
    mut step: impl FnMut() -> Option<Result<Step<T>, Error>>,
) -> Result<(Vec<T>, Option<String>), Error> {
    let (mut items, mut bytes, mut examined, mut examined_bytes) = (Vec::new(), 0, 0, 0);
    let mut before: Option<String> = None;
    while let Some(next) = step() {
        let Step { at, bytes: read, found } = next?;
        examined += 1;
        examined_bytes += read;
        let spent = examined > SCAN_EXAMINED_MAX || examined_bytes > SCAN_EXAMINED_BYTES_MAX;
        bytes += found.as_ref().map_or(0, &weight);
        let full = items.len() == limit || (bytes > SCAN_PAGE_BYTES_MAX && !items.is_empty());
        if let Some(before) = before.filter(|_| spent || (full && found.is_some())) {
            return Ok((items, Some(URL_SAFE_NO_PAD.encode(before))));
        }
        items.extend(found);
        before = Some(at);
    }
    Ok((items, None))
}

/// The records of a scan, read ahead a little.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) scan: Scan,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    read: std::collections::VecDeque<(Path, Record)>,
    error: Option<Error>,
    ended: bool,
}

impl Rows {
    pub(crate) fn new(scan: Scan, error: Option<Error>) -> Rows {
        let (lower, upper, error) = match (scan.range(), error) {
            (Ok((lower, upper)), None) => (lower, upper, None),
            (Err(error), _) | (_, Some(error)) => (Vec::new(), Some(Vec::new()), Some(error)),
        };
        let ended = upper.as_ref().is_some_and(|upper| *upper <= lower) && error.is_none();
        Rows { scan, lower, upper, read: std::collections::VecDeque::new(), error, ended }
    }

    /// Reads on; leaves the range that is left.
    fn fill(&mut self) -> Result<(), Error> {
        let (snapshot, is_other) = self.scan.pin.get()?;
        if is_other {
            self.scan.wall_ms = wall_ms();
        }
        let rows = snapshot.documents(&self.lower, self.upper.as_deref());
        let rows: &mut dyn Iterator<Item = _> =
            if self.scan.reverse { &mut rows.rev() } else { &mut rows.into_iter() };
        let mut bytes = 0;
        self.ended = true;
        for row in rows {
            let (path, record) = row?;
            bytes += value_bytes(&record);
            let last = path.key();
            self.read.push_back((path, record));
            if self.read.len() == SCAN_READ_AHEAD || bytes >= SCAN_READ_AHEAD_BYTES {
                match self.scan.reverse {
                    true => self.upper = Some(last),
                    false => self.lower = [last.as_slice(), &[0]].concat(),
                }
                self.ended = false;
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<Result<(Path, Record), Error>> {
        loop {
            if let Some(error) = self.error.take() {
                self.ended = true;
                return Some(Err(error));
            }
            if let Some(row) = self.read.pop_front() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill() {
                self.error = Some(error);
            }
        }
    }

    /// Goes on behind the directory of that key, in the direction of the scan.
    pub(crate) fn skip_directory(&mut self, key: &[u8]) {
        let (first, end) = (directory_first(key), directory_end(key));
        self.read.retain(|(path, _)| {
            let at = path.key();
            at < first || at >= end
        });
        match self.scan.reverse {
            true => self.upper = Some(self.upper.take().map_or(first.clone(), |upper| upper.min(first))),
            false => self.lower = std::mem::take(&mut self.lower).max(end),
        }
        self.ended |= self.upper.as_ref().is_some_and(|upper| *upper <= self.lower);
    }
}

/// Bytes of values in a record.
pub(crate) fn value_bytes(record: &Record) -> usize {
    record.document.versions().iter().map(|version| version.body.weight()).sum()
}

/// A lazy walk; see [`Scan::entries`].
#[derive(Debug)]
pub struct Entries {
    rows: Rows,
}

impl Entries {
    pub(crate) fn step(&mut self) -> Option<Result<Step<Entry>, Error>> {
        Some(self.rows.next()?.map(|(path, record)| {
            let (at, bytes) = (path.as_str().to_owned(), value_bytes(&record));
            Step { at, bytes, found: self.rows.scan.shown(path, &record) }
        }))
    }

    /// Looks at one document: `Some(Ok(None))` when a reader gets nothing of it. For a walk that must be interruptible
    /// although it may find little.
    pub fn examine(&mut self) -> Option<Result<Option<Entry>, Error>> {
        self.step().map(|step| step.map(|step| step.found))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Result<Entry, Error>> {
        loop {
            if let Some(entry) = self.examine()?.transpose() {
                return Some(entry);
            }
        }
    }
}

/// A bound on path text as a bound on keys.
fn bound(path: &str) -> Vec<u8> {
    path.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect()
}
