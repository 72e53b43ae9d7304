//! `/api/_explain/{path}`: which writes compete for a document, and why one of them wins.

use hyper::{Request, Response, StatusCode};
use rejoin::{Entry, Path, Sibling};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::incoming::Incoming;
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
        context: entry.context(),
        vector_clock: VectorClock(&entry.vector_clock),
        conflicts: entry.conflicts,
        versions: entry.siblings.iter().map(Version::of).collect(),
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

/// The reason, for a person.
pub(crate) fn why(entry: &Entry) -> String {
    let (Some(winner), count) = (entry.siblings.iter().find(|sibling| sibling.wins), entry.siblings.len())
    else {
        return "No live version is left.".to_owned();
    };
    if count < 2 {
        return "It is the only live version: its writer had seen every other.".to_owned();
    }
    let mut why = format!("{count} versions are live, because their writers had not seen each other. ");
    why += &match entry.strategy {
        _ if entry.resolver_failed => {
            "The resolver failed, so the version with the greatest timestamp is shown.".to_owned()
        }
        "last-write-wins" => {
            let others = entry.siblings.iter().filter(|sibling| !sibling.wins);
            let next = others.max_by_key(|sibling| (sibling.stands_at, sibling.version));
            format!(
                "The winner has the greatest timestamp, {}.",
                next.map_or_else(String::new, |next| apart(next, winner, "after"))
            )
        }
        "first-write-wins" => {
            let others = entry.siblings.iter().filter(|sibling| !sibling.wins && sibling.value.is_some());
            match others.min_by_key(|sibling| (sibling.stands_at, sibling.version)) {
                Some(next) => {
                    format!("The winner has the least timestamp, {}.", apart(winner, next, "before"))
                }
                None => "The winner is the only one that is not a delete.".to_owned(),
            }
        }
        "merge-fields" if winner.value.is_some() => {
            "The fields of all of them are merged, the newest of each; the winner is the newest version."
                .to_owned()
        }
        "merge-fields" => "All of them are deletes.".to_owned(),
        _ => "The resolver made the value from them; the winner is the newest version.".to_owned(),
    };
    if entry.value.is_none() {
        why += " So the document reads as deleted.";
    }
    why
}

/// How far a version is `after` or `before` the next.
fn apart(earlier: &Sibling, later: &Sibling, order: &str) -> String {
    let (least, greatest) = (earlier.stands_at.min(later.stands_at), earlier.stands_at.max(later.stands_at));
    match greatest.unix_ms() - least.unix_ms() {
        0 if least == greatest => {
            "equal to that of the next, so the order of their versions decides".to_owned()
        }
        0 => "in the same millisecond as that of the next".to_owned(),
        ms => format!("{ms} ms {order} that of the next"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    path: &'a str,
    strategy: &'static str,
    winner: String,
    why: String,
    resolver_failed: bool,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    etag: &'a str,
    context: String,
    vector_clock: VectorClock<'a>,
    conflicts: usize,
    versions: Vec<Version<'a>>,
}

/// One live version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version<'a> {
    version: String,
    origin: String,
    timestamp: u64,
    /// Orders versions of one millisecond.
    counter: u16,
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    wins: bool,
}

impl<'a> Version<'a> {
    pub(crate) fn of(sibling: &'a Sibling) -> Version<'a> {
        Version {
            version: sibling.version.to_string(),
            origin: sibling.version.node.to_string(),
            timestamp: sibling.hlc.unix_ms(),
            counter: sibling.hlc.counter(),
            op: match &sibling.value {
                Some(_) => "put",
                None if sibling.expired => "expire",
                None => "delete",
            },
            value: sibling.value.as_ref().map(Raw),
            expires: sibling.expires_ms,
            wins: sibling.wins,
        }
    }
}
