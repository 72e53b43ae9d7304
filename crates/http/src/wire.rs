//! A client's socket, guarded in time: request heads must arrive whole, and answers must be read.
//!
//! hyper has one timer for both an idle connection and a slow head; here a head has its own, started by its first
//! byte. A client that stops reading ends its connection, so that what is queued for it cannot stay for ever. A client
//! that still sends when its connection is closed gets the time to read why ([`Linger`]), and what hyper itself answers to
//! something that is no request is said in our words ([`refusal`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::api::Api;
use crate::linger::Linger;
use crate::refusal;

/// Where a connection is in its exchange of requests and answers.
///
/// Invariant: even while a head is awaited, odd while a request is served, `HANDED_OVER` for good after an upgrade.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    state: AtomicU64,
    /// The end of the last request's body was not seen.
    unread: AtomicBool,
}

const HANDED_OVER: u64 = u64::MAX;

impl Exchange {
    /// A request has begun; it ends when the result is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Serving {
        self.state.fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }

    /// The connection no longer speaks HTTP.
    pub(crate) fn hand_over(&self) {
        self.state.store(HANDED_OVER, Ordering::Relaxed);
    }

    /// Whether something of the body of the last request may still come.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Says whether something of the body of the request that is served may still come.
    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }
}

/// A request being served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Exchange>);

impl Drop for Serving {
    fn drop(&mut self) {
        let next = |state| if state == HANDED_OVER { None } else { Some(state + 1) };
        let _ = self.0.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    api: Arc<Api>,
    /// The exchange's state at the last read: a head's timer is of no use to the next.
    seen: u64,
    head: Option<Pin<Box<Sleep>>>,
    /// Something of a head that is awaited has come.
    begun: bool,
    /// What has come of it, when pages may use this server: an answer to it has to name its origin.
    head_text: Vec<u8>,
    stall: Option<Pin<Box<Sleep>>>,
    /// What is said in place of hyper's own words, and how much of it is written.
    instead: Option<(Vec<u8>, usize)>,
    linger: Option<Linger>,
}

impl Wire {
    /// Guards a fresh connection, whose first head is due at once.
    pub(crate) fn new(stream: TcpStream, exchange: Arc<Exchange>, api: Arc<Api>) -> Wire {
        let head = Some(Box::pin(sleep(api.limits.head_timeout)));
        Wire {
            stream,
            exchange,
            api,
            seen: 0,
            head,
            begun: false,
            head_text: Vec::new(),
            stall: None,
            instead: None,
            linger: None,
        }
    }

    fn awaits_head(&mut self) -> bool {
        let state = self.exchange.state.load(Ordering::Relaxed);
        if state != self.seen {
            self.seen = state;
            self.head = None;
            self.begun = false;
            self.head_text = Vec::new();
        }
        state.is_multiple_of(2)
    }

    /// A piece of a head has come.
    fn note_head(&mut self, piece: &[u8]) {
        self.begun = true;
        if self.head.is_none() {
            self.head = Some(Box::pin(sleep(self.api.limits.head_timeout)));
        }
        if self.api.guard.lists_origins() {
            let room = self.head_bytes_max().saturating_sub(self.head_text.len());
            self.head_text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// How much of a head is looked at for its origin.
    fn head_bytes_max(&self) -> usize {
        self.api.limits.head_bytes.saturating_mul(2)
    }

    /// Looks at what has come of a head behind the place where hyper gave up.
    fn look_ahead(&mut self) {
        let mut piece = [0; 4096];
        while self.api.guard.lists_origins() && self.head_text.len() < self.head_bytes_max() {
            match self.stream.try_read(&mut piece) {
                Ok(bytes) if bytes > 0 => self.head_text.extend_from_slice(&piece[..bytes]),
                _ => return,
            }
        }
    }

    /// Whether these bytes are hyper's own answer to what it could not read; then ours goes out.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        if !(self.awaits_head() && self.begun) {
            return false;
        }
        if refusal::is_of_library(bytes) {
            self.look_ahead();
        }
        let (guard, head_bytes_max) = (&self.api.guard, self.api.limits.head_bytes);
        let text = refusal::instead_of(bytes, &self.head_text, guard, head_bytes_max);
        self.instead = text.map(|text| (text, 0));
        self.instead.is_some()
    }

    /// Writes what is said in place of hyper's words.
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((text, written)) = &mut self.instead {
            let outcome = Pin::new(&mut self.stream).poll_write(context, &text[*written..]);
            let outcome = outcome.map_ok(|bytes| {
                *written += bytes;
                *written == text.len() || bytes == 0
            });
            if ready!(self.check_stall(context, outcome))? {
                self.instead = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client may still be sending something that nobody will read.
    fn is_cut_short(&mut self) -> bool {
        let begun = self.awaits_head() && self.begun;
        self.seen != HANDED_OVER && (begun || self.exchange.is_unread())
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
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.api.limits.write_stall_timeout)));
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
                if awaits_head && buffer.filled().len() > before {
                    self.note_head(&buffer.filled()[before..]);
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
        ready!(self.poll_instead(context))?;
        if self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_stall(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(context))?;
        if let [bytes] = slices
            && self.replace(bytes)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check_stall(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_instead(context))?;
        let cut_short = this.is_cut_short();
        let linger = match &mut this.linger {
            Some(linger) => linger,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                if !cut_short {
                    return Poll::Ready(Ok(()));
                }
                none.insert(Linger::new())
            }
        };
        linger.poll(&mut this.stream, context).map(Ok)
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
