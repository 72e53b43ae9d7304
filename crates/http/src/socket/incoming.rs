//! What has come of a message that is not whole: counted in the budget of request bodies, and against the clock.
//!
//! The library keeps the fragments of a message until it is whole, and says nothing of them. So bytes are counted where they
//! come in, from the end of one message to the end of the next. A read may take the end of one and the beginning of another;
//! such a beginning is at most one read buffer, and not counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::body::Pace;
use crate::config::ServeLimits;

/// A client's socket under its WebSocket.
#[derive(Debug)]
pub(super) struct Incoming<S> {
    io: S,
    budget: Arc<Semaphore>,
    limits: ServeLimits,
    /// What has come since the last whole message.
    unfinished: Option<(OwnedSemaphorePermit, Pace)>,
    refused: bool,
    /// What comes is not kept.
    discards: bool,
}

impl<S> Incoming<S> {
    pub(super) fn new(io: S, budget: Arc<Semaphore>, limits: ServeLimits) -> Incoming<S> {
        Incoming { io, budget, limits, unfinished: None, refused: false, discards: false }
    }

    /// A message is whole, or nothing was awaited for a while: what comes now is counted anew.
    pub(super) fn settle(&mut self) {
        self.unfinished = None;
    }

    /// What comes from now on is read and not kept, so it takes no room.
    pub(super) fn discard(&mut self) {
        self.unfinished = None;
        self.discards = true;
    }

    /// When more of an unfinished message must be here.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unfinished.as_ref().map(|(held, pace)| pace.deadline(held.num_permits()))
    }

    /// Whether it failed because there is no room for more.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        let more = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| Arc::clone(&self.budget).try_acquire_many_owned(bytes).ok());
        let Some(more) = more else {
            self.refused = true;
            return Err(io::Error::other("the server holds as many bytes of request bodies as it may"));
        };
        match &mut self.unfinished {
            Some((held, _)) => held.merge(more),
            None => self.unfinished = Some((more, Pace::start(&self.limits))),
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Incoming<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buf))?;
        match buf.filled().len() - before {
            0 => Poll::Ready(Ok(())),
            _ if this.discards => Poll::Ready(Ok(())),
            bytes => Poll::Ready(this.count(bytes)),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Incoming<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
