//! `/api/_link`: a peer's request to become a link. Answers the upgrade and hands the socket to the node.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rejoin_link::check_upgrade;

use crate::answer::{self, Stream};
use crate::api::Api;
use crate::problem::Problem;
use crate::query::Query;
use crate::server::Connection;

/// Answers the upgrade.
pub(crate) fn answer(
    api: &Arc<Api>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let accept = check_upgrade(request.method().as_str(), headers).map_err(|refusal| {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let problem = Problem::new(status, "upgrade_refused", format!("Not a peer link: {refusal}."))
            .hint("This route is for other nodes; add this node to a peer with POST /api/_peers there.");
        match status {
            StatusCode::UPGRADE_REQUIRED => problem
                .with(UPGRADE, HeaderValue::from_static("websocket"))
                .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            _ => problem,
        }
    })?;
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
    Ok(switching(&accept))
}

/// The answer that turns a connection into a WebSocket.
pub(crate) fn switching(accept: &str) -> Response<Stream> {
    let mut response = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    let put = |headers: &mut hyper::HeaderMap, name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let headers = response.headers_mut();
    put(headers, CONNECTION, "Upgrade");
    put(headers, UPGRADE, "websocket");
    put(headers, SEC_WEBSOCKET_ACCEPT, accept);
    response
}
