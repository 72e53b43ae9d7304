//! The accept loop: connections within bounds of number and time, and a shutdown that lets answers end.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rejoin::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::answer::Stream;
use crate::api::Api;
use crate::config::{REFUSALS_MAX, REFUSED_HEAD_TIMEOUT, ServeLimits};
use crate::guard::{OpenBindError, refuse_open_bind};
use crate::incoming::Incoming;
use crate::linger::Linger;
use crate::quiet::Quiet;
use crate::refusal;
use crate::wire::{Exchange, Serving, Wire};

/// How to serve.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// The token that every request but `/livez` must carry as `Authorization: Bearer <token>`.
    pub auth_token: Option<String>,
    /// Host names, with or without port, that this server answers for besides loopback and its own address. Not
    /// needed with a token, which proves more.
    pub allowed_hosts: Vec<String>,
    /// Origins of pages that may use this server from a browser, as in `https://app.example.com`.
    pub allowed_origins: Vec<String>,
    /// Serve without a token on an address that others can reach. Only behind a proxy that authenticates.
    pub allow_open_bind: bool,
    /// Bounds of size, number and time.
    pub limits: ServeLimits,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("auth_token", &self.auth_token.as_ref().map(|_| "…"))
            .field("allowed_hosts", &self.allowed_hosts)
            .field("allowed_origins", &self.allowed_origins)
            .field("allow_open_bind", &self.allow_open_bind)
            .field("limits", &self.limits)
            .finish()
    }
}

/// The server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It would be open to everybody.
    #[error(transparent)]
    Open(#[from] OpenBindError),
    /// The token cannot be sent in a header.
    #[error("the token is not one or more printable ASCII characters without spaces")]
    Token,
    /// The listener has no address.
    #[error("the listener has no address")]
    Listener(#[source] io::Error),
}

/// Serves a node's HTTP API until `shutdown` resolves, then lets open requests end for
/// [`ServeLimits::shutdown_grace`].
///
/// Peer links that came in are the node's: they go on until [`Node::close`].
///
/// # Errors
/// The options or the listener are not usable. A connection that fails ends alone.
pub async fn serve(
    node: Node,
    listener: TcpListener,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let bound = listener.local_addr().map_err(ServeError::Listener)?;
    if !options.allow_open_bind {
        refuse_open_bind(bound, options.auth_token.as_deref())?;
    }
    if options.auth_token.as_ref().is_some_and(|token| !is_sendable(token)) {
        return Err(ServeError::Token);
    }
    let (stop, stopped) = watch::channel(false);
    let shutdown_grace = options.limits.shutdown_grace;
    let slots = Arc::new(Semaphore::new(options.limits.connections.min(Semaphore::MAX_PERMITS)));
    let api = Arc::new(Api::new(node, &options, bound, stopped));
    let sockets = api.sockets.clone();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (stream, remote) = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            _ = beat.tick(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => drop(connections.spawn(connection(Arc::clone(&api), stream, remote, slot))),
            Err(_) => {
                if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                    connections.spawn(turn_away(Arc::clone(&api), stream, place));
                }
            }
        }
    }
    drop(listener);
    // Nobody listening is fine: then no connection is open.
    let _ = stop.send(true);
    let ended = timeout(shutdown_grace, async {
        while connections.join_next().await.is_some() {}
        sockets.closed().await;
    })
    .await;
    if ended.is_err() {
        tracing::warn!(open = connections.len(), "closing connections whose requests did not end in time");
        connections.shutdown().await;
    }
    Ok(())
}

/// What a request can know of its connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client.
    pub(crate) remote: SocketAddr,
    /// Our address, as the client reached it.
    pub(crate) local: SocketAddr,
    /// Where it is between requests and answers.
    pub(crate) exchange: Arc<Exchange>,
    /// Counts this connection until nobody holds it.
    _slot: OwnedSemaphorePermit,
}

/// Pause after a connection could not be accepted: the process may be out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A timer that is always near while there are connections. Every request sets timers of seconds, and one that would be the
/// next to fire wakes the worker up that waits for sockets: four times a request, more than the request itself.
const BEAT: Duration = Duration::from_millis(500);

async fn connection(api: Arc<Api>, stream: TcpStream, remote: SocketAddr, slot: OwnedSemaphorePermit) {
    let Ok(local) = stream.local_addr() else { return };
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let exchange = Arc::new(Exchange::default());
    let limits = &api.limits;
    let wire = Wire::new(stream, Arc::clone(&exchange), Arc::clone(&api));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout.max(limits.head_timeout))
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(HYPER_BUFFER_BYTES_MIN));
    let mut stopped = api.stopped.clone();
    let connection = Arc::new(Connection { remote, local, exchange, _slot: slot });
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (api, connection) = (Arc::clone(&api), Arc::clone(&connection));
        // Not boxed, though a silent connection has the room of it: 5 KiB to allocate for each request cost a GET 7 %.
        async move {
            let serving = connection.exchange.begin();
            let request = request.map(|body| Incoming::new(body, &connection.exchange));
            let mut response = api.answer(&connection, request).await;
            // Nobody reads the rest of the body of a request that is refused.
            if connection.exchange.is_unread() && response.status().as_u16() >= 400 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|stream| Served { stream, _serving: serving }))
        }
    });
    let mut served = Quiet::new(http.serve_connection(TokioIo::new(wire), service).with_upgrades());
    let ended = tokio::select! {
        outcome = &mut served => Some(outcome),
        () = is_true(&mut stopped) => None,
    };
    let outcome = match ended {
        Some(outcome) => outcome,
        None => {
            served.inner().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%remote, %error, "a connection ended early");
    }
}

/// Waits for the server to be told to stop.
pub(crate) async fn is_true(stopped: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is no less of a stop.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The least that hyper takes.
const HYPER_BUFFER_BYTES_MIN: usize = 8192;

/// Says that there are too many connections, and waits for the client to have read it.
async fn turn_away(api: Arc<Api>, mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let mut head = Vec::new();
    let _ = timeout(REFUSED_HEAD_TIMEOUT, async {
        let mut piece = [0; 1024];
        while head.len() < api.limits.head_bytes && !head.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read(&mut piece).await {
                Ok(bytes) if bytes > 0 => head.extend_from_slice(&piece[..bytes]),
                _ => break,
            }
        }
    })
    .await;
    let answer = refusal::too_many(&head, &api.guard);
    // It fits into the buffer of a fresh socket.
    if stream.write_all(&answer).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let mut linger = Linger::new();
    poll_fn(|context| linger.poll(&mut stream, context)).await;
}

fn is_sendable(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A body that ends its exchange with it.
struct Served {
    stream: Stream,
    _serving: Serving,
}

impl Body for Served {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.stream).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
