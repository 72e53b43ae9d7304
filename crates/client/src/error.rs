//! What can go wrong, and who must act.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An error that the server answered: the one shape of every error of the API, and its HTTP status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Stable name of the error, in snake_case.
    #[serde(rename = "error")]
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The path it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// Of `not_found`: `missing` when nobody ever wrote the path, `deleted` when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of an operation of a batch or an import: which one, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// The HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// The whole body, with what this error says beyond the one shape, such as the current value of a failed
    /// precondition.
    #[serde(skip)]
    pub body: Option<Box<RawValue>>,
}

/// Why a request did not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The base URL cannot be used. Nothing was sent.
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be sent in a header. Nothing was sent.
    Token,
    /// The value cannot be written as JSON. Nothing was sent.
    Encode(serde_json::Error),
    /// The server, or the client on its behalf, refused the request. Nothing was changed.
    Refused(Box<Problem>),
    /// No connection to the node. Nothing was changed.
    Unreachable {
        /// The node's URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// No answer in time. A write may have been done.
    TimedOut {
        /// The node's URL.
        url: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The connection ended before the answer was complete. A write may have been done.
    Broken {
        /// The node's URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The answer is not one of this API. A write may have been done.
    Unexpected {
        /// The node's URL.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The value is there, but does not fit the requested type.
    Decode(serde_json::Error),
}

impl Error {
    /// Stable name of the error, in snake_case; the server's own for what the server answered.
    pub fn code(&self) -> &str {
        match self {
            Error::Url { .. } => "invalid_url",
            Error::Token => "invalid_token",
            Error::Encode(_) => "invalid_json",
            Error::Refused(problem) => &problem.code,
            Error::Unreachable { .. } => "unreachable",
            Error::TimedOut { .. } => "timed_out",
            Error::Broken { .. } => "connection_lost",
            Error::Unexpected { .. } => "unexpected_answer",
            Error::Decode(_) => "type_mismatch",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Url { .. } => "Give the URL of a node, such as http://127.0.0.1:3000.".into(),
            Error::Token => "A token is visible ASCII text without line breaks.".into(),
            Error::Encode(_) => "Write a value that JSON can hold.".into(),
            Error::Refused(problem) => return problem.hint.clone(),
            Error::Unreachable { url, .. } => {
                format!("Is a node running at {url}? Start one with `rejoin serve`.")
            }
            Error::TimedOut { .. } | Error::Broken { .. } => {
                "A write may have been done: send it again with the same key, or read the path first.".into()
            }
            Error::Unexpected { url, .. } => format!("Is {url} a rejoin node of this version?"),
            Error::Decode(_) => "Read it as serde_json::Value to see its shape.".into(),
        })
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Error::Refused(problem) => problem.retryable,
            Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Broken { .. } => true,
            Error::Url { .. }
            | Error::Token
            | Error::Encode(_)
            | Error::Unexpected { .. }
            | Error::Decode(_) => false,
        }
    }

    /// The HTTP status, when the server answered an error.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// The server's answer, when there is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the path holds no value.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) && self.code() == "not_found"
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Url { url, reason } => write!(f, "{url:?} is not the URL of a node: {reason}."),
            Error::Token => f.write_str("The token cannot be sent in an HTTP header."),
            Error::Encode(source) => write!(f, "The value cannot be written as JSON: {source}."),
            Error::Refused(problem) => f.write_str(&problem.message),
            Error::Unreachable { url, reason } => write!(f, "Cannot reach {url}: {reason}."),
            Error::TimedOut { url, waited } => {
                write!(f, "{url} did not answer within {} s.", waited.as_secs())
            }
            Error::Broken { url, reason } => {
                write!(f, "The connection to {url} ended before the answer was complete: {reason}.")
            }
            Error::Unexpected { url, reason } => {
                write!(f, "{url} did not answer as a rejoin node does: {reason}.")
            }
            Error::Decode(source) => write!(f, "The value does not fit the requested type: {source}."),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Encode(source) | Error::Decode(source) => Some(source),
            _ => None,
        }
    }
}
