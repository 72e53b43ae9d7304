//! The one shape of every error, and the status code of each.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use rejoin::{Current, Entry, Error, Json, JsonError, PathError, Visible};
use rejoin_causal::Hex;
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::shapes::Raw;

/// An error on its way to a client. Nothing was changed.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

/// In a box, so that results stay small.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: String,
    path: Option<String>,
    retryable: bool,
    details: Details,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Members that some errors have beside those that all have.
#[derive(Debug, Default, Clone)]
struct Details {
    reason: Option<&'static str>,
    limit: Option<u64>,
    size: Option<u64>,
    current: Option<Box<Present>>,
    applied: Option<bool>,
    missing: Option<Missing>,
    oldest: Option<String>,
    operation: Option<usize>,
}

/// What is there instead of what a condition wanted.
#[derive(Debug, Default, Clone)]
struct Present {
    value: Option<Json>,
    etag: Option<String>,
    version: Option<String>,
    timestamp: Option<u64>,
}

/// What a node has not applied yet.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Missing {
    /// How many writes.
    pub(crate) count: u64,
    /// The first of them, by node.
    pub(crate) writes: Vec<MissingRange>,
}

/// A run of writes of one node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MissingRange {
    /// The node that made them.
    pub(crate) node: String,
    /// The first version.
    pub(crate) first: String,
    /// The last version.
    pub(crate) last: String,
}

impl Problem {
    /// An error of a code of this crate's own.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            status,
            code,
            message: message.into(),
            hint: String::new(),
            path: None,
            retryable: false,
            details: Details::default(),
            headers: Vec::new(),
        }))
    }

    /// A query parameter is wrong.
    pub(crate) fn parameter(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", message)
    }

    /// A header is wrong.
    pub(crate) fn header(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_header", message)
    }

    /// The document is not there.
    pub(crate) fn not_found(deleted: bool) -> Problem {
        let (message, reason) = match deleted {
            true => ("The document was deleted.", "deleted"),
            false => ("There is no document at this path.", "missing"),
        };
        let mut problem = Problem::new(StatusCode::NOT_FOUND, "not_found", message)
            .hint("Check the path, or create the document with PUT.");
        problem.0.details.reason = Some(reason);
        problem
    }

    /// A body or value is too large.
    pub(crate) fn too_large(size: u64, at_least: bool, limit: usize) -> Problem {
        let size_text =
            if at_least { format!("more than {}", size.saturating_sub(1)) } else { size.to_string() };
        let mut problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The body has {size_text} bytes, more than the limit of {limit}."),
        )
        .hint("Split the value over several paths, or raise the limit in the configuration.");
        problem.0.details.size = Some(size);
        problem.0.details.limit = Some(limit as u64);
        problem
    }

    /// What a write brings is small enough, and the document that it makes of it is not.
    fn would_be_too_large(size: u64, limit: usize) -> Problem {
        let message =
            format!("With this write the document would have {size} bytes, more than the limit of {limit}.");
        let mut problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).hint(
            "It holds more than what is written here: remove members of it, split it over several paths, or raise the \
             limit in the configuration.",
        );
        problem.0.details.size = Some(size);
        problem.0.details.limit = Some(limit as u64);
        problem
    }

    /// A batch has too much in it.
    pub(crate) fn batch_too_large(size: usize, limit: usize, of: &str) -> Problem {
        let message = format!("The batch has {size} {of}, more than the limit of {limit}.");
        let mut problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
        problem.0.details.size = Some(size as u64);
        problem.0.details.limit = Some(limit as u64);
        problem
    }

    /// It is about this operation of a batch, counted from 0.
    #[must_use]
    pub(crate) fn operation(mut self, at: usize) -> Problem {
        self.0.details.operation = Some(at);
        self
    }

    /// The node has not applied what the request asks to see.
    pub(crate) fn not_caught_up(missing: Missing) -> Problem {
        let mut problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_caught_up",
            match missing.count {
                0 => "This node has not the same oldest writes as the one that gave the token.".to_owned(),
                count => format!("This node has not applied {count} of the writes that the token names."),
            },
        )
        .hint("Wait longer with `Rejoin-Wait`, or ask the node that gave the token.")
        .retry_after(Duration::from_secs(1));
        problem.0.details.missing = Some(missing);
        problem
    }

    /// Some of what is missing is here, and waits in quarantine.
    #[must_use]
    pub(crate) fn held_back(mut self, held: Option<&rejoin::HeldBack>) -> Problem {
        if let Some(held) = held {
            let count = held.count;
            self.0.message.push_str(&format!(
                " {count} of them are held in quarantine until {} (Unix milliseconds): their stamps are ahead of this clock.",
                held.until_ms
            ));
            self.0.hint = "Correct the clock of the node that wrote them: it then mints them again. An operator of this \
                           node can take them at once with `rejoin quarantine release`."
                .into();
        }
        self
    }

    /// What the client can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.0.hint = hint.into();
        self
    }

    /// The path that the request names.
    #[must_use]
    pub(crate) fn path(mut self, path: Option<&str>) -> Problem {
        if self.0.path.is_none() {
            self.0.path = path.map(str::to_owned);
        }
        self
    }

    /// The same request may succeed later.
    #[must_use]
    pub(crate) fn retryable(mut self) -> Problem {
        self.0.retryable = true;
        self
    }

    /// The same request may succeed after that time.
    #[must_use]
    pub(crate) fn retry_after(self, after: Duration) -> Problem {
        self.retryable().with(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)))
    }

    /// A header of the answer.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.0.headers.push((name, value));
        self
    }

    /// The oldest place from which the feed is complete.
    #[must_use]
    pub(crate) fn oldest(mut self, token: String) -> Problem {
        self.0.details.oldest = Some(token);
        self
    }

    /// The status of its answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The hint, for tests.
    #[cfg(test)]
    pub(crate) fn hint_text(&self) -> &str {
        &self.0.hint
    }

    /// The error as JSON text.
    pub(crate) fn json(&self) -> String {
        let current = self.0.details.current.as_deref();
        let body = Body {
            error: self.0.code,
            message: &self.0.message,
            hint: &self.0.hint,
            path: self.0.path.as_deref(),
            retryable: self.0.retryable,
            reason: self.0.details.reason,
            limit: self.0.details.limit,
            size: self.0.details.size,
            applied: self.0.details.applied,
            value: current.and_then(|current| current.value.as_ref()).map(Raw),
            etag: current.map(|current| current.etag.as_deref()),
            version: current.and_then(|current| current.version.as_deref()),
            timestamp: current.and_then(|current| current.timestamp),
            missing: self.0.details.missing.as_ref(),
            oldest: self.0.details.oldest.as_deref(),
            operation: self.0.details.operation,
        };
        answer::json_text(&body)
    }

    /// The error as an answer.
    pub(crate) fn into_response(self) -> Response<Stream> {
        let mut response = answer::json(self.0.status, self.json());
        if let Some(etag) = self.0.details.current.and_then(|current| current.etag)
            && let Ok(value) = HeaderValue::try_from(format!("\"{etag}\""))
        {
            response.headers_mut().insert(hyper::header::ETAG, value);
        }
        for (name, value) in self.0.headers {
            response.headers_mut().append(name, value);
        }
        response
    }

    /// Shows what is there.
    pub(crate) fn with_entry(self, entry: &Entry) -> Problem {
        self.with_present(Present {
            value: entry.value.clone(),
            etag: Some(entry.etag.clone()),
            version: Some(entry.version.to_string()),
            timestamp: Some(entry.timestamp_ms()),
        })
    }

    /// Shows what is there, when a value is.
    fn with_current(mut self, current: Current) -> Problem {
        let present = match current.visible.map(|visible| *visible) {
            Some(Visible { value: Some(value), version, hlc, .. }) => Present {
                value: Some(value),
                etag: current.etag.map(|etag| Hex(&etag).to_string()),
                version: Some(version.to_string()),
                timestamp: Some(hlc.unix_ms()),
            },
            _ => Present::default(),
        };
        self.0.details.applied = Some(false);
        self.with_present(present)
    }

    fn with_present(mut self, present: Present) -> Problem {
        self.0.details.current = Some(Box::new(present));
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let status = status(&error);
        let mut problem = Problem::new(status, error.code(), sentence(&error.to_string()));
        problem.0.hint = sentence(&error.hint());
        problem.0.retryable = error.retryable();
        match error {
            Error::NotFound { deleted } => Problem::not_found(deleted),
            Error::TooLarge { bytes, limit } => Problem::would_be_too_large(bytes as u64, limit),
            Error::BatchTooLarge { size, limit, of } => {
                Problem::batch_too_large(size, limit, of).hint(problem.0.hint)
            }
            Error::Json(JsonError::TooLarge { bytes, bytes_max }) => {
                Problem::too_large(bytes as u64, false, bytes_max)
            }
            Error::TooManySiblings { size, limit, current, .. } => {
                problem.0.details.size = Some(size as u64);
                problem.0.details.limit = Some(limit as u64);
                problem.with_current(*current)
            }
            Error::Precondition(current)
            | Error::RejectedByStrategy(current)
            | Error::NoConflict(current)
            | Error::NotLive(current)
            | Error::Unseen(current) => problem.with_current(*current),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => problem.retry_after(Duration::from_secs(1)),
            _ => problem,
        }
    }
}

impl From<PathError> for Problem {
    fn from(error: PathError) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).hint(error.hint())
    }
}

/// A text as a sentence: the errors of a library begin in lower case and end open.
fn sentence(text: &str) -> String {
    let mut sentence = String::with_capacity(text.len() + 1);
    let mut characters = text.chars();
    sentence.extend(characters.next().into_iter().flat_map(char::to_uppercase));
    sentence.push_str(characters.as_str());
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Path(_)
        | Error::Ttl(_)
        | Error::Json(_)
        | Error::BadCursor
        | Error::BadToken
        | Error::BadFeedToken
        | Error::BadContext(_)
        | Error::BadKey(_)
        | Error::FilterOfListing
        | Error::BadPeer(_) => StatusCode::BAD_REQUEST,
        Error::NotFound { .. } | Error::NoSuchVersion => StatusCode::NOT_FOUND,
        Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        Error::RejectedByStrategy(_)
        | Error::NoConflict(_)
        | Error::NotLive(_)
        | Error::Unseen(_)
        | Error::TooManySiblings { .. } => StatusCode::CONFLICT,
        Error::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Error::TooLarge { .. } | Error::BatchTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::ContextAhead(_)
        | Error::Overloaded
        | Error::TimedOut
        | Error::NotCaughtUp { .. }
        | Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
        Error::DiskFull(_) => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    message: &'a str,
    hint: &'a str,
    path: Option<&'a str>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a Missing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<usize>,
}
