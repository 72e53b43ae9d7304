//! `/api/_removals`: what peers had removed here by their word; `POST /api/_removals/undo` brings it back.

use std::sync::Arc;

use crate::incoming::Incoming;
use hyper::{Request, Response, StatusCode};
use rejoin::{NodeId, RemovalFilter, Removed};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::config::{HISTORY_ITEMS_MAX, PAGE_ITEMS_DEFAULT};
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::Raw;

/// Paths that an answer names one by one: 1,000. All are counted.
const NAMED_MAX: usize = 1_000;

pub(crate) fn list(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["peer", "since", "limit"])?;
    let limit = query.number("limit", 1, HISTORY_ITEMS_MAX)?.unwrap_or(PAGE_ITEMS_DEFAULT);
    let found = api.node.removals(filter(&query)?, limit + 1)?;
    let more = found.len() > limit;
    let items = found.iter().take(limit).map(Item::of).collect();
    Ok(answer::shape(StatusCode::OK, &Removals { items, more }))
}

pub(crate) async fn undo(api: &Arc<Api>, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["peer", "since"])?;
    let undone = api.node.undo_removals(filter(&query)?).await?;
    let restored = undone.restored.iter().take(NAMED_MAX).map(|path| path.as_str()).collect();
    let left =
        undone.left.iter().take(NAMED_MAX).map(|(path, why)| Left { path: path.as_str(), why }).collect();
    let (restored_count, left_count) = (undone.restored.len(), undone.left.len());
    Ok(answer::shape(StatusCode::OK, &Undone { restored_count, left_count, restored, left }))
}

fn filter(query: &Query) -> Result<RemovalFilter, Problem> {
    let peer = match query.text("peer") {
        Some(text) => Some(text.parse::<NodeId>().map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "`peer` is not a node id.")
                .hint("Send the 32 hex digits that `GET /api/_peers` shows.")
        })?),
        None => None,
    };
    Ok(RemovalFilter { peer, since_ms: query.number("since", 0, u64::MAX)?.unwrap_or(0) })
}

#[derive(Serialize)]
struct Removals<'a> {
    items: Vec<Item<'a>>,
    more: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    version: String,
    peer: String,
    reason: &'static str,
    removed_at: u64,
}

impl<'a> Item<'a> {
    fn of(removed: &'a Removed) -> Item<'a> {
        Item {
            path: removed.path.as_str(),
            value: removed.value.as_ref().map(Raw),
            version: removed.version.to_string(),
            peer: removed.peer.to_string(),
            reason: removed.reason,
            removed_at: removed.at_ms,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Undone<'a> {
    restored_count: usize,
    left_count: usize,
    restored: Vec<&'a str>,
    left: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Left<'a> {
    path: &'a str,
    why: &'a str,
}
