//! An established link and its two halves.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Limits;
use crate::identity::Peer;
use crate::pump::{self, Outgoing, Received};
use crate::socket::{Io, Socket, cut};
use crate::stats::LinkStats;

/// An authenticated, ordered stream of frames to and from one peer.
///
/// It lives while both halves are held: dropping the receiver or every sender closes it. Heartbeats run from the
/// start, whatever the owner does.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    dialed: bool,
    sender: LinkSender,
    receiver: LinkReceiver,
}

impl Link {
    pub(crate) fn start<S: Io>(socket: Socket<S>, peer: Peer, dialed: bool, limits: &Limits) -> Self {
        let stats = socket.get_ref().stats().clone();
        let (handles, ends) = pump::channels();
        tracing::debug!(peer = %crate::identity::Hex(&peer.id), name = %peer.name, dialed, "link established");
        tokio::spawn(pump::run(socket, ends, stats.clone(), limits.clone()));
        let sender = LinkSender {
            frames: handles.frames,
            close: handles.close,
            ending: handles.ending.clone(),
            stats: stats.clone(),
            frame_bytes_max: limits.frame_bytes_max,
        };
        let receiver = LinkReceiver { received: handles.received, ending: handles.ending, stats };
        Self { peer, dialed, sender, receiver }
    }

    /// What the other end proved to be.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether we dialed this link; see [`crate::prefer`].
    pub fn dialed(&self) -> bool {
        self.dialed
    }

    /// The measurements of this link.
    pub fn stats(&self) -> LinkStats {
        self.sender.stats.clone()
    }

    /// The two halves, for two tasks.
    pub fn split(self) -> (LinkSender, LinkReceiver) {
        (self.sender, self.receiver)
    }

    /// Closes the link at once, telling the peer why.
    pub async fn close(self, reason: &str) {
        self.sender.close(reason).await;
    }
}

/// Both nodes of a pair may dial each other at the same moment, and one link is enough. Of two links of a pair, is
/// this the one to keep? The link dialed by the lower id is, so both ends answer alike without talking. `dialed`
/// says whether we dialed this one.
pub fn prefer(ours: [u8; 16], theirs: [u8; 16], dialed: bool) -> bool {
    dialed == (ours < theirs)
}

/// The sending half. Clones send over the same link.
#[derive(Clone, Debug)]
pub struct LinkSender {
    frames: mpsc::Sender<Outgoing>,
    close: mpsc::Sender<String>,
    ending: watch::Receiver<Option<Ending>>,
    stats: LinkStats,
    frame_bytes_max: usize,
}

impl LinkSender {
    /// Sends a frame and waits until the socket took it whole. That is not yet a promise that the peer has it.
    ///
    /// Cancel safe: a frame once queued is sent whole or the link ends. An over-long frame changes nothing; any
    /// other error means that the link has ended.
    pub async fn send(&self, frame: Bytes) -> Result<(), LinkError> {
        if frame.len() > self.frame_bytes_max {
            return Err(LinkError::SendTooLong { bytes: frame.len(), bytes_max: self.frame_bytes_max });
        }
        let (written, on_written) = oneshot::channel();
        if self.frames.send(Outgoing { frame, written }).await.is_err() || on_written.await.is_err() {
            return Err(ending_of(&self.ending).await.error());
        }
        Ok(())
    }

    /// Closes the link, telling the peer why (at most [`crate::config::CLOSE_REASON_BYTES_MAX`] bytes of it), and
    /// waits for the goodbye, at most [`Limits::linger`]. Frames whose `send` has returned are before the close;
    /// frames still queued are dropped, and their `send` fails.
    pub async fn close(mut self, reason: &str) {
        let reason = cut(reason, crate::config::CLOSE_REASON_BYTES_MAX).to_owned();
        // Full means that somebody else is closing it; closed, that it has ended.
        let _ = self.close.try_send(reason);
        while self.ending.changed().await.is_ok() {}
    }

    /// The measurements of this link.
    pub fn stats(&self) -> LinkStats {
        self.stats.clone()
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct LinkReceiver {
    received: mpsc::Receiver<Received>,
    ending: watch::Receiver<Option<Ending>>,
    stats: LinkStats,
}

impl LinkReceiver {
    /// The next frame, in the order sent. `None`: one side closed the link, see [`LinkReceiver::close_reason`]. An
    /// error: it broke. Both come after every frame received before, and again at each further call. Cancel safe.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, LinkError> {
        if let Some(Received { frame, .. }) = self.received.recv().await {
            return Ok(Some(frame));
        }
        match ending_of(&self.ending).await {
            Ending::Closed(_) => Ok(None),
            Ending::Failed(error) => Err(error),
        }
    }

    /// Who closed the link and why; `None` while it is open, and when it broke.
    pub fn close_reason(&self) -> Option<CloseReason> {
        match &*self.ending.borrow() {
            Some(Ending::Closed(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    /// The measurements of this link.
    pub fn stats(&self) -> LinkStats {
        self.stats.clone()
    }
}

/// A link closed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// Which side closed it.
    pub by: ClosedBy,
    /// Why, in its words; may be empty.
    pub reason: String,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = if self.reason.is_empty() { "no reason given" } else { &self.reason };
        match self.by {
            ClosedBy::Us => write!(f, "closed by us: {reason}"),
            ClosedBy::Peer => write!(f, "closed by the peer: {reason}"),
        }
    }
}

/// A side of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// This process.
    Us,
    /// The other end.
    Peer,
}

/// Why a link cannot go on. Every kind but [`LinkError::SendTooLong`] means that it has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Our frame is longer than the limit; nothing was sent.
    #[error("a frame of {bytes} bytes is longer than the limit of {bytes_max}")]
    SendTooLong {
        /// Length of the frame.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The peer sent a frame longer than the limit.
    #[error("the peer sent a frame longer than the limit of {bytes_max} bytes")]
    FrameTooLong {
        /// The limit it broke.
        bytes_max: usize,
    },
    /// Nothing was heard from the peer for three heartbeats.
    #[error("nothing heard from the peer for {0:?}")]
    Silent(Duration),
    /// The peer did not take what we sent in time.
    #[error("the peer took nothing for {0:?}")]
    WriteStalled(Duration),
    /// The link was closed on purpose.
    #[error("the link is closed ({0})")]
    Closed(CloseReason),
    /// The peer broke the WebSocket protocol.
    #[error("the peer broke the link protocol: {0}")]
    Protocol(String),
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The connection ended without a close.
    #[error("the connection was lost")]
    Lost,
}

/// How a link ended: set once, by the pump.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Closed(CloseReason),
    Failed(LinkError),
}

impl Ending {
    fn error(&self) -> LinkError {
        match self {
            Self::Closed(reason) => LinkError::Closed(reason.clone()),
            Self::Failed(error) => error.clone(),
        }
    }
}

/// How the link ended, waiting for the pump to say so; a pump that never did was lost with its runtime.
async fn ending_of(ending: &watch::Receiver<Option<Ending>>) -> Ending {
    let mut ending = ending.clone();
    let said = ending.wait_for(Option::is_some).await;
    said.ok().and_then(|ending| ending.clone()).unwrap_or(Ending::Failed(LinkError::Lost))
}
