//! What nodes sign about lives: that one runs, or that it is not one life any more.
//!
//! A machine that is copied or set back with its memory goes on under the same key, epoch and counter, so a dot may come
//! to name two writes. Whoever finds that out of itself signs a doubt of the life, and everybody who holds it removes
//! nothing that rests on that life ([`crate::doubt`]).
//!
//! A replica neither signs nor verifies: statements reach it verified, and it passes them on as they are.

use alloc::vec::Vec;

use rejoin_causal::codec::{DecodeError, LifeIndex, LifeLookup, Reader, put_life, take_life};
use rejoin_causal::{Epoch, NodeId};

/// One process life of a node.
pub type Life = (NodeId, Epoch);

/// Why a node doubts a life of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DoubtReason {
    /// Another process has proved the same key and epoch.
    Twin,
    /// What the node itself has signed proves writes of that life which it does not know.
    Reverted,
    /// The machine says that it was copied or set back: its generation id is another.
    Generation,
    /// The wall clock has jumped against the clock that runs on through a suspend.
    ClockJump,
}

impl DoubtReason {
    /// All of them.
    pub const ALL: [DoubtReason; 4] =
        [DoubtReason::Twin, DoubtReason::Reverted, DoubtReason::Generation, DoubtReason::ClockJump];

    /// Its name in logs, status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            DoubtReason::Twin => "twin",
            DoubtReason::Reverted => "reverted",
            DoubtReason::Generation => "generation",
            DoubtReason::ClockJump => "clock-jump",
        }
    }

    /// Its byte in frames, rows and what is signed; 0 is left to [`StatementKind::Alive`].
    pub fn byte(self) -> u8 {
        match self {
            DoubtReason::Twin => 1,
            DoubtReason::Reverted => 2,
            DoubtReason::Generation => 3,
            DoubtReason::ClockJump => 4,
        }
    }

    /// The reason of a byte.
    pub fn of_byte(byte: u8) -> Option<DoubtReason> {
        DoubtReason::ALL.into_iter().find(|reason| reason.byte() == byte)
    }
}

/// What a statement says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementKind {
    /// It has begun.
    Alive,
    /// More than one process may have gone on in it.
    Doubted(DoubtReason),
}

impl StatementKind {
    /// Its byte in frames and in what is signed.
    pub fn byte(self) -> u8 {
        match self {
            StatementKind::Alive => 0,
            StatementKind::Doubted(reason) => reason.byte(),
        }
    }

    /// The kind of a byte.
    pub fn of_byte(byte: u8) -> Option<StatementKind> {
        match byte {
            0 => Some(StatementKind::Alive),
            byte => DoubtReason::of_byte(byte).map(StatementKind::Doubted),
        }
    }
}

/// A public key and its signature over [`signed_bytes`]. Whoever passes a statement to a replica has checked that the key
/// is that of the life's node and that the signature is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proof {
    /// The node's public key.
    pub key: [u8; 32],
    /// Its signature.
    pub signature: [u8; 64],
}

/// Something that a node signed about one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// The life.
    pub life: Life,
    /// What it says of it.
    pub kind: StatementKind,
    /// Who says so.
    pub proof: Proof,
}

/// A doubt that a node is to sign, of a life of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Doubt {
    /// The life.
    pub life: Life,
    /// Why.
    pub reason: DoubtReason,
}

impl Doubt {
    /// What is to be signed for it.
    pub fn kind(self) -> StatementKind {
        StatementKind::Doubted(self.reason)
    }
}

/// The bytes that a node signs: which protocol, what, and of which life.
pub fn signed_bytes(life: Life, kind: StatementKind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIGNED_DOMAIN.len() + 25);
    bytes.extend_from_slice(SIGNED_DOMAIN);
    bytes.push(kind.byte());
    bytes.extend_from_slice(&life.0.0);
    bytes.extend_from_slice(&life.1.0.to_be_bytes());
    bytes
}

/// Keeps these signatures apart from those of handshakes, which the same key makes.
const SIGNED_DOMAIN: &[u8] = b"rejoin statement 2\0";

/// Bytes of a statement in a frame, at least: the index of a life, its kind, a key and a signature.
pub(crate) const STATEMENT_BYTES_MIN: usize = 98;

/// Appends a proof.
pub fn put_proof(out: &mut Vec<u8>, proof: &Proof) {
    out.extend_from_slice(&proof.key);
    out.extend_from_slice(&proof.signature);
}

/// Reads a proof.
pub fn take_proof(from: &mut Reader<'_>) -> Result<Proof, DecodeError> {
    Ok(Proof { key: from.array("proof")?, signature: from.array("proof")? })
}

pub(crate) fn put_statement(out: &mut Vec<u8>, lives: &mut impl LifeIndex, statement: &Statement) {
    put_life(out, lives, statement.life.0, statement.life.1);
    out.push(statement.kind.byte());
    put_proof(out, &statement.proof);
}

pub(crate) fn take_statement(
    from: &mut Reader<'_>,
    lives: &impl LifeLookup,
) -> Result<Statement, DecodeError> {
    let life = take_life(from, lives)?;
    let kind = StatementKind::of_byte(from.byte("statement")?).ok_or(DecodeError("statement"))?;
    Ok(Statement { life, kind, proof: take_proof(from)? })
}
