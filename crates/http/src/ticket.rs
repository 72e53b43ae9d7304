//! `/api/_ticket`: lets a browser's `EventSource` in, which can send no header.
//!
//! A token in an address would stay in logs and histories. A ticket is got with the token, opens one change stream, once
//! and soon, and is worth nothing after that.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;

use crate::answer::{self, Stream};
use crate::api::{Api, millis};
use crate::config::{TICKET_LIFE, TICKETS_MAX};
use crate::incoming::Incoming;
use crate::problem::Problem;
use crate::query::Query;

/// The parameter that a ticket comes as.
pub(crate) const PARAMETER: &str = "ticket";

/// Gives a ticket out. The guard has seen the token.
pub(crate) fn answer(api: &Api, request: &Request<Incoming>) -> Result<Response<Stream>, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let ticket = api.guard.tickets.issue(Instant::now())?;
    let body = Issued { ticket: &ticket, expires_in_ms: millis(TICKET_LIFE) };
    let mut response = answer::shape(StatusCode::CREATED, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued<'a> {
    ticket: &'a str,
    expires_in_ms: u64,
}

/// The ticket of a raw query. Tickets need no encoding.
pub(crate) fn of_query(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='))
}

/// The tickets that may be used: hashes, as of the token, and until when. Finding one tells nothing by its time.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<HashMap<[u8; 32], Instant>>);

impl Tickets {
    fn issue(&self, now: Instant) -> Result<String, Problem> {
        let mut secret = [0; 24];
        if let Err(error) = getrandom::fill(&mut secret) {
            tracing::error!(%error, "there is no randomness for a ticket");
            return Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "There is no randomness for a ticket.",
            )
            .hint("Report this with the server's log."));
        }
        let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
        let mut open = self.open();
        if open.len() >= TICKETS_MAX {
            open.retain(|_, end| *end > now);
        }
        if open.len() >= TICKETS_MAX {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                format!("{TICKETS_MAX} tickets wait to be used, which is the limit."),
            )
            .hint("Ask for a ticket when a stream is to be opened, not before.")
            .retry_after(Duration::from_secs(1)));
        }
        open.insert(hash(&text), now + TICKET_LIFE);
        Ok(text)
    }

    /// Uses a ticket up.
    pub(crate) fn redeem(&self, text: &str) -> Result<(), Problem> {
        match self.open().remove(&hash(text)) {
            Some(end) if end > Instant::now() => Ok(()),
            _ => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The ticket is unknown, used or too old.",
            )
            .hint("Get a new one with `POST /api/_ticket` for each stream, and open it at once.")),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        // Nothing that runs with the lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_one_stream_once_and_soon() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let ticket = tickets.issue(now).unwrap();
        assert!(tickets.redeem(&ticket).is_ok());
        assert!(tickets.redeem(&ticket).is_err(), "once");
        let old = now.checked_sub(TICKET_LIFE + Duration::from_secs(1));
        if let Some(old) = old {
            let late = tickets.issue(old).unwrap();
            assert!(tickets.redeem(&late).is_err(), "soon");
        }
        assert!(tickets.redeem("").is_err());
        let query = format!("since=now&ticket={ticket}");
        assert_eq!(of_query(Some(&query)), Some(ticket.as_str()));
        assert_eq!(of_query(Some("tickets=1")), None);
    }

    #[test]
    fn tickets_that_nobody_uses_are_bounded() {
        let tickets = Tickets::default();
        let now = Instant::now();
        for _ in 0..TICKETS_MAX {
            tickets.issue(now).unwrap();
        }
        assert!(tickets.issue(now).is_err());
        assert!(tickets.issue(now + TICKET_LIFE).is_ok(), "those that are over make room");
    }
}
