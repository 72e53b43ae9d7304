//! Signatures of receipts: a node's own word that it holds a write, which others can pass on and nobody can make up.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::identity::{NodeKey, id_of};

impl NodeKey {
    /// Signs a receipt: bytes that begin with a domain of their own.
    pub fn sign_receipt(&self, statement: &[u8]) -> [u8; 64] {
        self.sign(statement)
    }
}

/// Whether the node of this id has signed this receipt: the key is its own, and the signature is the key's. Strict: no weak
/// keys, no second signature for the same statement.
pub fn is_receipt_of(node: &[u8; 16], key: &[u8; 32], statement: &[u8], signature: &[u8; 64]) -> bool {
    let verified = || {
        let key = VerifyingKey::from_bytes(key).ok()?;
        key.verify_strict(statement, &Signature::from_bytes(signature)).ok()
    };
    id_of(key) == *node && verified().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_of_the_node_that_signed_it_and_of_no_other() {
        let (node, other) = (NodeKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
        let signature = node.sign_receipt(b"held");
        let holds = |id: [u8; 16], key: [u8; 32], said: &[u8]| is_receipt_of(&id, &key, said, &signature);
        assert!(holds(node.id(), node.public(), b"held"));
        assert!(!holds(node.id(), node.public(), b"hold"));
        assert!(!holds(other.id(), other.public(), b"held"));
        assert!(!holds(other.id(), node.public(), b"held"), "a key under another node's id");
        assert!(!holds(node.id(), other.public(), b"held"));
    }
}
