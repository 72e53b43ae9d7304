//! The handshakes of this process that are under way, by the nonce of their Hello.
//!
//! A Hello under our own key and epoch is one of two things: our own, where a node dialed itself, or that of another
//! process that runs as the same life of this node, copied with its memory. Only the first carries a nonce that is in
//! here: it is noted before it is sent, and stays until its handshake is over, which in a connection to oneself is after
//! both ends have looked at it. (An end that is over has sent no proof, so the other cannot take it for somebody else.)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{HandshakeError, Refusal, RefusalCode};
use crate::config::HANDSHAKES_OPEN_MAX;
use crate::identity::random;

/// The handshakes of one node that are under way, dialed and accepted. Clones are the same list.
#[derive(Clone, Debug)]
pub struct OpenHandshakes {
    nonces: Arc<Mutex<BTreeSet<[u8; 32]>>>,
    started: Instant,
}

impl Default for OpenHandshakes {
    fn default() -> Self {
        Self { nonces: Arc::default(), started: Instant::now() }
    }
}

impl OpenHandshakes {
    /// A nonce for one more handshake, noted until it is dropped.
    pub(super) fn begin(&self) -> Result<OpenNonce, HandshakeError> {
        self.note(self.fresh()?).ok_or_else(|| {
            let reason = format!("{HANDSHAKES_OPEN_MAX} handshakes are under way");
            HandshakeError::Refusing(Refusal::new(RefusalCode::Busy, &reason))
        })
    }

    /// Machines that were copied with their memory may draw the same random bytes for a while; what time it is since
    /// their start is not the same to the nanosecond.
    fn fresh(&self) -> Result<[u8; 32], HandshakeError> {
        let mut hasher = blake3::Hasher::new_derive_key(NONCE_CONTEXT);
        hasher.update(&random::<32>()?);
        hasher.update(&self.started.elapsed().as_nanos().to_be_bytes());
        hasher.update(&std::process::id().to_be_bytes());
        Ok(*hasher.finalize().as_bytes())
    }

    /// Notes a nonce; nothing when there are too many.
    pub(super) fn note(&self, nonce: [u8; 32]) -> Option<OpenNonce> {
        let mut nonces = self.lock();
        let fits = nonces.len() < HANDSHAKES_OPEN_MAX;
        (fits && nonces.insert(nonce)).then(|| OpenNonce { nonce, open: self.clone() })
    }

    /// Whether this nonce is that of a handshake of ours.
    pub(super) fn has(&self, nonce: &[u8; 32]) -> bool {
        self.lock().contains(nonce)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<[u8; 32]>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The nonce of a handshake that is under way.
#[derive(Debug)]
pub(crate) struct OpenNonce {
    nonce: [u8; 32],
    open: OpenHandshakes,
}

impl OpenNonce {
    pub(super) fn bytes(&self) -> [u8; 32] {
        self.nonce
    }
}

impl Drop for OpenNonce {
    fn drop(&mut self) {
        self.open.lock().remove(&self.nonce);
    }
}

const NONCE_CONTEXT: &str = "rejoin link v2: nonce of a handshake";
