//! What one subscription listens to: one or several scopes, and the rows of the store that they mean.

use rejoin_replica::path::{Path, Scope};
use xxhash_rust::xxh3::Xxh3;

/// The scopes of one subscription.
///
/// Invariant: sorted, and none lies within another; everything stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scopes(Vec<Scope>);

/// A run of storage keys: from the first, up to the second; without a second, to the end.
pub(crate) type KeyRange = (Vec<u8>, Option<Vec<u8>>);

impl Scopes {
    /// The union of these; everything when there are none.
    pub(crate) fn new(scopes: impl IntoIterator<Item = Scope>) -> Scopes {
        let mut paths: Vec<Path> = Vec::new();
        for scope in scopes {
            match scope.path() {
                Some(path) => paths.push(path.clone()),
                None => return Scopes(vec![Scope::everything()]),
            }
        }
        // A path sorts before all below it, with nothing else between them.
        paths.sort();
        let mut outer: Vec<Path> = Vec::with_capacity(paths.len());
        for path in paths {
            if !outer.last().is_some_and(|last| path.starts_with_segments(last)) {
                outer.push(path);
            }
        }
        match outer.is_empty() {
            true => Scopes(vec![Scope::everything()]),
            false => Scopes(outer.into_iter().map(Scope::from).collect()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether a change of `path` concerns one of them.
    pub(crate) fn cover(&self, path: &Path) -> bool {
        self.0.iter().any(|scope| scope.covers(path))
    }

    /// The keys of all paths that they cover, in order, none twice.
    pub(crate) fn key_ranges(&self) -> Vec<KeyRange> {
        let mut ranges = Vec::new();
        for scope in &self.0 {
            let Some(path) = scope.path() else { return vec![(Vec::new(), None)] };
            // The separator in keys is 0x00, and nothing below 0x20 is legal in a segment.
            let key = path.key();
            let after_subtree = [key.as_slice(), &[1]].concat();
            ranges.push((key, Some(after_subtree)));
            let mut ancestor = path.parent();
            while let Some(path) = ancestor {
                let key = path.key();
                let just_after = [key.as_slice(), &[0]].concat();
                ranges.push((key, Some(just_after)));
                ancestor = path.parent();
            }
        }
        ranges.sort();
        ranges.dedup();
        ranges
    }

    /// A number that stands for these scopes.
    pub(crate) fn name(&self) -> u64 {
        let mut hash = Xxh3::new();
        for scope in &self.0 {
            hash.update(scope.path().map_or("", Path::as_str).as_bytes());
            hash.update(&[0]);
        }
        hash.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes::new(texts.iter().map(|text| Scope::parse(text).unwrap()))
    }

    #[test]
    fn what_lies_within_another_is_left_out() {
        let shown = |texts: &[&str]| scopes(texts).iter().map(Scope::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&["b", "a/b/", "a", "a!", "b/c", "b"]), ["a", "a!", "b"]);
        assert_eq!(shown(&["a", ""]), [""]);
        assert_eq!(shown(&[]), [""]);
        assert_eq!(scopes(&["a", "b"]).name(), scopes(&["b", "a", "a/x"]).name());
        assert_ne!(scopes(&["a", "b"]).name(), scopes(&["a"]).name());
        assert_ne!(scopes(&["a/b"]).name(), scopes(&["a", "b"]).name());
    }

    #[test]
    fn key_ranges_hold_exactly_what_is_covered() {
        let paths = ["a", "a/b", "a/b/c", "a/b/c/d", "a/bb", "a!", "b", "b/c", "c", "ab/c", "a/b!"];
        for texts in [&["a/b"][..], &["a"], &[""], &["a/b", "b/c", "a/bb"], &["b", "a/b/c/d"], &["zz"]] {
            let scopes = scopes(texts);
            let ranges = scopes.key_ranges();
            for path in paths {
                let path = Path::parse(path).unwrap();
                let key = path.key();
                let within = ranges.iter().filter(|(lower, upper)| {
                    *lower <= key && upper.as_ref().is_none_or(|upper| key < *upper)
                });
                assert_eq!(within.count(), usize::from(scopes.cover(&path)), "{path} in {texts:?}");
            }
        }
    }
}
