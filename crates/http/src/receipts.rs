//! Receipts: `?ack=` on writes, and `/api/_where/{path}`.

use std::time::Duration;

use hyper::{Request, Response, StatusCode};
use rejoin::{Node, NodeAt, Path, Receipt, Written};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::catch_up::parse_time;
use crate::config::{ACK_NODES_MAX, ACK_TIMEOUT_DEFAULT, ACK_TIMEOUT_MAX, WHERE_TIMEOUT_DEFAULT};
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::{Query, excerpt};

/// Parameters of a write that ask for a receipt.
pub(crate) const PARAMETERS: [&str; 2] = ["ack", "timeout"];

/// How many other nodes must hold a write before it is answered, and for how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    nodes: usize,
    timeout: Duration,
}

impl Ack {
    /// What the parameters of a write ask for; nothing, as a rule.
    pub(crate) fn of(query: &Query) -> Result<Option<Ack>, Problem> {
        let Some(nodes) = query.number("ack", 1, ACK_NODES_MAX)? else {
            return match query.text("timeout") {
                None => Ok(None),
                Some(_) => Err(Problem::parameter("`timeout` is given without `ack`.")
                    .hint("Say with `ack=n` how many other nodes are to hold the write within that time.")),
            };
        };
        Ok(Some(Ack { nodes, timeout: timeout(query, ACK_TIMEOUT_DEFAULT)? }))
    }

    /// Waits for the receipt of a write that is done.
    pub(crate) async fn receipt(self, node: &Node, written: &Written) -> Received {
        let receipt = node.receipt(&[written.dot], self.nodes, self.timeout).await;
        // The write is done and says so, whatever becomes of its receipt.
        let receipt = receipt.unwrap_or_else(|error| {
            tracing::debug!(%error, "a receipt could not be asked for");
            Receipt { holders: Vec::new(), complete: false }
        });
        Received {
            wanted: self.nodes,
            complete: receipt.complete,
            holders: receipt.holders.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A receipt in an answer.
#[derive(Debug, Serialize)]
pub(crate) struct Received {
    wanted: usize,
    pub(crate) complete: bool,
    holders: Vec<String>,
}

fn timeout(query: &Query, default: Duration) -> Result<Duration, Problem> {
    let Some(text) = query.text("timeout") else { return Ok(default) };
    parse_time(text).filter(|time| *time <= ACK_TIMEOUT_MAX).ok_or_else(|| {
        Problem::parameter(format!("The parameter `timeout` is `{}`.", excerpt(text)))
            .hint(format!("Write it as `2s` or `500ms`, {} s at most.", ACK_TIMEOUT_MAX.as_secs()))
    })
}

/// Answers where the current versions of a document are.
pub(crate) async fn places(
    api: &Api,
    path: &Path,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["timeout"])?;
    let found = api.node.whereabouts(path, timeout(&query, WHERE_TIMEOUT_DEFAULT)?).await?;
    let body = Places {
        path: path.as_str(),
        versions: found.versions.iter().map(ToString::to_string).collect(),
        held_by: found.nodes.iter().filter(|node| node.holds).count(),
        nodes: found.nodes.iter().map(Place::of).collect(),
    };
    Ok(answer::shape(StatusCode::OK, &body))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Places<'a> {
    path: &'a str,
    versions: Vec<String>,
    held_by: usize,
    nodes: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    id: String,
    name: Option<&'a str>,
    linked: bool,
    holds: bool,
}

impl<'a> Place<'a> {
    fn of(node: &'a NodeAt) -> Place<'a> {
        Place { id: node.id.to_string(), name: node.name.as_deref(), linked: node.linked, holds: node.holds }
    }
}
