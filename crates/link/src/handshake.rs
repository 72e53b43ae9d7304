//! The handshake: both ends prove their node key and their cluster before the first frame.
//!
//! ```text
//!   dialer                     listener
//!   Hello      ─────┐   ┌─────   Hello       versions, cluster, key, epoch, name, policy, nonce
//!   Proof      ─────┼───┼─────   Proof       signature (and MAC) over both Hellos, version and own role
//!   Welcome    ─────┴───┴─────   Welcome     "I have verified yours"; frames follow
//! ```
//! Both sides send at once and in this order; instead of any message a side may send `Refuse`, and closes.
//!
//! Invariant: nothing in a [`Peer`] is used before its proof verified, except to refuse.
//!
//! This module decides and does no I/O; `drive` moves the bytes. The shape is the mutual authentication of
//! ISO/IEC 9798-3 with both nonces, names and roles under the signatures; no key is agreed, as links do not encrypt.

mod drive;
mod message;
mod open;
mod refusal;
#[cfg(test)]
mod tests;
mod transcript;

use std::ops::RangeInclusive;

pub(crate) use drive::{establish, refuse};
pub use open::OpenHandshakes;
pub use refusal::{HandshakeError, Refusal, RefusalCode};

use crate::config::{PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN};
use crate::identity::{Identity, IdentityError, Peer, id_of};
use message::{Hello, Message, Proof};
use open::OpenNonce;
use transcript::Transcript;

/// Who began the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

/// One handshake, from our side.
pub(crate) struct Handshake<'a> {
    us: &'a Identity,
    role: Role,
    our_hello: Hello,
    state: State,
    /// Noted for as long as this handshake lasts.
    _open: OpenNonce,
}

enum State {
    AwaitHello,
    AwaitProof { peer: Peer, transcript: Transcript },
    AwaitWelcome { peer: Peer },
    Ended,
}

/// What to do after a message of the peer.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Send these bytes and go on.
    Send(Vec<u8>),
    /// Both proofs are verified.
    Done(Peer),
}

/// Why the handshake ends here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// We refuse; tell the peer.
    Refuse(Refusal),
    /// The peer refused.
    Refused(Refusal),
    /// The peer proved our own key, in another epoch.
    Clone { epoch: u64 },
    /// The peer proved our own key and epoch, and is another process.
    Twin,
}

impl<'a> Handshake<'a> {
    /// Begins; the bytes are our Hello.
    pub(crate) fn start(us: &'a Identity, role: Role) -> Result<(Self, Vec<u8>), HandshakeError> {
        let nonce = us.handshakes.begin()?;
        Ok(Self::start_with(us, role, nonce)?)
    }

    fn start_with(us: &'a Identity, role: Role, open: OpenNonce) -> Result<(Self, Vec<u8>), IdentityError> {
        us.check()?;
        let our_hello = Hello {
            version_min: PROTOCOL_VERSION_MIN,
            version_max: PROTOCOL_VERSION_MAX,
            cluster: us.cluster,
            key: us.key.public(),
            epoch: us.epoch,
            policy: us.policy,
            nonce: open.bytes(),
            name: us.name.clone(),
        };
        let bytes = our_hello.encode();
        Ok((Self { us, role, our_hello, state: State::AwaitHello, _open: open }, bytes))
    }

    /// One message of the peer. After a [`Stop`] the handshake is over.
    pub(crate) fn handle(&mut self, bytes: &[u8]) -> Result<Progress, Stop> {
        let message =
            Message::decode(bytes).map_err(|why| refuse_with(RefusalCode::BadMessage, why.to_string()))?;
        match (std::mem::replace(&mut self.state, State::Ended), message) {
            (_, Message::Refuse(refusal)) => Err(Stop::Refused(refusal)),
            (State::AwaitHello, Message::Hello(hello)) => self.hello(hello),
            (State::AwaitProof { peer, transcript }, Message::Proof(proof)) => {
                self.proof(peer, &transcript, &proof)
            }
            (State::AwaitWelcome { peer }, Message::Welcome) => Ok(Progress::Done(peer)),
            (_, message) => {
                Err(refuse_with(RefusalCode::BadMessage, format!("{} is out of order here", message.name())))
            }
        }
    }

    fn hello(&mut self, theirs: Hello) -> Result<Progress, Stop> {
        let ours = &self.our_hello;
        if theirs.cluster != ours.cluster {
            // A secret takes the place of a name: with one, an id that differs is as good as a secret that does.
            let cause = match &self.us.secret {
                Some(_) => "the cluster secret differs, or one node has none",
                None => "the cluster's name differs, or one node has a cluster secret",
            };
            let reason = format!("{cause}: cluster {} meets cluster {}", ours.cluster, theirs.cluster);
            return Err(refuse_with(RefusalCode::WrongCluster, reason));
        }
        // Our own key under a nonce that is not ours may be a clone, which is worth an alarm: let it prove that first.
        if theirs.key == ours.key && self.us.handshakes.has(&theirs.nonce) {
            return Err(refuse_with(RefusalCode::Itself, "this node is connected to itself".to_owned()));
        }
        let version = negotiate(ours.versions(), theirs.versions()).ok_or_else(|| {
            let reason = format!(
                "the refusing node speaks protocol version {}, the refused one {}; run the same release on both",
                in_words(&ours.versions()),
                in_words(&theirs.versions())
            );
            refuse_with(RefusalCode::NoCommonVersion, reason)
        })?;
        let transcript = match self.role {
            Role::Dialer => Transcript::of(ours, &theirs, version),
            Role::Listener => Transcript::of(&theirs, ours, version),
        };
        let proof = Proof {
            signature: transcript.sign(&self.us.key, self.role),
            mac: self.us.secret.as_ref().map(|secret| *transcript.mac(secret, self.role).as_bytes()),
        };
        let peer = Peer {
            id: id_of(&theirs.key),
            key: theirs.key,
            epoch: theirs.epoch,
            name: theirs.name,
            policy: theirs.policy,
            version,
        };
        self.state = State::AwaitProof { peer, transcript };
        Ok(Progress::Send(proof.encode()))
    }

    fn proof(&mut self, peer: Peer, transcript: &Transcript, proof: &Proof) -> Result<Progress, Stop> {
        let role = self.role.other();
        if !transcript.verify(&peer.key, role, &proof.signature) {
            let reason = "the signature does not match the key and this handshake".to_owned();
            return Err(refuse_with(RefusalCode::BadProof, reason));
        }
        let wrong_secret = match (&self.us.secret, proof.mac) {
            (None, None) => None,
            (Some(secret), Some(mac)) if transcript.mac(secret, role) == blake3::Hash::from_bytes(mac) => {
                None
            }
            (Some(_), Some(_)) => Some("the two nodes have different cluster secrets"),
            (Some(_), None) => Some("the refusing node has a cluster secret, the refused one has none"),
            (None, Some(_)) => Some("the refused node has a cluster secret, the refusing one has none"),
        };
        if let Some(reason) = wrong_secret {
            return Err(refuse_with(RefusalCode::WrongSecret, reason.to_owned()));
        }
        if peer.key == self.our_hello.key {
            let one_life = peer.epoch == self.our_hello.epoch;
            return Err(if one_life { Stop::Twin } else { Stop::Clone { epoch: peer.epoch } });
        }
        self.state = State::AwaitWelcome { peer };
        Ok(Progress::Send(Message::Welcome.encode()))
    }
}

/// The newest version in both ranges.
fn negotiate(ours: RangeInclusive<u16>, theirs: RangeInclusive<u16>) -> Option<u16> {
    let newest = *ours.end().min(theirs.end());
    (newest >= *ours.start().max(theirs.start())).then_some(newest)
}

fn in_words(versions: &RangeInclusive<u16>) -> String {
    let (oldest, newest) = (versions.start(), versions.end());
    if oldest == newest { newest.to_string() } else { format!("{oldest} to {newest}") }
}

fn refuse_with(code: RefusalCode, reason: String) -> Stop {
    Stop::Refuse(Refusal::new(code, &reason))
}
