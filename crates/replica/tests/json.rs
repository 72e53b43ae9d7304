//! JSON values: what is kept to the byte, what is refused with which code, and agreement with `serde_json`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use rejoin_replica::json::{JSON_DEPTH_MAX, Json, JsonError, JsonLimits};

const UNLIMITED: JsonLimits = JsonLimits { bytes: usize::MAX, depth: usize::MAX };

fn parse(text: &str) -> Result<Json, JsonError> {
    Json::parse(text.as_bytes(), &JsonLimits::default())
}

fn json(text: &str) -> Json {
    parse(text).unwrap()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn every_value_of_the_contract_is_kept_as_written() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.0",
        "1E5",
        "1e+05",
        "0.10",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "1.7976931348623157e308",
        "1e-400",
        "\"\"",
        "[]",
        "{}",
        r#""\u0041\/\b \ud83d\ude00 é \u0000 \\\"""#,
        r#"{"z":1,"a":2,"m":{"z":1,"a":2},"":3}"#,
        "\"\u{7F}\u{2028}\u{FEFF}\"",
    ] {
        assert_eq!(json(text).as_str(), text);
    }
}

#[test]
fn white_space_goes_only_outside_strings() {
    assert_eq!(
        json(" \r\n\t{ \"a b\" : [ 1 , \" \\\" \" ] ,\n\"\\\\\" : { } } \n").as_str(),
        r#"{"a b":[1," \" "],"\\":{}}"#
    );
    assert_eq!(json(" 1").as_str(), "1");
    assert_eq!(json("1 \n").as_str(), "1");
}

#[test]
fn each_rule_refuses_with_its_code() {
    let table: [(&[u8], &str); 41] = [
        (b"", "invalid_json"),
        (b" ", "invalid_json"),
        (b"nul", "invalid_json"),
        (b"NaN", "invalid_json"),
        (b"Infinity", "invalid_json"),
        (b"'a'", "invalid_json"),
        (b"01", "invalid_json"),
        (b"+1", "invalid_json"),
        (b".5", "invalid_json"),
        (b"5.", "invalid_json"),
        (b"1e", "invalid_json"),
        (b"--1", "invalid_json"),
        (b"0x10", "invalid_json"),
        (b"1e400", "invalid_json"),
        (b"1 2", "invalid_json"),
        (b"{} x", "invalid_json"),
        (b"null\0", "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b"[,1]", "invalid_json"),
        (b"[1 2]", "invalid_json"),
        (b"[1", "invalid_json"),
        (b"]", "invalid_json"),
        (b"[}", "invalid_json"),
        (b"{\"a\":1,}", "invalid_json"),
        (b"{\"a\"}", "invalid_json"),
        (b"{a:1}", "invalid_json"),
        (b"{1:1}", "invalid_json"),
        (b"\"a", "invalid_json"),
        (b"\"\n\"", "invalid_json"),
        (b"\"\\x\"", "invalid_json"),
        (b"\"\\u12\"", "invalid_json"),
        (b"\"\\ud800\"", "invalid_json"),
        (b"\"\\udc00\"", "invalid_json"),
        (b"{\"\\ud800x\":1}", "invalid_json"),
        (b"\"\xFF\"", "invalid_json"),
        (b"\"\xED\xA0\x80\"", "invalid_json"),
        (b"\xEF\xBB\xBFnull", "invalid_json"),
        (b"/* */1", "invalid_json"),
        (b"\x0B1", "invalid_json"),
        (b"{\"a\":1,\"a\":1}", "duplicate_member"),
        (b"[{\"b\":{\"a\":1,\"\\u0061\":2}}]", "duplicate_member"),
    ];
    for (text, code) in table {
        let error = Json::parse(text, &JsonLimits::default()).unwrap_err();
        assert_eq!(error.code(), code, "{}", text.escape_ascii());
        assert!(error.to_string().ends_with('.') && !error.hint().is_empty());
    }
}

#[test]
fn errors_say_where_and_what_to_do() {
    assert_eq!(
        parse("{\n  \"a\": 1,\n  \"a\": 2}").unwrap_err(),
        JsonError::DuplicateMember { name: "a".into(), line: 3, column: 5 }
    );
    assert_eq!(
        parse(r#"{"\n":1,"\u000a":2}"#).unwrap_err().to_string(),
        r#"An object has the member "\n" twice, again near line 1 column 16."#
    );
    assert_eq!(
        parse("[1,\n x]").unwrap_err().to_string(),
        "The value is not valid JSON: expected value at line 2 column 2."
    );
    let range = parse("[1e400]").unwrap_err();
    assert_eq!(range.to_string(), "The value is not valid JSON: number out of range at line 1 column 6.");
    assert!(range.hint().contains("as a string"));
    assert_eq!(
        Json::parse(b"[\n\"\xFF\"]", &JsonLimits::default()).unwrap_err().to_string(),
        "The value is not valid JSON: it is not UTF-8 at line 2 column 2."
    );
    assert_eq!(
        parse("\u{FEFF}null").unwrap_err().to_string(),
        "The value is not valid JSON: it begins with a byte order mark at line 1 column 1."
    );
    let long = format!("{{\"{0}\":1,\"{0}\":2}}", "é".repeat(1_000));
    assert!(parse(&long).unwrap_err().to_string().len() < 250);
}

#[test]
fn depth_counts_brackets() {
    let limit = |depth| JsonLimits { depth, ..JsonLimits::default() };
    let at = |text: &str, depth| Json::parse(text.as_bytes(), &limit(depth)).map_err(|error| error.code());
    assert!(at("1", 0).is_ok());
    assert_eq!(at("[]", 0), Err("too_deep"));
    assert_eq!(at("{}", 0), Err("too_deep"));
    assert!(at("[[]]", 2).is_ok());
    assert_eq!(at("[[]]", 1), Err("too_deep"));
    assert_eq!(at(r#"[1,{"a":[]}]"#, 2), Err("too_deep"));
    assert!(at("[[],[],[]]", 2).is_ok(), "siblings do not add up");
    assert!(parse(&nested(64)).is_ok());
    assert_eq!(
        parse(&"[".repeat(65)).unwrap_err(),
        JsonError::TooDeep { depth_max: 64, line: 1, column: 65 }
    );
}

#[test]
fn no_limit_lets_a_value_in_that_serde_json_could_not_read() {
    let deepest = Json::parse(nested(JSON_DEPTH_MAX).as_bytes(), &UNLIMITED).unwrap();
    assert!(deepest.get::<Value>().is_ok());
    for depth in [JSON_DEPTH_MAX + 1, 127, 128, 129, 100_000] {
        for text in [nested(depth), "{\"a\":".repeat(depth), "[".repeat(depth)] {
            assert_eq!(Json::parse(text.as_bytes(), &UNLIMITED).unwrap_err().code(), "too_deep");
        }
    }
}

#[test]
fn size_counts_the_text_as_sent() {
    let limits = JsonLimits { bytes: 4, ..JsonLimits::default() };
    assert!(Json::parse(b"1234", &limits).is_ok());
    let error = Json::parse(b"  123", &limits).unwrap_err();
    assert_eq!(error, JsonError::TooLarge { bytes: 5, bytes_max: 4 });
    assert_eq!(error.code(), "too_large");
    assert_eq!(error.to_string(), "The value has 5 bytes, more than the limit of 4.");
}

#[test]
fn members_keep_order_and_text() {
    let object = json(r#"{"z":1.0,"\u0061\n":[1, 2],"n":null}"#);
    let members = object.members().unwrap();
    let seen: Vec<_> = members.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, [("z", "1.0"), ("a\n", "[1,2]"), ("n", "null")]);
    assert!(object.is_object());
    let again = Json::from_members(members.iter().map(|(name, value)| (name.as_str(), value)));
    assert_eq!(again.as_str(), r#"{"z":1.0,"a\n":[1,2],"n":null}"#);
    for text in ["null", "[]", "\"{\"", "1"] {
        assert!(json(text).members().is_none() && !json(text).is_object());
    }
    assert_eq!(Json::from_members([]).as_str(), "{}");
    let (one, two) = (json("1"), json("2"));
    let repeated = Json::from_members([("a", &one), ("b", &one), ("a", &two)]);
    assert_eq!(repeated.as_str(), r#"{"a":2,"b":1}"#);
}

#[test]
fn rust_types_go_in_and_out() {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct User {
        name: String,
        age: u8,
    }
    let user = User { name: "Zoé".into(), age: 7 };
    let value = Json::from_serialize(&user, &JsonLimits::default()).unwrap();
    assert_eq!(value.as_str(), r#"{"name":"Zoé","age":7}"#);
    assert_eq!(value.get::<User>().unwrap(), user);
    let mismatch = json(r#"{"name":1}"#).get::<User>().unwrap_err();
    assert_eq!(mismatch.code(), "invalid_json");
    assert!(mismatch.to_string().starts_with("The value does not have the expected shape: "));
    let keyed_by_lists = BTreeMap::from([(vec![1], 2)]);
    let refused = Json::from_serialize(&keyed_by_lists, &JsonLimits::default());
    assert_eq!(refused.unwrap_err().code(), "invalid_json");
    let small = JsonLimits { bytes: 4, depth: 1 };
    assert_eq!(Json::from_serialize("long", &small).unwrap_err().code(), "too_large");
    assert_eq!(Json::null(), json(" null "));
    assert_eq!(Json::trusted(value.as_str()), value);
}

/// Checks growth, not speed: sixteen times the input may not take sixty-four times as long.
#[test]
fn hostile_input_takes_linear_time() {
    type Shape = (&'static str, fn(usize) -> String);
    let shapes: [Shape; 5] = [
        ("names", |n| format!("{{{}}}", (0..n).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(","))),
        ("spaces", |n| " 1".to_owned() + &" ".repeat(n * 8)),
        ("alternating", |n| format!("[{}0]", "0 , ".repeat(n * 2))),
        ("escapes", |n| format!("\"{}\"", "\\\"".repeat(n * 4))),
        ("digits", |n| "1".to_owned() + &"0".repeat(300) + "." + &"0".repeat(n * 8)),
    ];
    let fastest = |text: &str| {
        let run = || {
            let start = Instant::now();
            assert!(Json::parse(text.as_bytes(), &UNLIMITED).is_ok());
            start.elapsed()
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    for (name, shape) in shapes {
        let (small, large) = (fastest(&shape(4_000)), fastest(&shape(64_000)));
        assert!(large < small * 64 + Duration::from_millis(20), "{name}: {small:?} grew to {large:?}");
    }
}

/// Values with text that exercises escapes and numbers that survive a `Value`.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec!["", " ", "\"", "\\", "\\\" ", "a b", "\n"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map("[ab\"\\\\ \n]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The shape of a value whose objects may name a member twice.
#[derive(Clone, Debug)]
enum Tree {
    Leaf,
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn depth(&self) -> usize {
        match self {
            Tree::Leaf => 0,
            Tree::List(items) => 1 + items.iter().map(Tree::depth).max().unwrap_or(0),
            Tree::Object(members) => 1 + members.iter().map(|(_, tree)| tree.depth()).max().unwrap_or(0),
        }
    }

    fn has_duplicate(&self) -> bool {
        match self {
            Tree::Leaf => false,
            Tree::List(items) => items.iter().any(Tree::has_duplicate),
            Tree::Object(members) => {
                let names: BTreeSet<_> = members.iter().map(|(name, _)| name).collect();
                names.len() < members.len() || members.iter().any(|(_, tree)| tree.has_duplicate())
            }
        }
    }

    /// Writes names now plainly, now escaped.
    fn write(&self, turn: &mut usize) -> String {
        match self {
            Tree::Leaf => "0".into(),
            Tree::List(items) => {
                format!("[{}]", items.iter().map(|tree| tree.write(turn)).collect::<Vec<_>>().join(" ,"))
            }
            Tree::Object(members) => {
                let member = |(name, tree): &(String, Tree)| {
                    *turn += 1;
                    let name = if turn.is_multiple_of(2) {
                        name.clone()
                    } else {
                        name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
                    };
                    format!("\"{name}\": {}", tree.write(turn))
                };
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    Just(Tree::Leaf).prop_recursive(6, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Tree::List),
            vec((select(vec!["a", "b", "c", "d", "é", "😀", "aa"]).prop_map(String::from), inner), 0..4)
                .prop_map(Tree::Object),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compaction_equals_that_of_serde_json(value in value()) {
        let compact = serde_json::to_string(&value).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let parsed = json(&pretty);
        prop_assert_eq!(parsed.as_str(), &compact);
        prop_assert_eq!(parsed.get::<Value>().unwrap(), serde_json::from_str::<Value>(&compact).unwrap());
        prop_assert_eq!(&Json::from_serialize(&value, &JsonLimits::default()).unwrap(), &parsed);
        prop_assert!(!parsed.as_str().contains(['\n', '\r']));
        prop_assert_eq!(&json(parsed.as_str()), &parsed);
    }

    #[test]
    fn members_rebuild_their_object(value in value()) {
        let parsed = json(&value.to_string());
        prop_assert_eq!(parsed.members().is_some(), value.is_object());
        if let Some(members) = parsed.members() {
            let rebuilt = Json::from_members(members.iter().map(|(name, value)| (name.as_str(), value)));
            prop_assert_eq!(&json(rebuilt.as_str()), &rebuilt);
            prop_assert_eq!(rebuilt.as_str(), parsed.as_str());
        }
    }

    #[test]
    fn depth_and_duplicates_agree_with_the_reference(tree in tree(), depth in 0..7usize) {
        let text = tree.write(&mut 0);
        let code = Json::parse(text.as_bytes(), &JsonLimits { depth, ..JsonLimits::default() }).map_err(|e| e.code());
        match (tree.depth() > depth, tree.has_duplicate()) {
            (false, false) => prop_assert!(code.is_ok()),
            (true, false) => prop_assert_eq!(code, Err("too_deep")),
            (false, true) => prop_assert_eq!(code, Err("duplicate_member")),
            (true, true) => prop_assert!(matches!(code, Err("too_deep" | "duplicate_member"))),
        }
    }

    /// Soup of tokens: what is accepted is what `serde_json` accepts, but for our own two rules.
    #[test]
    fn acceptance_agrees_with_serde_json(tokens in vec(select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"\\u0061\"", "1", "-0", "1e400", "1.50", "null", " ", "\n", "\"",
        "\\", "\\ud800", "\u{FEFF}", "é", "tru", "e",
    ]), 0..9)) {
        let text = tokens.concat();
        let theirs = serde_json::from_str::<Value>(&text);
        match Json::parse(text.as_bytes(), &UNLIMITED) {
            Ok(ours) => prop_assert_eq!(ours.get::<Value>().unwrap(), theirs.unwrap()),
            Err(error) => prop_assert_eq!(theirs.is_ok(), error.code() == "duplicate_member", "{}", text),
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..64), quoted in any::<bool>()) {
        let bytes = if quoted { [b"\"", &bytes[..], b"\""].concat() } else { bytes };
        match Json::parse(&bytes, &JsonLimits::default()) {
            Ok(ours) => prop_assert_eq!(ours.get::<Value>().unwrap(), serde_json::from_slice::<Value>(&bytes).unwrap()),
            Err(error) => prop_assert!(error.to_string().ends_with('.') && serde_json::from_slice::<Value>(&bytes).is_err()),
        }
    }
}
