//! Document paths, scan prefixes and subscription scopes: text that has been checked once and carries the proof.
//!
//! This module owns every rule of a legal path, its percent-encoding and its storage key. All edges (REST, links,
//! import, the embedded APIs) parse through it, so they cannot disagree. It never touches storage.
//!
//! Paths sort as their keys do: segments joined by 0x00, a byte no path contains. A parent therefore sorts directly
//! before its subtree, and `a/b` before `a!`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

/// Greatest length of a whole path, in bytes of decoded text: keys stay small beside values, and URLs within what
/// proxies pass.
pub const PATH_BYTES_MAX: usize = 2_048;

/// Greatest length of one segment, in bytes of decoded text: room for any name or address, none for a document.
pub const SEGMENT_BYTES_MAX: usize = 512;

/// Greatest number of segments in a path: bounds every walk over a path's ancestors.
pub const SEGMENTS_MAX: usize = 64;

/// First segments that name routes of the HTTP API; any that starts with `_` is reserved as well.
pub const RESERVED_FIRST_SEGMENTS: [&str; 3] = ["scan", "history", "status"];

/// Length of the longest percent-encoding of one byte: bounds the work on a request target before it is decoded.
const ENCODED_BYTE_BYTES_MAX: usize = 3;

/// Bytes of two paths that are compared at once, where they begin alike: a register's.
const ALIKE_BYTES: usize = 8;

/// The legal path of a document. Cheap to clone; sorts in storage order.
///
/// Invariant: `1..=SEGMENTS_MAX` legal segments joined by `/`, at most `PATH_BYTES_MAX` bytes, first one not reserved.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// Checks a path in decoded text, segments separated by `/`. A `%` is an ordinary character here.
    ///
    /// # Errors
    /// Says which segment breaks which rule.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        check_length(text)?;
        check_whole_segments(text)?;
        match text.split('/').next() {
            Some(first) if is_reserved(first) => Err(PathError::Reserved { name: first.into() }),
            _ => Ok(Self(Arc::from(text))),
        }
    }

    /// Decodes the percent-encoding of a raw request target once, then checks as [`Path::parse`] does.
    ///
    /// # Errors
    /// Also refuses a stray `%`, an encoded `/` and bytes that are not UTF-8.
    pub fn parse_encoded(raw: impl AsRef<[u8]>) -> Result<Self, PathError> {
        Self::parse(&decode(raw.as_ref())?)
    }

    /// The path whose storage key this is: the inverse of [`Path::key`].
    ///
    /// # Errors
    /// Refuses a key that no path has.
    pub fn from_key(key: &[u8]) -> Result<Self, PathError> {
        if key.is_empty() {
            return Err(PathError::Empty);
        }
        if key.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let mut text = String::with_capacity(key.len());
        for (number, segment) in (1..).zip(key.split(|&byte| byte == 0)) {
            push_segment(&mut text, segment, number)?;
        }
        Self::parse(&text)
    }

    /// The storage key: segments joined by 0x00. Keys compare as paths do.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.0.len());
        self.put_key(&mut key);
        key
    }

    /// Appends the storage key.
    pub fn put_key(&self, out: &mut Vec<u8>) {
        out.extend(self.0.bytes().map(key_byte));
    }

    /// Whether its storage key is less than `key`, which may be any bytes.
    pub(crate) fn is_below(&self, key: &[u8]) -> bool {
        self.0.bytes().map(key_byte).lt(key.iter().copied())
    }

    /// The decoded text, segments joined by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, first to last; there is at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether the first segments of this path are those of `prefix`; true for the path itself.
    pub fn starts_with_segments(&self, prefix: &Path) -> bool {
        self.0.strip_prefix(&*prefix.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path without its last segment, if one remains.
    pub fn parent(&self) -> Option<Path> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(Arc::from(parent)))
    }

    /// The percent-encoded form for a URL. [`Path::parse_encoded`] gives the same path back.
    pub fn encoded(&self) -> String {
        encode(&self.0)
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        // Batches are maps by path, whose paths begin alike: only the first byte that differs is looked at as a key's.
        let (ours, theirs) = (self.0.as_bytes(), other.0.as_bytes());
        let alike = ours.chunks_exact(ALIKE_BYTES).zip(theirs.chunks_exact(ALIKE_BYTES));
        let from = alike.take_while(|(ours, theirs)| ours == theirs).count() * ALIKE_BYTES;
        let (ours, theirs) = (&ours[from..], &theirs[from..]);
        match ours.iter().zip(theirs).find(|(ours, theirs)| ours != theirs) {
            Some((ours, theirs)) => key_byte(*ours).cmp(&key_byte(*theirs)),
            None => ours.len().cmp(&theirs.len()),
        }
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({:?})", self.as_str())
    }
}

/// The beginning of paths to scan: a byte prefix of their text, so `users/al` finds `users/alice`, `users/` a subtree
/// and the empty prefix everything.
///
/// Invariant: legal segments, each closed by `/` except perhaps the last, which may be any beginning of a segment.
/// Reserved names are allowed: `scan` begins `scanner`, and `scan/` truthfully finds nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// Checks a prefix in decoded text.
    ///
    /// # Errors
    /// Says which segment breaks which rule.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        check_length(text)?;
        let (closed, open) = match text.rsplit_once('/') {
            Some((closed, open)) => (check_whole_segments(closed)?, open),
            None => (0, text),
        };
        if !open.is_empty() {
            check_segment_text(open, closed + 1)?;
        }
        Ok(Self(Arc::from(text)))
    }

    /// Decodes the percent-encoding of a raw request target once, then checks as [`Prefix::parse`] does.
    ///
    /// # Errors
    /// Also refuses a stray `%`, an encoded `/` and bytes that are not UTF-8.
    pub fn parse_encoded(raw: impl AsRef<[u8]>) -> Result<Self, PathError> {
        Self::parse(&decode(raw.as_ref())?)
    }

    /// The decoded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` begins with this prefix.
    pub fn matches(&self, path: &Path) -> bool {
        path.0.starts_with(&*self.0)
    }

    /// The storage keys of exactly the matching paths: from the first, inclusive, to the second, exclusive; without a
    /// second, to the end.
    ///
    /// One range is enough because text and key differ only in the separator byte, each absent from segments.
    pub fn key_range(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let lower: Vec<u8> = self.0.bytes().map(key_byte).collect();
        let mut upper = lower.clone();
        // 0xFF occurs nowhere in UTF-8, so the last byte always has a successor.
        let successor = upper.last().and_then(|last| last.checked_add(1));
        match (upper.last_mut(), successor) {
            (Some(last), Some(successor)) => *last = successor,
            _ => return (lower, None),
        }
        (lower, Some(upper))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({:?})", self.as_str())
    }
}

/// What a subscription listens to: a path with everything below it and its ancestors, or everything.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Option<Path>);

impl Scope {
    /// The scope of every path.
    pub fn everything() -> Self {
        Self(None)
    }

    /// Checks a scope in decoded text: empty for everything, else a path; one `/` after it is tolerated.
    ///
    /// # Errors
    /// As [`Path::parse`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match text.strip_suffix('/').unwrap_or(text) {
            "" if text.is_empty() => Ok(Self::everything()),
            "" => Err(PathError::EmptySegment { segment: 1 }),
            path => Path::parse(path).map(|path| Self(Some(path))),
        }
    }

    /// The path listened to; none for everything.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_ref()
    }

    /// Whether a change of `path` concerns this scope: it is the path itself, one below it or one of its ancestors.
    pub fn covers(&self, path: &Path) -> bool {
        self.0.as_ref().is_none_or(|own| path.starts_with_segments(own) || own.starts_with_segments(path))
    }
}

impl From<Path> for Scope {
    fn from(path: Path) -> Self {
        Self(Some(path))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("", Path::as_str))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", self.0.as_ref().map_or("", Path::as_str))
    }
}

/// Why a path, prefix or scope was refused. The caller who sent it must act; nothing was changed.
///
/// Segments are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The path has no segment.
    Empty,
    /// The decoded text is longer than [`PATH_BYTES_MAX`].
    TooLong,
    /// There are more than [`SEGMENTS_MAX`] segments.
    TooManySegments,
    /// A segment is empty: a `/` at the beginning or the end, or two in a row.
    EmptySegment {
        /// Number of the segment.
        segment: usize,
    },
    /// A segment is longer than [`SEGMENT_BYTES_MAX`].
    SegmentTooLong {
        /// Number of the segment.
        segment: usize,
    },
    /// A segment is `.` or `..`, which clients and proxies resolve on their own.
    DotSegment {
        /// Number of the segment.
        segment: usize,
    },
    /// A segment contains a control character (C0, DEL or C1).
    ControlCharacter {
        /// Number of the segment.
        segment: usize,
        /// The character.
        character: char,
    },
    /// The bytes of a segment are not UTF-8.
    NotUtf8 {
        /// Number of the segment.
        segment: usize,
    },
    /// A `%` is not followed by two hexadecimal digits.
    StrayPercent {
        /// Number of the segment.
        segment: usize,
    },
    /// A segment contains a `/` once decoded.
    SlashInSegment {
        /// Number of the segment.
        segment: usize,
    },
    /// The first segment belongs to the API.
    Reserved {
        /// The first segment.
        name: String,
    },
}

impl PathError {
    /// The code of the public error: `reserved_path` or `invalid_path`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reserved { .. } => "reserved_path",
            _ => "invalid_path",
        }
    }

    /// What the caller can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "Name a document, for example `users/alice`.",
            Self::TooLong | Self::SegmentTooLong { .. } => "Shorten it, and keep long text in the value.",
            Self::TooManySegments => "Join some of the levels into one segment.",
            Self::EmptySegment { .. } => {
                "Write exactly one `/` between segments, none at the beginning or end."
            }
            Self::DotSegment { .. } => "Write the full path; `.` and `..` are not resolved.",
            Self::ControlCharacter { .. } => "Remove the control character.",
            Self::NotUtf8 { .. } => "Encode the path as UTF-8 before percent-encoding it.",
            Self::StrayPercent { .. } => "Write a literal `%` as `%25`.",
            Self::SlashInSegment { .. } => "Use another character; `/` only separates segments.",
            Self::Reserved { .. } => {
                "Choose a first segment other than `scan`, `history`, `status`, and without a leading `_`."
            }
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "The path is empty."),
            Self::TooLong => write!(f, "The path is longer than {PATH_BYTES_MAX} bytes."),
            Self::TooManySegments => write!(f, "The path has more than {SEGMENTS_MAX} segments."),
            Self::EmptySegment { segment } => write!(f, "Segment {segment} of the path is empty."),
            Self::SegmentTooLong { segment } => {
                write!(f, "Segment {segment} of the path is longer than {SEGMENT_BYTES_MAX} bytes.")
            }
            Self::DotSegment { segment } => write!(f, "Segment {segment} of the path is `.` or `..`."),
            Self::ControlCharacter { segment, character } => write!(
                f,
                "Segment {segment} of the path contains the control character U+{:04X}.",
                u32::from(*character)
            ),
            Self::NotUtf8 { segment } => write!(f, "Segment {segment} of the path is not valid UTF-8."),
            Self::StrayPercent { segment } => write!(
                f,
                "Segment {segment} of the path has a `%` that two hexadecimal digits do not follow."
            ),
            Self::SlashInSegment { segment } => {
                write!(f, "Segment {segment} of the path contains a `/`.")
            }
            Self::Reserved { name } => write!(f, "Segment 1 of the path, `{name}`, is reserved for the API."),
        }
    }
}

impl core::error::Error for PathError {}

fn check_length(text: &str) -> Result<(), PathError> {
    if text.len() > PATH_BYTES_MAX { Err(PathError::TooLong) } else { Ok(()) }
}

/// Checks text made of whole segments only and says how many there are.
fn check_whole_segments(text: &str) -> Result<usize, PathError> {
    let mut count = 0;
    for segment in text.split('/') {
        count += 1;
        check_segment_text(segment, count)?;
        match segment {
            "" => return Err(PathError::EmptySegment { segment: count }),
            "." | ".." => return Err(PathError::DotSegment { segment: count }),
            _ => {}
        }
    }
    Ok(count)
}

/// Checks what a whole segment and the beginning of one have in common.
fn check_segment_text(text: &str, number: usize) -> Result<(), PathError> {
    if number > SEGMENTS_MAX {
        return Err(PathError::TooManySegments);
    }
    if text.len() > SEGMENT_BYTES_MAX {
        return Err(PathError::SegmentTooLong { segment: number });
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(PathError::ControlCharacter { segment: number, character }),
        None => Ok(()),
    }
}

fn is_reserved(first_segment: &str) -> bool {
    first_segment.starts_with('_') || RESERVED_FIRST_SEGMENTS.contains(&first_segment)
}

/// Maps the separator of text to that of keys. Invariant: a checked path contains no 0x00, so this loses nothing.
fn key_byte(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// Appends one segment given as bytes, behind a `/` unless it is the first.
fn push_segment(text: &mut String, segment: &[u8], number: usize) -> Result<(), PathError> {
    let segment = core::str::from_utf8(segment).map_err(|_| PathError::NotUtf8 { segment: number })?;
    if segment.contains('/') {
        return Err(PathError::SlashInSegment { segment: number });
    }
    if number > 1 {
        text.push('/');
    }
    text.push_str(segment);
    Ok(())
}

fn decode(raw: &[u8]) -> Result<String, PathError> {
    if raw.len() > PATH_BYTES_MAX * ENCODED_BYTE_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let mut text = String::with_capacity(raw.len());
    let mut segment = Vec::new();
    for (number, encoded) in (1..).zip(raw.split(|&byte| byte == b'/')) {
        segment.clear();
        let mut bytes = encoded.iter().copied();
        while let Some(byte) = bytes.next() {
            segment.push(match byte {
                b'%' => decode_pair(bytes.next(), bytes.next())
                    .ok_or(PathError::StrayPercent { segment: number })?,
                plain => plain,
            });
        }
        push_segment(&mut text, &segment, number)?;
    }
    Ok(text)
}

fn decode_pair(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    Some(hex_value(high?)? << 4 | hex_value(low?)?)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Encodes all but `/` and what every URL parser leaves alone: the unreserved characters of RFC 3986, `@` and `:`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' | b':' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push(hex_digit(byte >> 4));
                encoded.push(hex_digit(byte & 0x0F));
            }
        }
    }
    encoded
}

fn hex_digit(value: u8) -> char {
    char::from(if value < 10 { b'0' + value } else { b'A' + value - 10 })
}
