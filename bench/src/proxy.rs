//! A relay that counts what goes over a link, and can cut it.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The relay; it ends with this.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    counted: Rc<Counted>,
    cut: watch::Sender<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counted {
    bytes: Cell<u64>,
    connections: Cell<u64>,
    /// Times that the other side began to speak.
    turns: Cell<u64>,
    last: Cell<u8>,
}

impl Proxy {
    /// Relays to a port. Must be called within a [`tokio::task::LocalSet`].
    pub(crate) async fn start(to: u16) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let counted = Rc::new(Counted::default());
        let cut = watch::Sender::new(0);
        let accepting = tokio::task::spawn_local(accept(listener, to, Rc::clone(&counted), cut.clone()));
        Ok(Proxy { port, counted, cut, accepting })
    }

    /// Bytes relayed, both ways together, since [`Proxy::reset`].
    pub(crate) fn bytes(&self) -> u64 {
        self.counted.bytes.get()
    }

    /// Times that the other side began to speak: two make a round trip.
    pub(crate) fn turns(&self) -> u64 {
        self.counted.turns.get()
    }

    /// Connections since [`Proxy::reset`].
    pub(crate) fn connections(&self) -> u64 {
        self.counted.connections.get()
    }

    /// Counts from 0 again.
    pub(crate) fn reset(&self) {
        self.counted.bytes.set(0);
        self.counted.turns.set(0);
        self.counted.connections.set(0);
        self.counted.last.set(0);
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

async fn accept(listener: TcpListener, to: u16, counted: Rc<Counted>, cut: watch::Sender<u64>) {
    while let Ok((from, _)) = listener.accept().await {
        let Ok(to) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
        let _ = (from.set_nodelay(true), to.set_nodelay(true));
        counted.connections.set(counted.connections.get() + 1);
        let ((from_in, from_out), (to_in, to_out)) = (from.into_split(), to.into_split());
        let mut cuts = cut.subscribe();
        let counted = Rc::clone(&counted);
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = relay(from_in, to_out, &counted, 1) => {}
                () = relay(to_in, from_out, &counted, 2) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counted: &Counted, side: u8) {
    let mut buffer = vec![0; 256 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        counted.bytes.set(counted.bytes.get() + bytes as u64);
        if counted.last.replace(side) != side {
            counted.turns.set(counted.turns.get() + 1);
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
}
