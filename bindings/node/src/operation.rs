//! What a server is asked, in batches of JSON.

use rejoin::{Change, Error, Json, JsonLimits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Under which the answer is expected.
    pub(crate) id: u64,
    pub(crate) asked: Asked,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    Get(String),
    Write(String, Change),
    /// A delete; the answer is whether there was something.
    Remove(String),
    Scan {
        prefix: String,
        limit: Option<u64>,
    },
    /// The answer comes first, then changes under the operation's id.
    Subscribe(String),
    Unsubscribe(u64),
    AntiEntropy(String),
    /// Not to be done, and why.
    Refused(Error),
}

/// `[id, kind, text, argument]`.
#[derive(Deserialize)]
struct Row<'a>(u64, u8, #[serde(borrow)] &'a RawValue, #[serde(borrow)] &'a RawValue);

/// Reads a batch.
///
/// # Errors
/// The batch is not what the other half of this package writes.
pub(crate) fn parse(batch: &str, limits: JsonLimits) -> Result<Vec<Operation>, serde_json::Error> {
    let rows: Vec<Row<'_>> = serde_json::from_str(batch)?;
    Ok(rows.into_iter().map(|row| Operation { id: row.0, asked: asked(&row, limits) }).collect())
}

fn asked(row: &Row<'_>, limits: JsonLimits) -> Asked {
    let Row(_, kind, text, argument) = row;
    let refuse = |why: &str| Asked::Refused(Error::Config(why.to_owned()));
    let Ok(text) = serde_json::from_str::<String>(text.get()) else {
        return refuse("the path has half of a surrogate pair, which is no character");
    };
    match (kind, argument.get()) {
        (0, _) => Asked::Get(text),
        (1, value) => match Json::parse(value.as_bytes(), &limits) {
            Ok(value) => Asked::Write(text, Change::Put(value)),
            Err(error) => Asked::Refused(error.into()),
        },
        (2, _) => Asked::Write(text, Change::Delete),
        (3, limit) => Asked::Scan { prefix: text, limit: limit.parse().ok() },
        (4, _) => Asked::Subscribe(text),
        (5, id) => id.parse().map_or_else(|_| refuse("no such subscription"), Asked::Unsubscribe),
        (6, _) => Asked::AntiEntropy(text),
        (7, _) => Asked::Remove(text),
        _ => refuse("no such operation"),
    }
}
