//! JSON merge patch (RFC 7396) on checked text.
//!
//! Members that the patch does not name keep their text and their place; new ones follow in the order of the patch.
//! This module knows values only: which versions a patch replaces is the replica's affair.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::json::Json;

/// The value that `patch` makes of `target`, or of nothing.
///
/// A patch that is no object replaces the target. The result is no deeper than the deeper of the two, but may be larger
/// than either: the caller checks its size. Recursion is bounded by the depth limit of the patch.
pub(crate) fn apply(target: Option<&Json>, patch: &Json) -> Json {
    let Some(changes) = patch.members() else { return patch.clone() };
    let mut members: Vec<(String, Option<Json>)> = match target.and_then(Json::members) {
        Some(members) => members.into_iter().map(|(name, value)| (name, Some(value))).collect(),
        None => Vec::new(),
    };
    let mut added = Vec::new();
    {
        let mut slots: BTreeMap<&str, &mut Option<Json>> =
            members.iter_mut().map(|(name, value)| (name.as_str(), value)).collect();
        for (name, change) in changes {
            match slots.get_mut(name.as_str()) {
                Some(slot) if change.is_null() => **slot = None,
                Some(slot) => **slot = Some(apply(slot.as_ref(), &change)),
                None if change.is_null() => {}
                None => added.push((name, Some(apply(None, &change)))),
            }
        }
    }
    members.extend(added);
    Json::from_members(
        members.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name.as_str(), value))),
    )
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::json::JsonLimits;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes(), &JsonLimits::default()).unwrap()
    }

    fn patched(target: &str, patch: &str) -> String {
        apply(Some(&json(target)), &json(patch)).as_str().into()
    }

    /// RFC 7396, Appendix A, all fifteen cases.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(patched(target, patch), expected, "{target} patched with {patch}");
        }
    }

    #[test]
    fn an_absent_target_is_patched_like_an_empty_one() {
        assert_eq!(apply(None, &json(r#"{"a":{"b":null,"c":1}}"#)).as_str(), r#"{"a":{"c":1}}"#);
        assert_eq!(apply(None, &json("null")).as_str(), "null");
        assert_eq!(apply(None, &json("[null]")).as_str(), "[null]");
    }

    #[test]
    fn untouched_members_keep_their_text_and_place() {
        let target = r#"{"z":1.0,"big":123456789012345678901234567890,"m":{"k":-0,"e":1E5},"a":"\u0041"}"#;
        assert_eq!(
            patched(target, r#"{"new":{"x":1e0},"m":{"e":2,"f":3.10},"z":null}"#),
            r#"{"big":123456789012345678901234567890,"m":{"k":-0,"e":2,"f":3.10},"a":"\u0041","new":{"x":1e0}}"#
        );
        assert_eq!(patched(target, "{}"), target);
    }

    #[test]
    fn names_match_decoded_and_stay_valid() {
        assert_eq!(patched(r#"{"\u0061":1,"q\"\n\u0001":2}"#, r#"{"a":3}"#), r#"{"a":3,"q\"\n\u0001":2}"#);
    }

    #[test]
    fn a_patch_at_the_depth_limit_stays_within_it() {
        let mut patch = String::from("1");
        for _ in 0..JsonLimits::default().depth {
            patch = alloc::format!(r#"{{"a":{patch}}}"#);
        }
        let result = apply(Some(&json(r#"{"a":{"b":0}}"#)), &json(&patch));
        assert!(Json::parse(result.as_str().as_bytes(), &JsonLimits::default()).is_ok());
    }

    /// The pseudocode of RFC 7396, section 2, over parsed values.
    fn reference(target: Option<Value>, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut target = match target {
            Some(Value::Object(target)) => target,
            _ => serde_json::Map::new(),
        };
        for (name, change) in patch {
            let old = target.remove(name);
            if !change.is_null() {
                target.insert(name.clone(), reference(old, change));
            }
        }
        Value::Object(target)
    }

    /// Values over few names, so that target and patch meet.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i8>().prop_map(Value::from)];
        leaf.prop_recursive(5, 48, 6, |inner| {
            prop_oneof![
                1 => vec(inner.clone(), 0..3).prop_map(Value::from),
                4 => btree_map("[abc\"]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn patches_agree_with_the_rfc(target in proptest::option::of(value()), patch in value()) {
            let old = target.as_ref().map(|target| json(&target.to_string()));
            let result = apply(old.as_ref(), &json(&patch.to_string()));
            prop_assert_eq!(result.get::<Value>().unwrap(), reference(target, &patch));
            prop_assert_eq!(&json(result.as_str()), &result);
        }
    }
}
