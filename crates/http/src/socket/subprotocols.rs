//! The subprotocols of `/api/_ws`: how a page in a browser sends its bearer token.
//!
//! Browsers let a page choose the subprotocols of a WebSocket, and no header. So it offers two: `rejoin`, which the
//! server takes, and the token in base64url (a subprotocol has no room for every character of a token).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::SEC_WEBSOCKET_PROTOCOL;

/// What the server speaks. A browser gives up a socket whose server takes none of those that it offered.
pub(crate) const SPOKEN: &str = "rejoin";

const BEARER: &str = "rejoin.bearer.";

/// Whether the client offers [`SPOKEN`].
pub(crate) fn offers(headers: &HeaderMap) -> bool {
    offered(headers).any(|name| name == SPOKEN)
}

/// The bearer token among the offered subprotocols; none when there are several.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut tokens = offered(headers).filter_map(|name| name.strip_prefix(BEARER));
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => BASE64_URL_SAFE_NO_PAD.decode(token).ok(),
        _ => None,
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let texts = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}
