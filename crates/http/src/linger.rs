//! A connection that is closed while its client still sends.
//!
//! Closing it at once answers what is still on its way with a reset, and a reset takes the answer away that the client
//! has not read yet: it sees a broken pipe, and a proxy a bad gateway, instead of the reason. So our side says that it has
//! said all, and what still comes is read and thrown away until the client has read the answer and closes, within bounds.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::config::{LINGER_BYTES_MAX, LINGER_TIMEOUT};

/// What is thrown away at a time, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// How much may still come, and until when.
#[derive(Debug)]
pub(crate) struct Linger {
    left_bytes: usize,
    end: Pin<Box<Sleep>>,
}

impl Linger {
    /// Begins now.
    pub(crate) fn new() -> Linger {
        Linger { left_bytes: LINGER_BYTES_MAX, end: Box::pin(sleep(LINGER_TIMEOUT)) }
    }

    /// Reads until the client closes, or as much and as long as is allowed.
    pub(crate) fn poll(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        if self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
        loop {
            let mut buffer = ReadBuf::uninit(&mut piece);
            let read: io::Result<()> = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            let bytes = buffer.filled().len();
            if read.is_err() || bytes == 0 || bytes > self.left_bytes {
                return Poll::Ready(());
            }
            self.left_bytes -= bytes;
        }
    }
}
