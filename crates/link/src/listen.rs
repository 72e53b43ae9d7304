//! How a peer reaches us: over a socket somebody else upgraded, or through the small listener of an embedded node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as Side;

use crate::config::{HANDSHAKES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX, Limits};
use crate::handshake::{self, HandshakeError, Refusal, RefusalCode, Role, establish};
use crate::http::{UpgradeRefusal, check_upgrade};
use crate::identity::Identity;
use crate::link::Link;
use crate::meter::Metered;
use crate::socket::{config, drain};
use crate::url::LINK_PATH;

/// Makes a link of a socket on which the upgrade has been answered (see [`check_upgrade`]). Over TCP, set
/// `TCP_NODELAY` on it.
pub async fn accept<S>(io: S, us: &Identity, limits: &Limits) -> Result<Link, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = WebSocketStream::from_raw_socket(Metered::new(io), Side::Server, Some(config(limits))).await;
    let (socket, peer) = establish(socket, us, Role::Listener, limits).await?;
    Ok(Link::start(socket, peer, false, limits))
}

/// Refuses a peer on a socket on which the upgrade has been answered, so that it learns why: when this node is
/// [shutting down](RefusalCode::ShuttingDown) or [busy](RefusalCode::Busy).
pub async fn refuse<S>(io: S, code: RefusalCode, reason: &str, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = WebSocketStream::from_raw_socket(Metered::new(io), Side::Server, Some(config(limits))).await;
    handshake::refuse(socket, Refusal::new(code, reason), limits).await;
}

/// Makes a link of a fresh connection: reads an HTTP upgrade request for [`LINK_PATH`] and answers everything else
/// with a short error. For embedded nodes, which have no HTTP server.
pub async fn accept_http<S>(mut io: S, us: &Identity, limits: &Limits) -> Result<Link, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let greeted = timeout(limits.header_timeout, greet(&mut io)).await;
    match greeted.unwrap_or(Err(AcceptError::HeaderTimedOut(limits.header_timeout))) {
        Ok(()) => Ok(accept(io, us, limits).await?),
        Err(error) => {
            if let Some(answer) = answer(&error) {
                let _ = timeout(limits.linger, async {
                    if io.write_all(answer.as_bytes()).await.is_ok() {
                        drain(&mut io).await;
                    }
                })
                .await;
            }
            Err(error)
        }
    }
}

/// A TCP listener for links only.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    slots: Arc<Semaphore>,
}

impl Listener {
    /// Binds a TCP address; port 0 picks a free one.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(addr).await?, slots: Arc::new(Semaphore::new(HANDSHAKES_MAX)) })
    }

    /// The bound address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection, once fewer than [`HANDSHAKES_MAX`] are in their handshake. Finish it in a task of its
    /// own. After an error wait a little before the next call: the process may be out of file descriptors.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, remote) = self.socket.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Incoming { stream, remote, _slot: slot })
    }
}

/// A connection that is not a link yet.
#[derive(Debug)]
pub struct Incoming {
    stream: TcpStream,
    remote: SocketAddr,
    _slot: OwnedSemaphorePermit,
}

impl Incoming {
    /// Where it comes from.
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// Makes a link of it; see [`accept_http`].
    pub async fn link(self, us: &Identity, limits: &Limits) -> Result<Link, AcceptError> {
        accept_http(self.stream, us, limits).await
    }
}

/// A connection that did not become a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The head of the request did not come in time.
    #[error("no complete HTTP request within {0:?}")]
    HeaderTimedOut(Duration),
    /// The head of the request is too long.
    #[error(
        "the head of the HTTP request is longer than {HTTP_HEAD_BYTES_MAX} bytes or {HTTP_HEADERS_MAX} lines"
    )]
    HeaderTooLong,
    /// Not HTTP.
    #[error("not an HTTP request: {0}")]
    NotHttp(String),
    /// HTTP, but not for the link endpoint.
    #[error("an HTTP request for something else than {LINK_PATH}")]
    NotFound,
    /// For the link endpoint, but no upgrade to a link.
    #[error(transparent)]
    NotALink(#[from] UpgradeRefusal),
    /// The connection failed.
    #[error("the connection failed before the upgrade")]
    Io(#[source] io::Error),
    /// The two nodes did not agree.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Reads the upgrade request and accepts it.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) -> Result<(), AcceptError> {
    let head = read_head(io).await?;
    let accept = judge(&head)?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    io.write_all(answer.as_bytes()).await.map_err(AcceptError::Io)?;
    io.flush().await.map_err(AcceptError::Io)
}

/// Reads the head of a request. A peer sends nothing beyond it before it has our answer.
async fn read_head<S: AsyncRead + Unpin>(io: &mut S) -> Result<Vec<u8>, AcceptError> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let room = (HTTP_HEAD_BYTES_MAX - head.len()) as u64;
        if room == 0 {
            return Err(AcceptError::HeaderTooLong);
        }
        if io.take(room).read_buf(&mut head).await.map_err(AcceptError::Io)? == 0 {
            return Err(AcceptError::NotHttp("the connection ended".to_owned()));
        }
        // At every read, so that garbage is answered now and not when the timeout has passed.
        if parse(&head, |_, status| Ok(status.is_complete()))? {
            return Ok(head);
        }
    }
}

fn judge(head: &[u8]) -> Result<String, AcceptError> {
    parse(head, |request, status| {
        if request.path.and_then(|path| path.split('?').next()) != Some(LINK_PATH) {
            return Err(AcceptError::NotFound);
        }
        let headers = request.headers.iter().map(|header| (header.name, header.value));
        let accept = check_upgrade(request.method.unwrap_or_default(), headers)?;
        match status {
            httparse::Status::Complete(bytes) if bytes == head.len() => Ok(accept),
            _ => Err(AcceptError::NotHttp("bytes follow the upgrade request".to_owned())),
        }
    })
}

fn parse<T>(
    head: &[u8],
    then: impl FnOnce(&httparse::Request<'_, '_>, httparse::Status<usize>) -> Result<T, AcceptError>,
) -> Result<T, AcceptError> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(status) => then(&request, status),
        Err(httparse::Error::TooManyHeaders) => Err(AcceptError::HeaderTooLong),
        Err(error) => Err(AcceptError::NotHttp(error.to_string())),
    }
}

fn answer(error: &AcceptError) -> Option<String> {
    let (status, phrase) = match error {
        AcceptError::HeaderTimedOut(_) => (408, "Request Timeout"),
        AcceptError::HeaderTooLong => (431, "Request Header Fields Too Large"),
        AcceptError::NotHttp(_) => (400, "Bad Request"),
        AcceptError::NotFound => (404, "Not Found"),
        AcceptError::NotALink(refusal) => match refusal.status() {
            403 => (403, "Forbidden"),
            426 => (426, "Upgrade Required"),
            _ => (400, "Bad Request"),
        },
        AcceptError::Io(_) | AcceptError::Handshake(_) => return None,
    };
    let upgrade = match status {
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let body = format!("{error}\n");
    Some(format!(
        "HTTP/1.1 {status} {phrase}\r\n{upgrade}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}
