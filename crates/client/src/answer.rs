//! Answers read whole: status, headers and body, with errors taken out.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::innermost;
use crate::config::ANSWER_BYTES_MAX;
use crate::error::{Error, Problem};

/// A good answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    url: String,
}

/// Reads an answer to its end.
///
/// # Errors
/// A status of 400 and more is the error it says.
pub(crate) async fn read(url: &str, response: Response<Incoming>) -> Result<Answer, Error> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| match error
        .downcast_ref::<LengthLimitError>(
    ) {
        Some(_) => Error::Unexpected {
            url: url.to_owned(),
            reason: format!("its answer is larger than {ANSWER_BYTES_MAX} bytes"),
        },
        None => Error::Broken { url: url.to_owned(), reason: innermost(&*error) },
    })?;
    let answer =
        Answer { status: head.status, headers: head.headers, body: body.to_bytes(), url: url.to_owned() };
    match answer.status.is_client_error() || answer.status.is_server_error() {
        true => Err(answer.into_error()),
        false => Ok(answer),
    }
}

impl Answer {
    /// The body as a type of this crate.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// The body as the JSON text it is.
    pub(crate) fn raw(&self) -> Result<Box<RawValue>, Error> {
        self.decode()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The error of an answer that cannot be what was asked for.
    pub(crate) fn unexpected(&self, reason: &str) -> Error {
        Error::Unexpected {
            url: self.url.clone(),
            reason: format!("the body of its {} answer is not as expected: {reason}", self.status.as_u16()),
        }
    }

    fn into_error(self) -> Error {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Error::Refused(Box::new(Problem {
                status: self.status.as_u16(),
                body: self.raw().ok(),
                ..problem
            })),
            Err(_) => Error::Unexpected {
                url: self.url,
                reason: format!("it answered {} without saying why", self.status),
            },
        }
    }
}
