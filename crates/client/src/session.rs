//! Sessions: what was seen on one node is seen on every other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;

const REJOIN_TOKEN: HeaderName = HeaderName::from_static("rejoin-token");
const REJOIN_WAIT: HeaderName = HeaderName::from_static("rejoin-wait");

/// What a program has seen, over all nodes that it asks.
///
/// Requests of clients that are in a session ([`crate::Client::in_session`]) are answered only by a node that has
/// applied everything the session wrote or read before: a program reads its own writes, and never an older state than
/// it has read. A node that is behind waits up to the session's limit, then answers the error `not_caught_up`; the
/// same request may be sent again, there or to another node. Cheap to clone; clones are one session.
#[derive(Clone, Debug)]
pub struct Session {
    seen: Arc<Mutex<Vec<HeaderValue>>>,
    wait: Duration,
}

impl Session {
    /// A session that has seen nothing. A node may wait that long to catch up before it answers; servers allow at
    /// most 30 s.
    pub fn new(wait: Duration) -> Session {
        Session { seen: Arc::default(), wait }
    }

    /// What the session has seen, as text for [`Session::resume`]; empty when it has seen nothing.
    pub fn token(&self) -> String {
        let seen = self.seen();
        let texts: Vec<&str> = seen.iter().filter_map(|token| token.to_str().ok()).collect();
        texts.join(",")
    }

    /// Makes the session know what another one had seen.
    ///
    /// # Errors
    /// [`Error::Token`] for text that no header can carry. Whether it is a token, the server says.
    pub fn resume(&self, token: &str) -> Result<(), Error> {
        for text in token.split(',').filter(|text| !text.is_empty()) {
            let token = HeaderValue::from_str(text).map_err(|_| Error::Token)?;
            self.saw(&[], token);
        }
        Ok(())
    }

    /// The headers of a request.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) -> Vec<HeaderValue> {
        let seen = self.seen().clone();
        for token in &seen {
            headers.append(REJOIN_TOKEN, token.clone());
        }
        if !seen.is_empty() {
            headers.insert(
                REJOIN_WAIT,
                HeaderValue::from_str(&format!("{}ms", self.wait.as_millis())).unwrap_or(NO_WAIT),
            );
        }
        seen
    }

    /// Notes an answer to a request that sent these tokens.
    pub(crate) fn answered(&self, sent: &[HeaderValue], headers: &HeaderMap) {
        if let Some(token) = headers.get(REJOIN_TOKEN) {
            self.saw(sent, token.clone());
        }
    }

    /// The node that gave `token` had applied everything of `sent`. What came meanwhile, as answers to requests that
    /// overlapped this one, stays beside it until a later answer covers both.
    fn saw(&self, sent: &[HeaderValue], token: HeaderValue) {
        let mut seen = self.seen();
        seen.retain(|known| !sent.contains(known) && *known != token);
        seen.push(token);
    }

    fn seen(&self) -> MutexGuard<'_, Vec<HeaderValue>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NO_WAIT: HeaderValue = HeaderValue::from_static("0");

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }

    fn answer(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(REJOIN_TOKEN, token(text))])
    }

    #[test]
    fn an_answer_covers_what_its_request_named_and_nothing_else() {
        let session = Session::new(Duration::from_secs(1));
        let mut first = HeaderMap::new();
        assert!(session.ask(&mut first).is_empty() && first.is_empty());
        session.answered(&[], &answer("a"));

        // Two requests overlap; each names a.
        let sent = session.ask(&mut HeaderMap::new());
        session.answered(&sent, &answer("b"));
        session.answered(&sent, &answer("c"));
        assert_eq!(session.token(), "b,c");

        let mut headers = HeaderMap::new();
        let sent = session.ask(&mut headers);
        assert_eq!(headers.get_all(REJOIN_TOKEN).iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(headers[REJOIN_WAIT], "1000ms");
        session.answered(&sent, &answer("d"));
        assert_eq!(session.token(), "d");
        session.answered(&[token("d")], &HeaderMap::new());
        assert_eq!(session.token(), "d", "an answer without a token tells nothing");

        let later = Session::new(Duration::ZERO);
        later.resume("d,e").unwrap();
        assert_eq!(later.token(), "d,e");
        assert!(later.resume("two\nlines").is_err());
    }
}
