//! What a proof is about: this handshake and no other.
//!
//! The transcript binds both Hellos whole (keys, epochs, nonces, cluster, names, offered versions) and the version
//! chosen, so nothing of it can be changed on the way or used again. The prover's role is under the signature and
//! the MAC, so a proof sent back to its maker proves nothing, and two dialers cannot be spliced together.

use ed25519_dalek::{Signature, VerifyingKey};

use super::Role;
use super::message::Hello;
use crate::identity::{ClusterSecret, NodeKey};

pub(super) struct Transcript([u8; 32]);

impl Transcript {
    pub(super) fn of(dialer: &Hello, listener: &Hello, version: u16) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(TRANSCRIPT_CONTEXT);
        for part in [&dialer.encode()[..], &listener.encode(), &version.to_be_bytes()] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    pub(super) fn sign(&self, key: &NodeKey, prover: Role) -> [u8; 64] {
        key.sign(&self.statement(prover))
    }

    /// Strict: refuses weak keys and malleable signatures, for which several transcripts could verify.
    pub(super) fn verify(&self, key: &[u8; 32], prover: Role, signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(&self.statement(prover), &Signature::from_bytes(signature)))
            .is_ok()
    }

    pub(super) fn mac(&self, secret: &ClusterSecret, prover: Role) -> blake3::Hash {
        secret.mac(&self.statement(prover))
    }

    /// The signed bytes: a prefix no other use of the node key has, the prover's role, the transcript.
    fn statement(&self, prover: Role) -> Vec<u8> {
        let mut statement = STATEMENT_PREFIX.to_vec();
        statement.push(match prover {
            Role::Dialer => 1,
            Role::Listener => 2,
        });
        statement.extend_from_slice(&self.0);
        statement
    }
}

const TRANSCRIPT_CONTEXT: &str = "rejoin link v1: handshake transcript";
const STATEMENT_PREFIX: &[u8] = b"rejoin link v1: proof of node key\0";
