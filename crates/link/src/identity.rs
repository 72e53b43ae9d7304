//! Who a node is: its key, its cluster, what it says of itself, and what a peer proved.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::config::NAME_BYTES_MAX;
use crate::handshake::OpenHandshakes;

/// The Ed25519 key pair of a node, made on its first start. Its id is what every API calls the node.
pub struct NodeKey {
    signing: SigningKey,
}

impl NodeKey {
    /// A new key from the randomness of the operating system.
    pub fn generate() -> Result<Self, RandomnessError> {
        random::<32>().map(Self::from_seed)
    }

    /// The key of a stored seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(&seed) }
    }

    /// The secret seed, to be stored. Nothing else gives the key back.
    pub fn seed(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    /// The node id: the first 16 bytes of BLAKE3 of the public key.
    pub fn id(&self) -> [u8; 16] {
        id_of(&self.public())
    }

    /// The public key bytes.
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// Signs a statement of another layer. It begins with bytes that say of which: nothing else that this key signs does.
    pub fn sign_statement(&self, statement: &[u8]) -> [u8; 64] {
        self.sign(statement)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", Hex(&self.id()))
    }
}

/// What all members of a cluster know and nobody else. Whoever meets a member can test guesses of it offline, so it
/// should be random (32 bytes), not a phrase somebody thought of.
#[derive(Clone)]
pub struct ClusterSecret {
    root: [u8; 32],
}

impl ClusterSecret {
    /// The secret written as these bytes, whatever their form.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self { root: blake3::derive_key(SECRET_ROOT_CONTEXT, secret.as_ref()) }
    }

    /// The MAC by which a member shows that it knows the secret. `blake3::Hash` compares in constant time.
    pub(crate) fn mac(&self, message: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&blake3::derive_key(SECRET_MAC_CONTEXT, &self.root), message)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

/// Which cluster a node belongs to. Public; nodes of different clusters refuse each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    /// The id of a cluster known by name only, such as `default`.
    pub fn of_name(name: &str) -> Self {
        Self(truncate(blake3::derive_key(CLUSTER_NAME_CONTEXT, name.as_bytes())))
    }

    /// The id of the cluster of this secret.
    pub fn of_secret(secret: &ClusterSecret) -> Self {
        Self(truncate(blake3::derive_key(CLUSTER_SECRET_CONTEXT, &secret.root)))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Hex(&self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// What we say of ourselves in a handshake.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Our key pair.
    pub key: Arc<NodeKey>,
    /// Our cluster.
    pub cluster: ClusterId,
    /// The cluster secret, where one is set. Peers must then have the same.
    pub secret: Option<ClusterSecret>,
    /// Our name for people: at most [`NAME_BYTES_MAX`] bytes, without control characters.
    pub name: String,
    /// Our epoch: new at every process start.
    pub epoch: u64,
    /// Hash of our merge policy.
    pub policy: [u8; 16],
    /// The handshakes of this node that are under way; those of all its identities, one after the other.
    pub handshakes: OpenHandshakes,
}

impl Identity {
    /// Whether the name can be sent. The handshake checks it too; a caller that checks at start-up fails earlier.
    pub fn check(&self) -> Result<(), IdentityError> {
        if self.name.len() > NAME_BYTES_MAX {
            return Err(IdentityError::NameTooLong { bytes: self.name.len() });
        }
        if !is_name(&self.name) {
            return Err(IdentityError::NameNotPrintable);
        }
        Ok(())
    }
}

/// What the other end of a link proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node id.
    pub id: [u8; 16],
    /// Its public key.
    pub key: [u8; 32],
    /// Its epoch.
    pub epoch: u64,
    /// Its name for people. Signed, but chosen freely by the peer.
    pub name: String,
    /// Hash of its merge policy.
    pub policy: [u8; 16],
    /// The protocol version both sides speak.
    pub version: u16,
}

/// An [`Identity`] that cannot be sent. The operator must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("the node name has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed")]
    NameTooLong {
        /// Length of the name.
        bytes: usize,
    },
    /// The name holds control characters.
    #[error("the node name contains control characters")]
    NameNotPrintable,
}

/// The operating system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct RandomnessError(getrandom::Error);

/// `N` bytes of the operating system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomnessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomnessError)?;
    Ok(bytes)
}

/// The id of the node that signed a statement with this key; nothing when it did not. Strict: one signature fits one
/// statement.
pub fn signer_of(statement: &[u8], key: &[u8; 32], signature: &[u8; 64]) -> Option<[u8; 16]> {
    let verifying = VerifyingKey::from_bytes(key).ok()?;
    verifying.verify_strict(statement, &Signature::from_bytes(signature)).ok()?;
    Some(id_of(key))
}

/// The node id of a public key.
pub(crate) fn id_of(public: &[u8; 32]) -> [u8; 16] {
    truncate(*blake3::hash(public).as_bytes())
}

/// Names are shown in logs and tables: no control characters, or a peer could write log lines of its own.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Bytes as lower-case hex.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn truncate(hash: [u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

const CLUSTER_NAME_CONTEXT: &str = "rejoin link v1: cluster id of a name";
const CLUSTER_SECRET_CONTEXT: &str = "rejoin link v1: cluster id of a secret";
const SECRET_ROOT_CONTEXT: &str = "rejoin link v1: cluster secret";
const SECRET_MAC_CONTEXT: &str = "rejoin link v1: key of the proof of the cluster secret";
