//! Paths, prefixes and scopes against slow references and the table of refusals of docs/http-api.md.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use rejoin_replica::path::{PATH_BYTES_MAX, Path, PathError, Prefix, SEGMENT_BYTES_MAX, SEGMENTS_MAX, Scope};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// The rules of the contract, written again without looking at the parser: the expected code, or none if legal.
fn reference(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let mut segments: Vec<Vec<u8>> = vec![vec![]];
    for &byte in bytes {
        if byte == 0x2F { segments.push(vec![]) } else { segments.last_mut().unwrap().push(byte) }
    }
    let control = text.chars().any(|c| matches!(u32::from(c), 0x00..=0x1F | 0x7F..=0x9F));
    let legal = bytes.len() <= 2048
        && segments.len() <= 64
        && segments.iter().all(|s| (1..=512).contains(&s.len()) && s != b"." && s != b"..")
        && !control;
    let first = &segments[0];
    match legal {
        false => Some("invalid_path"),
        true if first[0] == 0x5F || [&b"scan"[..], b"history", b"status"].contains(&first.as_slice()) => {
            Some("reserved_path")
        }
        true => None,
    }
}

fn percent_encode_all(text: &str) -> String {
    text.split('/')
        .map(|segment| segment.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>())
        .collect::<Vec<_>>()
        .join("/")
}

/// Text rich in everything that a rule mentions.
fn text() -> impl Strategy<Value = String> {
    let pieces = select(vec![
        "a",
        "b",
        "/",
        "/",
        "/",
        ".",
        "..",
        "_",
        "scan",
        "history",
        "status",
        "!",
        " ",
        "%",
        "%2F",
        "é",
        "\u{10FFFF}",
        "\0",
        "\u{1F}",
        "\u{7F}",
        "\u{9F}",
        "\u{A0}",
        "~",
        "0",
    ]);
    prop_oneof![
        6 => vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
        1 => (1..70usize, 1..40usize).prop_map(|(n, len)| vec!["x".repeat(len); n].join("/")),
        1 => (505..520usize, 1..6usize).prop_map(|(len, n)| vec!["y".repeat(len); n].join("/")),
        1 => any::<String>(),
    ]
}

fn segment() -> impl Strategy<Value = String> {
    let pieces = select(vec!["a", "b", "!", "-", ".x", " ", "%", "é", "日", "\u{10FFFF}", "al", "scan", "0"]);
    vec(pieces, 1..4).prop_map(|pieces| pieces.concat())
}

fn legal_path() -> impl Strategy<Value = Path> {
    vec(segment(), 1..5).prop_filter_map("reserved", |segments| Path::parse(&segments.join("/")).ok())
}

#[test]
fn the_examples_of_the_contract_are_legal() {
    for text in [
        "users/alice@example.com/inbox",
        "données/é",
        "users",
        "scanner",
        "a/scan/_x",
        "...",
        "a b",
        "100%",
        "Scan",
    ] {
        assert_eq!(path(text).as_str(), text);
        assert_eq!(Path::parse_encoded(path(text).encoded()).unwrap(), path(text));
    }
    assert_eq!(path("données/é 100%").encoded(), "donn%C3%A9es/%C3%A9%20100%25");
    assert_eq!(path("users/alice@example.com").encoded(), "users/alice@example.com");
}

#[test]
fn each_rule_refuses_with_its_code_and_names_the_segment() {
    let long = "s".repeat(SEGMENT_BYTES_MAX + 1);
    let many = vec!["s"; SEGMENTS_MAX + 1].join("/");
    let wide = vec!["s".repeat(SEGMENT_BYTES_MAX); 4].join("/");
    for (text, error) in [
        ("", PathError::Empty),
        ("/a", PathError::EmptySegment { segment: 1 }),
        ("a/", PathError::EmptySegment { segment: 2 }),
        ("a//b", PathError::EmptySegment { segment: 2 }),
        ("/", PathError::EmptySegment { segment: 1 }),
        (".", PathError::DotSegment { segment: 1 }),
        ("a/..", PathError::DotSegment { segment: 2 }),
        ("a/\0", PathError::ControlCharacter { segment: 2, character: '\0' }),
        ("a\n", PathError::ControlCharacter { segment: 1, character: '\n' }),
        ("a/b\u{7F}", PathError::ControlCharacter { segment: 2, character: '\u{7F}' }),
        ("\u{80}", PathError::ControlCharacter { segment: 1, character: '\u{80}' }),
        (&long, PathError::SegmentTooLong { segment: 1 }),
        (&many, PathError::TooManySegments),
        (&wide, PathError::TooLong),
    ] {
        assert_eq!(Path::parse(text), Err(error.clone()), "{text:?}");
        assert_eq!(Path::parse_encoded(text), Err(error.clone()), "{text:?} as a request target");
        assert_eq!(error.code(), "invalid_path");
    }
    for name in ["scan", "history", "status", "_", "_batch", "_links/x", "scan/users"] {
        let error = Path::parse(name).unwrap_err();
        assert_eq!(error.code(), "reserved_path", "{name}");
        assert_eq!(Path::parse_encoded(percent_encode_all(name)).unwrap_err(), error);
    }
    let message = Path::parse("a/b\u{7F}").unwrap_err().to_string();
    assert_eq!(message, "Segment 2 of the path contains the control character U+007F.");
    assert_eq!(
        Path::parse("_x/a").unwrap_err().to_string(),
        "Segment 1 of the path, `_x`, is reserved for the API."
    );
}

#[test]
fn each_rule_of_the_encoding_refuses() {
    let cases: [(&[u8], PathError); 15] = [
        (b"a/%", PathError::StrayPercent { segment: 2 }),
        (b"a/%4", PathError::StrayPercent { segment: 2 }),
        (b"%4/1", PathError::StrayPercent { segment: 1 }),
        (b"%zz", PathError::StrayPercent { segment: 1 }),
        (b"%%41", PathError::StrayPercent { segment: 1 }),
        (b"%+1", PathError::StrayPercent { segment: 1 }),
        (b"a%2Fb", PathError::SlashInSegment { segment: 1 }),
        (b"a/b%2fc", PathError::SlashInSegment { segment: 2 }),
        (b"a%00", PathError::ControlCharacter { segment: 1, character: '\0' }),
        (b"%ff", PathError::NotUtf8 { segment: 1 }),
        (b"a/\xC3", PathError::NotUtf8 { segment: 2 }),
        (b"a/%C3/%A9", PathError::NotUtf8 { segment: 2 }),
        (b"%ED%A0%80", PathError::NotUtf8 { segment: 1 }),
        (b"%2e%2E", PathError::DotSegment { segment: 1 }),
        (b"%C0%AE", PathError::NotUtf8 { segment: 1 }),
    ];
    for (raw, error) in cases {
        assert_eq!(Path::parse_encoded(raw), Err(error), "{}", raw.escape_ascii());
    }
    let scan = Path::parse_encoded("%73can/x").unwrap_err();
    assert_eq!(scan.code(), "reserved_path");
    let endless = Path::parse_encoded("%41".repeat(PATH_BYTES_MAX) + "x");
    assert_eq!(endless, Err(PathError::TooLong));
}

#[test]
fn the_target_is_decoded_once() {
    assert_eq!(Path::parse_encoded("%2541").unwrap(), path("%41"));
    assert_eq!(Path::parse_encoded("%252F").unwrap(), path("%2F"));
    assert_eq!(Path::parse_encoded("a+b").unwrap(), path("a+b"));
    assert_eq!(Path::parse_encoded("donn\u{e9}es/%c3%A9").unwrap(), path("données/é"));
}

#[test]
fn the_limits_themselves_are_legal() {
    path(&"s".repeat(SEGMENT_BYTES_MAX));
    path(&vec!["s"; SEGMENTS_MAX].join("/"));
    let widest = format!("{}/{}", vec!["s".repeat(SEGMENT_BYTES_MAX - 1); 3].join("/"), "s".repeat(512));
    assert_eq!(widest.len(), PATH_BYTES_MAX);
    assert_eq!(Path::parse_encoded(percent_encode_all(&widest)).unwrap(), path(&widest));
    assert_eq!(Prefix::parse(&widest).unwrap().as_str(), widest);
    assert!(Prefix::parse(&vec!["s"; SEGMENTS_MAX].join("/")).is_ok());
    assert_eq!(Prefix::parse(&vec!["s"; SEGMENTS_MAX + 1].join("/")), Err(PathError::TooManySegments));
}

#[test]
fn a_subtree_sorts_directly_behind_its_root() {
    let sorted = ["a", "a/b", "a/b/c", "a/b!", "a!", "a!/x", "a-", "b"].map(path);
    assert!(sorted.is_sorted());
    let set: BTreeSet<Path> = sorted.iter().rev().cloned().collect();
    assert!(set.iter().eq(&sorted));
}

#[test]
fn keys_that_no_path_has_are_refused() {
    for (key, code) in [
        (&b""[..], "invalid_path"),
        (b"\0", "invalid_path"),
        (b"a\0", "invalid_path"),
        (b"a\0\0b", "invalid_path"),
        (b"a/b", "invalid_path"),
        (b"\xFF", "invalid_path"),
        (b"_a\0b", "reserved_path"),
        (&[b'a'; PATH_BYTES_MAX + 1], "invalid_path"),
    ] {
        assert_eq!(Path::from_key(key).unwrap_err().code(), code, "{}", key.escape_ascii());
    }
}

#[test]
fn family_ties_follow_segments() {
    let deep = path("a/b/c");
    assert_eq!(deep.segments().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(deep.parent(), Some(path("a/b")));
    assert_eq!(path("a").parent(), None);
    assert!(deep.starts_with_segments(&path("a/b")));
    assert!(deep.starts_with_segments(&deep));
    assert!(!deep.starts_with_segments(&path("a/b/c/d")));
    assert!(!path("ab/c").starts_with_segments(&path("a")));
}

#[test]
fn prefixes_may_end_anywhere_but_not_hold_empty_segments() {
    for text in ["", "users", "users/", "users/al", "a/.", "a/..", "..", "scan", "sc", "_", "scan/x"] {
        assert_eq!(Prefix::parse(text).unwrap().as_str(), text);
    }
    for (text, error) in [
        ("/", PathError::EmptySegment { segment: 1 }),
        ("/a", PathError::EmptySegment { segment: 1 }),
        ("a//", PathError::EmptySegment { segment: 2 }),
        ("a//b", PathError::EmptySegment { segment: 2 }),
        ("a/./", PathError::DotSegment { segment: 2 }),
        ("../a", PathError::DotSegment { segment: 1 }),
        ("a/b\n", PathError::ControlCharacter { segment: 2, character: '\n' }),
    ] {
        assert_eq!(Prefix::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(Prefix::parse_encoded("us%65rs/").unwrap(), Prefix::parse("users/").unwrap());
    assert_eq!(Prefix::parse_encoded("").unwrap(), Prefix::parse("").unwrap());
    assert_eq!(Prefix::parse_encoded("a%2F"), Err(PathError::SlashInSegment { segment: 1 }));
    assert_eq!(Prefix::parse_encoded("a/%C3"), Err(PathError::NotUtf8 { segment: 2 }));
    assert_eq!(Prefix::parse("").unwrap().key_range(), (vec![], None));
    assert_eq!(Prefix::parse("a/").unwrap().key_range(), (b"a\0".to_vec(), Some(b"a\x01".to_vec())));
}

#[test]
fn a_scope_covers_itself_what_is_below_and_its_ancestors() {
    for text in ["users/al", "users/al/"] {
        let scope = Scope::parse(text).unwrap();
        let covered = ["users", "users/al", "users/al/inbox"];
        let others = ["users/alice", "users/bob", "user", "rooms", "users/bob/al"];
        assert!(covered.iter().all(|text| scope.covers(&path(text))));
        assert!(!others.iter().any(|text| scope.covers(&path(text))));
        assert_eq!(scope.path(), Some(&path("users/al")));
    }
    let everything = Scope::parse("").unwrap();
    assert_eq!(everything, Scope::everything());
    assert!(everything.covers(&path("a")) && everything.covers(&path("b/c")));
    for text in ["/", "//", "a//", "/a"] {
        assert_eq!(Scope::parse(text).unwrap_err().code(), "invalid_path", "{text}");
    }
    assert_eq!(Scope::parse("scan/").unwrap_err().code(), "reserved_path");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_agrees_with_the_reference(text in text()) {
        let parsed = Path::parse(&text);
        prop_assert_eq!(parsed.as_ref().err().map(PathError::code), reference(&text));
        if let Ok(parsed) = parsed {
            prop_assert_eq!(parsed.as_str(), &text);
        }
        let encoded = Path::parse_encoded(percent_encode_all(&text));
        prop_assert_eq!(encoded.err().map(|error| error.code()), reference(&text));
    }

    #[test]
    fn encodings_and_keys_lead_back(path in legal_path()) {
        prop_assert_eq!(&Path::parse_encoded(path.encoded()).unwrap(), &path);
        prop_assert!(path.encoded().is_ascii());
        prop_assert_eq!(&Path::from_key(&path.key()).unwrap(), &path);
        prop_assert_eq!(path.key(), path.segments().collect::<Vec<_>>().join("\0").into_bytes());
    }

    #[test]
    fn paths_sort_as_their_keys(a in legal_path(), b in legal_path(), head in "[a/!]{0,20}") {
        prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        // The paths of a batch begin alike, and differ at any distance from their beginning.
        let behind = |rest: &Path| Path::parse(&format!("{head}{}", rest.as_str()));
        if let (Ok(a), Ok(b)) = (behind(&a), behind(&b)) {
            prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
        }
        let state = RandomState::new();
        let again = path(a.as_str());
        prop_assert_eq!(state.hash_one(&a), state.hash_one(&again));
    }

    #[test]
    fn a_key_range_holds_exactly_the_matches(
        paths in vec(legal_path(), 1..24),
        of in any::<prop::sample::Index>(),
        cut in 0..12usize,
        extra in select(vec!["", "", "/", "a", "é"]),
    ) {
        let prefix: String = of.get(&paths).as_str().chars().take(cut).chain(extra.chars()).collect();
        let Ok(prefix) = Prefix::parse(&prefix) else { return Ok(()) };
        let (lower, upper) = prefix.key_range();
        let mut keys: Vec<_> = paths.iter().map(|path| (path.key(), path)).collect();
        keys.sort();
        for (key, path) in keys {
            let within = lower <= key && upper.as_ref().is_none_or(|upper| key < *upper);
            let expected = path.as_str().as_bytes().starts_with(prefix.as_str().as_bytes());
            prop_assert_eq!(within, expected, "{} in {}", path, prefix);
            prop_assert_eq!(prefix.matches(path), expected);
        }
    }

    /// Whoever has a path can scan for every beginning of it.
    #[test]
    fn every_beginning_of_a_path_is_a_prefix(path in legal_path()) {
        for (end, _) in path.as_str().char_indices().chain([(path.as_str().len(), ' ')]) {
            let prefix = Prefix::parse(&path.as_str()[..end]);
            prop_assert!(prefix.is_ok_and(|prefix| prefix.matches(&path)));
        }
    }

    #[test]
    fn scopes_agree_with_the_reference(scope in legal_path(), other in legal_path()) {
        let (a, b): (Vec<_>, Vec<_>) = (scope.segments().collect(), other.segments().collect());
        let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        let expected = shared == a.len() || shared == b.len();
        prop_assert_eq!(Scope::from(scope.clone()).covers(&other), expected);
        prop_assert_eq!(other.starts_with_segments(&scope), shared == a.len());
        let mut ancestors = std::iter::successors(Some(other.clone()), Path::parent);
        prop_assert_eq!(ancestors.any(|ancestor| ancestor == scope), shared == a.len());
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in vec(any::<u8>(), 0..64)) {
        let decoded = Path::parse_encoded(&bytes);
        if let Ok(path) = &decoded {
            prop_assert_eq!(reference(path.as_str()), None);
        }
        if let Ok(path) = Path::from_key(&bytes) {
            prop_assert_eq!(path.key(), &bytes[..]);
        }
        let _ = Prefix::parse_encoded(&bytes).map(|prefix| prefix.key_range());
        let _ = Scope::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| (error.to_string(), error.hint()));
    }
}
