//! Answers: their bodies, whole or streamed, and the headers that all of them have.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

/// What this node has applied, as opaque text.
pub(crate) const REJOIN_TOKEN: HeaderName = HeaderName::from_static("rejoin-token");
/// How long to wait for a token.
pub(crate) const REJOIN_WAIT: HeaderName = HeaderName::from_static("rejoin-wait");
/// The write that a value comes from.
pub(crate) const REJOIN_VERSION: HeaderName = HeaderName::from_static("rejoin-version");
/// How long a value is to live, or has left.
pub(crate) const REJOIN_TTL: HeaderName = HeaderName::from_static("rejoin-ttl");
/// How many other versions are live.
pub(crate) const REJOIN_CONFLICTS: HeaderName = HeaderName::from_static("rejoin-conflicts");
/// How many values a scan would list.
pub(crate) const REJOIN_COUNT: HeaderName = HeaderName::from_static("rejoin-count");

/// What nginx, and others after it, take for the wish not to be buffered.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// JSON.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// One JSON text a line.
pub(crate) const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Server-sent events.
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Headers of an answer, those included that hyper adds: room for them is made once.
const HEADERS: usize = 12;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Stream {
    /// All of it, until it is taken.
    Whole(Option<Bytes>),
    /// Pieces as they are made.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Stream::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Stream::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Stream::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Stream::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Stream::Pieces(_) => SizeHint::default(),
        }
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Stream> {
    let mut response = Response::new(Stream::Whole(None));
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// An answer of JSON text.
pub(crate) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response<Stream> {
    let text: Bytes = text.into();
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if !text.is_empty() {
        *response.body_mut() = Stream::Whole(Some(text));
    }
    response
}

/// An answer made of a shape.
pub(crate) fn shape(status: StatusCode, shape: &impl Serialize) -> Response<Stream> {
    json(status, json_text(shape))
}

/// An answer of pieces that somebody else makes.
pub(crate) fn stream(kind: HeaderValue, pieces: mpsc::Receiver<Bytes>) -> Response<Stream> {
    let mut response = unbuffered(empty(StatusCode::OK));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    *response.body_mut() = Stream::Pieces(pieces);
    response
}

/// An answer that is of use while it comes: no proxy between is to gather it, or to keep pieces back until they are worth
/// compressing.
pub(crate) fn unbuffered(mut response: Response<Stream>) -> Response<Stream> {
    let headers = response.headers_mut();
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

/// A shape as JSON text.
pub(crate) fn json_text(shape: &impl Serialize) -> String {
    // Shapes have text keys and stored values, which are JSON: writing them cannot fail.
    serde_json::to_string(shape).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        String::from("null")
    })
}

/// Whether a client asks for this media type by name, and for JSON no more than for it.
pub(crate) fn accepts(headers: &HeaderMap, kind: &HeaderValue) -> bool {
    let wish = quality(headers, kind);
    wish > 0 && wish >= quality(headers, &JSON)
}

/// How much a client wants a media type that it names, in thousandths (RFC 9110, 12.4.2).
fn quality(headers: &HeaderMap, kind: &HeaderValue) -> u16 {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let named = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        name.as_bytes().eq_ignore_ascii_case(kind.as_bytes()).then(|| weight.map_or(1000, thousandths))
    });
    named.max().unwrap_or(0)
}

/// A weight from 0 to 1, with three digits at most; what is not one is as good as none.
fn thousandths(weight: &str) -> u16 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    match (whole, format!("{part:0<3}").parse()) {
        ("0", Ok(thousandths @ 0..=999)) => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_wanted_when_it_is_named_and_its_weight_allows() {
        for (accept, wanted) in [
            ("application/x-ndjson", true),
            ("Application/X-NDJSON; q=0.5", true),
            ("application/x-ndjson;q=0", false),
            ("application/x-ndjson; q=0.000, application/json", false),
            ("application/json, application/x-ndjson", true),
            ("application/json, application/x-ndjson;q=0.5", false),
            ("application/json;q=0.1, application/x-ndjson;q=0.5", true),
            ("application/x-ndjson;q=many", true),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts(&headers, &NDJSON), wanted, "{accept}");
        }
    }
}
