//! One operation of a client: asked, and its answer in the words of the record.

use rejoin_client::{Client, Condition, Conflict, Error, Item, RawValue};
use serde::{Deserialize, Serialize};

use crate::history::{Live, Outcome, Past, State, Verb};

/// What is stored: a name that no other write has, and bytes to carry.
#[derive(Serialize, Deserialize)]
struct Payload {
    write: String,
    pad_bytes: usize,
    pad: String,
}

/// The JSON text of a put.
pub(super) fn payload(write: &str, pad_bytes: usize) -> String {
    let payload = Payload { write: write.to_owned(), pad_bytes, pad: "x".repeat(pad_bytes) };
    // A structure of text and a number always has a text.
    serde_json::to_string(&payload).unwrap_or_default()
}

/// The name of the write that a value comes from; other text when it is not as it was written.
fn name(value: &RawValue) -> String {
    match serde_json::from_str::<Payload>(value.get()) {
        Ok(payload) if payload.pad == "x".repeat(payload.pad_bytes) => payload.write,
        _ => format!("damaged: {}", value.get().chars().take(200).collect::<String>()),
    }
}

/// Asks, and reads the whole answer.
pub(super) async fn ask(client: &Client, verb: Verb, path: &str, body: &str) -> Outcome {
    let outcome = match verb {
        Verb::Put => client.put_raw(path, body, Condition::Always).await.map(written),
        Verb::Delete => client.delete_or_why(path, Condition::Always).await.map(|raw| deleted(&raw)),
        Verb::Get => client.envelope(path).await.map(|raw| match serde_json::from_str(raw.get()) {
            Ok(item) => item_state(item).map_or_else(|| odd("no metadata"), |state| Outcome::Read { state }),
            Err(error) => odd(&error.to_string()),
        }),
        Verb::Explain => {
            client.explain(path).await.map(|said| Outcome::Read { state: explained(path, said) })
        }
        Verb::Scan => client.scan(path).meta(true).limit(1_000).page().await.map(|page| {
            let items: Option<Vec<State>> = page.items.into_iter().map(item_state).collect();
            items.map_or_else(|| odd("no metadata"), |items| Outcome::Listed { items })
        }),
    };
    outcome.unwrap_or_else(|error| failed(verb, &error))
}

fn written(written: rejoin_client::Written) -> Outcome {
    Outcome::Written { version: written.version, clock: written.vector_clock, timestamp: written.timestamp }
}

fn deleted(raw: &RawValue) -> Outcome {
    match serde_json::from_str(raw.get()) {
        Ok(result) => written(result),
        Err(error) => odd(&error.to_string()),
    }
}

fn odd(why: &str) -> Outcome {
    Outcome::Unknown { why: format!("unexpected_answer: {why}") }
}

fn failed(verb: Verb, error: &Error) -> Outcome {
    let code = error.code().to_owned();
    match error {
        Error::Refused(problem) if error.is_not_found() => {
            Outcome::Absent { reason: problem.reason.clone().unwrap_or_default() }
        }
        // A server that is closing does not know what became of the writes that waited.
        Error::Refused(problem)
            if problem.status == 503
                && matches!(verb, Verb::Put | Verb::Delete)
                && !matches!(code.as_str(), "not_caught_up" | "overloaded") =>
        {
            Outcome::Unknown { why: code }
        }
        Error::Refused(problem) => Outcome::Refused { status: problem.status, code },
        Error::Unreachable { .. } => Outcome::Refused { status: 0, code },
        _ => Outcome::Unknown { why: code },
    }
}

/// A path as a scan or an envelope shows it.
pub(super) fn item_state(item: Item) -> Option<State> {
    let meta = item.meta?;
    Some(State {
        path: item.path,
        value: item.value.as_deref().map(name),
        version: meta.version,
        clock: meta.vector_clock,
        etag: meta.etag,
        conflicts: meta.conflicts,
        live: None,
    })
}

/// A path with all its live versions.
pub(super) fn explained(path: &str, said: Conflict) -> State {
    let live: Vec<Live> = said
        .versions
        .into_iter()
        .map(|live| Live {
            version: live.version,
            timestamp: live.timestamp,
            value: live.value.as_deref().map(name),
        })
        .collect();
    State {
        path: path.to_owned(),
        value: said.value.as_deref().map(name),
        version: said.winner,
        clock: said.vector_clock,
        etag: said.etag,
        conflicts: (live.len() as u64).saturating_sub(1),
        live: Some(live),
    }
}

/// A superseded version.
pub(super) fn past(version: &rejoin_client::PastVersion) -> Past {
    Past { version: version.version.clone(), value: version.value().map(name), timestamp: version.timestamp }
}
