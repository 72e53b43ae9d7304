//! Subscriptions by the path they listen to: a tree over path segments.
//!
//! A change of a path concerns those who listen to the path itself, to one of its ancestors, or to something below it.
//! The first two lie on the way from the root, the last in one subtree: finding them takes as many steps as the path
//! has segments, and one per match.

use std::collections::{BTreeMap, HashMap};

use rejoin_replica::path::{Path, Scope};

/// Values by scope. One value may stand under several scopes.
#[derive(Debug)]
pub(crate) struct Index<T> {
    root: Branch<T>,
}

/// Invariant: only the root may be empty.
#[derive(Debug)]
struct Branch<T> {
    here: BTreeMap<u64, T>,
    below: HashMap<Box<str>, Branch<T>>,
}

impl<T> Branch<T> {
    fn new() -> Branch<T> {
        Branch { here: BTreeMap::new(), below: HashMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }

    fn visit_all(&self, visit: &mut impl FnMut(&T)) {
        self.here.values().for_each(&mut *visit);
        // As deep as a path has segments at most.
        self.below.values().for_each(|branch| branch.visit_all(visit));
    }

    fn remove<'a>(&mut self, mut segments: impl Iterator<Item = &'a str>, id: u64) {
        let Some(segment) = segments.next() else {
            self.here.remove(&id);
            return;
        };
        if let Some(branch) = self.below.get_mut(segment) {
            branch.remove(segments, id);
            if branch.is_empty() {
                self.below.remove(segment);
            }
        }
    }
}

impl<T> Index<T> {
    pub(crate) fn new() -> Index<T> {
        Index { root: Branch::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    pub(crate) fn insert(&mut self, scope: &Scope, id: u64, value: T) {
        let mut branch = &mut self.root;
        for segment in scope.path().into_iter().flat_map(Path::segments) {
            branch = branch.below.entry(segment.into()).or_insert_with(Branch::new);
        }
        branch.here.insert(id, value);
    }

    pub(crate) fn remove(&mut self, scope: &Scope, id: u64) {
        self.root.remove(scope.path().into_iter().flat_map(Path::segments), id);
    }

    /// Visits every value whose scope covers `path`; one under several scopes may be visited several times.
    pub(crate) fn visit_covering(&self, path: &Path, visit: &mut impl FnMut(&T)) {
        let mut branch = &self.root;
        branch.here.values().for_each(&mut *visit);
        for segment in path.segments() {
            let Some(next) = branch.below.get(segment) else { return };
            branch = next;
            branch.here.values().for_each(&mut *visit);
        }
        branch.below.values().for_each(|branch| branch.visit_all(visit));
    }

    /// Visits every value.
    pub(crate) fn visit_all(&self, visit: &mut impl FnMut(&T)) {
        self.root.visit_all(visit);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_finds_whom_a_look_at_everybody_finds() {
        let scopes: Vec<Scope> = ["", "a", "a/b", "a/b/c", "a/c", "ab", "b/a", "a/b", "a/b/c/d/e"]
            .iter()
            .map(|text| Scope::parse(text).unwrap())
            .collect();
        let mut index = Index::new();
        for (id, scope) in (0..).zip(&scopes) {
            index.insert(scope, id, id);
        }
        let mut left: BTreeSet<u64> = (0..).take(scopes.len()).collect();
        // Each turn one leaves, until nobody is left.
        loop {
            for path in ["a", "a/b", "a/b/c", "a/b/x", "a/c/d", "ab/c", "b", "z", "a/b/c/d/e/f"] {
                let path = Path::parse(path).unwrap();
                let mut found = BTreeSet::new();
                index.visit_covering(&path, &mut |id| {
                    found.insert(*id);
                });
                let covers = |id: &u64| scopes[usize::try_from(*id).unwrap()].covers(&path);
                let expected: BTreeSet<u64> = left.iter().copied().filter(covers).collect();
                assert_eq!(found, expected, "{path}");
            }
            let mut all = BTreeSet::new();
            index.visit_all(&mut |id| {
                all.insert(*id);
            });
            assert_eq!(all, left);
            let Some(id) = left.pop_first() else { break };
            index.remove(&scopes[usize::try_from(id).unwrap()], id);
        }
        assert!(index.is_empty(), "nothing is left of those who left");
    }
}
