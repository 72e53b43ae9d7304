//! `/api/_explain/{path}`: which writes compete for a document, and why one of them wins.

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use rejoin::{Entry, Path, Sibling};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{Raw, VectorClock};

/// Answers a request for an explanation.
pub(crate) fn answer(
    api: &Api,
    path: &Path,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let entry = api.node.entry(path)?.ok_or_else(|| Problem::not_found(false))?;
    let body = Explanation {
        path: path.as_str(),
        strategy: entry.strategy,
        winner: entry.version.to_string(),
        why: why(&entry),
        resolver_failed: entry.resolver_failed,
        deleted: entry.value.is_none(),
        value: entry.value.as_ref().map(Raw),
        etag: &entry.etag,
        vector_clock: VectorClock(&entry.vector_clock),
        conflicts: entry.conflicts,
        versions: entry.siblings.iter().map(Version::of).collect(),
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

/// The reason, for a person.
fn why(entry: &Entry) -> &'static str {
    if entry.siblings.len() < 2 {
        return "It is the only live version: its writer had seen every other.";
    }
    if entry.resolver_failed {
        return "The resolver failed, so the version with the greatest timestamp is shown.";
    }
    match entry.strategy {
        "last-write-wins" => "Of the versions that had not seen each other, it has the greatest timestamp.",
        "first-write-wins" => "Of the versions that had not seen each other, it has the least timestamp.",
        "merge-fields" => "The fields of all live versions are merged; it is the newest of them.",
        _ => "The resolver made the value from the live versions.",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    path: &'a str,
    strategy: &'static str,
    winner: String,
    why: &'static str,
    resolver_failed: bool,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    etag: &'a str,
    vector_clock: VectorClock<'a>,
    conflicts: usize,
    versions: Vec<Version<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    version: String,
    origin: String,
    timestamp: u64,
    /// Orders versions of one millisecond.
    counter: u16,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    wins: bool,
}

impl<'a> Version<'a> {
    fn of(sibling: &'a Sibling) -> Version<'a> {
        Version {
            version: sibling.version.to_string(),
            origin: sibling.version.node.to_string(),
            timestamp: sibling.hlc.unix_ms(),
            counter: sibling.hlc.counter(),
            op: if sibling.value.is_some() { "put" } else { "delete" },
            value: sibling.value.as_ref().map(Raw),
            wins: sibling.wins,
        }
    }
}
