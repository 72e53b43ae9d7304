//! `/api/history/{path}`: the superseded versions of a document, newest first; `POST` brings one back.

use std::sync::Arc;

use hyper::{Method, Request, Response, StatusCode};
use rejoin::{Dot, HistoryEntry, Path, Write};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::config::{HISTORY_ITEMS_MAX, PAGE_ITEMS_DEFAULT, SMALL_BODY_BYTES_MAX};
use crate::data::wrote;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;
use crate::receipts::{self, Ack};
use crate::shapes::Raw;
use crate::{body, condition, context, object, once, ttl};

/// Answers a request about history.
pub(crate) async fn answer(
    api: &Arc<Api>,
    path: Path,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    match *request.method() {
        Method::POST => revert(api, path, request).await,
        _ => list(api, &path, &request),
    }
}

fn list(api: &Api, path: &Path, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["limit", "cursor", "values"])?;
    let limit = query.number("limit", 1, HISTORY_ITEMS_MAX)?.unwrap_or(PAGE_ITEMS_DEFAULT);
    let values = query.text("values").is_none() || query.switch("values")?;
    let page = api.node.history_page(path, limit, query.text("cursor"))?;
    let items = page.items.iter().map(|row| PastVersion::of(row, values)).collect();
    let body = History { path: path.as_str(), items, cursor: page.cursor.as_deref() };
    Ok(answer::shape(StatusCode::OK, &body))
}

/// Writes what an old version said: a new write, under the conditions of any other.
async fn revert(api: &Arc<Api>, path: Path, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let ack = Ack::of(&Query::parse(request.uri().query(), &receipts::PARAMETERS)?)?;
    body::check_media_type(request.headers(), &["application/json"])?;
    ttl::refuse(request.headers())?;
    let condition = condition::of_write(request.headers())?;
    let key = once::of_request(request.headers())?;
    let observed = context::of_request(&api.node, &path, request.headers()).await?;
    let whole = body::read(request.into_body(), SMALL_BODY_BYTES_MAX, &api.bodies, &api.limits).await?;
    let asked: Reversion = object::from_slice(&whole.bytes).map_err(|error| malformed(&error.to_string()))?;
    let version: Dot = asked.version.parse().map_err(|error| malformed(&format!("{error}")))?;
    let change = api.node.reverting(&path, version)?;
    let write = Write { path, change, condition, observed, ttl: None, once: None };
    let written = api.node.write(once::whole(key.as_ref(), write)).await?;
    wrote(&api.node, &written, ack).await
}

fn malformed(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("The body names no version: {why}."))
        .hint("Send {\"version\":\"<version>\"} with a version of the path's history.")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reversion {
    version: String,
}

#[derive(Serialize)]
struct History<'a> {
    path: &'a str,
    items: Vec<PastVersion<'a>>,
    cursor: Option<&'a str>,
}

/// A superseded version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PastVersion<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    version: String,
    origin: String,
    timestamp: u64,
    superseded_by: Option<String>,
    concurrent: bool,
    outcome: &'static str,
    /// The peer by whose word it was removed, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_by: Option<String>,
}

impl<'a> PastVersion<'a> {
    pub(crate) fn of(entry: &'a HistoryEntry, values: bool) -> PastVersion<'a> {
        PastVersion {
            op: match &entry.value {
                Some(_) => "put",
                None if entry.end => "expire",
                None => "delete",
            },
            value: entry.value.as_ref().filter(|_| values).map(Raw),
            version: entry.version.to_string(),
            origin: entry.version.node.to_string(),
            timestamp: entry.hlc.unix_ms(),
            superseded_by: entry.superseded_by.map(|dot| dot.to_string()),
            concurrent: entry.concurrent,
            outcome: entry.outcome().name(),
            removed_by: entry.removed.map(|word| word.peer.to_string()),
        }
    }
}
