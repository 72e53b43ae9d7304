//! Paths as parts of a request target.
//!
//! The server owns the rules of a path. This module only refuses what would reach another route than the caller meant:
//! `GET /api/status` is not the document `status`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Problem};

/// First segments that name routes of the API; any that starts with `_` is reserved as well.
const RESERVED_FIRST_SEGMENTS: [&str; 3] = ["scan", "history", "status"];

/// All but the unreserved characters of RFC 3986 and the segment separator.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The target of a document.
pub(crate) fn document(path: &str) -> Result<String, Error> {
    let first = path.split('/').next().unwrap_or_default();
    if path.is_empty() {
        return Err(refusal(
            "invalid_path",
            path,
            "The path is empty.",
            "Name a document, such as users/alice.",
        ));
    }
    if first.starts_with('_') || RESERVED_FIRST_SEGMENTS.contains(&first) {
        return Err(refusal(
            "reserved_path",
            path,
            &format!("The first segment {first:?} is reserved for the API."),
            "Choose another first segment; scan, history, status and names that begin with _ are taken.",
        ));
    }
    Ok(format!("/api/{}", encode(path)))
}

/// The target of a scan.
pub(crate) fn scan(prefix: &str) -> String {
    format!("/api/scan/{}", encode(prefix))
}

/// The target of a document's history.
pub(crate) fn history(path: &str) -> Result<String, Error> {
    document(path).map(|_| format!("/api/history/{}", encode(path)))
}

/// The target of a system route about a document.
pub(crate) fn below(route: &str, path: &str) -> Result<String, Error> {
    document(path).map(|_| format!("/api/{route}/{}", encode(path)))
}

/// A context that no header can carry.
pub(crate) fn bad_context() -> Error {
    Error::Refused(Box::new(Problem {
        code: "invalid_context".into(),
        message: "The text is not a context.".into(),
        hint: Some("Use the context of a read of this path as it was given.".into()),
        path: None,
        retryable: false,
        reason: None,
        operation: None,
        status: 400,
        body: None,
    }))
}

/// Text as part of a path or a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// An entity tag that no header can carry.
pub(crate) fn bad_etag(etag: &str) -> Error {
    Error::Refused(Box::new(Problem {
        code: "invalid_parameter".into(),
        message: format!("{etag:?} is not an entity tag."),
        hint: Some("Use the etag that a read or write of this path has answered.".into()),
        path: None,
        retryable: false,
        reason: None,
        operation: None,
        status: 400,
        body: None,
    }))
}

fn refusal(code: &str, path: &str, message: &str, hint: &str) -> Error {
    Error::Refused(Box::new(Problem {
        code: code.into(),
        message: message.into(),
        hint: Some(hint.into()),
        path: Some(path.into()),
        retryable: false,
        reason: None,
        operation: None,
        status: 400,
        body: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_carry_any_legal_path() {
        assert_eq!(
            document("users/alice@example.com/inbox").unwrap(),
            "/api/users/alice%40example.com/inbox"
        );
        assert_eq!(document("données/é").unwrap(), "/api/donn%C3%A9es/%C3%A9");
        assert_eq!(document("100%/a b?c#d").unwrap(), "/api/100%25/a%20b%3Fc%23d");
        assert_eq!(scan(""), "/api/scan/");
        assert_eq!(history("a/b").unwrap(), "/api/history/a/b");
    }

    #[test]
    fn no_path_reaches_another_route() {
        for path in ["status", "scan/users", "history/a", "_peers", "_x/y"] {
            assert_eq!(document(path).unwrap_err().code(), "reserved_path", "{path}");
        }
        assert_eq!(document("").unwrap_err().code(), "invalid_path");
        assert!(document("status2").is_ok());
        assert!(document("users/status").is_ok());
    }
}
