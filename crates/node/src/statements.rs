//! What nodes sign about their lives: made with the key of this node, and checked before a replica hears of it.

use rejoin_causal::{Epoch, NodeId};
use rejoin_link::{NodeKey, signer_of};
use rejoin_replica::{Proof, Statement, StatementKind, signed_bytes};

/// The note that holds what was signed when this node last took a new identity. It is written with the new key and handed to
/// the replica at each start: the replica may have ended before it had stored it.
pub(crate) const STATEMENTS_NOTE: &str = "statements";

/// What the owner of a key says about a life of its.
pub(crate) fn sign(key: &NodeKey, epoch: Epoch, kind: StatementKind) -> Statement {
    let life = (NodeId(key.id()), epoch);
    let signature = key.sign_statement(&signed_bytes(life, kind));
    Statement { life, kind, proof: Proof { key: key.public(), signature } }
}

/// Whether the node that it is about has signed it.
pub(crate) fn is_signed(statement: &Statement) -> bool {
    let Statement { life, kind, proof } = statement;
    signer_of(&signed_bytes(*life, *kind), &proof.key, &proof.signature) == Some(life.0.0)
}

/// Whether all of them are signed. Away from the tasks of links when there are many: each costs some 50 µs.
pub(crate) async fn are_signed(statements: &[Statement]) -> bool {
    if statements.len() <= CHECKED_IN_PLACE_MAX {
        return statements.iter().all(is_signed);
    }
    let statements = statements.to_vec();
    tokio::task::spawn_blocking(move || statements.iter().all(is_signed)).await.unwrap_or(false)
}

const CHECKED_IN_PLACE_MAX: usize = 4;

/// Statements as the bytes of a note.
pub(crate) fn encode(statements: &[Statement]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(statements.len() * STATEMENT_BYTES);
    for Statement { life: (node, epoch), kind, proof } in statements {
        bytes.extend_from_slice(&node.0);
        bytes.extend_from_slice(&epoch.0.to_be_bytes());
        bytes.push(kind.byte());
        bytes.extend_from_slice(&proof.key);
        bytes.extend_from_slice(&proof.signature);
    }
    bytes
}

/// The statements of a note; nothing of it when it is damaged. What is not signed is left out.
pub(crate) fn decode(bytes: &[u8]) -> Vec<Statement> {
    let (each, rest) = bytes.as_chunks::<STATEMENT_BYTES>();
    if !rest.is_empty() {
        return Vec::new();
    }
    each.iter().filter_map(decode_one).filter(is_signed).collect()
}

fn decode_one(bytes: &[u8; STATEMENT_BYTES]) -> Option<Statement> {
    let (node, rest) = bytes.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (key, rest) = rest.split_first_chunk()?;
    let signature = rest.first_chunk()?;
    Some(Statement {
        life: (NodeId(*node), Epoch(u64::from_be_bytes(*epoch))),
        kind: StatementKind::of_byte(*kind)?,
        proof: Proof { key: *key, signature: *signature },
    })
}

/// Node, epoch, kind, key, signature.
const STATEMENT_BYTES: usize = 16 + 8 + 1 + 32 + 64;

#[cfg(test)]
mod tests {
    use rejoin_replica::DoubtReason;

    use super::*;

    fn doubt() -> Statement {
        let key = NodeKey::from_seed([3; 32]);
        sign(&key, Epoch(77), StatementKind::Doubted(DoubtReason::Twin))
    }

    #[test]
    fn a_statement_that_was_changed_in_any_part_is_not_signed() {
        assert!(is_signed(&doubt()));
        let other = NodeKey::from_seed([4; 32]);
        let changes: [fn(&mut Statement); 5] = [
            |statement| statement.life.1 = Epoch(78),
            |statement| statement.life.0.0[0] ^= 1,
            |statement| statement.kind = StatementKind::Alive,
            |statement| statement.kind = StatementKind::Doubted(DoubtReason::ClockJump),
            |statement| statement.proof.signature[0] ^= 1,
        ];
        for change in changes {
            let mut changed = doubt();
            change(&mut changed);
            assert!(!is_signed(&changed), "{changed:?}");
        }
        // Somebody else says so of us, in full order but for the name.
        let mut theirs = sign(&other, Epoch(77), StatementKind::Doubted(DoubtReason::Twin));
        theirs.life.0 = doubt().life.0;
        assert!(!is_signed(&theirs));
        theirs.proof.key = doubt().proof.key;
        assert!(!is_signed(&theirs));
    }

    #[test]
    fn statements_survive_a_note_and_damage_does_not_make_any() {
        let both = [doubt(), sign(&NodeKey::from_seed([5; 32]), Epoch(9), StatementKind::Alive)];
        let bytes = encode(&both);
        assert_eq!(decode(&bytes), both);
        assert_eq!(decode(&bytes[1..]), []);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decode(&damaged).len(), 1, "byte {at}");
        }
    }
    /// The process ended when the new key was durable and the replica had not stored what was signed with the old one.
    #[tokio::test]
    async fn a_doubt_signed_just_before_a_crash_is_known_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || crate::Node::builder().data_dir(directory.path()).open();
        let node = open().await.expect("it opens");
        let old = (node.status().await.expect("a status").node, node.info().epoch);
        node.close().await.expect("it closes");

        let engine = rejoin_store::FjallEngine::open(directory.path(), rejoin_store::FjallOptions::default());
        let mut store =
            rejoin_store::Store::open(engine.expect("an engine"), rejoin_store::SyncPolicy::EveryCommit)
                .expect("a store");
        let seed = store.note(crate::builder::KEY_NOTE).expect("a read").expect("a key");
        let key = NodeKey::from_seed(seed.try_into().expect("32 bytes"));
        let doubt = sign(&key, old.1, StatementKind::Doubted(DoubtReason::Twin));
        let new = NodeKey::from_seed([8; 32]);
        store
            .begin_epoch_with(crate::clock::wall_ms(), 0, |epoch| {
                let statements = [doubt, sign(&new, epoch, StatementKind::Alive)];
                vec![(crate::builder::KEY_NOTE, new.seed().to_vec()), (STATEMENTS_NOTE, encode(&statements))]
            })
            .expect("a commit");
        store.close().expect("it closes");

        for _ in 0..2 {
            let node = open().await.expect("it opens");
            node.put("after", &1).await.expect("it writes");
            let status = node.status().await.expect("a status");
            let doubts: Vec<_> = status.doubts.iter().map(|doubt| (doubt.node, doubt.epoch)).collect();
            assert_eq!((status.node.0, doubts), (new.id(), vec![old]));
            node.close().await.expect("it closes");
        }
    }
}
