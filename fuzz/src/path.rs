//! Paths, prefixes, scopes and their encodings against a slow reading of the rules.

mod reference;

use rejoin_replica::path::{Path, PathError, Prefix, Scope};

use crate::bytes::Bytes;
use reference::Verdict;

/// The path parser: decoded text, percent-encoded text, storage keys; prefixes and scopes.
pub fn path(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mode = bytes.below(4);
    let raw = bytes.rest();
    // Two texts, so that pairs of paths are met as well.
    let (one, other) = match raw.iter().position(|&byte| byte == b'\n') {
        Some(at) if mode == 0 => (&raw[..at], &raw[at + 1..]),
        _ => (raw, &raw[..raw.len() / 2]),
    };
    if mode == 1 {
        agree("encoded", &Path::parse_encoded(raw), reference::encoded(raw));
        return;
    }
    if mode == 2 {
        let parsed = Path::from_key(raw);
        agree("key", &parsed, reference::key(raw));
        if let Ok(path) = parsed {
            assert_eq!(path.key(), raw, "a key has two paths");
        }
        return;
    }
    let (Ok(one), Ok(other)) = (std::str::from_utf8(one), std::str::from_utf8(other)) else { return };
    let path = Path::parse(one);
    agree("text", &path, reference::text(one));
    prefix(one, other);
    scope(one, other);
    let Ok(path) = path else { return };
    alone(&path, one);
    if let Ok(other) = Path::parse(other) {
        together(&path, &other);
    }
}

fn agree(what: &str, ours: &Result<Path, PathError>, theirs: Result<Vec<String>, Verdict>) {
    match (ours, theirs) {
        (Ok(path), Ok(segments)) => {
            assert_eq!(path.segments().collect::<Vec<_>>(), segments, "{what}: other segments");
        }
        (Err(error), Err(verdict)) => {
            assert_eq!(error.code(), verdict.code(), "{what}: {error}");
            assert!(!error.hint().is_empty());
            assert!(
                error.to_string().chars().all(|told| !told.is_control()),
                "{what}: {error:?} repeats controls"
            );
        }
        (ours, theirs) => panic!("{what}: {ours:?}, and the reference says {theirs:?}"),
    }
}

/// What holds of every path.
fn alone(path: &Path, text: &str) {
    assert_eq!(path.as_str(), text);
    assert_eq!(path.to_string(), text);
    assert_eq!(Path::from_key(&path.key()).as_ref(), Ok(path), "a path does not survive as key");
    let encoded = path.encoded();
    assert!(encoded.is_ascii());
    assert_eq!(Path::parse_encoded(&encoded).as_ref(), Ok(path), "a path does not survive a URL");
    let all: String =
        text.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect();
    assert_eq!(Path::parse_encoded(all).as_ref(), Ok(path), "a fully encoded path does not survive");
    let segments: Vec<&str> = path.segments().collect();
    match path.parent() {
        Some(parent) => {
            assert_eq!(parent.segments().collect::<Vec<_>>(), segments[..segments.len() - 1]);
            assert!(parent < *path, "a parent sorts behind its child");
        }
        None => assert_eq!(segments.len(), 1),
    }
}

/// What holds of every two.
fn together(one: &Path, other: &Path) {
    let (segments, others): (Vec<&str>, Vec<&str>) = (one.segments().collect(), other.segments().collect());
    assert_eq!(one.cmp(other), segments.cmp(&others), "order of {one} and {other}");
    assert_eq!(one.cmp(other), one.key().cmp(&other.key()), "order of the keys of {one} and {other}");
    assert_eq!(one.starts_with_segments(other), segments.starts_with(&others));
    let scope = Scope::from(one.clone());
    assert_eq!(scope.covers(other), segments.starts_with(&others) || others.starts_with(&segments));
}

fn prefix(text: &str, other: &str) {
    let prefix = Prefix::parse(text);
    assert_eq!(prefix.is_ok(), reference::is_prefix(text), "prefix {text:?}: {prefix:?}");
    let Ok(prefix) = prefix else { return };
    let (lower, upper) = prefix.key_range();
    for candidate in [other.to_owned(), format!("{text}{other}"), format!("{text}/{other}"), text.to_owned()]
    {
        let Ok(path) = Path::parse(&candidate) else { continue };
        let inside = path.key() >= lower && upper.as_ref().is_none_or(|upper| path.key() < *upper);
        assert_eq!(inside, candidate.starts_with(text), "{path} in the range of {prefix}");
        assert_eq!(prefix.matches(&path), inside);
    }
}

fn scope(text: &str, other: &str) {
    let scope = Scope::parse(text);
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    assert_eq!(
        scope.is_ok(),
        text.is_empty() || reference::text(trimmed).is_ok(),
        "scope {text:?}: {scope:?}"
    );
    let (Ok(scope), Ok(path)) = (scope, Path::parse(other)) else { return };
    if text.is_empty() {
        assert!(scope.covers(&path));
    }
}
