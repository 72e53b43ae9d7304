//! A TCP proxy on the way on which one node dials another, which can be made to fail.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes moved at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes moved at a time on a slow way: little enough to end in the middle of most frames.
const SLOW_PIECE_BYTES: usize = 256;

/// Pause between two pieces on a slow way: some 12 KiB a second.
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// How a way carries bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// At once.
    #[default]
    Open,
    /// Every piece this much later.
    Delayed {
        /// Milliseconds.
        ms: u64,
    },
    /// In small pieces with pauses.
    Slow,
    /// Not at all: connections are closed, new ones as they come.
    Cut,
    /// Connections are closed after this many more bytes of either direction, in the middle of a frame; new ones work.
    CutAfter {
        /// Bytes.
        bytes: usize,
    },
    /// Nothing is read from the dialing side; the other direction works.
    StalledForth,
    /// Nothing is read from the dialed side; the other direction works.
    StalledBack,
    /// Both sides are read, and what they say is lost; when this ends, the connections are closed.
    HalfOpen,
}

/// A way to a node.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    mode: Arc<watch::Sender<Era>>,
    accepting: JoinHandle<()>,
}

/// A mode, and how many came before it: a connection that a mode ends must not live on in the next.
#[derive(Clone, Copy, Debug, Default)]
struct Era {
    number: u64,
    mode: Mode,
}

impl Proxy {
    /// A way to a port of this machine, which need not be served yet.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn to(target: u16) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mode = Arc::new(watch::Sender::new(Era::default()));
        let accepting =
            tokio::spawn(accept(listener, (Ipv4Addr::LOCALHOST, target).into(), Arc::clone(&mode)));
        Ok(Proxy { port, mode, accepting })
    }

    /// Where to dial.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_modify(|era| *era = Era { number: era.number + 1, mode });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, mode: Arc<watch::Sender<Era>>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let mode = mode.subscribe();
        if mode.borrow().mode == Mode::Cut {
            continue;
        }
        tokio::spawn(async move {
            // A node that is down refuses: its dialer sees the connection close.
            let Ok(far) = TcpStream::connect(target).await else { return };
            if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
                return;
            }
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            let forth = carry(near_in, far_out, mode.clone(), Mode::StalledForth);
            let back = carry(far_in, near_out, mode, Mode::StalledBack);
            // An end on either side ends both: a link is one conversation.
            tokio::select! { () = forth => {}, () = back => {} }
        });
    }
}

/// Carries one direction until either side ends it or a mode does.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Era>,
    stalled: Mode,
) {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left: Option<(u64, usize)> = None;
    let mut swallowed = false;
    loop {
        let era = *mode.borrow_and_update();
        // What was lost leaves a hole in the stream.
        if era.mode == Mode::Cut || (swallowed && era.mode != Mode::HalfOpen) {
            return;
        }
        if era.mode == stalled {
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let most = if era.mode == Mode::Slow { SLOW_PIECE_BYTES } else { PIECE_BYTES };
        let read = tokio::select! {
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut piece[..most]) => read,
        };
        let Ok(bytes @ 1..) = read else { return };
        let mut bytes = &piece[..bytes];
        match era.mode {
            Mode::HalfOpen => {
                swallowed = true;
                continue;
            }
            Mode::Delayed { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Mode::Slow => tokio::time::sleep(SLOW_PAUSE).await,
            Mode::CutAfter { bytes: after } => {
                let more = left.filter(|(number, _)| *number == era.number).map_or(after, |(_, more)| more);
                bytes = &bytes[..bytes.len().min(more)];
                left = Some((era.number, more - bytes.len()));
            }
            Mode::Open | Mode::Cut | Mode::StalledForth | Mode::StalledBack => {}
        }
        if to.write_all(bytes).await.is_err() || left == Some((era.number, 0)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// No step takes longer, unless it hangs.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Long enough for bytes that are not held back to arrive.
    const HELD: Duration = Duration::from_millis(200);

    /// Both ends of a connection through a proxy.
    async fn connected() -> (Proxy, TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap().port()).await.unwrap();
        let near = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        (proxy, listener, near, far)
    }

    /// Reads that many bytes; none when the other side ended before.
    async fn read(from: &mut TcpStream, bytes: usize) -> Option<Vec<u8>> {
        let mut read = vec![0; bytes];
        let all = tokio::time::timeout(PATIENCE, from.read_exact(&mut read)).await.expect("bytes or an end");
        all.is_ok().then_some(read)
    }

    async fn is_silent(from: &mut TcpStream) -> bool {
        tokio::time::timeout(HELD, from.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn an_open_way_carries_both_directions_and_a_cut_one_none() {
        let (proxy, _listener, mut near, mut far) = connected().await;
        near.write_all(b"forth").await.unwrap();
        far.write_all(b"back").await.unwrap();
        assert_eq!(read(&mut far, 5).await.unwrap(), b"forth");
        assert_eq!(read(&mut near, 4).await.unwrap(), b"back");
        proxy.set(Mode::Cut);
        assert_eq!(read(&mut far, 1).await, None);
        assert_eq!(read(&mut near, 1).await, None);
        let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
        assert_eq!(read(&mut refused, 1).await, None);
    }

    #[tokio::test]
    async fn a_cut_in_the_middle_lets_just_so_many_bytes_through() {
        let (proxy, listener, mut near, mut far) = connected().await;
        proxy.set(Mode::CutAfter { bytes: 3 });
        near.write_all(b"frame").await.unwrap();
        assert_eq!(read(&mut far, 3).await.unwrap(), b"fra");
        assert_eq!(read(&mut far, 1).await, None);
        let _again = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
        assert!(tokio::time::timeout(PATIENCE, listener.accept()).await.is_ok(), "new connections work");
    }

    #[tokio::test]
    async fn a_stall_holds_one_direction_and_loses_nothing() {
        let (proxy, _listener, mut near, mut far) = connected().await;
        proxy.set(Mode::StalledForth);
        near.write_all(b"held").await.unwrap();
        far.write_all(b"back").await.unwrap();
        assert_eq!(read(&mut near, 4).await.unwrap(), b"back");
        assert!(is_silent(&mut far).await);
        proxy.set(Mode::Open);
        assert_eq!(read(&mut far, 4).await.unwrap(), b"held");
    }

    #[tokio::test]
    async fn a_half_open_way_swallows_and_ends_when_it_is_mended() {
        let (proxy, _listener, mut near, mut far) = connected().await;
        proxy.set(Mode::HalfOpen);
        near.write_all(b"lost").await.unwrap();
        assert!(is_silent(&mut far).await && is_silent(&mut near).await);
        proxy.set(Mode::Open);
        assert_eq!(read(&mut far, 1).await, None, "a stream with a hole in it must not go on");
        assert_eq!(read(&mut near, 1).await, None);
    }
}
