//! Answers that no handler makes: to what is no request, and to connections beyond the limit. They have the shape of
//! every other error, and a listed page may read them.

use std::time::Duration;

use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};

use crate::answer::Stream;
use crate::guard::Guard;
use crate::problem::Problem;

/// What is answered instead of the HTTP library's own answer to what it could not read; nothing when `answer` is not such a
/// one. `head` is what has come of the request, as far as it is known.
pub(crate) fn instead_of(
    answer: &[u8],
    head: &[u8],
    guard: &Guard,
    head_bytes_max: usize,
) -> Option<Vec<u8>> {
    if !is_of_library(answer) {
        return None;
    }
    let problem = match answer.get(STATUS_AT..STATUS_AT + 3)? {
        b"400" => Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "What was sent is not a request of HTTP/1.1.",
        )
        .hint("Check the method, the target and the headers; a target is percent-encoded."),
        b"431" | b"414" => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            format!("The head of the request has more than {head_bytes_max} bytes, or too many headers."),
        )
        .hint("Send fewer or shorter headers: of cookies and tokens, only those that this server needs."),
        _ => return None,
    };
    Some(text(problem, head, guard))
}

/// What connections beyond the limit are told.
pub(crate) fn too_many(head: &[u8], guard: &Guard) -> Vec<u8> {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "The server has as many connections as it may.",
    )
    .hint("Retry after a moment, and reuse connections.")
    .retry_after(Duration::from_secs(1));
    text(problem, head, guard)
}

/// Whether this is an answer that the HTTP library makes by itself: no answer of ours to a request in error is empty.
pub(crate) fn is_of_library(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.")
        && answer.get(STATUS_AT) == Some(&b'4')
        && answer.ends_with(b"\r\n\r\n")
        && answer.windows(EMPTY.len()).any(|window| window == EMPTY)
}

const EMPTY: &[u8] = b"content-length: 0\r\n";

/// Where the status of an answer is: behind `HTTP/1.1 `.
const STATUS_AT: usize = 9;

/// The whole answer, after which the connection ends.
fn text(problem: Problem, head: &[u8], guard: &Guard) -> Vec<u8> {
    let mut response = problem.into_response();
    // Of a head that was cut off before its origin, the only page that it can be from.
    guard.open_to_origin(origin(head).as_ref().or(guard.only_origin().as_ref()), &mut response);
    let body = match response.body_mut() {
        Stream::Whole(bytes) => bytes.take().unwrap_or_default(),
        Stream::Pieces(_) => bytes::Bytes::new(),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let status = response.status();
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
            .into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    if !head.starts_with(Method::HEAD.as_str().as_bytes()) {
        text.extend_from_slice(&body);
    }
    text
}

/// The first `Origin` of a head that may be broken or not whole.
fn origin(head: &[u8]) -> Option<HeaderValue> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        let (name, value) = line.split_at_checked(ORIGIN.as_str().len() + 1)?;
        let named = name.strip_suffix(b":")?.eq_ignore_ascii_case(ORIGIN.as_str().as_bytes());
        named.then(|| HeaderValue::from_bytes(value.trim_ascii()).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://app.example.com";

    fn guard() -> Guard {
        Guard::new(None, &[], &[OURS.to_owned()], "127.0.0.1:3000".parse().unwrap())
    }

    fn said(status: &str, head: &str) -> Option<String> {
        let answer =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n");
        instead_of(answer.as_bytes(), head.as_bytes(), &guard(), 32_768)
            .map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn what_the_library_refuses_has_our_shape_and_listed_pages_may_read_it() {
        let text = said("400 Bad Request", &format!("GET / HTTP/9\r\nORIGIN: {OURS}\r\n")).unwrap();
        assert!(text.contains("\"error\":\"malformed_request\""), "{text}");
        assert!(text.contains(&format!("access-control-allow-origin: {OURS}\r\n")), "{text}");
        let text = said("431 Request Header Fields Too Large", "GET / HTTP/1.1\r\norigin: https://evil\r\n")
            .unwrap();
        assert!(text.contains("\"error\":\"head_too_large\""), "{text}");
        assert!(!text.contains("access-control-allow-origin"), "{text}");
        let text = said("431 Request Header Fields Too Large", "HEAD / HTTP/1.1\r\n").unwrap();
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn answers_of_handlers_stay_as_they_are() {
        assert_eq!(said("200 OK", ""), None);
        let full = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(instead_of(full, b"", &guard(), 1), None);
    }
}
