//! `/api/_quarantine`: documents whose stamps are from the future, and what an operator does about them.

use std::sync::Arc;

use hyper::{Request, Response, StatusCode};
use rejoin::{Held, NodeId};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::body;
use crate::config::SMALL_BODY_BYTES_MAX;
use crate::incoming::Incoming;
use crate::object;
use crate::problem::Problem;
use crate::query::Query;

/// Lists what waits.
pub(crate) async fn list(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let held = api.node.quarantine().await?;
    let body = List {
        count: held.len(),
        bytes: held.iter().map(|held| held.bytes).sum(),
        documents: held.iter().map(Waiting::of).collect(),
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

/// Takes what the request names out.
pub(crate) async fn release(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let hint =
        "Send `{\"path\":\"…\"}` or `{\"all\":true}`, with `\"peer\":\"<node>\"` for those of one node only.";
    let invalid = |code, what: String| Problem::new(StatusCode::BAD_REQUEST, code, what).hint(hint);
    body::check_media_type(request.headers(), &["application/json"])?;
    let whole = body::read(request.into_body(), SMALL_BODY_BYTES_MAX, &api.bodies, &api.limits).await?;
    let Choice { path, all, peer } = object::from_slice(&whole.bytes).map_err(|error| {
        invalid("invalid_json", format!("The body does not say what to release: {error}."))
    })?;
    if all == path.is_some() {
        return Err(invalid("invalid_parameter", "The body has to name a path, or all.".to_owned()));
    }
    let node = match peer.as_deref() {
        None => None,
        Some(peer) => Some(self::node(api, peer).await?.ok_or_else(|| {
            invalid("invalid_parameter", "Nothing of a node with that id waits in quarantine.".to_owned())
        })?),
    };
    let released = api.node.release(path.as_deref(), node).await?;
    Ok(answer::shape(StatusCode::OK, &Released { released }))
}

/// The node of an id, whole or its first digits, among those that what waits is of.
async fn node(api: &Api, id: &str) -> Result<Option<NodeId>, Problem> {
    let held = api.node.quarantine().await?;
    let id = id.to_ascii_lowercase();
    let mut nodes = held.iter().flat_map(|held| [held.dot.node, held.peer]);
    Ok(nodes.find(|node| !id.is_empty() && node.to_string().starts_with(&id)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    path: Option<String>,
    #[serde(default)]
    all: bool,
    peer: Option<String>,
}

#[derive(Serialize)]
struct List<'a> {
    documents: Vec<Waiting<'a>>,
    count: usize,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting<'a> {
    path: &'a str,
    version: String,
    author: String,
    peer: String,
    /// When the clock reads its newest stamp.
    stamp_at: u64,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn of(held: &'a Held) -> Waiting<'a> {
        Waiting {
            path: held.path.as_str(),
            version: held.dot.to_string(),
            author: held.dot.node.to_string(),
            peer: held.peer.to_string(),
            stamp_at: held.stamp_ms,
            bytes: held.bytes,
        }
    }
}

#[derive(Serialize)]
struct Released {
    released: u64,
}
