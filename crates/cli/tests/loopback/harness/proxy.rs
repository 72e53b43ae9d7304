//! A TCP proxy between two nodes that can be cut, healed, stalled and slowed, and that counts.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// A way to one server. Clients reach the server through [`Proxy::url`].
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// Bytes of TCP payload that went through, as counted after they were handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// From the dialing side to the server.
    pub(crate) forth: u64,
    /// From the server to the dialing side.
    pub(crate) back: u64,
}

impl Traffic {
    pub(crate) fn total(self) -> u64 {
        self.forth + self.back
    }

    pub(crate) fn since(self, before: Traffic) -> Traffic {
        Traffic { forth: self.forth - before.forth, back: self.back - before.back }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Nothing is read; connections stay open.
    Stalled,
    /// Connections are closed, new ones at once.
    Cut,
    /// The test is over.
    Ended,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    delay: Duration,
    road: Mutex<Road>,
    changed: Condvar,
    forth: AtomicU64,
    back: AtomicU64,
}

#[derive(Debug)]
struct Road {
    mode: Mode,
    /// Both ends of every connection that was let through since the last cut.
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy to a server on this machine, which need not run yet.
    pub(crate) fn to(port: u16) -> Proxy {
        Proxy::slow(port, Duration::ZERO)
    }

    /// The same, where every piece takes that long.
    pub(crate) fn slow(port: u16, delay: Duration) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared = Arc::new(Shared {
            target: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            delay,
            road: Mutex::new(Road { mode: Mode::Open, streams: Vec::new() }),
            changed: Condvar::new(),
            forth: AtomicU64::new(0),
            back: AtomicU64::new(0),
        });
        let port = listener.local_addr().unwrap().port();
        let accepting = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&listener, &accepting)));
        Proxy { port, shared, acceptor }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Closes every connection, and new ones as they come.
    pub(crate) fn cut(&self) {
        self.shared.switch(Mode::Cut);
    }

    /// Lets everything through again.
    pub(crate) fn heal(&self) {
        self.shared.switch(Mode::Open);
    }

    /// Stops reading, in both directions, and keeps the connections: the sender's buffers fill.
    pub(crate) fn stall(&self) {
        self.shared.switch(Mode::Stalled);
    }

    /// What went through so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Traffic { forth: read(&self.shared.forth), back: read(&self.shared.back) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.switch(Mode::Ended);
        // Wakes the acceptor.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn road(&self) -> MutexGuard<'_, Road> {
        self.road.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, mode: Mode) {
        let mut road = self.road();
        road.mode = mode;
        if matches!(mode, Mode::Cut | Mode::Ended) {
            for stream in road.streams.drain(..) {
                // Already gone is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        drop(road);
        self.changed.notify_all();
    }

    /// Waits while stalled; false when nothing may pass any more.
    fn may_pass(&self) -> bool {
        let road = self.road();
        let stalled = |road: &mut Road| road.mode == Mode::Stalled;
        let road = self.changed.wait_while(road, stalled).unwrap_or_else(PoisonError::into_inner);
        road.mode == Mode::Open
    }

    /// Takes a connection in, unless the way is cut.
    fn admit(&self, near: &TcpStream, far: &TcpStream) -> bool {
        let mut road = self.road();
        let open = matches!(road.mode, Mode::Open | Mode::Stalled);
        if open {
            road.streams.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
        }
        open
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.road().mode == Mode::Ended {
            return;
        }
        // A server that is down refuses: its dialer sees the connection close.
        let (Ok(near), Ok(far)) = (near, TcpStream::connect(shared.target)) else { continue };
        if !shared.admit(&near, &far) {
            continue;
        }
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (near_back, far_back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let (forth, back) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || pump(near, far, &forth, &forth.forth));
        thread::spawn(move || pump(far_back, near_back, &back, &back.back));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, counter: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while shared.may_pass() {
        let bytes = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        if !shared.delay.is_zero() {
            thread::sleep(shared.delay);
        }
        if !shared.may_pass() || to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
        counter.fetch_add(bytes as u64, Ordering::SeqCst);
    }
    // The other direction may still have something to say.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
