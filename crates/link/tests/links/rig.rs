//! The one place that touches the API: nodes, pairs of them, and what may stand between the two.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rejoin_link::{
    AcceptError, ClusterId, DialError, HandshakeError, Identity, Limits, Link, LinkReceiver, LinkSender,
    Listener, NodeKey, OpenHandshakes, PeerUrl, dial, parse_peer_url,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

/// Deadline of everything that should simply happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("did not happen in time")
}

pub(crate) fn node(seed: u8) -> Identity {
    Identity {
        key: Arc::new(NodeKey::from_seed([seed; 32])),
        cluster: ClusterId::of_name("default"),
        secret: None,
        name: format!("node-{seed}"),
        epoch: u64::from(seed) * 1000,
        policy: [seed; 16],
        handshakes: OpenHandshakes::default(),
    }
}

pub(crate) fn url(addr: SocketAddr) -> PeerUrl {
    parse_peer_url(&format!("http://{addr}")).unwrap()
}

pub(crate) type Dialed = Result<Link, DialError>;
pub(crate) type Accepted = Result<Link, AcceptError>;

/// Two nodes meet; what each makes of it.
pub(crate) async fn meet(dialer: &Identity, listener: &Identity) -> (Dialed, Accepted) {
    meet_with(dialer, &Limits::default(), listener, &Limits::default(), |addr| addr).await
}

/// Two nodes meet through something: `between` gets the listener's address and gives the one to dial.
pub(crate) async fn meet_through(
    dialer: &Identity,
    listener: &Identity,
    between: impl FnOnce(SocketAddr) -> SocketAddr,
) -> (Dialed, Accepted) {
    meet_with(dialer, &Limits::default(), listener, &Limits::default(), between).await
}

pub(crate) async fn meet_with(
    dialer: &Identity,
    dialer_limits: &Limits,
    listener: &Identity,
    listener_limits: &Limits,
    between: impl FnOnce(SocketAddr) -> SocketAddr,
) -> (Dialed, Accepted) {
    let bound = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = url(between(bound.local_addr().unwrap()));
    let accepting = async { bound.accept().await.unwrap().link(listener, listener_limits).await };
    soon(async { tokio::join!(dial(&url, dialer, dialer_limits, None), accepting) }).await
}

/// Node 1 has dialed node 2.
pub(crate) async fn linked(limits: &Limits) -> (Link, Link) {
    let (dialed, accepted) = meet_with(&node(1), limits, &node(2), limits, |addr| addr).await;
    (dialed.unwrap(), accepted.unwrap())
}

/// A listener of node `us` for one connection, and what it makes of it.
pub(crate) async fn listening(
    us: Identity,
    limits: Limits,
) -> (SocketAddr, tokio::task::JoinHandle<Accepted>) {
    let bound = Listener::bind("127.0.0.1:0").await.unwrap();
    let addr = bound.local_addr().unwrap();
    (addr, tokio::spawn(async move { bound.accept().await.unwrap().link(&us, &limits).await }))
}

pub(crate) fn dial_refusal(dialed: Dialed) -> HandshakeError {
    match dialed.unwrap_err() {
        DialError::Handshake(error) => error,
        other => panic!("{other}"),
    }
}

pub(crate) fn accept_refusal(accepted: Accepted) -> HandshakeError {
    match accepted.unwrap_err() {
        AcceptError::Handshake(error) => error,
        other => panic!("{other}"),
    }
}

/// Bytes that differ from place to place and from frame to frame.
pub(crate) fn frame(length: usize, seed: u8) -> Bytes {
    (0..length).map(|i| (i % 251) as u8 ^ (i >> 13) as u8 ^ seed).collect()
}

pub(crate) async fn next(receiver: &mut LinkReceiver) -> Bytes {
    soon(receiver.recv()).await.unwrap().expect("the link was closed")
}

pub(crate) async fn send(sender: &LinkSender, frame: &Bytes) {
    soon(sender.send(frame.clone())).await.unwrap();
}

/// A peer of our making, which speaks WebSocket and then says what it likes.
pub(crate) async fn stranger(addr: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(addr).await.unwrap();
    soon(client_async(format!("ws://{addr}/api/_link"), stream)).await.unwrap().0
}

/// Reads until the peer refuses; gives code and reason.
pub(crate) async fn refusal_heard(socket: &mut WebSocketStream<TcpStream>) -> (u8, String) {
    loop {
        match soon(socket.next()).await.expect("closed without a refusal").unwrap() {
            Message::Binary(bytes) if bytes[0] == 3 => {
                return (bytes[1], String::from_utf8(bytes[3..].to_vec()).unwrap());
            }
            _ => {}
        }
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Listener,
    Dialer,
}

/// Somebody between two nodes who reads, and may change, each message of the handshake.
pub(crate) fn meddler(
    listener: SocketAddr,
    mut change: impl FnMut(Toward, &mut Vec<u8>) + Send + 'static,
) -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let socket = TcpListener::from_std(socket).unwrap();
        let mut dialer = accept_async(socket.accept().await.unwrap().0).await.unwrap();
        let mut listener = stranger(listener).await;
        loop {
            let (toward, message) = tokio::select! {
                message = dialer.next() => (Toward::Listener, message),
                message = listener.next() => (Toward::Dialer, message),
            };
            let Some(Ok(mut message)) = message else { return };
            if let Message::Binary(bytes) = &mut message {
                let mut changed = bytes.to_vec();
                change(toward, &mut changed);
                *bytes = changed.into();
            }
            let passed = match toward {
                Toward::Listener => listener.send(message).await,
                Toward::Dialer => dialer.send(message).await,
            };
            if passed.is_err() {
                return;
            }
        }
    });
    addr
}

/// A wire that can be slow, or frozen: both sockets stay open and nothing passes.
pub(crate) struct Wire {
    frozen: watch::Sender<bool>,
    delay: Duration,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::slow(Duration::ZERO)
    }

    /// Passes 16 KiB, then waits.
    pub(crate) fn slow(delay: Duration) -> Self {
        Self { frozen: watch::Sender::new(false), delay }
    }

    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn to(&self, listener: SocketAddr) -> SocketAddr {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        let (frozen, delay) = (self.frozen.subscribe(), self.delay);
        tokio::spawn(async move {
            let socket = TcpListener::from_std(socket).unwrap();
            let (from_dialer, to_dialer) = socket.accept().await.unwrap().0.into_split();
            let (from_listener, to_listener) = TcpStream::connect(listener).await.unwrap().into_split();
            tokio::join!(
                pass(from_dialer, to_listener, frozen.clone(), delay),
                pass(from_listener, to_dialer, frozen, delay)
            );
        });
        addr
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
    delay: Duration,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = async { drop(frozen.wait_for(|frozen| *frozen).await) } => std::future::pending().await,
            read = from.read(&mut bytes) => read.unwrap_or(0),
        };
        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}
