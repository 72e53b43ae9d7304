//! Reading one's own writes on any node: `Rejoin-Token` and `Rejoin-Wait` on requests.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use rejoin::{Dot, Frontier, Node};
use rejoin_causal::token;
use tokio::time::Instant;

use crate::answer::{REJOIN_TOKEN, REJOIN_WAIT};
use crate::config::{MISSING_ROWS_MAX, WAIT_MAX, WAIT_STEP};
use crate::problem::{Missing, MissingRange, Problem};

/// Waits until this node has applied what the request's token names, as long as the request allows.
pub(crate) async fn wait(node: &Node, headers: &HeaderMap) -> Result<(), Problem> {
    let wait = match headers.get(REJOIN_WAIT) {
        Some(value) => parse_wait(value.to_str().unwrap_or_default())?,
        None => Duration::ZERO,
    };
    let Some(value) = headers.get(REJOIN_TOKEN) else { return Ok(()) };
    let wanted = value.to_str().ok().and_then(|text| token::decode(text).ok()).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_token", "The `Rejoin-Token` is not a token.")
            .hint("Send the `Rejoin-Token` of an earlier answer as it was given.")
    })?;
    let deadline = Instant::now() + wait;
    loop {
        let missing = wanted.difference(&applied(node)?);
        if missing.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        if now >= deadline {
            return Err(Problem::not_caught_up(listed(&missing)));
        }
        // Wakes at the next commit; the step covers one that came between the look and the wait.
        node.committed(WAIT_STEP.min(deadline - now)).await;
    }
}

fn applied(node: &Node) -> Result<Frontier, Problem> {
    token::decode(&node.token()?).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "storage_failed",
            format!("The node's own token does not decode: {error}."),
        )
        .hint("Report this; reads without `Rejoin-Token` still work.")
    })
}

fn listed(missing: &Frontier) -> Missing {
    let ranges = missing.rows().flat_map(|(node, epoch, set)| {
        set.ranges().iter().map(move |&(first, last)| {
            let version = |seq| Dot { node, epoch, seq }.to_string();
            MissingRange { node: node.to_string(), first: version(first), last: version(last) }
        })
    });
    Missing { count: missing.len(), writes: ranges.take(MISSING_ROWS_MAX).collect() }
}

/// Reads `2s`, `500ms` or `0`.
fn parse_wait(text: &str) -> Result<Duration, Problem> {
    let text = text.trim();
    let (digits, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1000),
        (None, None) => (text, if text == "0" { 1 } else { 0 }),
    };
    let ms = match digits.parse::<u64>() {
        Ok(number) if unit_ms > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.saturating_mul(unit_ms)
        }
        _ => {
            return Err(Problem::header("The `Rejoin-Wait` header is not a time.")
                .hint("Write it as `2s` or `500ms`."));
        }
    };
    let wait = Duration::from_millis(ms);
    if wait > WAIT_MAX {
        return Err(Problem::header(format!("The `Rejoin-Wait` is longer than {} s.", WAIT_MAX.as_secs()))
            .hint("Wait less, or ask the node that gave the token."));
    }
    Ok(wait)
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
