//! `Rejoin-Context`: what a client has read of one document, out with every read and back with a write that is to
//! replace exactly that.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rejoin::{Context, Dot, Frontier, Node, Observed, Path};

use crate::answer::REJOIN_WAIT;
use crate::catch_up::{listed, parse_wait};
use crate::config::CONTEXT_HEADER_BYTES_MAX;
use crate::problem::Problem;

/// What a client has read of a document.
pub(crate) const REJOIN_CONTEXT: HeaderName = HeaderName::from_static("rejoin-context");

/// Puts a context on an answer. One that no header should carry is left out; `?meta=true` has it.
pub(crate) fn put(headers: &mut HeaderMap, context: String) {
    if let Some(value) = value(context) {
        headers.insert(REJOIN_CONTEXT, value);
    }
}

/// A context as the value of a header.
pub(crate) fn value(context: String) -> Option<HeaderValue> {
    let fits = context.len() <= CONTEXT_HEADER_BYTES_MAX;
    fits.then(|| HeaderValue::try_from(context).ok()).flatten()
}

/// The context of whoever has just made a write: that write.
pub(crate) fn of_write(path: &Path, version: Dot) -> String {
    Context::new([version]).encode(path)
}

/// What a write replaces: what its context names, else all that is there.
pub(crate) async fn of_request(node: &Node, path: &Path, headers: &HeaderMap) -> Result<Observed, Problem> {
    match headers.get(REJOIN_CONTEXT) {
        Some(value) => observed(node, path, headers, value.to_str().unwrap_or_default()).await,
        None => Ok(Observed::All),
    }
}

/// What a write with that context replaces. Waits for what this node has not applied, as `Rejoin-Wait` allows.
pub(crate) async fn observed(
    node: &Node,
    path: &Path,
    headers: &HeaderMap,
    context: &str,
) -> Result<Observed, Problem> {
    let wait = match headers.get(REJOIN_WAIT) {
        Some(value) => parse_wait(value.to_str().unwrap_or_default())?,
        None => Duration::ZERO,
    };
    match node.observed(path, context, wait).await {
        Err(rejoin::Error::ContextAhead(ahead)) => {
            let missing: Frontier = ahead.into_iter().collect();
            Err(Problem::not_caught_up(listed(&missing)))
        }
        observed => Ok(observed?),
    }
}
