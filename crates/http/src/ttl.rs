//! Values that end: `?ttl=10m` or `Rejoin-TTL: 10m` on a write, and the time that is left on a read.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use rejoin::{Entry, Error, Ttl};

use crate::answer::REJOIN_TTL;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::unix_ms;

/// The parameter of a write.
pub(crate) const PARAMETER: &str = "ttl";

/// How long what a request writes is to live; without an end when it does not say.
pub(crate) fn of_request(query: &Query, headers: &HeaderMap) -> Result<Option<Ttl>, Problem> {
    let header = headers.get_all(REJOIN_TTL).iter().map(|value| value.to_str().unwrap_or_default());
    let mut given = query.text(PARAMETER).into_iter().chain(header);
    let ttl = of_member(given.next())?;
    match given.next() {
        None => Ok(ttl),
        Some(_) => Err(Problem::parameter("The time to live is given twice.")
            .hint("Give it once, as `?ttl=10m` or as `Rejoin-TTL: 10m`.")),
    }
}

/// The same of a member of a JSON text.
pub(crate) fn of_member(text: Option<&str>) -> Result<Option<Ttl>, Problem> {
    Ok(text.map(str::parse).transpose().map_err(Error::Ttl)?)
}

/// A request that writes no value of its own has no use for a time to live.
pub(crate) fn refuse(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key(REJOIN_TTL) {
        true => Err(Problem::header("Only a `PUT` or a `PATCH` takes a `Rejoin-TTL`.")
            .hint("Leave it out, or put the value with the time that it is to live.")),
        false => Ok(()),
    }
}

/// Says how long a value has left to live.
pub(crate) fn put(headers: &mut HeaderMap, entry: &Entry) {
    let Some(expires_ms) = entry.expires_ms else { return };
    // At least a millisecond: it was there when it was read.
    let left = Ttl::of_ms(expires_ms.saturating_sub(unix_ms(SystemTime::now())).max(1));
    if let Some(value) = left.ok().and_then(|left| HeaderValue::try_from(left.to_string()).ok()) {
        headers.insert(REJOIN_TTL, value);
    }
}
