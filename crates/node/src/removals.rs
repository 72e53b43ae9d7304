//! What was removed here by peers' words: listing it, and bringing it back.

use std::collections::BTreeMap;

use rejoin_causal::{Dot, NodeId};
use rejoin_replica::json::Json;
use rejoin_replica::path::Path;
use rejoin_replica::{Change, Condition, Observed, Reason, Removal, Superseded, View as _, Write};

use crate::{Error, Node};

/// Rows of the index of removals that one call looks at: 200,000, more than the default budget leaves in seven days.
const ROWS_MAX: usize = 200_000;

/// A version that was removed because a peer said that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where it was.
    pub path: Path,
    /// The write.
    pub version: Dot,
    /// Its value.
    pub value: Option<Json>,
    /// Whose word it was.
    pub peer: NodeId,
    /// `claim` or `digest`.
    pub reason: &'static str,
    /// When, in Unix milliseconds by the clock of this node.
    pub at_ms: u64,
}

/// Which removals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RemovalFilter {
    /// Only by the word of this peer.
    pub peer: Option<NodeId>,
    /// Only at or after this time, in Unix milliseconds.
    pub since_ms: u64,
}

/// What undoing removals did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Undone {
    /// Paths that have their value again, each by a new write.
    pub restored: Vec<Path>,
    /// Paths that were left as they are, and why.
    pub left: Vec<(Path, String)>,
}

impl Node {
    /// The versions that were removed by peers' words and are still kept, the oldest removal first, at most `limit`.
    pub fn removals(&self, filter: RemovalFilter, limit: usize) -> Result<Vec<Removed>, Error> {
        let snapshot = self.shared().snapshot()?;
        let mut found = Vec::new();
        for row in snapshot.removals(filter.since_ms, u64::MAX, ROWS_MAX)? {
            let Removal { path, hlc, dot, .. } = row;
            for kept in snapshot.history(&path) {
                let Superseded { version, word, .. } = kept?;
                let Some(word) = word.filter(|_| version.rank() == (hlc, dot)) else { continue };
                if filter.peer.is_none_or(|peer| peer == word.peer) {
                    let (version, value) = (version.dot, version.body.json());
                    let (peer, reason, at_ms) = (word.peer, Reason::name(word.reason), word.at_ms);
                    found.push(Removed { path: path.clone(), version, value, peer, reason, at_ms });
                }
                break;
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Brings back what was removed: of each path the value that was removed last, as an ordinary new write, where nothing
    /// has been written since.
    pub async fn undo_removals(&self, filter: RemovalFilter) -> Result<Undone, Error> {
        let mut last: BTreeMap<Path, Json> = BTreeMap::new();
        for removed in self.removals(filter, ROWS_MAX)? {
            last.extend(removed.value.map(|value| (removed.path, value)));
        }
        let mut undone = Undone::default();
        for (path, value) in last {
            let record = self.shared().snapshot()?.record(&path)?;
            if record.is_some_and(|record| !record.document.is_empty()) {
                undone.left.push((path, "something newer is there".to_owned()));
                continue;
            }
            let change = Change::Replace(value);
            let (condition, observed) = (Condition::Absent, Observed::All);
            let write = Write { path: path.clone(), change, condition, observed, ttl: None, once: None };
            match self.write(write).await {
                Ok(_) => undone.restored.push(path),
                Err(error @ (Error::Closed | Error::Overloaded | Error::Storage(_) | Error::DiskFull(_))) => {
                    return Err(error);
                }
                Err(error) => undone.left.push((path, error.to_string())),
            }
        }
        Ok(undone)
    }
}
