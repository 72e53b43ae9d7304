//! A handshake between two links of one peer, which that peer cannot tell apart, carried by the node in between.
//!
//! Two processes that run as one life of a node may never meet each other, but both be linked to a third node, which sees
//! a second link of the same peer. As a rule it is one process that has dialed again. To know, it lets the two ends shake
//! hands through itself: one process finds its own nonce, two find a twin. Whoever carries cannot make a proof of its own.

use crate::handshake::{Handshake, HandshakeError, Progress, Role, Stop};
use crate::identity::Identity;

/// One end of an introduction.
pub struct Introduction<'a>(Handshake<'a>);

/// What an end makes of what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// It goes on: carry this to the other end.
    Say(Vec<u8>),
    /// Both ends are one process.
    Itself,
    /// The other end has proved to be another process in our life.
    Twin,
    /// The other end has proved to be another process of this key, in another epoch.
    Clone {
        /// The epoch of the other process.
        epoch: u64,
    },
    /// Nothing was proved.
    Stranger,
}

impl<'a> Introduction<'a> {
    /// Begins, in one of the two roles; the bytes are to be carried to the other end.
    pub fn begin(us: &'a Identity, dialer: bool) -> Result<(Introduction<'a>, Vec<u8>), HandshakeError> {
        let role = if dialer { Role::Dialer } else { Role::Listener };
        let (handshake, hello) = Handshake::start(us, role)?;
        Ok((Introduction(handshake), hello))
    }

    /// Takes what the other end has said. After everything but [`Acquaintance::Say`] it is over.
    pub fn hear(&mut self, bytes: &[u8]) -> Acquaintance {
        match self.0.handle(bytes) {
            Ok(Progress::Send(bytes)) => Acquaintance::Say(bytes),
            Err(Stop::Twin) => Acquaintance::Twin,
            Err(Stop::Clone { epoch }) => Acquaintance::Clone { epoch },
            Err(Stop::Refuse(refusal)) if refusal.code == crate::RefusalCode::Itself => Acquaintance::Itself,
            Ok(Progress::Done(_)) | Err(Stop::Refuse(_) | Stop::Refused(_)) => Acquaintance::Stranger,
        }
    }
}

impl std::fmt::Debug for Introduction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Introduction(..)")
    }
}
