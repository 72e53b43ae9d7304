//! JSON values against a slow reader of our own and against `serde_json`.

mod reference;

use rejoin_replica::json::{JSON_DEPTH_MAX, Json, JsonLimits};
use serde_json::Value;

use crate::bytes::Bytes;
use reference::{Reference, Refused};

/// The JSON reader.
pub fn json(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let depth = *bytes.pick(&[64, 0, 1, 3, 126, 127, 1_000]);
    let one_less = bytes.one_in(16);
    let text = bytes.rest();
    let limits = JsonLimits { bytes: text.len().saturating_sub(usize::from(one_less)), depth };

    let parsed = Json::parse(text, &limits);
    let reference = reference::read(text, depth.min(JSON_DEPTH_MAX));
    match (&parsed, &reference) {
        _ if one_less && !text.is_empty() => {
            assert_eq!(parsed.as_ref().map_err(|error| error.code()), Err("too_large"));
        }
        (Ok(json), Ok(reference)) => accepted(text, json, reference),
        (Err(error), Err(Refused)) => {
            assert!(!error.hint().is_empty());
            assert!(error.to_string().len() < 1_024, "an error repeats the input: {error}");
        }
        // Doubles end about here; where exactly is the business of whoever reads them.
        (Err(_), Ok(reference)) if reference.has_huge_number() => {}
        (ours, theirs) => {
            panic!("{:?}: {ours:?}, and the reference says {theirs:?}", text.escape_ascii().to_string())
        }
    }
}

fn accepted(text: &[u8], json: &Json, reference: &Reference) {
    let compact = json.as_str();
    assert_eq!(compact, reference.text(), "compaction changed more than white space");
    assert!(!compact.contains(['\n', '\r']), "more than one line");
    let limits = JsonLimits { bytes: compact.len(), depth: JSON_DEPTH_MAX };
    assert_eq!(Json::parse(compact.as_bytes(), &limits).as_ref(), Ok(json), "compaction is not idempotent");

    assert_eq!(json.is_null(), matches!(reference, Reference::Word("null")));
    assert_eq!(json.is_object(), matches!(reference, Reference::Object(_)));
    if !reference.has_private_name() {
        let value: Value = serde_json::from_slice(text).expect("serde_json refuses what we accept");
        let compacted: Value = serde_json::from_str(compact).expect("serde_json refuses our text");
        assert_eq!(value, compacted, "compaction changed the value");
    }

    let members = json.members();
    assert_eq!(members.is_some(), json.is_object());
    let Some(members) = members else { return };
    let told: Vec<(String, String)> =
        members.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect();
    assert_eq!(told, reference.members(), "members differ");
    let rebuilt = Json::from_members(members.iter().map(|(name, value)| (name.as_str(), value)));
    assert_eq!(rebuilt.members(), Some(members), "members do not survive");
    let limits = JsonLimits { bytes: rebuilt.as_str().len(), depth: JSON_DEPTH_MAX };
    assert_eq!(
        Json::parse(rebuilt.as_str().as_bytes(), &limits),
        Ok(rebuilt),
        "an object of members is not JSON"
    );
}
