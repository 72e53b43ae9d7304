//! The HTTP side of a link: which requests may become one.
//!
//! One gate for both servers: the small one of [`crate::accept_http`] and the full one of the HTTP crate.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The value of `Sec-WebSocket-Accept` for a request's `Sec-WebSocket-Key`. The answer is status 101 with
/// `Upgrade: websocket` and `Connection: Upgrade` beside it.
pub fn upgrade_response(key: &[u8]) -> String {
    derive_accept_key(key)
}

/// Decides whether a request to the link endpoint may become a link, and gives the `Sec-WebSocket-Accept` of the
/// answer. Path and authorization are the server's to check. Header names may come in any case.
pub fn check_upgrade<'a>(
    method: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<String, UpgradeRefusal> {
    let mut seen = Seen::default();
    for (name, value) in headers {
        seen.header(name, value.trim_ascii());
    }
    // Nodes send no Origin; browsers always do. A page must not open links with its visitor's network position.
    if seen.origin {
        return Err(UpgradeRefusal::Origin);
    }
    if method != "GET" || !seen.upgrade || !seen.connection {
        return Err(UpgradeRefusal::NotAnUpgrade);
    }
    if !seen.version {
        return Err(UpgradeRefusal::WrongVersion);
    }
    match seen.key.as_slice() {
        [key] if is_key(key) => Ok(upgrade_response(key)),
        _ => Err(UpgradeRefusal::BadKey),
    }
}

/// A request that does not become a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeRefusal {
    /// The request carries an `Origin`: it comes from a browser.
    #[error("browsers cannot open peer links")]
    Origin,
    /// Not a WebSocket upgrade.
    #[error("this endpoint speaks WebSocket only")]
    NotAnUpgrade,
    /// A WebSocket version other than 13.
    #[error("this endpoint speaks WebSocket version 13 only")]
    WrongVersion,
    /// No `Sec-WebSocket-Key`, a bad one or several.
    #[error("the Sec-WebSocket-Key is missing or malformed")]
    BadKey,
}

impl UpgradeRefusal {
    /// The HTTP status of the answer. With 426 belong the headers `Upgrade: websocket` and
    /// `Sec-WebSocket-Version: 13`.
    pub fn status(self) -> u16 {
        match self {
            Self::Origin => 403,
            Self::NotAnUpgrade | Self::WrongVersion => 426,
            Self::BadKey => 400,
        }
    }
}

#[derive(Default)]
struct Seen<'a> {
    origin: bool,
    upgrade: bool,
    connection: bool,
    version: bool,
    key: Vec<&'a [u8]>,
}

impl<'a> Seen<'a> {
    fn header(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("origin") {
            self.origin = true;
        } else if is("upgrade") {
            self.upgrade |= has_token(value, b"websocket");
        } else if is("connection") {
            self.connection |= has_token(value, b"upgrade");
        } else if is("sec-websocket-version") {
            self.version = value == b"13";
        } else if is("sec-websocket-key") {
            self.key.push(value);
        }
    }
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let symbol = |b: &u8| b.is_ascii_alphanumeric() || *b == b'+' || *b == b'/';
    key.len() == 24 && key[..22].iter().all(symbol) && &key[22..] == b"=="
}
