//! One request from its head to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{ALLOW, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use rejoin::{Node, PathError};
use tokio::sync::{Semaphore, watch};

use crate::answer::{self, Stream};
use crate::config::ServeLimits;
use crate::guard::Guard;
use crate::incoming::Incoming;
use crate::metrics::RequestCounts;
use crate::problem::Problem;
use crate::route::{Route, RouteError, reserved_name};
use crate::server::{Connection, ServeOptions};
use crate::{
    batch, catch_up, changes, conflicts, data, explain, history, link, metrics, openapi, peers, probe,
    quarantine, receipts, removals, scan, socket, status, ticket,
};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    /// The node that is served.
    pub(crate) node: Node,
    /// Bounds of this server.
    pub(crate) limits: ServeLimits,
    /// Where it listens.
    pub(crate) bound: SocketAddr,
    /// Bytes of request bodies that may be in memory.
    pub(crate) bodies: Arc<Semaphore>,
    /// Turns true when the server is to stop.
    pub(crate) stopped: watch::Receiver<bool>,
    /// Has a receiver for each open socket of a client.
    pub(crate) sockets: watch::Sender<()>,
    /// How many conflicts were settled lately, and when that was counted.
    pub(crate) settled: tokio::sync::Mutex<Option<(Instant, Option<u64>)>>,
    /// What was asked so far.
    pub(crate) requests: Arc<RequestCounts>,
    /// Who may ask.
    pub(crate) guard: Guard,
}

impl Api {
    /// Serves `node`.
    pub(crate) fn new(
        node: Node,
        options: &ServeOptions,
        bound: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) -> Api {
        let guard = Guard::new(
            options.auth_token.as_deref(),
            &options.allowed_hosts,
            &options.allowed_origins,
            bound,
        );
        let limits = options.limits.clone();
        let bodies = Arc::new(Semaphore::new(limits.bodies_bytes.min(Semaphore::MAX_PERMITS)));
        let requests = Arc::new(RequestCounts::new());
        Api {
            node,
            limits,
            bound,
            bodies,
            stopped,
            sockets: watch::Sender::new(()),
            settled: tokio::sync::Mutex::default(),
            requests,
            guard,
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        request: Request<Incoming>,
    ) -> Response<Stream> {
        let origin = request.headers().get(ORIGIN).cloned();
        let (begun, method) = (Instant::now(), request.method().clone());
        let route = Route::of(request.uri().path());
        let endpoint = route.as_ref().ok().map(Route::endpoint);
        let answered = self.guarded(connection, route, request).await;
        let mut response = answered.unwrap_or_else(Problem::into_response);
        self.guard.open_to_origin(origin.as_ref(), &mut response);
        self.requests.count(endpoint, &method, response.status(), begun.elapsed());
        response
    }

    async fn guarded(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        route: Result<Route, RouteError>,
        request: Request<Incoming>,
    ) -> Result<Response<Stream>, Problem> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // Orchestrators ask by pod address and without a token; the answer tells nothing.
        if route != Ok(Route::Live) {
            if let Some(response) = self.guard.preflight(&method, request.headers()) {
                return Ok(response);
            }
            self.guard.check(&method, &uri, request.headers(), connection.local)?;
        }
        let route = allowed(route, &method, uri.path())?;
        if method == Method::OPTIONS {
            let mut response = answer::empty(StatusCode::NO_CONTENT);
            response.headers_mut().insert(ALLOW, allow(route.methods()));
            return Ok(response);
        }
        let path = route.path().map(str::to_owned);
        self.routed(connection, route, request).await.map_err(|problem| problem.path(path.as_deref()))
    }

    async fn routed(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Stream>, Problem> {
        let in_session = !matches!(
            route,
            Route::Live
                | Route::Ready
                | Route::Version
                | Route::Metrics
                | Route::OpenApi
                | Route::Link
                | Route::Socket
                | Route::Changes
                | Route::Ticket
        );
        if in_session {
            catch_up::wait(&self.node, request.headers()).await?;
        }
        let answer = match route {
            Route::Data(path) => data::answer(self, path, request).await,
            Route::Scan(prefix) => scan::answer(self, prefix, &request).await,
            Route::History(path) => history::answer(self, path, request).await,
            Route::Conflicts(prefix) => conflicts::answer(self, prefix, request).await,
            Route::Where(path) => receipts::places(self, &path, &request).await,
            Route::Explain(path) => explain::answer(self, &path, &request),
            Route::Status => status::answer(self, &request).await,
            Route::AntiEntropy => peers::anti_entropy(self, &request).await,
            Route::Quarantine => quarantine::list(self, &request).await,
            Route::Release => quarantine::release(self, request).await,
            Route::Batch => batch::answer(self, request).await,
            Route::Removals => removals::list(self, &request),
            Route::UndoRemovals => removals::undo(self, &request).await,
            Route::Peers => peers::answer(self, request).await,
            Route::Ticket => ticket::answer(self, &request),
            Route::Changes => changes::answer(self, &request).await,
            Route::Socket => socket::answer(self, connection, request),
            Route::Link => link::answer(self, connection, request),
            Route::Live => probe::live(&request),
            Route::Ready => probe::ready(self, &request),
            Route::Version => probe::version(&request),
            Route::Metrics => metrics::answer(self, &request).await,
            Route::OpenApi => openapi::answer(&request),
        };
        if in_session { catch_up::put_token(&self.node, answer) } else { answer }
    }
}

/// The route, if it is one and the method is served there.
fn allowed(route: Result<Route, RouteError>, method: &Method, raw: &str) -> Result<Route, Problem> {
    let writes = matches!(*method, Method::PUT | Method::PATCH | Method::DELETE);
    let served = |route: &Route| *method == Method::OPTIONS || route.methods().contains(method);
    match route {
        Ok(route) if served(&route) => Ok(route),
        Ok(route) => {
            let problem = match reserved_name(raw) {
                Some(name) if writes => reserved(name),
                _ => Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    format!("`{method}` is not served here."),
                )
                .hint(format!("Use one of: {}.", list(route.methods()))),
            };
            Err(problem.path(route.path()).with(ALLOW, allow(route.methods())))
        }
        Err(RouteError::Unknown) => Err(match reserved_name(raw) {
            Some(name) if writes => reserved(name),
            _ => Problem::new(StatusCode::NOT_FOUND, "unknown_route", "Nothing is served here.")
                .hint("Documents are at /api/{path}; see docs/http-api.md for all routes."),
        }),
        Err(RouteError::Path(error)) => {
            let shown = raw.strip_prefix("/api/").map(crate::query::excerpt);
            Err(Problem::from(error).path(shown.as_deref()))
        }
    }
}

/// A write that means a document whose path belongs to the API.
fn reserved(name: &str) -> Problem {
    Problem::from(PathError::Reserved { name: name.to_owned() }).path(Some(name))
}

fn allow(methods: &[Method]) -> HeaderValue {
    HeaderValue::try_from(list(methods)).unwrap_or(HeaderValue::from_static("GET"))
}

fn list(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// A time as whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
