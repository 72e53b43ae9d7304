//! Where a peer is: peer URLs, validated once and carried as [`PeerUrl`].

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::config::PEER_URL_BYTES_MAX;

/// Where the link endpoint lies below a peer's URL.
pub const LINK_PATH: &str = "/api/_link";

/// A peer URL that can be dialed. Equal when it names the same host, port and prefix, whatever it was written like.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerUrl {
    /// Lower case; IPv6 without brackets.
    host: String,
    port: u16,
    /// Empty, or starts with a slash and does not end with one.
    prefix: String,
}

/// Reads a peer URL: `http://host:port` or `ws://host:port`, with an optional path prefix.
pub fn parse_peer_url(url: &str) -> Result<PeerUrl, PeerUrlError> {
    let url = url.trim();
    if url.len() > PEER_URL_BYTES_MAX {
        return Err(PeerUrlError::TooLong);
    }
    let (scheme, rest) = url.split_once("://").ok_or(PeerUrlError::NoScheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => {}
        "https" | "wss" => return Err(PeerUrlError::TlsNotBuiltIn),
        _ => return Err(PeerUrlError::UnknownScheme(scheme.to_owned())),
    }
    if rest.contains(['?', '#']) {
        return Err(PeerUrlError::QueryOrFragment);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(PeerUrlError::Credentials);
    }
    let (host, port) = split_port(authority)?;
    Ok(PeerUrl { host, port, prefix: prefix(path)? })
}

impl PeerUrl {
    /// Host name or address, lower case; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the link endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("ws://{}{}{LINK_PATH}", self.authority(), self.prefix)
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// The normal form: `http://host:port/prefix`, always with the port.
impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.prefix)
    }
}

impl FromStr for PeerUrl {
    type Err = PeerUrlError;

    fn from_str(url: &str) -> Result<Self, PeerUrlError> {
        parse_peer_url(url)
    }
}

/// What is wrong with a peer URL. Whoever wrote it must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerUrlError {
    /// No `scheme://`.
    #[error("a peer URL starts with http:// or ws://, as in http://192.168.1.5:3000")]
    NoScheme,
    /// A scheme that names no link.
    #[error("unknown scheme {0:?}: use http:// or ws://")]
    UnknownScheme(String),
    /// `https` or `wss`.
    #[error(
        "TLS links are not built in yet: use http:// or ws:// through a tunnel, or a proxy that ends TLS"
    )]
    TlsNotBuiltIn,
    /// No host between the scheme and the path.
    #[error("the peer URL names no host")]
    NoHost,
    /// Not a host name or address.
    #[error("{0:?} is not a host name or address (write international names in their xn-- form)")]
    BadHost(String),
    /// Not a port.
    #[error("{0:?} is not a port: use a number from 1 to 65535")]
    BadPort(String),
    /// A user name or password.
    #[error("a peer URL carries no user name or password: configure the token of the peer instead")]
    Credentials,
    /// `?` or `#`.
    #[error("a peer URL has no query and no fragment")]
    QueryOrFragment,
    /// Characters that a path cannot hold.
    #[error("the path of the peer URL contains {0:?}: percent-encode it")]
    BadPath(char),
    /// Longer than [`PEER_URL_BYTES_MAX`].
    #[error("the peer URL is longer than {PEER_URL_BYTES_MAX} bytes")]
    TooLong,
}

fn split_port(authority: &str) -> Result<(String, u16), PeerUrlError> {
    let bad_host = || PeerUrlError::BadHost(authority.to_owned());
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']').ok_or_else(bad_host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad_host())?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or_else(bad_host)?),
        };
        (address.to_string(), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if host.is_empty() {
            return Err(PeerUrlError::NoHost);
        }
        if port.is_some_and(|port| port.contains(':')) || !is_host(host) {
            return Err(bad_host());
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = port.map_or(Ok(DEFAULT_PORT), parse_port)?;
    Ok((host, port))
}

fn parse_port(port: &str) -> Result<u16, PeerUrlError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(PeerUrlError::BadPort(port.to_owned())),
    }
}

/// Names as DNS and hosts files have them. Numbers and dots alone must be an IPv4 address: resolvers read shorter
/// forms as addresses nobody meant.
fn is_host(host: &str) -> bool {
    let name = host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name && !host.starts_with(['.', '-'])
        && !host.contains("..")
        && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

/// The path without slashes at its end, and without the endpoint itself where somebody wrote it out.
fn prefix(path: &str) -> Result<String, PeerUrlError> {
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(*c)) {
        return Err(PeerUrlError::BadPath(bad));
    }
    let mut path = path.trim_end_matches('/');
    // As often as it stands there, so that a URL that was shown reads as itself.
    while let Some(rest) = path.strip_suffix(LINK_PATH) {
        path = rest.trim_end_matches('/');
    }
    Ok(path.to_owned())
}

const DEFAULT_PORT: u16 = 80;
