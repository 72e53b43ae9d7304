//! Who may ask: defences of a local port against web pages, and the bearer token.
//!
//! A page in the user's browser can send requests to any address, also under a name of its own that resolves to this
//! machine (DNS rebinding); what it cannot do is choose `Host` or `Origin`, or guess a token. So without a token the
//! `Host` must be one that only this server has, and an `Origin` must always be ours or listed. With a token every
//! request but `/livez` must carry it, which proves more than any `Host`.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
    HOST, HeaderValue, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};

use crate::answer::{self, Stream};
use crate::problem::Problem;
use crate::query::excerpt;
use crate::socket::subprotocols;
use crate::ticket::{self, Tickets};

/// The only address whose token may come as a subprotocol.
const SOCKET: &str = "/api/_ws";

/// The only address that is served for a ticket.
const CHANGES: &str = "/api/_changes";

/// Refuses to listen without a token where others can reach it.
///
/// # Errors
/// The address is not a loopback address and there is no token.
pub fn refuse_open_bind(addr: SocketAddr, token: Option<&str>) -> Result<(), OpenBindError> {
    match token {
        None if !addr.ip().to_canonical().is_loopback() => Err(OpenBindError { addr }),
        _ => Ok(()),
    }
}

/// Everybody who can reach that address could read and write everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {addr} without a token: everybody who can reach this address could read and write \
     everything; set a token, or listen on 127.0.0.1"
)]
pub struct OpenBindError {
    /// The address.
    pub addr: SocketAddr,
}

/// What is compared with each request.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The hash only: the token itself is not kept.
    token: Option<blake3::Hash>,
    hosts: Vec<String>,
    origins: Vec<String>,
    bound: IpAddr,
    /// Given out, and not used yet.
    pub(crate) tickets: Tickets,
}

impl Guard {
    /// A guard of a server that listens on `bound`.
    pub(crate) fn new(token: Option<&str>, hosts: &[String], origins: &[String], bound: SocketAddr) -> Guard {
        let lower = |texts: &[String]| texts.iter().map(|text| text.trim().to_ascii_lowercase()).collect();
        Guard {
            token: token.map(|token| blake3::hash(token.as_bytes())),
            hosts: lower(hosts),
            origins: lower(origins),
            bound: bound.ip().to_canonical(),
            tickets: Tickets::default(),
        }
    }

    /// Refuses a request that may come from a foreign page, or that lacks the token. `local` is the address that the
    /// connection came in on.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        local: SocketAddr,
    ) -> Result<(), Problem> {
        let host = one_host(uri, headers)?;
        match self.token {
            Some(_) if self.has_ticket(method, uri, headers)? => {}
            Some(token) => check_token(token, headers, uri.path() == SOCKET)?,
            None => self.check_host(&host, local)?,
        }
        self.check_origin(&host, headers)
    }

    /// Whether the request comes with a ticket in place of the token. That ticket is used up.
    fn has_ticket(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<bool, Problem> {
        if *method != Method::GET || uri.path() != CHANGES || headers.contains_key(AUTHORIZATION) {
            return Ok(false);
        }
        match ticket::of_query(uri.query()) {
            Some(text) => self.tickets.redeem(text).map(|()| true),
            None => Ok(false),
        }
    }

    /// Answers the question of a browser whether a listed page may send a request. It comes without a token.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Stream>> {
        if *method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        self.listed(headers.get(ORIGIN)?)?;
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        let answers = response.headers_mut();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, PUT, PATCH, POST, DELETE"),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, baggage, cache-control, content-type, idempotency-key, if-match, if-none-match, \
                 last-event-id, pragma, rejoin-context, rejoin-token, rejoin-ttl, rejoin-wait, traceparent, \
                 tracestate, x-request-id, x-requested-with",
            ),
            (ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            answers.insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }

    /// Whether any page may use this server.
    pub(crate) fn lists_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The origin that is listed, when it is one.
    pub(crate) fn only_origin(&self) -> Option<HeaderValue> {
        match self.origins.as_slice() {
            [only] => HeaderValue::try_from(only).ok(),
            _ => None,
        }
    }

    /// Lets a listed page read the answer.
    pub(crate) fn open_to_origin(&self, origin: Option<&HeaderValue>, response: &mut Response<Stream>) {
        if self.origins.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin.and_then(|origin| self.listed(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(
                    "allow, etag, idempotency-replayed, location, retry-after, rejoin-conflicts, rejoin-context, rejoin-count, rejoin-token, \
                     rejoin-ttl, rejoin-version",
                ),
            );
        }
    }

    fn listed<'a>(&self, origin: &'a HeaderValue) -> Option<&'a HeaderValue> {
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.origins.contains(&text).then_some(origin)
    }

    fn check_host(&self, host: &str, local: SocketAddr) -> Result<(), Problem> {
        let (name, _) = split_port(host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let ours = match bare.parse::<IpAddr>() {
            Ok(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback()
                    || ip == self.bound && !ip.is_unspecified()
                    || ip == local.ip().to_canonical()
            }
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        };
        if ours || self.hosts.iter().any(|listed| listed == host || listed == name) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host_not_allowed",
            format!("This server does not answer for the host `{}`.", excerpt(name)),
        )
        .hint("Use `localhost` or the address it listens on, or add the name to the allowed hosts."))
    }

    fn check_origin(&self, host: &str, headers: &HeaderMap) -> Result<(), Problem> {
        for origin in headers.get_all(ORIGIN) {
            let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
            if !same_origin(&text, host) && self.listed(origin).is_none() {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "origin_not_allowed",
                    format!("Pages of the origin `{}` may not use this server.", excerpt(&text)),
                )
                .hint("Add the origin to the allowed origins, as in `https://app.example.com`."));
            }
        }
        Ok(())
    }
}

/// The host that the client means, in lower case.
fn one_host(uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
    let refuse = |message: &str| {
        Problem::header(message).hint("Send one `Host` header, the one of the address that is asked.")
    };
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| refuse("The `Host` header is not text."))?,
        (None, _) => return Err(refuse("The request has no `Host` header.")),
        (Some(_), Some(_)) => return Err(refuse("The request has several `Host` headers.")),
    };
    let host = host.trim().to_ascii_lowercase();
    // A target with an authority comes with the same `Host` from every correct client (RFC 9112, 3.2.2).
    match uri.authority() {
        Some(authority) if authority.as_str().to_ascii_lowercase() != host => {
            Err(refuse("The `Host` header and the request target name different hosts."))
        }
        _ => Ok(host),
    }
}

fn check_token(expected: blake3::Hash, headers: &HeaderMap, is_socket: bool) -> Result<(), Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let bearer = match (given.next(), given.next()) {
        (Some(one), None) => one.as_bytes().split_at_checked(7).and_then(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii().to_vec())
        }),
        (None, _) if is_socket => subprotocols::bearer(headers),
        _ => None,
    };
    // Equality of hashes takes the same time wherever they differ.
    match bearer.map(|token| blake3::hash(&token) == expected) {
        Some(true) => Ok(()),
        given => {
            let message = match given {
                None => "This server wants a bearer token.",
                _ => "The bearer token is not the one of this server.",
            };
            Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
                .hint("Send `Authorization: Bearer <token>` with the token that the server was started with.")
                .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rejoin\"")))
        }
    }
}

/// Whether an origin names the host that the request was sent to.
fn same_origin(origin: &str, host: &str) -> bool {
    let (default_port, authority) = match origin.split_once("://") {
        Some(("http", authority)) => ("80", authority),
        Some(("https", authority)) => ("443", authority),
        _ => return false,
    };
    let with_port = |authority| {
        let (name, port) = split_port(authority);
        (name, port.unwrap_or(default_port))
    };
    with_port(authority) == with_port(host)
}

/// Name and port of an authority.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        let hosts = ["node.example.com".to_owned(), "exact.example.com:8080".to_owned()];
        let origins = ["https://app.example.com".to_owned()];
        Guard::new(token, &hosts, &origins, "192.0.2.7:3000".parse().unwrap())
    }

    fn status(guard: &Guard, pairs: &[(&str, &str)]) -> u16 {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let local = "192.0.2.8:3000".parse().unwrap();
        match guard.check(&Method::GET, &Uri::from_static("/api/a"), &headers, local) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn hosts() {
        let guard = guard(None);
        for host in [
            "localhost",
            "LocalHost:3000",
            "app.localhost:3000",
            "127.0.0.1:3000",
            "127.9.9.9",
            "[::1]:3000",
            "[::ffff:127.0.0.1]:3000",
            "192.0.2.7:3000",
            "192.0.2.8:3000",
            "node.example.com",
            "node.example.com:1234",
            "exact.example.com:8080",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example.com",
            "localhost.evil.example.com",
            "evillocalhost",
            "0.0.0.0:3000",
            "[::]:3000",
            "127.0.0.1.evil.example.com",
            "192.0.2.9:3000",
            "exact.example.com:8081",
            "sub.node.example.com",
            "0x7f.1",
            "",
            ":3000",
        ] {
            assert_eq!(status(&guard, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&guard, &[]), 400);
    }

    #[test]
    fn origins() {
        let guard = guard(None);
        for (origin, expected) in [
            ("http://localhost:3000", 200),
            ("https://app.example.com", 200),
            ("http://localhost:5173", 403),
            ("http://localhost", 403),
            ("https://localhost:3000", 200),
            ("null", 403),
            ("https://evil.example.com", 403),
            ("https://app.example.com.evil.example.com", 403),
            ("https://app.example.com:444", 403),
            ("http://app.example.com", 403),
        ] {
            let answer = status(&guard, &[("host", "localhost:3000"), ("origin", origin)]);
            assert_eq!(answer, expected, "{origin}");
        }
    }

    #[test]
    fn tokens() {
        let guard = guard(Some("s3cret"));
        for (authorization, expected) in [
            ("Bearer s3cret", 200),
            ("bearer  s3cret ", 200),
            ("Bearer s3cre", 401),
            ("Bearer s3crets", 401),
            ("Bearer ", 401),
            ("Basic s3cret", 401),
            ("s3cret", 401),
        ] {
            let answer = status(&guard, &[("host", "anything"), ("authorization", authorization)]);
            assert_eq!(answer, expected, "{authorization}");
        }
        assert_eq!(status(&guard, &[("host", "localhost")]), 401);
    }

    #[test]
    fn open_addresses_need_a_token() {
        for addr in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(refuse_open_bind(addr.parse().unwrap(), None), Ok(()));
        }
        for addr in ["0.0.0.0:1", "192.168.1.1:1", "[::]:1"] {
            let addr = addr.parse().unwrap();
            assert!(refuse_open_bind(addr, None).unwrap_err().to_string().contains("token"));
            assert_eq!(refuse_open_bind(addr, Some("x")), Ok(()));
        }
    }
}
