//! Dialing a peer: connect, upgrade, prove.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, header::AUTHORIZATION};

use crate::config::Limits;
use crate::handshake::{HandshakeError, Role, establish};
use crate::identity::Identity;
use crate::link::Link;
use crate::meter::Metered;
use crate::socket::{Socket, config};
use crate::url::PeerUrl;

/// Dials a peer and proves both ends to each other. `token` is shown to its HTTP server, where that asks for one.
///
/// Dropping the future drops the connection.
pub async fn dial(
    url: &PeerUrl,
    us: &Identity,
    limits: &Limits,
    token: Option<&BearerToken>,
) -> Result<Link, DialError> {
    let stream = connect(url, limits).await?;
    let socket = timeout(limits.handshake_timeout, upgrade(stream, url, limits, token))
        .await
        .unwrap_or(Err(DialError::UpgradeTimedOut(limits.handshake_timeout)))?;
    let (socket, peer) = establish(socket, us, Role::Dialer, limits).await?;
    Ok(Link::start(socket, peer, true, limits))
}

/// A token for the `Authorization: Bearer` header of the upgrade request.
#[derive(Clone)]
pub struct BearerToken(HeaderValue);

impl BearerToken {
    /// A token of visible ASCII characters.
    pub fn new(token: &str) -> Result<Self, BearerTokenError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BearerTokenError);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| BearerTokenError)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// A token that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token consists of visible ASCII characters without spaces")]
pub struct BearerTokenError;

/// A dial that did not make a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody answered in time.
    #[error("no connection to {url} within {limit:?}")]
    ConnectTimedOut {
        /// The peer.
        url: PeerUrl,
        /// [`Limits::connect_timeout`].
        limit: Duration,
    },
    /// The host is unknown or refuses connections.
    #[error("cannot connect to {url}")]
    Connect {
        /// The peer.
        url: PeerUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The server did not finish its answer in time.
    #[error("the server did not answer the upgrade request within {0:?}")]
    UpgradeTimedOut(Duration),
    /// A server answered, but not with a link.
    #[error("the server answered HTTP {status} instead of a link{}", hint(*status))]
    NotALink {
        /// HTTP status of its answer.
        status: u16,
    },
    /// What answered is no WebSocket server.
    #[error("the server does not speak WebSocket: {0}")]
    NotWebSocket(String),
    /// The connection failed during the upgrade.
    #[error("the connection failed during the upgrade")]
    Upgrade(#[source] io::Error),
    /// The two nodes did not agree.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

async fn connect(url: &PeerUrl, limits: &Limits) -> Result<TcpStream, DialError> {
    let connecting = TcpStream::connect((url.host(), url.port()));
    let stream = timeout(limits.connect_timeout, connecting)
        .await
        .map_err(|_| DialError::ConnectTimedOut { url: url.clone(), limit: limits.connect_timeout })?
        .map_err(|source| DialError::Connect { url: url.clone(), source })?;
    // Frames are flushed one by one; Nagle would hold each back for the acknowledgement of the last.
    stream.set_nodelay(true).map_err(|source| DialError::Connect { url: url.clone(), source })?;
    Ok(stream)
}

async fn upgrade(
    stream: TcpStream,
    url: &PeerUrl,
    limits: &Limits,
    token: Option<&BearerToken>,
) -> Result<Socket<TcpStream>, DialError> {
    let request = request(url, token)?;
    match client_async_with_config(request, Metered::new(stream), Some(config(limits))).await {
        Ok((socket, _response)) => Ok(socket),
        Err(Error::Http(response)) => Err(DialError::NotALink { status: response.status().as_u16() }),
        Err(Error::Io(error)) => Err(DialError::Upgrade(error)),
        Err(other) => Err(DialError::NotWebSocket(other.to_string())),
    }
}

fn request(url: &PeerUrl, token: Option<&BearerToken>) -> Result<Request<()>, DialError> {
    let mut request =
        url.endpoint().into_client_request().map_err(|error| DialError::NotWebSocket(error.to_string()))?;
    if let Some(BearerToken(value)) = token {
        request.headers_mut().insert(AUTHORIZATION, value.clone());
    }
    Ok(request)
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it asks for a token, or does not accept ours",
        404 => ": is the URL that of a rejoin server?",
        421 => ": it does not answer for the host of this URL; add that host to its auth.allowed_hosts",
        426 => ": a proxy between has dropped `Upgrade`, or the URL is not that of a rejoin server",
        200..=299 => ": something else answers there, or a proxy between has dropped `Upgrade`",
        300..=399 => ": it redirects, and links do not follow",
        500.. => ": try again later",
        _ => "",
    }
}
