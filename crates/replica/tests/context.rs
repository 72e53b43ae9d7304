//! Contexts as text: read as written, for one path only, and never anything else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use rejoin_causal::{Dot, Epoch, Frontier, NodeId, Token};
use rejoin_replica::context::CONTEXT_BYTES_MAX;
use rejoin_replica::path::Path;
use rejoin_replica::{Context, ContextError};

fn dot() -> impl Strategy<Value = Dot> {
    (any::<[u8; 16]>(), any::<u64>(), 1..u64::MAX).prop_map(|(node, epoch, seq)| Dot {
        node: NodeId(node),
        epoch: Epoch(epoch),
        seq,
    })
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

proptest! {
    #[test]
    fn a_context_is_read_as_it_was_written(dots in vec(dot(), 0..20)) {
        let context = Context::new(dots);
        let text = context.encode(&path("users/alice"));
        prop_assert_eq!(Context::decode(&text, &path("users/alice")), Ok(context));
        prop_assert_eq!(Context::decode(&text, &path("users/bob")), Err(ContextError::OtherPath));
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }

    #[test]
    fn any_text_is_a_context_or_an_error(text in "[A-Za-z0-9_-]{0,200}") {
        if let Ok(context) = Context::decode(&text, &path("a")) {
            prop_assert_eq!(Context::decode(&context.encode(&path("a")), &path("a")), Ok(context));
        }
    }

    #[test]
    fn a_cut_context_is_an_error(dots in vec(dot(), 1..5), cut in any::<prop::sample::Index>()) {
        let text = Context::new(dots).encode(&path("a"));
        prop_assert!(Context::decode(&text[..cut.index(text.len())], &path("a")).is_err());
    }
}

#[test]
fn what_is_no_context_is_told_apart() {
    let a = path("a");
    let dots = (0..400u16).map(|at| {
        let mut node = [0; 16];
        node[..2].copy_from_slice(&at.to_be_bytes());
        Dot { node: NodeId(node), epoch: Epoch(1), seq: 1 }
    });
    let context = Context::new(dots.clone());
    let long = context.encode(&a);
    assert!(long.len() > CONTEXT_BYTES_MAX);
    assert_eq!(Context::decode(&long, &a), Err(ContextError::TooLong { bytes: long.len() }));
    let few = Context::new(dots.clone().take(200));
    assert_eq!(Context::decode(&few.encode(&a), &a), Ok(few), "some 200 siblings fit");
    let token = Token::of(&dots.take(2).collect::<Frontier>()).to_string();
    assert_eq!(Context::decode(&token, &a), Err(ContextError::Malformed), "a token is no context");
    assert_eq!(Context::decode("", &a), Err(ContextError::Malformed));
    let repeated = Dot { node: NodeId([1; 16]), epoch: Epoch(1), seq: 1 };
    assert_eq!(Context::new([repeated, repeated]).dots(), [repeated]);
}
