//! A relay that counts what goes over a link, and can cut it.
//!
//! With a delay it also tells how many trips a conversation takes, one after the other. A message that reaches the relay
//! before the other side was given anything new cannot be an answer to it; the delay keeps those apart that cross.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};

use crate::messages::Messages;

/// Messages of the handshake of a link that each side sends: Hello, Proof, Welcome.
const HANDSHAKE_MESSAGES: u64 = 3;

/// Pieces that are on their way at a time, each way, when there is a delay.
const PIECES_MAX: usize = 256;

/// Bytes of a piece, at most.
const PIECE_BYTES: usize = 256 << 10;

/// What is waited for happens within this time, or the run fails.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The relay; it ends with this.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    counted: Rc<Counted>,
    cut: watch::Sender<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Counted {
    bytes: Cell<u64>,
    connections: Cell<u64>,
    /// Of the newest connection.
    trips: RefCell<Trips>,
}

/// How far the conversation of a link is that was opened here.
#[derive(Debug)]
struct Trips {
    /// By direction: messages that reached the relay, and the greatest depth of one that left it again.
    messages: [u64; 2],
    delivered: [u64; 2],
    /// The longest chain behind the handshake, each message of it behind one of the other side.
    depth: u64,
    /// Bytes of messages behind the handshake.
    bytes: u64,
    /// When the last message came.
    last: Instant,
}

impl Trips {
    fn new() -> Trips {
        Trips { messages: [0; 2], delivered: [0; 2], depth: 0, bytes: 0, last: Instant::now() }
    }

    /// A message of some bytes reached the relay; tells its depth, 0 for the handshake.
    fn message(&mut self, side: usize, bytes: u64) -> u64 {
        self.last = Instant::now();
        self.messages[side] += 1;
        if self.messages[side] <= HANDSHAKE_MESSAGES {
            return 0;
        }
        self.bytes += bytes;
        let depth = self.delivered[1 - side] + 1;
        self.depth = self.depth.max(depth);
        depth
    }

    fn delivered(&mut self, side: usize, depth: u64) {
        self.delivered[side] = self.delivered[side].max(depth);
    }
}

impl Proxy {
    /// Relays to a port. Must be called within a [`tokio::task::LocalSet`].
    pub(crate) async fn start(to: u16) -> anyhow::Result<Proxy> {
        Proxy::start_slow(to, Duration::ZERO).await
    }

    /// The same, and everything takes that long, each way.
    pub(crate) async fn start_slow(to: u16, delay: Duration) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let counted = Rc::new(Counted {
            bytes: Cell::new(0),
            connections: Cell::new(0),
            trips: RefCell::new(Trips::new()),
        });
        let cut = watch::Sender::new(0);
        let accepting =
            tokio::task::spawn_local(accept(listener, to, delay, Rc::clone(&counted), cut.clone()));
        Ok(Proxy { port, counted, cut, accepting })
    }

    /// Bytes relayed, both ways together, since [`Proxy::reset`].
    pub(crate) fn bytes(&self) -> u64 {
        self.counted.bytes.get()
    }

    /// Of the newest connection: bytes of the messages behind its handshake, both ways together.
    pub(crate) fn bytes_after_handshake(&self) -> u64 {
        self.counted.trips.borrow().bytes
    }

    /// Of the newest connection: round trips behind its handshake until nobody had more to say. Only with a delay.
    pub(crate) fn round_trips(&self) -> f64 {
        self.counted.trips.borrow().depth as f64 / 2.0
    }

    /// Waits for a connection since [`Proxy::reset`] over which the handshake is done and no message has gone for
    /// that long. Heartbeats are not messages.
    ///
    /// # Errors
    /// That does not happen within a minute.
    pub(crate) async fn quiet(&self, pause: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let (messages, last) = {
                let trips = self.counted.trips.borrow();
                (trips.messages, trips.last)
            };
            let linked = self.counted.connections.get() > 0
                && messages.iter().all(|messages| *messages >= HANDSHAKE_MESSAGES);
            if linked && last.elapsed() >= pause {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "a link is not there and quiet after {} s",
                WAIT_MAX.as_secs()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Counts from 0 again.
    pub(crate) fn reset(&self) {
        self.counted.bytes.set(0);
        self.counted.connections.set(0);
        self.counted.trips.replace(Trips::new());
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    to: u16,
    delay: Duration,
    counted: Rc<Counted>,
    cut: watch::Sender<u64>,
) {
    while let Ok((from, _)) = listener.accept().await {
        let Ok(to) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
        let _ = (from.set_nodelay(true), to.set_nodelay(true));
        counted.connections.set(counted.connections.get() + 1);
        counted.trips.replace(Trips::new());
        let ((from_in, from_out), (to_in, to_out)) = (from.into_split(), to.into_split());
        let mut cuts = cut.subscribe();
        let counted = Rc::clone(&counted);
        tokio::task::spawn_local(async move {
            let counted = &*counted;
            let way = |from, to, side| async move {
                match delay.is_zero() {
                    true => relay(from, to, counted, side).await,
                    false => relay_slowly(from, to, counted, side, delay).await,
                }
            };
            tokio::select! {
                () = way(from_in, to_out, 0) => {}
                () = way(to_in, from_out, 1) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counted: &Counted, side: usize) {
    let (mut buffer, mut messages) = (vec![0; PIECE_BYTES], Messages::new());
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        let depth = counted.read(&mut messages, &buffer[..bytes], side);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
        counted.trips.borrow_mut().delivered(side, depth);
    }
}

async fn relay_slowly(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    counted: &Counted,
    side: usize,
    delay: Duration,
) {
    let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
    let reading = async {
        let (mut buffer, mut messages) = (vec![0; PIECE_BYTES], Messages::new());
        while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
            let depth = counted.read(&mut messages, &buffer[..bytes], side);
            let due = tokio::time::Instant::now() + delay;
            if sender.send((due, depth, buffer[..bytes].to_vec())).await.is_err() {
                break;
            }
        }
        drop(sender);
    };
    let writing = async {
        while let Some((due, depth, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
            counted.trips.borrow_mut().delivered(side, depth);
        }
    };
    tokio::join!(reading, writing);
}

impl Counted {
    /// Counts what was read; tells the greatest depth of a message that ends in it.
    fn read(&self, messages: &mut Messages, bytes: &[u8], side: usize) -> u64 {
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        let mut trips = self.trips.borrow_mut();
        let mut depth = 0;
        messages.read(bytes, |bytes| depth = depth.max(trips.message(side, bytes)));
        depth
    }
}
