//! What a resolver is given, and what it gives back, as JSON texts.

use std::fmt::Write as _;

use rejoin::{Candidate, Hlc, Json, JsonLimits, NodeId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Fault;

/// A result may be as large and as deep as any value that nodes exchange.
const RESULT_LIMITS: JsonLimits = JsonLimits { bytes: 16 << 20, depth: 126 };

/// A candidate as a resolver sees it. The value goes in as the text that is stored.
pub(crate) fn given(candidate: &Candidate) -> String {
    let value = candidate.value.as_ref().map_or("null", |value| value.as_str());
    let mut text = String::with_capacity(value.len() + 160);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{{\"value\":{value},\"timestamp\":{},\"origin\":\"{}\",\"vectorClock\":{{",
        candidate.hlc.unix_ms(),
        candidate.origin
    );
    for (index, (node, ordinal)) in candidate.vector_clock.ordinals().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{node}\":{ordinal}");
    }
    let _ = write!(text, "}},\"deleted\":{}}}", candidate.value.is_none());
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'a> {
    #[serde(borrow)]
    Result(Outcome<'a>),
    Nonsense(String),
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
}

/// The candidate that a resolver's answer stands for. A stamp and an origin that it leaves out are those of the newer
/// version, `remote`; its `vectorClock` is not read, since the document's past is what it is.
pub(crate) fn taken(answer: &str, local: &Candidate, remote: &Candidate) -> Result<Candidate, Fault> {
    let answer = serde_json::from_str(answer).map_err(|error| Fault::nonsense(&error.to_string()))?;
    let outcome = match answer {
        Answer::Result(outcome) => outcome,
        Answer::Nonsense(reason) => return Err(Fault::nonsense(&reason)),
    };
    let value = match (outcome.deleted, outcome.value) {
        (true, _) => None,
        (false, value) => {
            // A `null` of the resolver is a value; serde takes it for none.
            let text = value.map_or("null", RawValue::get);
            let value = Json::parse(text.as_bytes(), &RESULT_LIMITS);
            Some(value.map_err(|error| Fault::nonsense(&format!("its value is refused: {error}")))?)
        }
    };
    let origin = match outcome.origin {
        None => remote.origin,
        Some(text) => origin(text.get())?,
    };
    let hlc = match outcome.timestamp {
        None => remote.hlc,
        Some(text) => {
            let wrong = || Fault::nonsense(&format!("its timestamp is {}", text.get()));
            let ms: u64 = text.get().parse().map_err(|_| wrong())?;
            // A stamp in milliseconds stands for the whole stamp of the version that it was copied from.
            let copied =
                [remote, local].into_iter().find(|one| one.hlc.unix_ms() == ms && one.origin == origin);
            match copied {
                Some(one) => one.hlc,
                None if ms < 1 << 48 => Hlc::of_wall(ms),
                None => return Err(wrong()),
            }
        }
    };
    Ok(Candidate { value, hlc, origin, vector_clock: remote.vector_clock.clone() })
}

fn origin(text: &str) -> Result<NodeId, Fault> {
    let wrong = || Fault::nonsense(&format!("its origin is {text}, which is no node id"));
    let id: String = serde_json::from_str(text).map_err(|_| wrong())?;
    id.parse().map_err(|_| wrong())
}
