//! `/livez`, `/readyz` and `/version`: what orchestrators ask.

use std::time::Duration;

use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;

/// The process answers.
pub(crate) fn live(request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &["verbose"])?;
    Ok(answer::json(StatusCode::OK, "{\"live\":true}"))
}

/// The node can serve.
pub(crate) fn ready(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let verbose = Query::parse(request.uri().query(), &["verbose"])?.switch("verbose")?;
    let stopping = if *api.stopped.borrow() { Err("the server is shutting down".to_owned()) } else { Ok(()) };
    let checks = [("node", api.node.ready()), ("server", stopping)];
    if let Some((_, Err(reason))) = checks.iter().find(|(_, outcome)| outcome.is_err()) {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            format!("The node is not ready: {reason}."),
        )
        .hint("Send requests to another node; the log says more.")
        .retry_after(Duration::from_secs(1)));
    }
    let checks = verbose.then(|| {
        // A full disk refuses writes and no reads: the node stays in service, and says so.
        let disk = api.node.disk_full();
        let mut shown = Vec::from(checks.map(|(name, _)| Check { name, ok: true, note: None }));
        shown.push(Check { name: "disk", ok: disk.is_none(), note: disk });
        let alarms: Vec<String> =
            api.node.alarms().iter().map(|alarm| format!("{}: {}", alarm.kind, alarm.message)).collect();
        let note = (!alarms.is_empty()).then(|| alarms.join("; "));
        shown.push(Check { name: "alarms", ok: note.is_none(), note });
        shown
    });
    Ok(answer::shape(StatusCode::OK, &Ready { ready: true, checks }))
}

/// Which software this is.
pub(crate) fn version(request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    Ok(answer::shape(StatusCode::OK, &Version { name: "rejoin", version: env!("CARGO_PKG_VERSION") }))
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What is the matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}
