//! The socket under the WebSocket: counts bytes, notes when something was heard, bounds what strangers may send.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::HANDSHAKE_INPUT_BYTES_MAX;
use crate::stats::LinkStats;

/// A socket with a meter. Silence is measured here, in bytes, because a long frame is news long before it is whole.
pub(crate) struct Metered<S> {
    io: S,
    stats: LinkStats,
    /// Bytes the peer may still send before it has proved itself.
    allowance: Option<usize>,
}

impl<S> Metered<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, stats: LinkStats::new(), allowance: Some(HANDSHAKE_INPUT_BYTES_MAX) }
    }

    pub(crate) fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// The peer has proved itself.
    pub(crate) fn lift_allowance(&mut self) {
        self.allowance = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match &mut this.allowance {
            None => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                buf.filled().len() - before
            }
            Some(0) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TOO_MUCH))),
            Some(allowance) => {
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(buf.remaining().min(*allowance)));
                ready!(Pin::new(&mut this.io).poll_read(cx, &mut part))?;
                let read = part.filled().len();
                *allowance -= read;
                buf.advance(read);
                read
            }
        };
        if read > 0 {
            this.stats.heard_bytes(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.stats.wrote_bytes(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

const TOO_MUCH: &str = "too many bytes before the handshake was done";
