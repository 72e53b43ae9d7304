//! `/api/_link`: a peer's request to become a link. Answers the upgrade and hands the socket to the node.

use std::sync::Arc;

use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::answer::Stream;
use crate::api::Api;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;
use crate::server::Connection;
use crate::upgrade;

const HINT: &str = "This route is for other nodes, and every proxy between has to pass `Upgrade` on; add this node to a \
                    peer with POST /api/_peers there.";

/// Answers the upgrade.
pub(crate) fn answer(
    api: &Arc<Api>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let accept = upgrade::accept(&request, headers, "a peer link", HINT)?;
    api.node.ready().map_err(|reason| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            format!("The node is not ready: {reason}."),
        )
        .hint("Dial again after a moment.")
        .retry_after(std::time::Duration::from_secs(1))
    })?;
    let (api, connection) = (Arc::clone(api), Arc::clone(connection));
    connection.exchange.hand_over();
    // From here on the link is the node's; it counts as a connection until it ends.
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await;
        match upgraded {
            Ok(upgraded) => {
                let (node, remote) = (api.node.clone(), connection.remote.to_string());
                drop(api);
                node.accept_link(TokioIo::new(upgraded), remote).await;
            }
            Err(error) => tracing::debug!(%error, "an upgrade to a link failed"),
        }
        drop(connection);
    });
    Ok(upgrade::switching(&accept))
}
