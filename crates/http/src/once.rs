//! `Idempotency-Key`: a request that may be sent again is done once, and answered as the first time.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rejoin::{Error, Key, Once, Replay, Write, Written};

use crate::problem::Problem;

/// What the client names its request by.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that was given before: nothing was done now.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key of a request, if it has one.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = given.next().map(|value| value.to_str().unwrap_or_default());
    match given.next() {
        None => of_member(key),
        Some(_) => Err(Problem::header("The request has two `Idempotency-Key`s.").hint("Send one.")),
    }
}

/// The same of a member of a JSON text.
pub(crate) fn of_member(text: Option<&str>) -> Result<Option<Key>, Problem> {
    Ok(text.map(Key::parse).transpose().map_err(Error::BadKey)?)
}

/// A write that is all of its request.
pub(crate) fn whole(key: Option<&Key>, write: Write) -> Write {
    match key {
        Some(key) => write.with_key(key),
        None => write,
    }
}

/// A write that is one of several of its request, each done on its own: which of them, counted from 0.
pub(crate) fn part(key: Option<&Key>, at: u64, mut write: Write) -> Write {
    if let (Some(key), Ok(at)) = (key, u32::try_from(at)) {
        write.once = Some(Once::of_part(key, at, std::slice::from_ref(&write)));
    }
    write
}

/// Whether a write was done before.
pub(crate) fn is_replayed(written: &Written) -> bool {
    written.replay != Replay::No
}

/// Says that an answer was given before.
pub(crate) fn put(headers: &mut HeaderMap, replayed: bool) {
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
}
