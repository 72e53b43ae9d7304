//! `/api/history/{path}`: the superseded versions of a document, newest first.

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use rejoin::{HistoryEntry, Path};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::config::{HISTORY_ITEMS_MAX, PAGE_ITEMS_DEFAULT};
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::Raw;

/// Answers a request for history.
pub(crate) fn answer(
    api: &Api,
    path: &Path,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["limit", "cursor"])?;
    let limit = query.number("limit", 1, HISTORY_ITEMS_MAX)?.unwrap_or(PAGE_ITEMS_DEFAULT);
    let page = api.node.history_page(path, limit, query.text("cursor"))?;
    let items = page.items.iter().map(Version::of).collect();
    let body = History { path: path.as_str(), items, cursor: page.cursor.as_deref() };
    Ok(answer::shape(StatusCode::OK, &body))
}

#[derive(Serialize)]
struct History<'a> {
    path: &'a str,
    items: Vec<Version<'a>>,
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    version: String,
    origin: String,
    timestamp: u64,
    superseded_by: Option<String>,
    concurrent: bool,
}

impl<'a> Version<'a> {
    fn of(entry: &'a HistoryEntry) -> Version<'a> {
        Version {
            op: if entry.value.is_some() { "put" } else { "delete" },
            value: entry.value.as_ref().map(Raw),
            version: entry.version.to_string(),
            origin: entry.version.node.to_string(),
            timestamp: entry.hlc.unix_ms(),
            superseded_by: entry.superseded_by.map(|dot| dot.to_string()),
            concurrent: entry.concurrent,
        }
    }
}
