//! Documents: read, write, delete, and what they were before.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::error::Error;
use crate::options::Receipt;
use crate::path;

/// What must hold on the node for a write to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The path holds no value.
    Absent,
    /// The path holds a value.
    Present,
    /// The path's entity tag is this one, with or without its quotes.
    Matches(String),
}

/// A value with its version, as one node shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path.
    pub path: String,
    /// The value, as it was written.
    pub value: Box<RawValue>,
    /// Entity tag without quotes: the same on every node for the same version.
    pub etag: Option<String>,
    /// The version that is shown.
    pub version: Option<String>,
    /// How many other versions compete with it.
    pub conflicts: u64,
    /// How long the value has left to live, by the clock of the node; none for a value without an end.
    pub ttl: Option<Duration>,
    /// What a reader of this has read; see [`crate::WriteOptions`].
    pub context: Option<String>,
}

impl Entry {
    /// The value as a Rust type.
    ///
    /// # Errors
    /// [`Error::Decode`] when it does not fit.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.value.get()).map_err(Error::Decode)
    }
}

/// What a write did.
#[derive(Clone, Debug, Deserialize)]
pub struct Written {
    /// The path.
    pub path: String,
    /// The value that the path now shows.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Box<RawValue>>,
    /// The new version.
    pub version: String,
    /// Its time, in Unix milliseconds.
    #[serde(default)]
    pub timestamp: u64,
    /// Causal past of the document, the write included: node to a number that grows with that node's writes.
    #[serde(default, rename = "vectorClock")]
    pub vector_clock: BTreeMap<String, u64>,
    /// The document's entity tag after the write, without quotes.
    #[serde(default)]
    pub etag: Option<String>,
    /// When nothing of the value will be left, in Unix milliseconds; none for a value without an end.
    #[serde(default)]
    pub expires: Option<u64>,
    /// Whether the write is what the path now shows: a concurrent write may have won.
    #[serde(default)]
    pub applied: bool,
    /// Which other nodes hold the write, when it was asked for.
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// The context of whoever has read this write and nothing else; see [`crate::WriteOptions`].
    #[serde(skip)]
    pub context: Option<String>,
    /// Whether the path held no value before.
    #[serde(skip)]
    pub created: bool,
    /// Whether the write was done before: this is the answer that was given then.
    #[serde(skip)]
    pub replayed: bool,
    /// The answer as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

/// One page of a path's history, newest first.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// Superseded versions.
    pub items: Vec<PastVersion>,
    /// Where the next page begins; none on the last.
    pub cursor: Option<String>,
}

/// A version that was superseded.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastVersion {
    /// `put`, `delete` or `expire`.
    op: String,
    /// The version.
    pub version: String,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    /// The node that wrote it.
    #[serde(default)]
    pub origin: Option<String>,
    /// Its time, in Unix milliseconds.
    #[serde(default)]
    pub timestamp: u64,
    /// Whether others were live beside it when it was replaced.
    #[serde(default)]
    pub concurrent: bool,
    /// The version that replaced it.
    #[serde(default)]
    pub superseded_by: Option<String>,
    /// `replaced`: it was the only live version; `won` or `lost`: it was one of several; `expired`: its time had come.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The item as the server sent it.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

impl PastVersion {
    /// The value as JSON text; none when it was a delete.
    pub fn value(&self) -> Option<&RawValue> {
        match self.op.as_str() {
            "delete" | "expire" => None,
            _ => self.value.as_deref(),
        }
    }
}

#[derive(Deserialize)]
struct RawHistoryPage {
    items: Vec<Box<RawValue>>,
    cursor: Option<String>,
}

/// A JSON `null` that is there is a value, not an absence.
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Client {
    /// The value of `path` as a Rust type; none when there is none.
    ///
    /// # Errors
    /// [`Error::Decode`] when the value does not fit the type.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        self.entry(path).await?.map(|entry| entry.get()).transpose()
    }

    /// The value of `path` with its version; none when there is none.
    ///
    /// # Errors
    /// Any of [`Error`], but not that the path holds no value.
    pub async fn entry(&self, path: &str) -> Result<Option<Entry>, Error> {
        match self.entry_or_why(path).await {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of `path` with its version.
    ///
    /// # Errors
    /// Also that the path holds no value; the problem's body says whether it was deleted.
    pub async fn entry_or_why(&self, path: &str) -> Result<Entry, Error> {
        let answer = self.ask(Ask::new(Method::GET, path::document(path)?)).await?;
        Ok(Entry {
            path: path.to_owned(),
            value: answer.raw()?,
            etag: answer.header("etag").map(|etag| unquoted(etag).to_owned()),
            version: answer.header("rejoin-version").map(str::to_owned),
            conflicts: answer.header("rejoin-conflicts").and_then(|n| n.parse().ok()).unwrap_or(0),
            ttl: answer.header("rejoin-ttl").and_then(time_left),
            context: answer.header("rejoin-context").map(str::to_owned),
        })
    }

    /// The value of `path` inside the server's envelope of everything it knows about it, as JSON text.
    ///
    /// # Errors
    /// Also that the path holds no value.
    pub async fn envelope(&self, path: &str) -> Result<Box<RawValue>, Error> {
        let target = format!("{}?meta=true", path::document(path)?);
        self.ask(Ask::new(Method::GET, target)).await?.raw()
    }

    /// Writes any serializable value.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn put<T: Serialize + ?Sized>(&self, path: &str, value: &T) -> Result<Written, Error> {
        self.put_raw(path, text(value)?, Condition::Always).await
    }

    /// Writes JSON text as it is.
    ///
    /// # Errors
    /// Also what the condition refuses: code `precondition_failed`, with the current value in the problem's body.
    pub async fn put_raw(
        &self,
        path: &str,
        json: impl Into<String>,
        condition: Condition,
    ) -> Result<Written, Error> {
        let ask = Ask::new(Method::PUT, path::document(path)?).json(json.into());
        self.write(with_condition(ask, &condition)?.once(None)).await
    }

    /// Changes members of a value by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn patch<T: Serialize + ?Sized>(&self, path: &str, patch: &T) -> Result<Written, Error> {
        self.patch_raw(path, text(patch)?, Condition::Always).await
    }

    /// Changes members of a value by a JSON merge patch (RFC 7396) given as text.
    ///
    /// # Errors
    /// As [`Client::put_raw`].
    pub async fn patch_raw(
        &self,
        path: &str,
        json: impl Into<String>,
        condition: Condition,
    ) -> Result<Written, Error> {
        let ask =
            Ask::new(Method::PATCH, path::document(path)?).body("application/merge-patch+json", json.into());
        self.write(with_condition(ask, &condition)?.once(None)).await
    }

    /// Deletes; false when there was nothing to delete.
    ///
    /// # Errors
    /// Any of [`Error`], but not that the path held no value.
    pub async fn delete(&self, path: &str) -> Result<bool, Error> {
        match self.delete_or_why(path, Condition::Always).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes if the condition holds, and gives the server's answer as JSON text.
    ///
    /// # Errors
    /// Also that the path held no value, and what the condition refuses.
    pub async fn delete_or_why(&self, path: &str, condition: Condition) -> Result<Box<RawValue>, Error> {
        let ask = Ask::new(Method::DELETE, path::document(path)?);
        self.ask(with_condition(ask, &condition)?.once(None)).await?.raw()
    }

    /// One page of superseded versions, newest first.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn history(
        &self,
        path: &str,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<HistoryPage, Error> {
        self.history_page(path, limit, cursor, true).await
    }

    /// As [`Client::history`], without values: what happened, in few bytes.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn history_outline(
        &self,
        path: &str,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<HistoryPage, Error> {
        self.history_page(path, limit, cursor, false).await
    }

    async fn history_page(
        &self,
        path: &str,
        limit: Option<usize>,
        cursor: Option<&str>,
        values: bool,
    ) -> Result<HistoryPage, Error> {
        let mut query = Vec::new();
        query.extend((!values).then(|| "values=false".to_owned()));
        query.extend(limit.map(|limit| format!("limit={limit}")));
        query.extend(cursor.map(|cursor| format!("cursor={}", path::encode(cursor))));
        let target = format!("{}{}", path::history(path)?, joined(&query));
        let answer = self.ask(Ask::new(Method::GET, target)).await?;
        let page: RawHistoryPage = answer.decode()?;
        let version = |raw: Box<RawValue>| match serde_json::from_str::<PastVersion>(raw.get()) {
            Ok(version) => Ok(PastVersion { raw: Some(raw), ..version }),
            Err(error) => Err(answer.unexpected(&error.to_string())),
        };
        let items = page.items.into_iter().map(version).collect::<Result<_, _>>()?;
        Ok(HistoryPage { items, cursor: page.cursor })
    }

    pub(crate) async fn write(&self, ask: Ask) -> Result<Written, Error> {
        let answer = self.ask(ask).await?;
        let written: Written = answer.decode()?;
        Ok(Written {
            // A write whose receipt is short answers 202, created or not.
            created: answer.status == StatusCode::CREATED || answer.header("location").is_some(),
            context: answer.header("rejoin-context").map(str::to_owned),
            replayed: answer.header("idempotency-replayed").is_some(),
            etag: written.etag.as_deref().map(|etag| unquoted(etag).to_owned()),
            raw: Some(answer.raw()?),
            ..written
        })
    }
}

/// A query of these parameters; nothing for none.
pub(crate) fn joined(parameters: &[String]) -> String {
    match parameters.is_empty() {
        true => String::new(),
        false => format!("?{}", parameters.join("&")),
    }
}

/// Reads `500ms`, `30s`, `10m`, `24h` or `7d`.
fn time_left(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::Encode)
}

pub(crate) fn with_condition(ask: Ask, condition: &Condition) -> Result<Ask, Error> {
    Ok(match condition {
        Condition::Always => ask,
        Condition::Absent => ask.header(IF_NONE_MATCH, HeaderValue::from_static("*")),
        Condition::Present => ask.header(IF_MATCH, HeaderValue::from_static("*")),
        Condition::Matches(etag) => {
            let quoted = format!("\"{}\"", unquoted(etag));
            ask.header(IF_MATCH, HeaderValue::from_str(&quoted).map_err(|_| path::bad_etag(etag))?)
        }
    })
}

pub(crate) fn unquoted(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}
