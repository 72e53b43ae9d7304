//! Request bodies: read whole, within bounds of size, time and memory.
//!
//! What a client announces is checked before anything is read. Memory is claimed as bytes arrive, from a budget that
//! all connections share, and a claim that fails refuses the request: nobody waits with half a body in memory.

use std::sync::Arc;

use crate::incoming::Incoming;
use bytes::{Bytes, BytesMut};
use hyper::body::Body as _;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::ServeLimits;
use crate::problem::Problem;

/// A body in memory, with its claim on the budget.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _claim: Option<OwnedSemaphorePermit>,
}

/// Checks that the client says to send JSON, in one of these media types.
pub(crate) fn check_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let list = accepted.join("` or `");
    let refuse = |message: String| {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
            .hint(format!("Send the body as JSON in UTF-8, with `Content-Type: {}`.", accepted[0]))
    };
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(refuse("The body has a `Content-Encoding`, and none is supported.".to_owned()));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(refuse(format!("The body has no `Content-Type`; `{list}` is needed.")));
    };
    let text = value.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if !accepted.iter().any(|accepted| kind.eq_ignore_ascii_case(accepted)) {
        let kind = crate::query::excerpt(kind);
        return Err(refuse(format!("The body is `{kind}`, and `{list}` is needed.")));
    }
    let other_charset = parts.filter_map(|parameter| parameter.split_once('=')).find(|(name, value)| {
        name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    match other_charset {
        Some(_) => Err(refuse("The body is not in UTF-8.".to_owned())),
        None => Ok(()),
    }
}

/// Reads a body of at most `bytes_max` bytes.
pub(crate) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    budget: &Arc<Semaphore>,
    limits: &ServeLimits,
) -> Result<Whole, Problem> {
    if let Some(size) = body.size_hint().exact()
        && size > bytes_max as u64
    {
        return Err(closing(Problem::too_large(size, false, bytes_max)));
    }
    let pace = Pace::start(limits);
    let mut read = BytesMut::new();
    let mut claim: Option<OwnedSemaphorePermit> = None;
    loop {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = match timeout_at(pace.deadline(read.len()), frame).await {
            Err(_) => return Err(closing(too_slow(read.len()))),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(closing(broken())),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are of no use here.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > bytes_max - read.len() {
            return Err(closing(Problem::too_large((bytes_max as u64).saturating_add(1), true, bytes_max)));
        }
        let more = u32::try_from(data.len())
            .ok()
            .and_then(|bytes| Arc::clone(budget).try_acquire_many_owned(bytes).ok())
            .ok_or_else(|| closing(no_memory()))?;
        match &mut claim {
            Some(claim) => claim.merge(more),
            None => claim = Some(more),
        }
        read.extend_from_slice(&data);
    }
    Ok(Whole { bytes: read.freeze(), _claim: claim })
}

/// How fast a body must come.
#[derive(Debug)]
pub(crate) struct Pace {
    started: Instant,
    grace: Duration,
    rate_min: u32,
    whole: Duration,
}

impl Pace {
    pub(crate) fn start(limits: &ServeLimits) -> Pace {
        Pace {
            started: Instant::now(),
            grace: limits.body_grace,
            rate_min: limits.body_rate_min.max(1),
            whole: limits.body_timeout,
        }
    }

    /// When the next byte must be here, after so many.
    pub(crate) fn deadline(&self, bytes: usize) -> Instant {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate_min));
        self.started + self.grace.saturating_add(earned).min(self.whole)
    }
}

/// The rest of the body will not be read, so nothing can follow on this connection.
fn closing(problem: Problem) -> Problem {
    problem.with(CONNECTION, HeaderValue::from_static("close"))
}

pub(crate) fn too_slow(bytes: usize) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_too_slow",
        format!("The body came too slowly: {bytes} bytes so far."),
    )
    .hint("Send the body at once, over a faster connection.")
    .retryable()
}

fn broken() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "broken_body", "The body ended early or is not framed correctly.")
        .hint("Send as many bytes as `Content-Length` says, or correct chunks.")
        .retryable()
}

/// The bodies of all connections together are too large.
pub(crate) fn no_memory() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The server holds as many bytes of request bodies as it may.",
    )
    .hint("Retry after a moment, with fewer large bodies at a time.")
    .retry_after(Duration::from_secs(1))
}
