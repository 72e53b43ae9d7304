//! How a handshake fails, and how each side learns why.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::config::REFUSAL_REASON_BYTES_MAX;
use crate::identity::{IdentityError, RandomnessError};
use crate::socket::{cut, printable};

/// Why one side refuses the other: a code for programs, a reason for people. It travels to the refused side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// One line that says what is wrong. When it came from a peer, it says what the peer likes.
    pub reason: String,
}

impl Refusal {
    /// A refusal; the reason is cut to [`REFUSAL_REASON_BYTES_MAX`] and loses its control characters.
    pub fn new(code: RefusalCode, reason: &str) -> Self {
        Self { code, reason: printable(cut(reason, REFUSAL_REASON_BYTES_MAX)) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// The kinds of refusal. Numbers on the wire are fixed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// The two nodes belong to different clusters. The operator must change a configuration.
    WrongCluster,
    /// The two nodes have different cluster secrets, or only one has any.
    WrongSecret,
    /// The peer does not hold the key it names, or replays somebody else's handshake.
    BadProof,
    /// No protocol version is known to both. One of the two must be upgraded.
    NoCommonVersion,
    /// Both ends are one process: a node dialed its own address. Not proved; harmless to believe.
    Itself,
    /// The refusing node is about to stop. Dial again later.
    ShuttingDown,
    /// A message that is not of this protocol, or out of its order.
    BadMessage,
    /// Both ends hold one key in different epochs: a copied data directory.
    Clone,
    /// The peer took too long.
    TooSlow,
    /// The refusing node has too many links. Dial again later.
    Busy,
    /// Both ends hold one key in one epoch and are two processes: a machine copied with its memory.
    Twin,
    /// A code of a later version.
    Unknown(u8),
}

impl RefusalCode {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::WrongCluster => 1,
            Self::WrongSecret => 2,
            Self::BadProof => 3,
            Self::NoCommonVersion => 4,
            Self::Itself => 5,
            Self::ShuttingDown => 6,
            Self::BadMessage => 7,
            Self::Clone => 8,
            Self::TooSlow => 9,
            Self::Busy => 10,
            Self::Twin => 11,
            Self::Unknown(byte) => byte,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::WrongCluster,
            2 => Self::WrongSecret,
            3 => Self::BadProof,
            4 => Self::NoCommonVersion,
            5 => Self::Itself,
            6 => Self::ShuttingDown,
            7 => Self::BadMessage,
            8 => Self::Clone,
            9 => Self::TooSlow,
            10 => Self::Busy,
            11 => Self::Twin,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongCluster => "wrong cluster",
            Self::WrongSecret => "wrong cluster secret",
            Self::BadProof => "bad proof of identity",
            Self::NoCommonVersion => "no common protocol version",
            Self::Itself => "connected to itself",
            Self::ShuttingDown => "shutting down",
            Self::BadMessage => "bad handshake message",
            Self::Clone => "the same node key runs twice",
            Self::TooSlow => "handshake too slow",
            Self::Busy => "too many links",
            Self::Twin => "the same life of a node runs twice",
            Self::Unknown(byte) => return write!(f, "refusal code {byte}"),
        })
    }
}

/// A handshake that did not make a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// We refused the peer, and told it so.
    #[error("we refused the peer: {0}")]
    Refusing(Refusal),
    /// The peer refused us.
    #[error("the peer refused us: {0}")]
    Refused(Refusal),
    /// The peer proved that it holds our own key, in another epoch: our data directory was copied or restored
    /// elsewhere while we run. The newer epoch is the later start.
    #[error("another process runs with our node key, in epoch {epoch}")]
    Clone {
        /// The epoch of the other process.
        epoch: u64,
    },
    /// The peer proved that it holds our own key in our own epoch, and it is another process: a machine was copied with its
    /// memory, or put back while its copy runs. Neither is the later one.
    #[error("another process runs with our node key and in our epoch")]
    Twin,
    /// The peer did not finish in time.
    #[error("the handshake did not finish within {0:?}")]
    TimedOut(Duration),
    /// The peer closed the connection without saying why.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The peer does not speak the WebSocket protocol properly.
    #[error("the peer broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// The socket failed.
    #[error("the connection failed during the handshake")]
    Io(#[source] io::Error),
    /// What we would say of ourselves cannot be sent.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No nonce could be made.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
}

impl HandshakeError {
    /// The kind of refusal, whichever side refused.
    pub fn code(&self) -> Option<RefusalCode> {
        match self {
            Self::Refusing(refusal) | Self::Refused(refusal) => Some(refusal.code),
            Self::Clone { .. } => Some(RefusalCode::Clone),
            Self::Twin => Some(RefusalCode::Twin),
            Self::TimedOut(_) => Some(RefusalCode::TooSlow),
            _ => None,
        }
    }
}
