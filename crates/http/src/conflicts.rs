//! `/api/_conflicts/{prefix}`: listing open and resolved conflicts; `POST /api/_conflicts/{path}`: resolving one.

use std::sync::Arc;

use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use rejoin::{Change, Conflict, ConflictState, Entry, Error, Json, JsonLimits, Path, Prefix, Settled, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{self, NDJSON, Stream};
use crate::api::Api;
use crate::config::{CONFLICT_ITEMS_MAX, PAGE_ITEMS_DEFAULT, SMALL_BODY_BYTES_MAX};
use crate::data::wrote;
use crate::explain::{self, why};
use crate::history::PastVersion;
use crate::incoming::Incoming;
use crate::lines::{blocking, line, stream};
use crate::problem::Problem;
use crate::query::{Query, excerpt};
use crate::receipts::{self, Ack};
use crate::shapes::Raw;
use crate::{body, condition, context, object, once, ttl};

/// Answers a request about conflicts.
pub(crate) async fn answer(
    api: &Arc<Api>,
    prefix: Prefix,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    match *request.method() {
        Method::POST => resolve(api, &prefix, request).await,
        _ => list(api, &prefix, &request).await,
    }
}

async fn list(api: &Api, prefix: &Prefix, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["limit", "cursor", "state"])?;
    let limit = query.number("limit", 1, CONFLICT_ITEMS_MAX)?;
    let state = match query.text("state") {
        None | Some("all") => ConflictState::All,
        Some("open") => ConflictState::Open,
        Some("resolved") => ConflictState::Settled,
        Some(other) => {
            return Err(Problem::parameter(format!("The parameter `state` is `{}`.", excerpt(other)))
                .hint("Write `state=open`, `state=resolved` or `state=all`."));
        }
    };
    let mut list = api.node.conflicts_prefix(prefix)?.state(state).limit(limit.unwrap_or(PAGE_ITEMS_DEFAULT));
    if let Some(cursor) = query.text("cursor") {
        list = list.cursor(cursor);
    }
    let lines = answer::accepts(request.headers(), &NDJSON);
    if lines && limit.is_none() {
        stream(list.map(|row| Ok(line(&Item::of(&row?)))), line(&Cursor { cursor: None })).await
    } else {
        let text = blocking(move || {
            let page = list.page()?;
            let (items, cursor) = (page.items.iter().map(Item::of), page.cursor.as_deref());
            Ok::<_, Error>(match lines {
                true => {
                    let items = items.flat_map(|item| line(&item));
                    items.chain(line(&Cursor { cursor })).collect::<Vec<u8>>()
                }
                false => answer::json_text(&Items { items: items.collect(), cursor }).into_bytes(),
            })
        });
        let mut response = answer::json(StatusCode::OK, text.await??);
        if lines {
            response.headers_mut().insert(CONTENT_TYPE, NDJSON);
        }
        Ok(response)
    }
}

/// One write over all siblings; over exactly those that the client has read, when it says which.
async fn resolve(
    api: &Arc<Api>,
    prefix: &Prefix,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let path = Path::parse(prefix.as_str())?;
    let ack = Ack::of(&Query::parse(request.uri().query(), &receipts::PARAMETERS)?)?;
    body::check_media_type(request.headers(), &["application/json"])?;
    ttl::refuse(request.headers())?;
    let condition = condition::of_write(request.headers())?;
    let key = once::of_request(request.headers())?;
    let headers = request.headers().clone();
    let limits = api.node.info().limits;
    let bytes_max = limits.value_bytes.saturating_add(SMALL_BODY_BYTES_MAX);
    let whole = body::read(request.into_body(), bytes_max, &api.bodies, &api.limits).await?;
    let asked: Resolution =
        object::from_slice(&whole.bytes).map_err(|error| malformed(&error.to_string()))?;
    let change = match (asked.value, asked.keep) {
        (Some(value), None) => {
            let limits = JsonLimits { bytes: limits.value_bytes, depth: limits.value_depth };
            Change::Resolve(Json::parse(value.get().as_bytes(), &limits).map_err(Error::Json)?)
        }
        (None, Some(version)) => {
            let version = version.parse().map_err(|error| malformed(&format!("{error}")))?;
            Change::Keep(version)
        }
        _ => return Err(malformed("it has neither `value` nor `keep`, or both")),
    };
    let observed = match asked.context {
        Some(context) => context::observed(&api.node, &path, &headers, &context).await?,
        None => context::of_request(&api.node, &path, &headers).await?,
    };
    let write = Write { path, change, condition, observed, ttl: None, once: None };
    let written = match api.node.write(once::whole(key.as_ref(), write)).await {
        Err(Error::NoConflict(current)) if current.etag.is_none() => return Err(Problem::not_found(false)),
        written => written?,
    };
    wrote(&api.node, &written, ack).await
}

fn malformed(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("The body does not say what to do: {why}."))
        .hint("Send {\"value\":…} or {\"keep\":\"<version>\"}, and {\"context\":\"…\"} to resolve what you have read.")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    keep: Option<String>,
    context: Option<String>,
}

/// A JSON `null` that is there is a value, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<Item<'a>>,
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Cursor<'a> {
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    path: &'a str,
    state: &'static str,
    #[serde(flatten)]
    open: Option<Open<'a>>,
    resolved: Vec<Resolved<'a>>,
}

impl<'a> Item<'a> {
    fn of(conflict: &'a Conflict) -> Item<'a> {
        Item {
            path: conflict.path.as_str(),
            state: if conflict.open.is_some() { "open" } else { "resolved" },
            open: conflict.open.as_ref().map(Open::of),
            resolved: conflict.settled.iter().map(Resolved::of).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Open<'a> {
    strategy: &'static str,
    winner: String,
    why: String,
    resolver_failed: bool,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    etag: &'a str,
    context: String,
    conflicts: usize,
    versions: Vec<explain::Version<'a>>,
}

impl<'a> Open<'a> {
    fn of(entry: &'a Entry) -> Open<'a> {
        Open {
            strategy: entry.strategy,
            winner: entry.version.to_string(),
            why: why(entry),
            resolver_failed: entry.resolver_failed,
            deleted: entry.value.is_none(),
            value: entry.value.as_ref().map(Raw),
            etag: &entry.etag,
            context: entry.context(),
            conflicts: entry.conflicts,
            versions: entry.siblings.iter().map(explain::Version::of).collect(),
        }
    }
}

#[derive(Serialize)]
struct Resolved<'a> {
    by: Option<String>,
    versions: Vec<PastVersion<'a>>,
}

impl<'a> Resolved<'a> {
    fn of(settled: &'a Settled) -> Resolved<'a> {
        Resolved {
            by: settled.by.map(|by| by.to_string()),
            versions: settled.versions.iter().map(|row| PastVersion::of(row, true)).collect(),
        }
    }
}
