//! `/metrics`: what the node and this server have counted, in the OpenMetrics text format that Prometheus reads.
//!
//! Counting is one atomic addition. Names, labels and text are made when somebody asks. No label ever holds a path, a
//! user or a peer's URL: routes are templates, and peers are node ids.

mod exposition;
mod requests;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use prometheus_client::registry::Registry;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;

use exposition::Exposition;
pub(crate) use requests::RequestCounts;

/// The text format, by the name under which Prometheus knows it.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Answers a request for metrics.
pub(crate) async fn answer(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let status = api.node.status().await?;
    let exposition = Exposition { node: api.node.clone(), status, requests: api.requests.clone() };
    let mut registry = Registry::with_prefix("rejoin");
    registry.register_collector(Box::new(exposition));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).map_err(|error| {
        tracing::error!(%error, "metrics could not be written");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The metrics could not be written.")
            .hint("Report this with the server's log.")
    })?;
    let mut response = answer::json(StatusCode::OK, text);
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}
