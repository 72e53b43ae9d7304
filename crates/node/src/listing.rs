//! Listing paths as directories: values near by one by one, what lies deeper as one line a directory.
//!
//! A directory costs what is needed to see that it holds something, not what it holds: the walk steps over the rest.

use rejoin_replica::path::Path;

use crate::Error;
use crate::entry::Entry;
use crate::scan::{Rows, Scan, Step, value_bytes};
use crate::token::Token;

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A value.
    Value(Box<Entry>),
    /// Values lie below this path, which ends with a slash: a prefix to go on with.
    Directory(String),
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingPage {
    /// Values and directories, in path order; a value comes before the directory of its name.
    pub items: Vec<Listed>,
    /// Where the next page begins; see [`crate::Page::cursor`].
    pub cursor: Option<String>,
    /// Covers what the page shows: see [`crate::Scan::token`].
    pub token: Token,
}

impl Listed {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Listed::Value(entry) => {
                entry.path.as_str().len() + entry.value.as_ref().map_or(0, |value| value.as_str().len())
            }
            Listed::Directory(path) => path.len(),
        }
    }
}

/// A lazy listing; see [`Scan::listing`].
#[derive(Debug)]
pub struct Listing {
    rows: Rows,
    /// Segments of the longest path that is listed itself.
    segments: usize,
}

impl Listing {
    pub(crate) fn new(scan: Scan, depth: usize) -> Listing {
        let above = scan.prefix.as_ref().map_or(0, |prefix| prefix.as_str().matches('/').count());
        let refused = scan.filter.is_some().then_some(Error::FilterOfListing);
        Listing { rows: Rows::new(scan, refused), segments: above.saturating_add(depth.max(1)) }
    }

    pub(crate) fn step(&mut self) -> Option<Result<Step<Listed>, Error>> {
        let (path, record) = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let (at, bytes) = (path.as_str().to_owned(), value_bytes(&record));
        let directory = directory(&path, self.segments);
        let Some(entry) = self.rows.scan.shown(path, &record) else {
            return Some(Ok(Step { at, bytes, found: None }));
        };
        Some(Ok(match directory {
            None => Step { at, bytes, found: Some(Listed::Value(Box::new(entry))) },
            Some(directory) => {
                let key: Vec<u8> =
                    directory.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect();
                self.rows.skip_directory(&key);
                let at = directory + "/";
                Step { at: at.clone(), bytes, found: Some(Listed::Directory(at)) }
            }
        }))
    }

    /// Looks at one document: `Some(Ok(None))` when it adds nothing to the listing.
    pub fn examine(&mut self) -> Option<Result<Option<Listed>, Error>> {
        self.step().map(|step| step.map(|step| step.found))
    }
}

impl Iterator for Listing {
    type Item = Result<Listed, Error>;

    fn next(&mut self) -> Option<Result<Listed, Error>> {
        loop {
            if let Some(listed) = self.examine()?.transpose() {
                return Some(listed);
            }
        }
    }
}

/// The directory, without its slash, that stands for a path of more than that many segments.
fn directory(path: &Path, segments: usize) -> Option<String> {
    let end = path.as_str().match_indices('/').nth(segments.checked_sub(1)?)?.0;
    Some(path.as_str()[..end].to_owned())
}
