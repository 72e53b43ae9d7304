//! The handshake without sockets: hostile bytes, reflection, splicing.

use std::sync::Arc;

use proptest::prelude::*;

use super::message::{Hello, Message, Proof};
use super::*;
use crate::config::HANDSHAKES_OPEN_MAX;
use crate::identity::{ClusterId, ClusterSecret, NodeKey};

fn node(seed: u8, epoch: u64) -> Identity {
    Identity {
        key: Arc::new(NodeKey::from_seed([seed; 32])),
        cluster: ClusterId::of_name("default"),
        secret: None,
        name: format!("node-{seed}"),
        epoch,
        policy: [3; 16],
        handshakes: OpenHandshakes::default(),
    }
}

fn start(us: &Identity, role: Role, nonce: u8) -> (Handshake<'_>, Vec<u8>) {
    Handshake::start_with(us, role, us.handshakes.note([nonce; 32]).unwrap()).unwrap()
}

fn sent(progress: Result<Progress, Stop>) -> Vec<u8> {
    match progress.unwrap() {
        Progress::Send(bytes) => bytes,
        Progress::Done(peer) => panic!("done with {peer:?}"),
    }
}

fn refused_with(progress: Result<Progress, Stop>) -> RefusalCode {
    match progress.unwrap_err() {
        Stop::Refuse(refusal) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_nodes_prove_themselves_to_each_other() {
    let (anna, bert) = (node(1, 10), node(2, 20));
    let (mut dialer, hello_d) = start(&anna, Role::Dialer, 1);
    let (mut listener, hello_l) = start(&bert, Role::Listener, 2);
    let (proof_d, proof_l) = (sent(dialer.handle(&hello_l)), sent(listener.handle(&hello_d)));
    let (welcome_d, welcome_l) = (sent(dialer.handle(&proof_l)), sent(listener.handle(&proof_d)));
    let Ok(Progress::Done(peer)) = dialer.handle(&welcome_l) else { panic!("not done") };
    assert_eq!((peer.id, peer.epoch, peer.name.as_str(), peer.version), (bert.key.id(), 20, "node-2", 2));
    let Ok(Progress::Done(peer)) = listener.handle(&welcome_d) else { panic!("not done") };
    assert_eq!((peer.id, peer.epoch, peer.policy), (anna.key.id(), 10, [3; 16]));
}

#[test]
fn ones_own_hello_sent_back_is_refused() {
    let anna = node(1, 10);
    let (mut dialer, hello) = start(&anna, Role::Dialer, 1);
    assert_eq!(refused_with(dialer.handle(&hello)), RefusalCode::Itself);
    // Also with another epoch written over it: the nonce is still ours.
    let Message::Hello(mut forged) = Message::decode(&hello).unwrap() else { panic!("no hello") };
    forged.epoch += 1;
    let (mut dialer, _) = start(&anna, Role::Dialer, 2);
    assert_eq!(refused_with(dialer.handle(&forged.encode())), RefusalCode::Itself);
}

#[test]
fn a_node_that_dials_itself_knows_either_end_by_its_nonce() {
    let anna = node(1, 10);
    // Whichever looks first, and also when the other end is over by then.
    for dialer_first in [true, false] {
        let (mut dialer, hello_d) = start(&anna, Role::Dialer, 1);
        let (mut listener, hello_l) = start(&anna, Role::Listener, 2);
        if dialer_first {
            assert_eq!(refused_with(dialer.handle(&hello_l)), RefusalCode::Itself);
            drop(dialer);
            // Without a proof of the dialer, which has stopped, the listener comes to no conclusion.
            sent(listener.handle(&hello_d));
        } else {
            assert_eq!(refused_with(listener.handle(&hello_d)), RefusalCode::Itself);
            drop(listener);
            sent(dialer.handle(&hello_l));
        }
    }
    assert!(!anna.handshakes.has(&[1; 32]) && !anna.handshakes.has(&[2; 32]), "what is over is forgotten");
}

#[test]
fn another_process_in_ones_own_life_proves_to_be_a_twin() {
    let (anna, copy) = (node(1, 10), node(1, 10));
    let (mut dialer, hello_d) = start(&anna, Role::Dialer, 1);
    let (mut listener, hello_l) = start(&copy, Role::Listener, 2);
    let (proof_d, proof_l) = (sent(dialer.handle(&hello_l)), sent(listener.handle(&hello_d)));
    assert_eq!(dialer.handle(&proof_l).unwrap_err(), Stop::Twin);
    assert_eq!(listener.handle(&proof_d).unwrap_err(), Stop::Twin);
}

#[test]
fn a_third_node_introduces_twins_and_cannot_pretend_one() {
    use crate::{Acquaintance, Introduction};
    let (anna, copy) = (node(1, 10), node(1, 10));
    let meet = |one: &Identity, other: &Identity| {
        let (mut first, hello_1) = Introduction::begin(one, true).unwrap();
        let (mut second, hello_2) = Introduction::begin(other, false).unwrap();
        match (first.hear(&hello_2), second.hear(&hello_1)) {
            (Acquaintance::Say(proof_1), Acquaintance::Say(proof_2)) => {
                (first.hear(&proof_2), second.hear(&proof_1))
            }
            over => over,
        }
    };
    assert_eq!(meet(&anna, &copy), (Acquaintance::Twin, Acquaintance::Twin));
    assert_eq!(meet(&anna, &anna), (Acquaintance::Itself, Acquaintance::Itself));
    let epoch = |epoch| Acquaintance::Clone { epoch };
    assert_eq!(meet(&anna, &node(1, 11)), (epoch(11), epoch(10)));
    // Whoever carries lets one end of a process give up before it shows its Hello to the other.
    let (mut first, _) = Introduction::begin(&anna, true).unwrap();
    let (mut second, hello) = Introduction::begin(&anna, false).unwrap();
    assert_eq!(second.hear(b"nonsense"), Acquaintance::Stranger);
    drop(second);
    assert!(matches!(first.hear(&hello), Acquaintance::Say(_)));
    let (mut third, hello) = Introduction::begin(&anna, false).unwrap();
    assert_eq!(first.hear(&hello), Acquaintance::Stranger);
    assert_eq!(third.hear(b""), Acquaintance::Stranger);
}

#[test]
fn a_statement_is_its_signers() {
    use crate::signer_of;
    let (anna, bert) = (NodeKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
    let signature = anna.sign_statement(b"rejoin test: hello");
    assert_eq!(signer_of(b"rejoin test: hello", &anna.public(), &signature), Some(anna.id()));
    assert_eq!(signer_of(b"rejoin test: hell0", &anna.public(), &signature), None);
    assert_eq!(signer_of(b"rejoin test: hello", &bert.public(), &signature), None);
    let mut weak = [0; 32];
    weak[0] = 1;
    let mut zero = [0; 64];
    zero[0] = 1;
    assert_eq!(signer_of(b"anything", &weak, &zero), None);
}

#[test]
fn more_handshakes_than_a_node_may_have_open_are_refused() {
    let anna = node(1, 10);
    let mut open: Vec<_> = (0..HANDSHAKES_OPEN_MAX).map(|_| anna.handshakes.begin().unwrap()).collect();
    let refused = anna.handshakes.begin().unwrap_err();
    assert_eq!(refused.code(), Some(RefusalCode::Busy));
    open.pop();
    assert!(anna.handshakes.begin().is_ok());
}

#[test]
fn ones_own_proof_sent_back_proves_nothing() {
    // The mirror pretends to be a clone of Anna (her key, another epoch and nonce) and returns her own proof.
    let mut anna = node(1, 10);
    anna.secret = Some(ClusterSecret::new("shared"));
    let mirror = node(1, 11);
    let (_, mirrored_hello) = start(&mirror, Role::Listener, 9);
    let (mut dialer, _) = start(&anna, Role::Dialer, 1);
    let proof = sent(dialer.handle(&mirrored_hello));
    assert_eq!(refused_with(dialer.handle(&proof)), RefusalCode::BadProof);
}

#[test]
fn two_dialers_spliced_together_refuse_each_other() {
    let (anna, bert) = (node(1, 10), node(2, 20));
    let (mut one, hello_one) = start(&anna, Role::Dialer, 1);
    let (mut two, hello_two) = start(&bert, Role::Dialer, 2);
    let (proof_one, proof_two) = (sent(one.handle(&hello_two)), sent(two.handle(&hello_one)));
    assert_eq!(refused_with(one.handle(&proof_two)), RefusalCode::BadProof);
    assert_eq!(refused_with(two.handle(&proof_one)), RefusalCode::BadProof);
}

#[test]
fn every_changed_bit_of_a_hello_is_noticed() {
    let (anna, bert) = (node(1, 10), node(2, 20));
    let (_, hello_d) = start(&anna, Role::Dialer, 1);
    for bit in 0..hello_d.len() * 8 {
        let (mut dialer, _) = start(&anna, Role::Dialer, 1);
        let (mut listener, hello_l) = start(&bert, Role::Listener, 2);
        let mut changed = hello_d.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let proof = sent(dialer.handle(&hello_l));
        let outcome = listener.handle(&changed).and_then(|_| listener.handle(&proof));
        assert!(matches!(outcome, Err(Stop::Refuse(_))), "bit {bit}: {outcome:?}");
    }
}

#[test]
fn a_weak_key_proves_nothing() {
    // With the neutral element as key, a zero scalar and the neutral element as R verify for any message, unless strict.
    let anna = node(1, 10);
    let mut weak = [0; 32];
    weak[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let (_, hello) = start(&anna, Role::Listener, 1);
    let Message::Hello(mut forged) = Message::decode(&hello).unwrap() else { panic!("no hello") };
    (forged.key, forged.nonce) = (weak, [7; 32]);
    let (mut dialer, _) = start(&anna, Role::Dialer, 1);
    sent(dialer.handle(&forged.encode()));
    let proof = Proof { signature, mac: None };
    assert_eq!(refused_with(dialer.handle(&proof.encode())), RefusalCode::BadProof);
}

#[test]
fn messages_out_of_order_are_refused() {
    let anna = node(1, 10);
    let (mut dialer, _) = start(&anna, Role::Dialer, 1);
    assert_eq!(refused_with(dialer.handle(&Message::Welcome.encode())), RefusalCode::BadMessage);
    // And nothing revives it.
    let (_, hello) = start(&node(2, 20), Role::Listener, 2);
    assert_eq!(refused_with(dialer.handle(&hello)), RefusalCode::BadMessage);
}

#[test]
fn a_refusal_cannot_write_log_lines() {
    let bytes =
        Message::Refuse(Refusal { code: RefusalCode::Busy, reason: "a\nroot: all is well".into() }).encode();
    let Message::Refuse(refusal) = Message::decode(&bytes).unwrap() else { panic!("no refusal") };
    assert_eq!(refusal.reason, "a root: all is well");
}

fn any_message() -> impl Strategy<Value = Message> {
    let hello = (any::<(u16, u16, [u8; 16], [u8; 32], u64, [u8; 16], [u8; 32])>(), "[a-zé-]{0,32}").prop_map(
        |((a, b, cluster, key, epoch, policy, nonce), name)| {
            let (version_min, version_max) = (a.min(b), a.max(b));
            let cluster = ClusterId(cluster);
            Message::Hello(Hello { version_min, version_max, cluster, key, epoch, policy, nonce, name })
        },
    );
    let proof = (any::<([u8; 32], [u8; 32])>(), any::<Option<[u8; 32]>>()).prop_map(|((a, b), mac)| {
        let signature = std::array::from_fn(|i| if i < 32 { a[i] } else { b[i - 32] });
        Message::Proof(Proof { signature, mac })
    });
    let refuse = (any::<u8>(), "[ -~é]{0,220}")
        .prop_map(|(code, reason)| Message::Refuse(Refusal::new(RefusalCode::from_byte(code), &reason)));
    prop_oneof![hello, proof, refuse, Just(Message::Welcome)]
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in any_message()) {
        let bytes = message.encode();
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(Message::decode(&longer).is_err());
        prop_assert!(Message::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(
        kind in 0u8..6, magic: bool, bytes in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let mut input = vec![kind];
        if magic { input.extend_from_slice(b"RJLK"); }
        input.extend_from_slice(&bytes);
        if let Ok(message) = Message::decode(&input) {
            // One message, one encoding; only a reason may be cleaned.
            if !matches!(message, Message::Refuse(_)) { prop_assert_eq!(message.encode(), input); }
        }
    }

    #[test]
    fn arbitrary_messages_never_make_a_peer(messages in prop::collection::vec(any_message(), 0..5)) {
        let anna = node(1, 10);
        let (mut listener, _) = start(&anna, Role::Listener, 1);
        for message in messages {
            prop_assert!(!matches!(listener.handle(&message.encode()), Ok(Progress::Done(_))));
        }
    }
}
