//! Moves the handshake over a WebSocket: bounded in time, with a goodbye that says why.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message as Packet, protocol::frame::coding::CloseCode};

use super::message::Message;
use super::{Handshake, HandshakeError, Progress, Refusal, RefusalCode, Role, Stop};
use crate::config::Limits;
use crate::identity::{Identity, Peer};
use crate::socket::{Io, Socket, close_frame, wind_down};

/// Proves both ends to each other. On failure the socket is taken down before this returns.
pub(crate) async fn establish<S: Io>(
    mut socket: Socket<S>,
    us: &Identity,
    role: Role,
    limits: &Limits,
) -> Result<(Socket<S>, Peer), HandshakeError> {
    let shaken = timeout(limits.handshake_timeout, shake(&mut socket, us, role)).await;
    match shaken.unwrap_or(Err(HandshakeError::TimedOut(limits.handshake_timeout))) {
        Ok(peer) => {
            socket.get_mut().lift_allowance();
            Ok((socket, peer))
        }
        Err(error) => {
            say_goodbye(socket, goodbye(&error), limits).await;
            Err(error)
        }
    }
}

/// Refuses a peer without a handshake.
pub(crate) async fn refuse<S: Io>(socket: Socket<S>, refusal: Refusal, limits: &Limits) {
    say_goodbye(socket, Some(refusal), limits).await;
}

async fn shake<S: Io>(socket: &mut Socket<S>, us: &Identity, role: Role) -> Result<Peer, HandshakeError> {
    let (mut handshake, hello) = Handshake::start(us, role)?;
    socket.send(Packet::Binary(hello.into())).await.map_err(failure)?;
    loop {
        let bytes = next_message(socket).await?;
        match handshake.handle(&bytes).map_err(stopped)? {
            Progress::Send(bytes) => socket.send(Packet::Binary(bytes.into())).await.map_err(failure)?,
            Progress::Done(peer) => return Ok(peer),
        }
    }
}

async fn next_message<S: Io>(socket: &mut Socket<S>) -> Result<Bytes, HandshakeError> {
    loop {
        match socket.next().await {
            Some(Ok(Packet::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Packet::Ping(_) | Packet::Pong(_))) => {}
            Some(Ok(Packet::Text(_) | Packet::Frame(_))) => {
                return Err(HandshakeError::Refusing(Refusal::new(
                    RefusalCode::BadMessage,
                    "links carry binary messages only",
                )));
            }
            Some(Ok(Packet::Close(_))) | None => return Err(HandshakeError::Closed),
            Some(Err(error)) => return Err(failure(error)),
        }
    }
}

fn stopped(stop: Stop) -> HandshakeError {
    match stop {
        Stop::Refuse(refusal) => HandshakeError::Refusing(refusal),
        Stop::Refused(refusal) => HandshakeError::Refused(refusal),
        Stop::Clone { epoch } => HandshakeError::Clone { epoch },
        Stop::Twin => HandshakeError::Twin,
    }
}

fn failure(error: Error) -> HandshakeError {
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    match error {
        Error::Io(error) => HandshakeError::Io(error),
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ResetWithoutClosingHandshake) => {
            HandshakeError::Closed
        }
        other => HandshakeError::Protocol(other.to_string()),
    }
}

/// What the peer is told of an error of ours.
fn goodbye(error: &HandshakeError) -> Option<Refusal> {
    match error {
        HandshakeError::Refusing(refusal) => Some(refusal.clone()),
        HandshakeError::Clone { .. } => Some(Refusal::new(
            RefusalCode::Clone,
            "two processes run with this node key; one must get a new one",
        )),
        HandshakeError::Twin => Some(Refusal::new(
            RefusalCode::Twin,
            "two processes run with this node key and epoch; both must get new ones",
        )),
        HandshakeError::TimedOut(limit) => Some(Refusal::new(
            RefusalCode::TooSlow,
            &format!("the handshake did not finish within {limit:?}"),
        )),
        HandshakeError::Protocol(what) => Some(Refusal::new(RefusalCode::BadMessage, what)),
        HandshakeError::Refused(_)
        | HandshakeError::Closed
        | HandshakeError::Io(_)
        | HandshakeError::Identity(_)
        | HandshakeError::Randomness(_) => None,
    }
}

async fn say_goodbye<S: Io>(mut socket: Socket<S>, refusal: Option<Refusal>, limits: &Limits) {
    let Some(refusal) = refusal else {
        return wind_down(socket, None, limits.linger).await;
    };
    let close = close_frame(CloseCode::Policy, &refusal.to_string());
    let packet = Packet::Binary(Message::Refuse(refusal).encode().into());
    // Queued, not awaited: a peer that does not read must not hold us; wind_down flushes within its bound.
    let _ = timeout(limits.linger, socket.feed(packet)).await;
    wind_down(socket, Some(close), limits.linger).await;
}
