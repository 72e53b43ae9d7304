//! The oldest write wins; a concurrent delete does not remove it.

use super::Visible;
use crate::body::Document;

/// What is seen of concurrent versions: the value with the least (stamp, dot). `None` when all are tombstones.
pub fn visible(document: &Document) -> Option<Visible> {
    let values = document.versions().iter().filter(|version| !version.body.is_tombstone());
    let oldest = match rejoin_causal::plant::is("newest-wins-first") {
        true => values.max_by_key(|version| version.rank())?,
        false => values.min_by_key(|version| version.rank())?,
    };
    Some(Visible::of(oldest, document))
}
