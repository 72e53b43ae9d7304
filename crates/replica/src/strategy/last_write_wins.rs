//! The newest write wins; a tombstone competes like any other version.
//!
//! Causality comes first: a write that saw another has already replaced it, whatever the clocks say. Stamps only
//! order writes that did not see each other.

use crate::body::Version;
use crate::expiry::standing;

/// The version with the greatest standing: (stamp, dot), and the end of a version where that stood.
pub fn winner<'a>(versions: impl IntoIterator<Item = &'a Version>) -> Option<&'a Version> {
    let versions = versions.into_iter();
    if rejoin_causal::plant::is("tie-by-arrival") {
        return versions.reduce(|first, next| if next.hlc > first.hlc { next } else { first });
    }
    versions.max_by_key(|version| standing(version))
}
