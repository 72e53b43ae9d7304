//! Requests that turn a connection into a WebSocket: of peers and of clients.

use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use rejoin_link::check_upgrade;

use crate::answer::{self, Stream};
use crate::problem::Problem;

/// Checks a request that wants to be `what`, by these of its headers; returns what [`switching`] answers.
pub(crate) fn accept<'a, B>(
    request: &Request<B>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    what: &str,
    hint: &'static str,
) -> Result<String, Problem> {
    check_upgrade(request.method().as_str(), headers).map_err(|refusal| {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let problem = Problem::new(status, "upgrade_refused", format!("Not {what}: {refusal}.")).hint(hint);
        match status {
            StatusCode::UPGRADE_REQUIRED => problem
                .with(UPGRADE, HeaderValue::from_static("websocket"))
                .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            _ => problem,
        }
    })
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
