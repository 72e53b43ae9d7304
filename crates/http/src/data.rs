//! `/api/{path}`: one document.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::incoming::Incoming;
use bytes::Bytes;
use hyper::header::{ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use rejoin::{Change, Entry, Hlc, Json, JsonLimits, Node, Path, Replay, Write, Written};
use rejoin_causal::Hex;
use serde::Serialize;

use crate::answer::{self, REJOIN_CONFLICTS, REJOIN_VERSION, Stream};
use crate::api::Api;
use crate::condition::{self, ENVELOPE_SUFFIX, Read};
use crate::problem::Problem;
use crate::query::Query;
use crate::receipts::{self, Ack, Received};
use crate::shapes::{Item, Raw, VectorClock};
use crate::{body, context, once, ttl};

/// Parameters of a write of a value.
const PARAMETERS: [&str; 3] = ["ack", "timeout", ttl::PARAMETER];

/// Answers a request for a document.
pub(crate) async fn answer(
    api: &Arc<Api>,
    path: Path,
    request: Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    match *request.method() {
        Method::PUT => put(api, path, request).await,
        Method::PATCH => patch(api, path, request).await,
        Method::DELETE => delete(api, path, &request).await,
        _ => get(&api.node, &path, request.uri().query(), request.headers()),
    }
}

fn get(
    node: &Node,
    path: &Path,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response<Stream>, Problem> {
    let meta = Query::parse(query, &["meta"])?.switch("meta")?;
    let entry = node.entry(path)?;
    let Some((entry, value)) = entry.as_ref().and_then(|entry| Some((entry, entry.value.as_ref()?))) else {
        let (deleted, read) =
            (entry.is_some(), entry.map_or_else(|| node.context(path), |entry| Ok(entry.context())));
        let problem = Problem::not_found(deleted);
        return Err(match context::value(read?) {
            Some(read) => problem.with(context::REJOIN_CONTEXT, read),
            None => problem,
        });
    };
    let etag = format!("{}{}", entry.etag, if meta { ENVELOPE_SUFFIX } else { "" });
    let mut response = match condition::of_read(headers, &etag)? {
        Read::Failed => return Err(Problem::changed(entry)),
        Read::NotModified => answer::empty(StatusCode::NOT_MODIFIED),
        Read::Send if meta => answer::shape(StatusCode::OK, &Item::of(entry, true)),
        Read::Send => answer::json(StatusCode::OK, Bytes::copy_from_slice(value.as_str().as_bytes())),
    };
    let answers = response.headers_mut();
    put_header(answers, ETAG, format_args!("\"{etag}\""));
    put_header(answers, LAST_MODIFIED, http_date(entry.hlc));
    put_header(answers, REJOIN_VERSION, entry.version);
    put_conflicts(answers, entry.conflicts);
    ttl::put(answers, entry);
    context::put(answers, entry.context());
    Ok(response)
}

async fn put(api: &Arc<Api>, path: Path, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &PARAMETERS)?;
    let (ack, ttl) = (Ack::of(&query)?, ttl::of_request(&query, request.headers())?);
    let key = once::of_request(request.headers())?;
    body::check_media_type(request.headers(), &["application/json"])?;
    let condition = condition::of_write(request.headers())?;
    let observed = context::of_request(&api.node, &path, request.headers()).await?;
    let value = value(api, request).await?;
    let write = Write { path, change: Change::Put(value), condition, observed, ttl, once: None };
    wrote(&api.node, &api.node.write(once::whole(key.as_ref(), write)).await?, ack).await
}

async fn patch(api: &Arc<Api>, path: Path, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &PARAMETERS)?;
    let (ack, ttl) = (Ack::of(&query)?, ttl::of_request(&query, request.headers())?);
    let key = once::of_request(request.headers())?;
    body::check_media_type(request.headers(), &["application/merge-patch+json", "application/json"])?;
    let condition = condition::of_write(request.headers())?;
    let observed = context::of_request(&api.node, &path, request.headers()).await?;
    let patch = value(api, request).await?;
    let write = Write { path, change: Change::Patch(patch), condition, observed, ttl, once: None };
    wrote(&api.node, &api.node.write(once::whole(key.as_ref(), write)).await?, ack).await
}

async fn delete(
    api: &Arc<Api>,
    path: Path,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let ack = Ack::of(&Query::parse(request.uri().query(), &receipts::PARAMETERS)?)?;
    ttl::refuse(request.headers())?;
    let condition = condition::of_write(request.headers())?;
    let observed = context::of_request(&api.node, &path, request.headers()).await?;
    let key = once::of_request(request.headers())?;
    let write = Write { path, change: Change::Delete, condition, observed, ttl: None, once: None };
    let written = api.node.write(once::whole(key.as_ref(), write)).await?;
    let receipt = received(&api.node, &written, ack).await;
    let status = if is_short(receipt.as_ref()) { StatusCode::ACCEPTED } else { StatusCode::OK };
    let body = WriteResult { receipt, ..WriteResult::of(&api.node, &written).of_delete() };
    let mut response = answer::shape(status, &body);
    put_header(response.headers_mut(), REJOIN_VERSION, written.dot);
    put_conflicts(response.headers_mut(), written.visible.conflicts);
    context::put(response.headers_mut(), context::of_write(&written.path, written.dot));
    once::put(response.headers_mut(), once::is_replayed(&written));
    Ok(response)
}

async fn value(api: &Api, request: Request<Incoming>) -> Result<Json, Problem> {
    let limits = api.node.info().limits;
    let whole = body::read(request.into_body(), limits.value_bytes, &api.bodies, &api.limits).await?;
    let limits = JsonLimits { bytes: limits.value_bytes, depth: limits.value_depth };
    Ok(Json::parse(&whole.bytes, &limits).map_err(rejoin::Error::Json)?)
}

async fn received(node: &Node, written: &Written, ack: Option<Ack>) -> Option<Received> {
    match ack {
        Some(ack) => Some(ack.receipt(node, written).await),
        None => None,
    }
}

/// Whether fewer nodes than wanted are known to hold the write.
fn is_short(receipt: Option<&Received>) -> bool {
    receipt.is_some_and(|receipt| !receipt.complete)
}

/// Answers a write that was done, once as many nodes hold it as it asks for, or its time is up.
pub(crate) async fn wrote(
    node: &Node,
    written: &Written,
    ack: Option<Ack>,
) -> Result<Response<Stream>, Problem> {
    let receipt = received(node, written, ack).await;
    let status = match is_short(receipt.as_ref()) {
        true => StatusCode::ACCEPTED,
        false if written.created => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let mut response = answer::shape(status, &WriteResult { receipt, ..WriteResult::of(node, written) });
    let headers = response.headers_mut();
    put_header(headers, ETAG, format_args!("\"{}\"", Hex(&written.etag)));
    put_header(headers, LAST_MODIFIED, http_date(written.hlc));
    put_header(headers, REJOIN_VERSION, written.dot);
    put_conflicts(headers, written.visible.conflicts);
    context::put(headers, context::of_write(&written.path, written.dot));
    once::put(headers, once::is_replayed(written));
    if written.created {
        put_header(headers, LOCATION, format_args!("/api/{}", written.path.encoded()));
    }
    Ok(response)
}

/// What a write did, as a client sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteResult<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    vector_clock: VectorClock<'a>,
    timestamp: u64,
    version: String,
    etag: String,
    /// When nothing of the value will be left.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    applied: bool,
    durable: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Received>,
    /// Over a socket: that it was done before. Over HTTP a header says so, and the body is that of the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
}

impl<'a> WriteResult<'a> {
    /// The shape of a delete: nothing is left to show.
    pub(crate) fn of_delete(self) -> WriteResult<'a> {
        WriteResult { deleted: Some(true), value: None, ..self }
    }

    /// The same without the value.
    pub(crate) fn brief(node: &Node, written: &'a Written) -> WriteResult<'a> {
        // The value of a write that was done before may be gone, whatever it was.
        let is_gone = written.visible.value.is_none() && written.replay != Replay::WithoutValue;
        let deleted = is_gone.then_some(true);
        WriteResult { deleted, value: None, ..WriteResult::of(node, written) }
    }

    /// The shape of what was written.
    pub(crate) fn of(node: &Node, written: &'a Written) -> WriteResult<'a> {
        WriteResult {
            path: written.path.as_str(),
            deleted: None,
            value: written.visible.value.as_ref().map(Raw),
            vector_clock: VectorClock(&written.vector_clock),
            timestamp: written.hlc.unix_ms(),
            version: written.dot.to_string(),
            etag: Hex(&written.etag).to_string(),
            expires: written.visible.expires_ms,
            applied: true,
            durable: node.info().durability.to_string(),
            receipt: None,
            replayed: None,
        }
    }

    /// The shape over a socket.
    pub(crate) fn with_replay(self, written: &Written) -> WriteResult<'a> {
        WriteResult { replayed: once::is_replayed(written).then_some(true), ..self }
    }
}

impl Problem {
    /// A read that is conditional on another version.
    fn changed(entry: &Entry) -> Problem {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "The condition does not hold: the value has changed.",
        )
        .hint("Use the ETag of the value as it is now.")
        .with_entry(entry)
    }
}

fn put_conflicts(headers: &mut HeaderMap, conflicts: usize) {
    if conflicts > 0 {
        headers.insert(REJOIN_CONFLICTS, HeaderValue::from(conflicts));
    }
}

/// Room for a version, the longest of the usual values: 32 digits, 16 digits and a number.
const HEADER_BYTES: usize = 72;

fn put_header(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    let mut text = String::with_capacity(HEADER_BYTES);
    // Writing to a string cannot fail. Digits, hexadecimal, base64 and percent-encoded text are always legal here.
    if write!(text, "{value}").is_ok()
        && let Ok(value) = HeaderValue::try_from(text)
    {
        headers.insert(name, value);
    }
}

/// A stamp as HTTP writes moments, in whole seconds.
fn http_date(hlc: Hlc) -> httpdate::HttpDate {
    // The formatter panics behind the year 9999; a stamp can be as late as 10889.
    let moment = Duration::from_millis(hlc.unix_ms()).min(Duration::from_secs(253_402_300_799));
    httpdate::HttpDate::from(UNIX_EPOCH + moment)
}
