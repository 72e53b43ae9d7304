//! A client's socket, guarded in time: request heads must arrive whole, and answers must be read.
//!
//! hyper has one timer for both an idle connection and a slow head; here a head has its own, started by its first
//! byte. A client that stops reading ends its connection, so that what is queued for it cannot stay for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Where a connection is in its exchange of requests and answers.
///
/// Invariant: even while a head is awaited, odd while a request is served, `HANDED_OVER` for good after an upgrade.
#[derive(Debug, Default)]
pub(crate) struct Exchange(AtomicU64);

const HANDED_OVER: u64 = u64::MAX;

impl Exchange {
    /// A request has begun; it ends when the result is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Serving {
        self.0.fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }

    /// The connection no longer speaks HTTP.
    pub(crate) fn hand_over(&self) {
        self.0.store(HANDED_OVER, Ordering::Relaxed);
    }
}

/// A request being served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Exchange>);

impl Drop for Serving {
    fn drop(&mut self) {
        let next = |state| if state == HANDED_OVER { None } else { Some(state + 1) };
        let _ = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    head_timeout: Duration,
    stall_timeout: Duration,
    /// The exchange's state at the last read: a head's timer is of no use to the next.
    seen: u64,
    head: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// Guards a fresh connection, whose first head is due at once.
    pub(crate) fn new(
        stream: TcpStream,
        exchange: Arc<Exchange>,
        head_timeout: Duration,
        stall_timeout: Duration,
    ) -> Wire {
        let head = Some(Box::pin(sleep(head_timeout)));
        Wire { stream, exchange, head_timeout, stall_timeout, seen: 0, head, stall: None }
    }

    fn awaits_head(&mut self) -> bool {
        let state = self.exchange.0.load(Ordering::Relaxed);
        if state != self.seen {
            self.seen = state;
            self.head = None;
        }
        state.is_multiple_of(2)
    }

    fn check_stall<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            return outcome;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.stall_timeout)));
        match stall.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the client does not read"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let awaits_head = self.awaits_head();
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                if awaits_head && self.head.is_none() && buffer.filled().len() > before {
                    self.head = Some(Box::pin(sleep(self.head_timeout)));
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                let late = self.head.as_mut().is_some_and(|head| head.as_mut().poll(context).is_ready());
                match late {
                    true => Poll::Ready(Err(timed_out("the head of a request did not arrive in time"))),
                    false => Poll::Pending,
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_stall(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check_stall(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
