//! What must be there: the simplest model of a store that a test writes to without conflicts.

use std::collections::{BTreeMap, BTreeSet};

use super::server::{Item, Server};

/// Values by path, and the paths whose deletion was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oracle {
    values: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
}

impl Oracle {
    pub(crate) fn put(&mut self, path: &str, value: &str) {
        self.values.insert(path.to_owned(), value.to_owned());
        self.deleted.remove(path);
    }

    pub(crate) fn delete(&mut self, path: &str) {
        self.values.remove(path);
        self.deleted.insert(path.to_owned());
    }

    /// Takes in what another oracle knows of paths that this one does not.
    pub(crate) fn join(&mut self, other: Oracle) {
        self.values.extend(other.values);
        self.deleted.extend(other.deleted);
        self.values.retain(|path, _| !self.deleted.contains(path));
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn deleted(&self) -> &BTreeSet<String> {
        &self.deleted
    }

    /// What differs between this and a server's scan, in a few words.
    pub(crate) fn check(&self, scan: &BTreeMap<String, Item>) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (path, value) in &self.values {
            match scan.get(path) {
                None => wrong.push(format!("{path} is missing")),
                Some(item) if item.value != *value => {
                    wrong.push(format!("{path} is {} and should be {value}", item.value));
                }
                Some(_) => {}
            }
        }
        for path in scan.keys().filter(|path| !self.values.contains_key(*path)) {
            let why = if self.deleted.contains(path) { "was deleted" } else { "was never written" };
            wrong.push(format!("{path} is there and {why}"));
        }
        match wrong.len() {
            0 => Ok(()),
            count => Err(format!("{count} paths are wrong: {}", wrong[..count.min(5)].join("; "))),
        }
    }

    /// Every deleted path says on this server that it was deleted.
    #[track_caller]
    pub(crate) fn check_deleted(&self, server: &Server) {
        for path in &self.deleted {
            let answer = server.send("GET", &format!("/api/{path}"), None);
            assert_eq!(answer.status, 404, "{path} on {}: {}", server.name(), answer.text());
            assert_eq!(answer.json()["reason"], "deleted", "{path} on {}", server.name());
        }
    }
}
