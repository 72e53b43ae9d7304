//! Reads and writes over a socket: the same words, conditions and limits as over HTTP.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use rejoin::{Change, Json, JsonLimits, Observed, Path, Write};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::message::{Data, Op, Reply};
use crate::api::Api;
use crate::body;
use crate::condition;
use crate::data::WriteResult;
use crate::once;
use crate::problem::Problem;
use crate::shapes::Item;
use crate::ttl;

/// Counts a message among the bodies that may be in memory, until it is answered.
pub(super) fn claim(api: &Api, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Arc::clone(&api.bodies).try_acquire_many_owned(bytes).map_err(|_| body::no_memory())
}

/// Does what is asked.
pub(super) async fn answer(api: &Api, id: Box<RawValue>, data: Data) -> Reply {
    let path = data.path.clone();
    match done(api, &id, data).await {
        Ok(reply) => reply,
        Err(problem) => Reply::refused(Some(&id), problem.path(Some(&crate::query::excerpt(&path)))),
    }
}

async fn done(api: &Api, id: &RawValue, data: Data) -> Result<Reply, Problem> {
    let Data { path, op, if_match, if_none_match, ttl, idempotency_key } = data;
    let ttl = ttl::of_member(ttl.as_deref())?;
    let key = once::of_member(idempotency_key.as_deref())?;
    let path = Path::parse(&path)?;
    let mut headers = HeaderMap::new();
    put_header(&mut headers, IF_MATCH, if_match)?;
    put_header(&mut headers, IF_NONE_MATCH, if_none_match)?;
    let condition = condition::of_write(&headers)?;
    let change = match op {
        Op::Get => {
            let entry = api.node.entry(&path)?.ok_or_else(|| Problem::not_found(false))?;
            if entry.value.is_none() {
                return Err(Problem::not_found(true));
            }
            return Ok(Reply::done(id, &Item::of(&entry, true)));
        }
        Op::Put(value) => {
            let limits = api.node.info().limits;
            let limits = JsonLimits { bytes: limits.value_bytes, depth: limits.value_depth };
            let value = Json::parse(value.get().as_bytes(), &limits).map_err(rejoin::Error::Json)?;
            Change::Put(value)
        }
        Op::Delete => Change::Delete,
    };
    let is_delete = matches!(change, Change::Delete);
    let write = Write { path, change, condition, observed: Observed::All, ttl, once: None };
    let written = api.node.write(once::whole(key.as_ref(), write)).await?;
    let result = WriteResult::of(&api.node, &written).with_replay(&written);
    Ok(Reply::done(id, &if is_delete { result.of_delete() } else { result }))
}

/// Conditions are read as the headers that they are over HTTP.
fn put_header(headers: &mut HeaderMap, name: HeaderName, value: Option<String>) -> Result<(), Problem> {
    let Some(value) = value else { return Ok(()) };
    let value = HeaderValue::try_from(value).map_err(|_| {
        Problem::header(format!("The condition `{name}` is not text.")).hint("Send the ETag as it was given.")
    })?;
    headers.insert(name, value);
    Ok(())
}
