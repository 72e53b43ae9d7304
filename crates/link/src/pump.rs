//! The task behind a link: moves frames between its owner and the socket, keeps the heartbeat, sees the end.
//!
//! Reading and writing are two futures of one task, so each goes on while the other waits. Everything queued is
//! bounded, in frames and in bytes; when the owner does not take frames, the socket is not read.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Packet, frame::Frame};

use crate::config::{FRAGMENT_BYTES, Limits, RECEIVE_QUEUE_FRAMES, SEND_QUEUE_FRAMES};
use crate::link::{CloseReason, ClosedBy, Ending, LinkError};
use crate::socket::{Io, Socket, close_frame, printable, wind_down};
use crate::stats::LinkStats;

/// A frame to send, and who waits for it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frame: Bytes,
    pub(crate) written: oneshot::Sender<()>,
}

/// A frame received, holding its share of the queue's bytes.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) frame: Bytes,
    _share: OwnedSemaphorePermit,
}

/// The owner's ends of the queues.
pub(crate) struct Handles {
    pub(crate) frames: mpsc::Sender<Outgoing>,
    pub(crate) close: mpsc::Sender<String>,
    pub(crate) received: mpsc::Receiver<Received>,
    /// How the link ended; its sender goes when the socket is down.
    pub(crate) ending: watch::Receiver<Option<Ending>>,
}

/// The pump's ends of the queues.
pub(crate) struct Ends {
    frames: mpsc::Receiver<Outgoing>,
    close: mpsc::Receiver<String>,
    received: mpsc::Sender<Received>,
    ending: watch::Sender<Option<Ending>>,
}

/// The queues of one link.
pub(crate) fn channels() -> (Handles, Ends) {
    let (frames, frames_out) = mpsc::channel(SEND_QUEUE_FRAMES);
    let (close, close_out) = mpsc::channel(1);
    let (received_in, received) = mpsc::channel(RECEIVE_QUEUE_FRAMES);
    let (ending_in, ending) = watch::channel(None);
    let ends = Ends { frames: frames_out, close: close_out, received: received_in, ending: ending_in };
    (Handles { frames, close, received, ending }, ends)
}

/// Runs a link until it ends, then takes the socket down.
pub(crate) async fn run<S: Io>(socket: Socket<S>, ends: Ends, stats: LinkStats, limits: Limits) {
    let Ends { mut frames, mut close, received, ending } = ends;
    let (mut sink, mut stream) = socket.split();
    let outcome = {
        let reading = read(&mut stream, &received, &stats, &limits);
        let writing = write(&mut sink, &mut frames, &stats, &limits);
        let closing = owner_closes(&mut close, &received);
        first(reading, writing, closing, &limits).await
    };
    tracing::debug!(ending = ?outcome, "link ended");
    ending.send_replace(Some(outcome.clone()));
    drop((frames, received));
    if let Ok(socket) = stream.reunite(sink) {
        wind_down(socket, goodbye(&outcome), limits.linger).await;
    }
    drop(ending);
}

/// The first of the three to end, which ends the others.
async fn first(
    reading: impl Future<Output = Ending>,
    writing: impl Future<Output = Ending>,
    closing: impl Future<Output = Ending>,
    limits: &Limits,
) -> Ending {
    tokio::pin!(reading);
    let failed_write = tokio::select! {
        biased;
        ending = &mut reading => return ending,
        ending = closing => return ending,
        ending = writing => ending,
    };
    // A peer that says goodbye and leaves fails our write too; what it said is the better answer.
    match failed_write {
        Ending::Failed(LinkError::Io(_)) => match timeout(limits.linger, reading).await {
            Ok(Ending::Closed(reason)) => Ending::Closed(reason),
            _ => failed_write,
        },
        other => other,
    }
}

async fn read<S: Io>(
    stream: &mut SplitStream<Socket<S>>,
    received: &mpsc::Sender<Received>,
    stats: &LinkStats,
    limits: &Limits,
) -> Ending {
    let queue_bytes_max = limits.frame_bytes_max.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let queue_bytes = Arc::new(Semaphore::new(queue_bytes_max));
    let silence = sleep_until(stats.last_heard() + limits.silence_max());
    tokio::pin!(silence);
    loop {
        let packet = tokio::select! {
            biased;
            packet = stream.next() => packet,
            () = &mut silence => {
                let dead_at = stats.last_heard() + limits.silence_max();
                if dead_at <= Instant::now() {
                    return Ending::Failed(LinkError::Silent(limits.silence_max()));
                }
                silence.as_mut().reset(dead_at);
                continue;
            }
        };
        match packet {
            Some(Ok(Packet::Binary(frame))) if frame.len() > limits.frame_bytes_max => {
                return Ending::Failed(LinkError::FrameTooLong { bytes_max: limits.frame_bytes_max });
            }
            Some(Ok(Packet::Binary(frame))) => {
                let share = u32::try_from(frame.len().min(queue_bytes_max)).unwrap_or(u32::MAX);
                let Ok(share) = Arc::clone(&queue_bytes).acquire_many_owned(share).await else {
                    return Ending::Failed(LinkError::Lost);
                };
                if received.send(Received { frame, _share: share }).await.is_err() {
                    return dropped_by_owner("receiver");
                }
                // While the owner let us wait we did not listen, so that was not the peer's silence.
                stats.heard();
            }
            Some(Ok(Packet::Pong(body))) => stats.pong(&body),
            // The WebSocket has queued the answer; it goes out with the next read or write.
            Some(Ok(Packet::Ping(_))) => {}
            Some(Ok(Packet::Close(close))) => {
                let reason = close.map_or_else(String::new, |close| printable(close.reason.as_str()));
                return Ending::Closed(CloseReason { by: ClosedBy::Peer, reason });
            }
            Some(Ok(Packet::Text(_) | Packet::Frame(_))) => {
                return Ending::Failed(LinkError::Protocol("links carry binary messages only".to_owned()));
            }
            Some(Err(Error::Capacity(_))) => {
                return Ending::Failed(LinkError::FrameTooLong { bytes_max: limits.frame_bytes_max });
            }
            Some(Err(error)) => return Ending::Failed(failure(error)),
            None => return Ending::Failed(LinkError::Lost),
        }
    }
}

async fn write<S: Io>(
    sink: &mut SplitSink<Socket<S>, Packet>,
    frames: &mut mpsc::Receiver<Outgoing>,
    stats: &LinkStats,
    limits: &Limits,
) -> Ending {
    let mut beats = interval(limits.heartbeat_bounded());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let step = tokio::select! {
            biased;
            _ = beats.tick() => put(sink, ping(stats), limits).await,
            outgoing = frames.recv() => match outgoing {
                None => return dropped_by_owner("sender"),
                Some(outgoing) => write_frame(sink, outgoing, &mut beats, stats, limits).await,
            },
        };
        if let Err(error) = step {
            return Ending::Failed(error);
        }
    }
}

/// Writes one frame as fragments of one message, with heartbeats between them.
async fn write_frame<S: Io>(
    sink: &mut SplitSink<Socket<S>, Packet>,
    Outgoing { frame, written }: Outgoing,
    beats: &mut Interval,
    stats: &LinkStats,
    limits: &Limits,
) -> Result<(), LinkError> {
    let mut rest = frame;
    let mut data = Data::Binary;
    loop {
        let fragment = rest.split_to(rest.len().min(FRAGMENT_BYTES));
        let packet = Packet::Frame(Frame::message(fragment, OpCode::Data(data), rest.is_empty()));
        put(sink, packet, limits).await?;
        if rest.is_empty() {
            let _ = written.send(());
            return Ok(());
        }
        data = Data::Continue;
        if beats.tick().now_or_never().is_some() {
            put(sink, ping(stats), limits).await?;
        }
    }
}

/// Writes one packet through to the socket.
async fn put<S: Io>(
    sink: &mut SplitSink<Socket<S>, Packet>,
    packet: Packet,
    limits: &Limits,
) -> Result<(), LinkError> {
    match timeout(limits.write_timeout, sink.send(packet)).await {
        Ok(sent) => sent.map_err(failure),
        Err(_) => Err(LinkError::WriteStalled(limits.write_timeout)),
    }
}

/// The owner closes the link, or drops the half that reads it.
async fn owner_closes(close: &mut mpsc::Receiver<String>, received: &mpsc::Sender<Received>) -> Ending {
    tokio::select! {
        reason = close.recv() => match reason {
            Some(reason) => Ending::Closed(CloseReason { by: ClosedBy::Us, reason }),
            None => dropped_by_owner("sender"),
        },
        () = received.closed() => dropped_by_owner("receiver"),
    }
}

fn dropped_by_owner(half: &str) -> Ending {
    Ending::Closed(CloseReason { by: ClosedBy::Us, reason: format!("the {half} was dropped") })
}

/// What the peer is told of an ending; nothing when it told us.
fn goodbye(ending: &Ending) -> Option<CloseFrame> {
    match ending {
        Ending::Closed(CloseReason { by: ClosedBy::Us, reason }) => {
            Some(close_frame(CloseCode::Normal, reason))
        }
        Ending::Closed(CloseReason { by: ClosedBy::Peer, .. }) => None,
        Ending::Failed(error @ LinkError::FrameTooLong { .. }) => {
            Some(close_frame(CloseCode::Size, &told(error)))
        }
        Ending::Failed(error @ LinkError::Protocol(_)) => {
            Some(close_frame(CloseCode::Protocol, &told(error)))
        }
        Ending::Failed(error) => Some(close_frame(CloseCode::Error, &told(error))),
    }
}

/// Our errors speak of the peer; the peer reads them, so say who is who.
fn told(error: &LinkError) -> String {
    format!("seen from the other end: {error}")
}

fn ping(stats: &LinkStats) -> Packet {
    Packet::Ping(Bytes::copy_from_slice(&stats.ping_body()))
}

fn failure(error: Error) -> LinkError {
    match error {
        Error::Io(error) => LinkError::Io(Arc::new(error)),
        Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(ResetWithoutClosingHandshake) => {
            LinkError::Lost
        }
        other => LinkError::Protocol(other.to_string()),
    }
}
