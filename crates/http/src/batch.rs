//! `/api/_batch`: several writes in one request, each on its own or all or nothing.

use std::sync::Arc;

use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use rejoin::{BATCH_WRITES_MAX, Change, Error, Json, JsonLimits, Key, Observed, Path, Write, Written};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{self, NDJSON, Stream};
use crate::api::Api;
use crate::body;
use crate::condition;
use crate::config::BATCH_BODY_BYTES_MAX;
use crate::data::WriteResult;
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::{Query, excerpt};
use crate::{import, object, once, ttl};

/// Answers a batch, as JSON or as lines.
pub(crate) async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    body::check_media_type(request.headers(), &["application/json", "application/x-ndjson"])?;
    let kind = request.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
    if kind.is_some_and(|kind| kind.starts_with(NDJSON.as_bytes())) {
        return import::answer(api, request);
    }
    Query::parse(request.uri().query(), &[])?;
    let key = once::of_request(request.headers())?;
    let whole = body::read(request.into_body(), BATCH_BODY_BYTES_MAX, &api.bodies, &api.limits).await?;
    let batch: Batch<'_> = object::from_slice(&whole.bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("The body is not a batch: {error}."))
            .hint("Send {\"operations\":[{\"op\":\"put\",\"path\":\"a\",\"value\":1}],\"atomic\":true}.")
    })?;
    if batch.operations.len() > BATCH_WRITES_MAX {
        return Err(Problem::batch_too_large(batch.operations.len(), BATCH_WRITES_MAX, "operations")
            .hint("Make several batches of it, or send it as lines: `Content-Type: application/x-ndjson`."));
    }
    let writes = batch.operations.iter().map(|operation| of_text(api, operation.get()));
    let (text, replayed) = match batch.atomic {
        true => atomic(api, key.as_ref(), writes.collect()).await?,
        false => {
            let writes = (0..).zip(writes);
            let writes = writes.map(|(at, write)| write.map(|write| once::part(key.as_ref(), at, write)));
            each(api, writes.collect()).await?
        }
    };
    let mut response = answer::json(StatusCode::OK, text);
    once::put(response.headers_mut(), replayed);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    operations: Vec<&'a RawValue>,
    #[serde(default)]
    atomic: bool,
}

/// One operation as clients write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Operation {
    #[serde(default)]
    op: Op,
    path: String,
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    if_match: Option<String>,
    #[serde(default)]
    if_none_match: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    #[default]
    Put,
    Replace,
    Patch,
    Delete,
}

/// A JSON `null` that is there is a value, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// The write that one operation means.
pub(crate) fn of_text(api: &Api, text: &str) -> Result<Write, Problem> {
    let operation: Operation = object::from_str(text).map_err(|error| {
        // The place is that of the operation alone, which nobody has a line number of.
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        invalid(format!("The operation is not one: {}.", excerpt(said)))
    })?;
    let path = operation.path.clone();
    write_of(api, operation).map_err(|problem| problem.path(Some(&excerpt(&path))))
}

fn write_of(api: &Api, operation: Operation) -> Result<Write, Problem> {
    let path = Path::parse(&operation.path)?;
    let condition = condition::of_members(operation.if_match.as_deref(), operation.if_none_match.as_deref())?;
    let limits = api.node.info().limits;
    let limits = JsonLimits { bytes: limits.value_bytes, depth: limits.value_depth };
    let value = operation.value.map(|value| Json::parse(value.get().as_bytes(), &limits));
    let value = value.transpose().map_err(Error::Json)?;
    let change = match (operation.op, value) {
        (Op::Put, Some(value)) => Change::Put(value),
        (Op::Replace, Some(value)) => Change::Replace(value),
        (Op::Patch, Some(value)) => Change::Patch(value),
        (Op::Delete, None) => Change::Delete,
        (Op::Delete, Some(_)) => return Err(invalid("A `delete` takes no `value`.")),
        (_, None) => return Err(invalid("The operation has no `value`; `null` is a value.")),
    };
    let ttl = ttl::of_member(operation.ttl.as_deref())?;
    if ttl.is_some() && change == Change::Delete {
        return Err(invalid("A `delete` takes no `ttl`."));
    }
    Ok(Write { path, change, condition, observed: Observed::All, ttl, once: None })
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_operation", message).hint(
        "An operation is {\"op\":\"put|replace|patch|delete\",\"path\":…,\"value\":…}, with `ifMatch` or \
         `ifNoneMatch` if you like.",
    )
}

/// The answer, and whether it was given before.
async fn atomic(
    api: &Api,
    key: Option<&Key>,
    writes: Vec<Result<Write, Problem>>,
) -> Result<(String, bool), Problem> {
    let numbered = writes.into_iter().enumerate();
    let writes: Vec<Write> = numbered
        .map(|(at, write)| write.map_err(|problem| problem.operation(at)))
        .collect::<Result<_, _>>()?;
    let paths: Vec<Path> = writes.iter().map(|write| write.path.clone()).collect();
    let writes = match key {
        Some(key) => Write::all_with_key(writes, key),
        None => writes,
    };
    let written = api.node.write_atomic(writes).await.map_err(|refused| {
        let problem = Problem::from(refused.error);
        match refused.at {
            Some(at) => problem.operation(at).path(paths.get(at).map(Path::as_str)),
            None => problem,
        }
    })?;
    let replayed = written.iter().any(once::is_replayed);
    let results: Vec<String> = written.iter().map(|written| done(api, written)).collect();
    let text = format!(
        "{{\"atomic\":true,\"applied\":{},\"refused\":0,\"results\":[{}]}}",
        results.len(),
        results.join(",")
    );
    Ok((text, replayed))
}

/// The answer, and whether all that it says was done had been done before.
async fn each(api: &Api, writes: Vec<Result<Write, Problem>>) -> Result<(String, bool), Problem> {
    let answers = write_each(api, writes).await;
    let applied = answers.iter().filter(|answer| answer.is_ok()).count();
    let replayed = applied > 0 && answers.iter().flatten().all(once::is_replayed);
    let results: Vec<String> = answers.iter().map(|answer| result(api, answer)).collect();
    let text = format!(
        "{{\"atomic\":false,\"applied\":{applied},\"refused\":{},\"results\":[{}]}}",
        results.len() - applied,
        results.join(",")
    );
    Ok((text, replayed))
}

/// Does the writes among these, each on its own; answers in order.
pub(crate) async fn write_each(
    api: &Api,
    writes: Vec<Result<Write, Problem>>,
) -> Vec<Result<Written, Problem>> {
    let mut paths = Vec::with_capacity(writes.len());
    let mut sound = Vec::with_capacity(writes.len());
    for write in writes {
        paths.push(write.map(|write| {
            let path = write.path.clone();
            sound.push(write);
            path
        }));
    }
    let mut done = api.node.write_many(sound).await.into_iter();
    let answers = paths.into_iter().map(|path| {
        let path = path?;
        let written = done.next().unwrap_or(Err(Error::Closed));
        written.map_err(|error| Problem::from(error).path(Some(path.as_str())))
    });
    answers.collect()
}

/// The result of one operation as JSON: what was done, or the problem, with the status that either has alone.
pub(crate) fn result(api: &Api, answer: &Result<Written, Problem>) -> String {
    match answer {
        Ok(written) => done(api, written),
        Err(problem) => with_status(problem.status(), &problem.json()),
    }
}

fn done(api: &Api, written: &Written) -> String {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    // The client has sent the values; a thousand of them are not sent back.
    with_status(status, &answer::json_text(&WriteResult::brief(&api.node, written)))
}

/// An object with `status` as its first member.
fn with_status(status: StatusCode, object: &str) -> String {
    format!("{{\"status\":{},{}", status.as_u16(), object.strip_prefix('{').unwrap_or(object))
}
