//! A function of the application decides, folded over the versions from the oldest to the newest.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use rejoin_causal::{Hlc, NodeId, VersionVector};

use super::{Visible, last_end};
use crate::body::{Document, Version};
use crate::expiry::standing;
use crate::json::Json;
use crate::path::Path;

/// One of two versions that a resolver chooses between or combines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The value; `None`: deleted.
    pub value: Option<Json>,
    /// When it was written.
    pub hlc: Hlc,
    /// Where it was written.
    pub origin: NodeId,
    /// The causal past of the document that holds both.
    pub vector_clock: VersionVector,
}

/// A resolver could not decide; the reader sees the last-write-wins view, flagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverError(pub String);

impl fmt::Display for ResolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the conflict resolver failed: {}", self.0)
    }
}

impl core::error::Error for ResolverError {}

/// Decides between two concurrent versions.
///
/// It must be a pure function of its arguments: every replica runs it on its own and must come to the same value.
/// `local` is the older version or the result so far, `remote` the next newer one, in (stamp, dot) order, so that
/// replicas agree on which is which.
///
/// A node takes a panic for an error.
pub trait Resolver: Send + Sync {
    /// The outcome; `value: None` means deleted.
    fn resolve(&self, path: &Path, local: &Candidate, remote: &Candidate)
    -> Result<Candidate, ResolverError>;
}

impl<F> Resolver for F
where
    F: Fn(&Path, &Candidate, &Candidate) -> Result<Candidate, ResolverError> + Send + Sync,
{
    fn resolve(
        &self,
        path: &Path,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Candidate, ResolverError> {
        self(path, local, remote)
    }
}

/// A resolver with the name that tells its code apart from other code (it goes into the policy hash).
#[derive(Clone)]
pub struct Custom {
    name: String,
    resolver: Arc<dyn Resolver>,
}

impl Custom {
    /// A resolver. Give `name` a version ("inventory 2"): nodes with different names alarm at the handshake.
    pub fn new(name: impl ToString, resolver: impl Resolver + 'static) -> Custom {
        Custom { name: name.to_string(), resolver: Arc::new(resolver) }
    }

    /// The same resolver behind another, which may watch it; the name stays.
    #[must_use]
    pub fn behind(self, wrap: impl FnOnce(Arc<dyn Resolver>) -> Arc<dyn Resolver>) -> Custom {
        Custom { resolver: wrap(self.resolver), ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn visible(&self, path: &Path, document: &Document) -> Result<Visible, ResolverError> {
        let mut versions: Vec<&Version> = document.versions().iter().collect();
        versions.sort_by_key(|version| standing(version));
        let candidate = |version: &Version| Candidate {
            value: version.body.json(),
            hlc: standing(version).0,
            origin: version.dot.node,
            vector_clock: document.vv().clone(),
        };
        let (Some(oldest), Some(newest)) = (versions.first(), versions.last()) else {
            return Err(ResolverError("there is no version to resolve".into()));
        };
        let outcome = versions[1..].iter().try_fold(candidate(oldest), |so_far, version| {
            self.resolver.resolve(path, &so_far, &candidate(version))
        })?;
        let expired = outcome.value.is_none() && newest.body.is_end();
        let expires_ms = outcome.value.as_ref().and_then(|_| last_end(document.versions()));
        Ok(Visible { value: outcome.value, expires_ms, expired, ..Visible::of(newest, document) })
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.name)
    }
}
