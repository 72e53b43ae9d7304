//! What comes over links, from frames to messages: put together out of parts, unpacked and decoded, under budgets that all
//! links share.
//!
//! A link that finds no room waits, and does not read its socket meanwhile; others go on. What takes long is done where
//! blocking is allowed, by few at a time, so that requests of clients do not wait for it.
//!
//! Invariant: who holds room for a message waits for no other room. So whatever waits, something goes on.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rejoin_causal::codec::DecodeError;
use rejoin_replica::parts::{self, Assembly};
use rejoin_replica::{Message, codec, packing};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::config::{
    ASSEMBLIES_BYTES_MAX, ASSEMBLY_GRACE, ASSEMBLY_RATE_MIN, DECODED_AT_ONCE_BYTES_MAX, DECODING_BYTES_MAX,
    DECODING_SHORT_BYTES_MAX,
};
use crate::shared::Shared;

/// Room for frames that are not messages yet, and for messages that wait for the replica.
#[derive(Debug)]
pub(crate) struct Reception {
    assemblies: Arc<Semaphore>,
    /// For messages of short frames: they do not wait for long ones.
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
}

/// A share of that room; it goes with what it is for.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
}

impl Share {
    /// How much it is.
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits()
    }
}

impl Reception {
    pub(crate) fn new() -> Reception {
        // Half of the processors: the others are for clients.
        let decoders = std::thread::available_parallelism().map_or(1, NonZero::get) / 2;
        Reception {
            assemblies: Arc::new(Semaphore::new(ASSEMBLIES_BYTES_MAX)),
            short: Arc::new(Semaphore::new(DECODING_SHORT_BYTES_MAX)),
            long: Arc::new(Semaphore::new(DECODING_BYTES_MAX)),
            decoders: Arc::new(Semaphore::new(decoders.max(1))),
        }
    }
}

/// One link's frames.
pub(crate) struct Receiving<'a> {
    shared: &'a Shared,
    assembly: Assembly,
    /// The room of the frame that is being put together, and when its next part has to be here.
    assembling: Option<(OwnedSemaphorePermit, Pace)>,
}

/// Why a link cannot go on.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Malformed(DecodeError),
    /// The node is closing, or a thread has panicked.
    Ended,
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Unreadable {
        Unreadable::Malformed(error)
    }
}

impl<'a> Receiving<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Receiving<'a> {
        Receiving { shared, assembly: Assembly::new(), assembling: None }
    }

    /// When the next frame must be here; `None` while no frame is half here.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.assembling.as_ref().map(|(_, pace)| pace.due())
    }

    /// Takes a frame; the message, once there is one.
    pub(crate) async fn take(&mut self, frame: Bytes) -> Result<Option<(Message, Share)>, Unreadable> {
        if !parts::is_part(&frame) {
            // Nothing goes between the parts of a frame.
            if self.assembly.is_open() {
                return Err(DecodeError("part of a frame").into());
            }
            return self.message(frame).await.map(Some);
        }
        if !self.assembly.is_open()
            && let Some(length) = parts::announced(&frame)?
        {
            let room = self.acquire(&self.shared.reception.assemblies, length).await?;
            self.assembling = Some((room, Pace::start()));
        }
        if let Some((_, pace)) = &mut self.assembling {
            pace.bytes += frame.len();
        }
        let Some(whole) = self.assembly.add(&frame)? else { return Ok(None) };
        drop(frame);
        // The room is kept until the frame is decoded and gone.
        let room = self.assembling.take();
        if parts::is_part(&whole) {
            return Err(DecodeError("part of a frame").into());
        }
        let message = self.message(whole.into()).await.map(Some);
        drop(room);
        message
    }

    async fn message(&self, frame: Bytes) -> Result<(Message, Share), Unreadable> {
        let reception = &self.shared.reception;
        let length = packing::unpacked_bytes(&frame)?;
        if length <= DECODED_AT_ONCE_BYTES_MAX {
            let (message, counted) = decode(&frame)?;
            let permit = self.acquire(&reception.short, counted.min(DECODING_SHORT_BYTES_MAX)).await?;
            return Ok((message, Share { permit }));
        }
        let unpacked = if length == frame.len() { 0 } else { length };
        let most = codec::allowance(length).memory.saturating_add(unpacked).min(DECODING_BYTES_MAX);
        let mut permit = self.acquire(&reception.long, most).await?;
        let turn = self.acquire(&reception.decoders, 1).await?;
        // What this link has handed over before is not to wait for this.
        self.shared.jobs.wake();
        let decoded = tokio::task::spawn_blocking(move || {
            let decoded = decode(&frame);
            drop((frame, turn));
            decoded
        });
        let (message, counted) = decoded.await.map_err(|_| Unreadable::Ended)??;
        // What it takes is known now; the rest is for others.
        drop(permit.split(permit.num_permits().saturating_sub(counted)));
        Ok((message, Share { permit }))
    }

    async fn acquire(
        &self,
        room: &Arc<Semaphore>,
        permits: usize,
    ) -> Result<OwnedSemaphorePermit, Unreadable> {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        // It may be held by messages that wait for somebody to work on them, those of this link among them.
        self.shared.jobs.wake();
        Arc::clone(room).acquire_many_owned(permits).await.map_err(|_| Unreadable::Ended)
    }
}

fn decode(frame: &[u8]) -> Result<(Message, usize), DecodeError> {
    packing::unpack(frame).and_then(|frame| codec::decode_counted(&frame))
}

/// How fast the parts of a frame must come: whoever holds room that others wait for has to use it.
#[derive(Debug)]
struct Pace {
    started: Instant,
    bytes: usize,
}

impl Pace {
    fn start() -> Pace {
        Pace { started: Instant::now(), bytes: 0 }
    }

    fn due(&self) -> Instant {
        let earned = self.bytes as f64 / f64::from(ASSEMBLY_RATE_MIN);
        self.started + ASSEMBLY_GRACE + Duration::from_secs_f64(earned)
    }
}
