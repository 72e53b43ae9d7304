//! What a link measures of itself, readable by anyone who holds the handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Counters of one link. Cheap to clone; all clones read the same link, also after it ended.
#[derive(Clone, Debug)]
pub struct LinkStats(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    start: Instant,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Microseconds from `start` to the last byte heard.
    heard_micros: AtomicU64,
    /// Last measured round trip in microseconds, plus one; zero is none yet.
    rtt_micros_plus_one: AtomicU64,
}

impl LinkStats {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Counters {
            start: Instant::now(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            heard_micros: AtomicU64::new(0),
            rtt_micros_plus_one: AtomicU64::new(0),
        }))
    }

    /// The last measured round-trip time: the peer's answer to a ping, waiting behind other frames included.
    pub fn rtt(&self) -> Option<Duration> {
        self.0.rtt_micros_plus_one.load(Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// Bytes read from the socket, handshake and framing included.
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in.load(Relaxed)
    }

    /// Bytes written to the socket, handshake and framing included.
    pub fn bytes_out(&self) -> u64 {
        self.0.bytes_out.load(Relaxed)
    }

    pub(crate) fn heard_bytes(&self, bytes: usize) {
        self.0.bytes_in.fetch_add(bytes as u64, Relaxed);
        self.heard();
    }

    pub(crate) fn wrote_bytes(&self, bytes: usize) {
        self.0.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts silence from now on.
    pub(crate) fn heard(&self) {
        self.0.heard_micros.store(self.now_micros(), Relaxed);
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.0.start + Duration::from_micros(self.0.heard_micros.load(Relaxed))
    }

    /// The body of a ping: when it was sent. The peer returns it, so nothing has to be remembered.
    pub(crate) fn ping_body(&self) -> [u8; 8] {
        self.now_micros().to_be_bytes()
    }

    /// Measures the round trip of a returned ping; ignores bodies that are not ours.
    pub(crate) fn pong(&self, body: &[u8]) {
        let Ok(sent) = <[u8; 8]>::try_from(body) else { return };
        if let Some(rtt) = self.now_micros().checked_sub(u64::from_be_bytes(sent)) {
            self.0.rtt_micros_plus_one.store(rtt.saturating_add(1), Relaxed);
        }
    }

    fn now_micros(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
