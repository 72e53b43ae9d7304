//! Batches: several writes in one request, each on its own or all or nothing.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::{Ask, Client};
use crate::data::{Condition, Written, unquoted};
use crate::error::{Error, Problem};
use crate::key::IdempotencyKey;
use crate::options::span;

/// A batch to be sent; see docs/batches.md. At most 1,000 operations.
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch {
    client: Client,
    operations: Vec<Operation>,
    atomic: bool,
    key: Option<IdempotencyKey>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_none_match: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    operations: &'a [Operation],
    atomic: bool,
}

#[derive(Deserialize)]
struct Answered {
    results: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
}

impl Client {
    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch { client: self.clone(), operations: Vec::new(), atomic: false, key: None }
    }

    /// Sends operations, one JSON object a line, and tells how many were done and which were refused. They are not
    /// atomic: what was done before an error stays done.
    ///
    /// # Errors
    /// Any of [`Error`], also when the server did not say that it got to the end.
    pub async fn import(&self, lines: impl Into<String>) -> Result<Imported, Error> {
        let ask = Ask::new(Method::POST, "/api/_batch?results=refused");
        let answer = self.ask(ask.body("application/x-ndjson", lines.into()).once(None)).await?;
        let mut refused = Vec::new();
        for line in answer.text()?.lines() {
            match serde_json::from_str::<Line>(line).map_err(|error| answer.unexpected(&error.to_string()))? {
                Line::Done { operations, applied, .. } => {
                    return Ok(Imported { operations, applied, refused });
                }
                Line::Progress { .. } => {}
                Line::Refused(problem) => refused.push(problem),
            }
        }
        match refused.pop() {
            Some(last) => Err(Error::Refused(Box::new(last))),
            None => Err(answer.unexpected("it has no last line")),
        }
    }
}

/// What became of the operations of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// How many there were.
    pub operations: u64,
    /// How many were done.
    pub applied: u64,
    /// Why the others were not, in their order.
    pub refused: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Done {
        #[serde(rename = "done")]
        _done: bool,
        operations: u64,
        applied: u64,
    },
    Progress {
        #[serde(rename = "progress")]
        _progress: bool,
    },
    Refused(Problem),
}

impl Batch {
    /// All or nothing. Otherwise each operation stands for itself.
    pub fn atomic(mut self, atomic: bool) -> Batch {
        self.atomic = atomic;
        self
    }

    /// Names the batch: it is done once, however often it is sent with this key. A new one when left out.
    pub fn once(mut self, key: IdempotencyKey) -> Batch {
        self.key = Some(key);
        self
    }

    /// Writes any serializable value.
    ///
    /// # Errors
    /// [`Error::Encode`] when it cannot be written as JSON.
    pub fn put<T: Serialize + ?Sized>(self, path: &str, value: &T) -> Result<Batch, Error> {
        Ok(self.with("put", path, Some(serde_json::value::to_raw_value(value).map_err(Error::Encode)?)))
    }

    /// Changes members of a value by a JSON merge patch (RFC 7396).
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn patch<T: Serialize + ?Sized>(self, path: &str, patch: &T) -> Result<Batch, Error> {
        Ok(self.with("patch", path, Some(serde_json::value::to_raw_value(patch).map_err(Error::Encode)?)))
    }

    /// Deletes.
    pub fn delete(self, path: &str) -> Batch {
        self.with("delete", path, None)
    }

    /// The last operation is done only if this holds.
    pub fn when(mut self, condition: Condition) -> Batch {
        if let Some(last) = self.operations.last_mut() {
            (last.if_match, last.if_none_match) = match condition {
                Condition::Always => (None, None),
                Condition::Absent => (None, Some("*".to_owned())),
                Condition::Present => (Some("*".to_owned()), None),
                Condition::Matches(etag) => (Some(unquoted(&etag).to_owned()), None),
            };
        }
        self
    }

    /// What the last operation writes lives for that long, 1 ms to 3,650 days. A delete takes none.
    pub fn living(mut self, ttl: Duration) -> Batch {
        if let Some(last) = self.operations.last_mut() {
            last.ttl = Some(span(ttl));
        }
        self
    }

    fn with(mut self, op: &'static str, path: &str, value: Option<Box<RawValue>>) -> Batch {
        let path = path.to_owned();
        self.operations.push(Operation { op, path, value, if_match: None, if_none_match: None, ttl: None });
        self
    }

    /// Sends it: what each operation did, or why it was refused, in order. Values are not sent back.
    ///
    /// # Errors
    /// Any of [`Error`]; for an atomic batch also the one refusal that refused all, whose problem has `operation`.
    pub async fn send(self) -> Result<Vec<Result<Written, Problem>>, Error> {
        let body = Body { operations: &self.operations, atomic: self.atomic };
        let body = serde_json::to_string(&body).map_err(Error::Encode)?;
        let answer =
            self.client.ask(Ask::new(Method::POST, "/api/_batch").json(body).once(self.key.as_ref())).await?;
        let answered: Answered = answer.decode()?;
        let outcome = |raw: Box<RawValue>| -> Result<Result<Written, Problem>, serde_json::Error> {
            let Outcome { status } = serde_json::from_str(raw.get())?;
            Ok(match status {
                ..400 => {
                    let written: Written = serde_json::from_str(raw.get())?;
                    Ok(Written { created: status == 201, raw: Some(raw), ..written })
                }
                _ => {
                    let problem: Problem = serde_json::from_str(raw.get())?;
                    Err(Problem { status, body: Some(raw), ..problem })
                }
            })
        };
        let outcomes: Result<Vec<_>, _> = answered.results.into_iter().map(outcome).collect();
        outcomes.map_err(|error| answer.unexpected(&error.to_string()))
    }
}
