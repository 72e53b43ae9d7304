//! How many live versions a path may have: clients are stopped, peers never are.
//!
//! Versions that did not see each other are all kept, and a document is read, written and sent as a whole. A client that
//! does not look at what it writes over could make it as large as it likes. What comes from peers is merged whatever it
//! makes of a path: otherwise nodes would not converge.

use rejoin_causal::plant;

use crate::body::Document;
use crate::effect::{Alarm, Current, Effect, Refusal};
use crate::path::Path;
use crate::policy::etag;
use crate::replica::{Group, Replica};
use crate::strategy::Visible;

impl Replica {
    /// Refuses a write that would leave a path with more beside each other than there may be, and more than was there before.
    ///
    /// A write that has seen all versions leaves one, and is never refused; one that has seen some may make a path smaller
    /// that is beyond the bounds already.
    pub(crate) fn room_for_siblings(
        &self,
        path: &Path,
        before: &Document,
        after: &Document,
        wall_ms: u64,
    ) -> Result<(), Refusal> {
        let versions = after.versions().len();
        if versions < 2 || plant::is("siblings-without-bound") {
            return Ok(());
        }
        let (max, bytes_max) = (self.config.siblings_max, self.config.siblings_bytes_max);
        let bytes = bytes_of(after);
        let (size, limit, of) = if versions > max && versions > before.versions().len() {
            (versions, max, "versions")
        } else if bytes > bytes_max && bytes > bytes_of(before) {
            (bytes, bytes_max, "bytes")
        } else {
            return Ok(());
        };
        let visible: Option<Visible> = self.policy.visible(path, before, wall_ms);
        let current = Current {
            visible: visible.map(Into::into),
            etag: (!before.is_empty()).then(|| etag(before)),
            vector_clock: before.vv().clone(),
        };
        Err(Refusal::TooManySiblings { size, limit, of, current })
    }

    /// Tells the operator when a path has come half way to the bounds of [`Replica::room_for_siblings`].
    pub(crate) fn warn_of_siblings<V>(
        &self,
        group: &mut Group<'_, V>,
        path: &Path,
        before: Option<&Document>,
        after: &Document,
    ) {
        if after.versions().len() < 2 {
            return;
        }
        let half = |document: &Document| {
            let versions = document.versions().len();
            versions > 1
                && (versions > self.config.siblings_max / 2
                    || bytes_of(document) > self.config.siblings_bytes_max / 2)
        };
        if half(after) && !before.is_some_and(half) {
            let (versions, bytes) = (after.versions().len() as u64, bytes_of(after) as u64);
            group.effects.push(Effect::Alarm(Alarm::Siblings { path: path.clone(), versions, bytes }));
        }
    }
}

/// Bytes of the live versions of a document.
fn bytes_of(document: &Document) -> usize {
    document.versions().iter().map(|version| version.body.weight()).sum()
}
