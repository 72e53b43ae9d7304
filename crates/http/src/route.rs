//! Request targets to routes: a pure function of the raw, still encoded target.
//!
//! Segments are matched and split before anything is decoded, and decoded once, by the path parser of the replica.

use std::borrow::Cow;

use hyper::Method;
use rejoin::{Path, PathError, Prefix};

use crate::endpoint::Endpoint;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/api/{path}`
    Data(Path),
    /// `/api/scan/{prefix}`
    Scan(Prefix),
    /// `/api/history/{path}`
    History(Path),
    /// `/api/status`
    Status,
    /// `/api/_anti_entropy`
    AntiEntropy,
    /// `/api/_quarantine`
    Quarantine,
    /// `/api/_quarantine/release`
    Release,
    /// `/api/_batch`
    Batch,
    /// `/api/_removals`
    Removals,
    /// `/api/_removals/undo`
    UndoRemovals,
    /// `/api/_peers`
    Peers,
    /// `/api/_explain/{path}`
    Explain(Path),
    /// `/api/_conflicts/{prefix}`; a path for `POST`
    Conflicts(Prefix),
    /// `/api/_where/{path}`
    Where(Path),
    /// `/api/_changes`
    Changes,
    /// `/api/_ticket`
    Ticket,
    /// `/api/_ws`
    Socket,
    /// `/api/_link`
    Link,
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/version`
    Version,
    /// `/metrics`
    Metrics,
    /// `/api/_openapi.json`
    OpenApi,
}

/// Why a target has no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// Nothing is served there.
    Unknown,
    /// It should name a document, but no document can have that path.
    Path(PathError),
}

impl Route {
    /// The route of a raw path, without its query.
    pub(crate) fn of(raw: &str) -> Result<Route, RouteError> {
        match raw {
            "/livez" => return Ok(Route::Live),
            "/readyz" => return Ok(Route::Ready),
            "/version" => return Ok(Route::Version),
            "/metrics" => return Ok(Route::Metrics),
            _ => {}
        }
        let below = raw.strip_prefix("/api/").ok_or(RouteError::Unknown)?;
        let (first, rest) = match below.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (below, None),
        };
        let path = |raw: &str| Path::parse_encoded(&*whole(raw)).map_err(RouteError::Path);
        let prefix = |raw: &str| Prefix::parse_encoded(&*whole(raw)).map_err(RouteError::Path);
        match (first, rest) {
            ("scan", rest) => prefix(rest.unwrap_or("")).map(Route::Scan),
            ("history", Some(rest)) => path(rest).map(Route::History),
            ("history", None) => Err(RouteError::Path(PathError::Empty)),
            ("status", None) => Ok(Route::Status),
            ("_anti_entropy", None) => Ok(Route::AntiEntropy),
            ("_quarantine", None) => Ok(Route::Quarantine),
            ("_quarantine", Some("release")) => Ok(Route::Release),
            ("_batch", None) => Ok(Route::Batch),
            ("_removals", None) => Ok(Route::Removals),
            ("_removals", Some("undo")) => Ok(Route::UndoRemovals),
            ("_peers", None) => Ok(Route::Peers),
            ("_explain", Some(rest)) => path(rest).map(Route::Explain),
            ("_explain", None) => Err(RouteError::Path(PathError::Empty)),
            ("_conflicts", rest) => prefix(rest.unwrap_or("")).map(Route::Conflicts),
            ("_where", Some(rest)) => path(rest).map(Route::Where),
            ("_where", None) => Err(RouteError::Path(PathError::Empty)),
            ("_changes", None) => Ok(Route::Changes),
            ("_ticket", None) => Ok(Route::Ticket),
            ("_ws", None) => Ok(Route::Socket),
            ("_link", None) => Ok(Route::Link),
            ("_openapi.json", None) => Ok(Route::OpenApi),
            (first, _) if first.starts_with('_') => Err(RouteError::Unknown),
            _ => path(below).map(Route::Data),
        }
    }

    /// The route without its parameters.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Route::Data(_) => Endpoint::Data,
            Route::Scan(_) => Endpoint::Scan,
            Route::History(_) => Endpoint::History,
            Route::Status => Endpoint::Status,
            Route::AntiEntropy => Endpoint::AntiEntropy,
            Route::Quarantine => Endpoint::Quarantine,
            Route::Release => Endpoint::Release,
            Route::Batch => Endpoint::Batch,
            Route::Removals => Endpoint::Removals,
            Route::UndoRemovals => Endpoint::UndoRemovals,
            Route::Peers => Endpoint::Peers,
            Route::Conflicts(_) => Endpoint::Conflicts,
            Route::Where(_) => Endpoint::Where,
            Route::Explain(_) => Endpoint::Explain,
            Route::Changes => Endpoint::Changes,
            Route::Ticket => Endpoint::Ticket,
            Route::Socket => Endpoint::Socket,
            Route::Link => Endpoint::Link,
            Route::OpenApi => Endpoint::OpenApi,
            Route::Live => Endpoint::Live,
            Route::Ready => Endpoint::Ready,
            Route::Version => Endpoint::Version,
            Route::Metrics => Endpoint::Metrics,
        }
    }

    /// The methods served there, besides `OPTIONS`.
    pub(crate) fn methods(&self) -> &'static [Method] {
        match self {
            Route::Data(_) => &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE],
            Route::Peers => &[Method::GET, Method::HEAD, Method::POST, Method::DELETE],
            Route::History(_) | Route::Conflicts(_) => &[Method::GET, Method::HEAD, Method::POST],
            Route::AntiEntropy | Route::Release | Route::Batch | Route::Ticket | Route::UndoRemovals => {
                &[Method::POST]
            }
            Route::Changes | Route::Socket | Route::Link => &[Method::GET],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// The document or prefix that the request names.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Route::Data(path) | Route::History(path) | Route::Explain(path) | Route::Where(path) => {
                Some(path.as_str())
            }
            Route::Scan(prefix) | Route::Conflicts(prefix) => Some(prefix.as_str()),
            _ => None,
        }
    }
}

/// A raw path, with the slashes back that a generated client has encoded: to such a client the whole path is one
/// parameter. One that has slashes of both kinds is left alone, and refused: what it means is anybody's guess.
fn whole(raw: &str) -> Cow<'_, str> {
    match raw.contains('/') || !raw.contains('%') {
        true => Cow::Borrowed(raw),
        false => Cow::Owned(raw.replace("%2F", "/").replace("%2f", "/")),
    }
}

/// The reserved first segment of a raw path, if it has one: a write there means a document, which cannot exist.
pub(crate) fn reserved_name(raw: &str) -> Option<&str> {
    let first = raw.strip_prefix("/api/")?.split('/').next()?;
    match Path::parse_encoded(first) {
        Err(PathError::Reserved { .. }) => Some(first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(path: &str) -> Result<Route, RouteError> {
        Ok(Route::Data(Path::parse(path).unwrap()))
    }

    #[test]
    fn documents_are_named_by_what_follows_api() {
        assert_eq!(Route::of("/api/users/alice"), data("users/alice"));
        assert_eq!(Route::of("/api/donn%C3%A9es/%c3%a9"), data("données/é"));
        assert_eq!(Route::of("/api/données/é"), data("données/é"));
        assert_eq!(Route::of("/api/users/alice@example.com/inbox"), data("users/alice@example.com/inbox"));
        assert_eq!(Route::of("/api/scanner"), data("scanner"));
        assert_eq!(Route::of("/api/a/scan"), data("a/scan"));
        assert_eq!(Route::of("/api/a/_b"), data("a/_b"));
        assert_eq!(Route::of("/api/100%25"), data("100%"));
    }

    #[test]
    fn decoding_happens_once_and_after_matching() {
        assert_eq!(Route::of("/api/a%2525"), data("a%25"));
        assert_eq!(Route::of("/api/a%252Fb"), data("a%2Fb"));
        // `%73can` is `scan`: reserved, and never the route.
        assert!(matches!(Route::of("/api/%73can/x"), Err(RouteError::Path(PathError::Reserved { .. }))));
        assert!(matches!(Route::of("/api/%5Fpeers"), Err(RouteError::Path(PathError::Reserved { .. }))));
    }

    #[test]
    fn a_path_that_comes_as_one_parameter_is_taken() {
        assert_eq!(Route::of("/api/users%2Falice"), data("users/alice"));
        assert_eq!(Route::of("/api/users%2falice%2Fa%25b"), data("users/alice/a%b"));
        assert_eq!(
            Route::of("/api/history/users%2Falice"),
            Ok(Route::History(Path::parse("users/alice").unwrap()))
        );
        assert_eq!(Route::of("/api/scan/users%2F"), Ok(Route::Scan(Prefix::parse("users/").unwrap())));
        // Slashes of both kinds: nobody can tell what is meant.
        for mixed in ["/api/a%2Fb/c", "/api/a/b%2Fc", "/api/history/a/b%2Fc", "/api/scan/a/b%2Fc"] {
            assert!(
                matches!(Route::of(mixed), Err(RouteError::Path(PathError::SlashInSegment { .. }))),
                "{mixed}"
            );
        }
        // It is a path, and never a route; and never one that no document has.
        for refused in
            ["/api/_peers%2Fa", "/api/scan%2Fa", "/api/%2Fa", "/api/a%2F", "/api/a%2F%2Fb", "/api/a%2F..%2Fb"]
        {
            assert!(
                matches!(Route::of(refused), Err(RouteError::Unknown | RouteError::Path(_))),
                "{refused}"
            );
        }
    }

    #[test]
    fn system_routes_are_exact() {
        assert_eq!(Route::of("/api/status"), Ok(Route::Status));
        assert!(matches!(Route::of("/api/status/x"), Err(RouteError::Path(PathError::Reserved { .. }))));
        assert_eq!(Route::of("/api/scan"), Ok(Route::Scan(Prefix::parse("").unwrap())));
        assert_eq!(Route::of("/api/scan/"), Ok(Route::Scan(Prefix::parse("").unwrap())));
        assert_eq!(Route::of("/api/scan/users/"), Ok(Route::Scan(Prefix::parse("users/").unwrap())));
        assert_eq!(Route::of("/api/_peers"), Ok(Route::Peers));
        for unknown in ["/", "/api", "/apix", "/api/_peers/x", "/api/_nothing", "/livez/", "*", ""] {
            assert_eq!(Route::of(unknown), Err(RouteError::Unknown), "{unknown}");
        }
        assert_eq!(Route::of("/api/"), Err(RouteError::Path(PathError::Empty)));
        assert_eq!(Route::of("/api/history/"), Err(RouteError::Path(PathError::Empty)));
    }

    #[test]
    fn reserved_names_are_known_for_writes() {
        assert_eq!(reserved_name("/api/_anything/x"), Some("_anything"));
        assert_eq!(reserved_name("/api/scan/x"), Some("scan"));
        assert_eq!(reserved_name("/api/scanner/x"), None);
        assert_eq!(reserved_name("/livez"), None);
    }
}
