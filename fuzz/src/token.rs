//! Tokens, dots and node ids as text that comes back from clients.

use rejoin_causal::token::{TOKEN_BYTES_MAX, Token};
use rejoin_causal::{Dot, Epoch, Frontier, IntervalSet, NodeId};

use crate::bytes::Bytes;
use crate::meter;

/// Bytes that decoding may take for each byte of text, and whatever the text.
const BYTES_PER_BYTE: usize = 64;
const BYTES_FIXED: usize = 2_048;

/// Tokens (what a session has seen), dots and node ids.
pub fn token(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    if bytes.one_in(2) {
        round_trip(&frontier(&mut bytes));
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes.rest()) else { return };
    let (decoded, peak) = meter::peak_of(|| text.parse::<Token>());
    let allowed = BYTES_FIXED + BYTES_PER_BYTE * text.len();
    assert!(peak <= allowed, "{} bytes took {peak} bytes to decode, {allowed} are allowed", text.len());
    if let Ok(token) = decoded {
        assert_eq!(token.to_string().parse(), Ok(token), "a token that was taken does not survive");
    }
    if let Ok(dot) = text.parse::<Dot>() {
        assert_eq!(dot.to_string(), text, "a dot has two texts");
    }
    if let Ok(node) = text.parse::<NodeId>() {
        assert_eq!(node.to_string(), text.to_ascii_lowercase(), "a node id has two texts");
    }
}

fn round_trip(frontier: &Frontier) {
    let token = Token::of(frontier);
    let text = token.to_string();
    let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(text.bytes().all(url_safe), "a token is not safe in a URL: {text}");
    assert!(text.len() <= TOKEN_BYTES_MAX, "a token is given that is not taken: {} bytes", text.len());

    assert_eq!(text.parse(), Ok(token), "a token does not survive");
    for dot in frontier.tops().tops() {
        assert_eq!(dot.to_string().parse(), Ok(dot), "a dot does not survive");
    }
}

fn frontier(bytes: &mut Bytes<'_>) -> Frontier {
    let mut frontier = Frontier::new();
    while !bytes.is_empty() {
        let (node, epoch) = (NodeId([bytes.byte(); 16]), Epoch(bytes.word()));
        let mut set = IntervalSet::new();
        for _ in 0..bytes.below(5) {
            let first = if bytes.one_in(8) { bytes.word() } else { u64::from(bytes.byte()) };
            set.insert_range(first.max(1), first.max(1).saturating_add(u64::from(bytes.byte())));
        }
        frontier.insert_row(node, epoch, &set);
    }
    frontier
}
