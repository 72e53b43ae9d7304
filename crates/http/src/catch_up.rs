//! Sessions over several nodes: `Rejoin-Token` and `Rejoin-Wait` on requests, `Rejoin-Token` on answers.

use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Response, StatusCode};
use rejoin::{Dot, Error, Frontier, Node, Token};
use tokio::time::Instant;

use crate::answer::{REJOIN_TOKEN, REJOIN_WAIT, Stream};
use crate::config::{MISSING_ROWS_MAX, WAIT_MAX};
use crate::problem::{Missing, MissingRange, Problem};

/// Waits until this node has applied what the request's tokens name, as long as the request allows.
pub(crate) async fn wait(node: &Node, headers: &HeaderMap) -> Result<(), Problem> {
    let wait = match headers.get(REJOIN_WAIT) {
        Some(value) => parse_wait(value.to_str().unwrap_or_default())?,
        None => Duration::ZERO,
    };
    let deadline = Instant::now() + wait;
    for token in tokens(headers)? {
        let left = deadline.saturating_duration_since(Instant::now());
        node.wait_for(&token, left).await.map_err(|error| match error {
            Error::NotCaughtUp { missing, held } => {
                Problem::not_caught_up(listed(&missing)).held_back(held.as_deref())
            }
            error => error.into(),
        })?;
    }
    Ok(())
}

/// Puts the token of what this node has applied on an answer that tells something of its state: a value, a write, or
/// that a value is not there or not the expected one. Called after what it answers, so that it covers that.
pub(crate) fn put_token(
    node: &Node,
    answer: Result<Response<Stream>, Problem>,
) -> Result<Response<Stream>, Problem> {
    // Base64 is always legal in a header.
    let token = || HeaderValue::try_from(node.token().as_str()).ok();
    match answer {
        Ok(mut response) => {
            if let Some(token) = token() {
                response.headers_mut().insert(REJOIN_TOKEN, token);
            }
            Ok(response)
        }
        Err(problem) => Err(match token().filter(|_| tells_state(problem.status())) {
            Some(token) => problem.with(REJOIN_TOKEN, token),
            None => problem,
        }),
    }
}

fn tells_state(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED)
}

/// The tokens of a request: several headers, and several in one, as of answers that crossed each other.
fn tokens(headers: &HeaderMap) -> Result<Vec<Token>, Problem> {
    let invalid = || {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_token", "The `Rejoin-Token` is not a token.")
            .hint("Send the `Rejoin-Token` of an earlier answer as it was given.")
    };
    let mut tokens = Vec::new();
    for value in headers.get_all(REJOIN_TOKEN) {
        for text in value.to_str().map_err(|_| invalid())?.split(',') {
            tokens.push(text.trim().parse().map_err(|_| invalid())?);
        }
    }
    Ok(tokens)
}

pub(crate) fn listed(missing: &Frontier) -> Missing {
    let ranges = missing.rows().flat_map(|(node, epoch, set)| {
        set.ranges().iter().map(move |&(first, last)| {
            let version = |seq| Dot { node, epoch, seq }.to_string();
            MissingRange { node: node.to_string(), first: version(first), last: version(last) }
        })
    });
    Missing { count: missing.len(), writes: ranges.take(MISSING_ROWS_MAX).collect() }
}

/// Reads a `Rejoin-Wait`.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let wait = parse_time(text).ok_or_else(|| {
        Problem::header("The `Rejoin-Wait` header is not a time.").hint("Write it as `2s` or `500ms`.")
    })?;
    if wait > WAIT_MAX {
        return Err(Problem::header(format!("The `Rejoin-Wait` is longer than {} s.", WAIT_MAX.as_secs()))
            .hint("Wait less, or ask the node that gave the token."));
    }
    Ok(wait)
}

/// Reads `2s`, `500ms` or `0`.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        (None, None) => (text, if text == "0" { 1 } else { 0 }),
    };
    let number: u64 = digits.parse().ok()?;
    let plain = unit_ms > 0 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| Duration::from_millis(number.saturating_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        for (text, ms) in [("2s", 2000), ("500ms", 500), ("0", 0), ("0s", 0), (" 30s ", 30_000)] {
            assert_eq!(parse_wait(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "2", "s", "ms", "-1s", "+1s", "1.5s", "31s", "2m", "99999999999999999999s"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }
}
