//! A conversation of before, read by the code of today.

use std::collections::BTreeSet;
use std::fs;

use rejoin_replica::{codec, packing};

use crate::fixture;
use crate::record::{self, Said};

/// Messages whose bytes are others in the protocol of today, each with the reason.
const CHANGED: [(&str, u8); 3] = [
    // Carries what its node signed.
    ("holders", 20),
    // Begins with the number of the exchange that it opens, or answers.
    ("probe", 1),
    ("caught-up", 9),
];

/// Types of the handshake.
const WELCOME: u8 = 4;

fn recorded(file: &str) -> Vec<Said> {
    record::read(&fs::read(fixture("format-1").join(file)).unwrap())
}

/// The frames of a recording: what each side says after the other has welcomed it, and it the other.
fn frames(said: &[Said]) -> Vec<&[u8]> {
    let mut welcomed = [false; 2];
    let mut frames = Vec::new();
    for Said { by_dialer, message } in said {
        let welcomed = &mut welcomed[usize::from(*by_dialer)];
        if *welcomed {
            frames.push(&message[..]);
        }
        *welcomed |= message == &[WELCOME];
    }
    frames
}

/// Decodes every frame whose bytes have not changed, and tells the names of all.
fn names(file: &str) -> BTreeSet<&'static str> {
    let said = recorded(file);
    let frames = frames(&said);
    assert_eq!(
        frames.len() + 6,
        said.len(),
        "{file}: a Hello, a Proof and a Welcome of each side are before the frames"
    );
    let mut names = BTreeSet::new();
    for frame in frames {
        let frame = packing::unpack(frame).unwrap();
        if let Some((name, _)) = CHANGED.iter().find(|(_, kind)| *kind == frame[0]) {
            names.insert(*name);
            continue;
        }
        let message = codec::decode(&frame).unwrap();
        assert_eq!(codec::encode(&message), *frame, "{file}: {} has one encoding", message.name());
        names.insert(message.name());
    }
    names
}

#[test]
fn frames_of_protocol_1_are_read_as_they_were_meant() {
    let catch_up = names("catch-up.frames");
    for name in [
        "probe",
        "nodes",
        "ask",
        "answer",
        "chunk",
        "caught-up",
        "credit",
        "push",
        "same",
        "question",
        "holders",
    ] {
        assert!(catch_up.contains(name), "{name} of {catch_up:?}");
    }
    let digest_session = names("digest-session.frames");
    for name in [
        "audit-open",
        "audit-accept",
        "compare",
        "differences",
        "exchange",
        "exchanged",
        "audit-done",
        "floor",
    ] {
        assert!(digest_session.contains(name), "{name} of {digest_session:?}");
    }
}
