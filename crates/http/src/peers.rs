//! `/api/_peers` and `/api/_anti_entropy`: whom this node syncs with, and a round on demand.

use std::sync::Arc;
use std::time::Instant;

use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Stream};
use crate::api::{Api, millis};
use crate::body;
use crate::config::SMALL_BODY_BYTES_MAX;
use crate::incoming::Incoming;
use crate::object;
use crate::problem::Problem;
use crate::query::Query;
use crate::status::Peer;

/// Answers a request about peers.
pub(crate) async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    match *request.method() {
        Method::POST => add(api, request).await,
        Method::DELETE => remove(api, request).await,
        _ => list(api, &request),
    }
}

/// Runs a round and answers with its counts.
pub(crate) async fn anti_entropy(
    api: &Api,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["prefix"])?;
    let started = Instant::now();
    let report = api.node.anti_entropy_below(query.text("prefix").unwrap_or_default()).await?;
    let body = Round {
        links: report.links,
        equal: report.equal,
        unequal: report.unequal,
        documents_sent: report.documents_sent,
        documents_received: report.documents_received,
        repaired: report.repaired,
        took_ms: millis(started.elapsed()),
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

fn list(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let peers = api.node.peers();
    let peers = peers.iter().map(Peer::of).collect();
    Ok(answer::shape(StatusCode::OK, &List { peers }))
}

async fn add(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let Named { url } = named(api, request).await?;
    let added = api.node.add_peer(&url)?;
    let status = if added { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::shape(status, &Added { url: &url, added }))
}

/// The URL comes as `?url=`, or in a body as for adding.
async fn remove(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["url"])?;
    let url = match query.text("url") {
        Some(url) => url.to_owned(),
        None => named(api, request).await?.url,
    };
    if !api.node.remove_peer(&url) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "This node does not dial that peer.")
            .hint("See GET /api/_peers for the URLs that it dials."));
    }
    Ok(answer::shape(StatusCode::OK, &Removed { url: &url, removed: true }))
}

async fn named(api: &Api, request: Request<Incoming>) -> Result<Named, Problem> {
    body::check_media_type(request.headers(), &["application/json"])?;
    let whole = body::read(request.into_body(), SMALL_BODY_BYTES_MAX, &api.bodies, &api.limits).await?;
    object::from_slice(&whole.bytes).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("The body does not name a peer: {error}."),
        )
        .hint("Send `{\"url\":\"http://host:port\"}`.")
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    url: String,
}

#[derive(Serialize)]
struct List<'a> {
    peers: Vec<Peer<'a>>,
}

#[derive(Serialize)]
struct Added<'a> {
    url: &'a str,
    added: bool,
}

#[derive(Serialize)]
struct Removed<'a> {
    url: &'a str,
    removed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    links: u64,
    equal: u64,
    unequal: u64,
    documents_sent: u64,
    documents_received: u64,
    repaired: u64,
    took_ms: u64,
}
