//! One node's API: where it is, how to ask, and what its answers mean.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::answer::{self, Answer};
use crate::config::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, RETRY_WAITS};
use crate::error::Error;
use crate::key::{IDEMPOTENCY_KEY, IdempotencyKey};
use crate::session::Session;

type Http = hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>;

/// A client of one node. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    /// Without a slash at the end.
    url: String,
    authorization: Option<HeaderValue>,
    session: Option<Session>,
}

impl Client {
    /// A client of the node at `base_url`, such as `http://127.0.0.1:3000`. Connects with the first request.
    ///
    /// # Errors
    /// Refuses a URL that is not one of plain HTTP, and a token that no header can carry.
    pub fn new(base_url: &str, token: Option<String>) -> Result<Client, Error> {
        let url = parse_base(base_url)?;
        let authorization = token.map(|token| bearer(&token)).transpose()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Client { http, url, authorization, session: None })
    }

    /// This client with its requests in a session; those of a watch, of streams of changes, are not.
    #[must_use]
    pub fn in_session(&self, session: &Session) -> Client {
        Client { session: Some(session.clone()), ..self.clone() }
    }

    /// The node's URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends one request and reads the whole answer. A status of 400 and more is an error.
    ///
    /// A request that is done once is sent again when its answer was lost.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        if !ask.once {
            return self.ask_once(ask).await;
        }
        let mut lost = match self.ask_once(ask.clone()).await {
            Err(lost @ Error::Broken { .. }) => lost,
            answer => return answer,
        };
        for wait in RETRY_WAITS {
            tokio::time::sleep(wait).await;
            match self.ask_once(ask.clone()).await {
                // It may have been done all the same.
                Err(Error::Unreachable { .. }) => {}
                Err(again @ Error::Broken { .. }) => lost = again,
                answer => return answer,
            }
        }
        Err(lost)
    }

    async fn ask_once(&self, ask: Ask) -> Result<Answer, Error> {
        let waited = ask.timeout;
        let answer = async { answer::read(&self.url, self.send(ask).await?).await };
        match tokio::time::timeout(waited, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(waited)),
        }
    }

    /// Sends one request and leaves the body of a good answer to be read bit by bit.
    pub(crate) async fn open(&self, ask: Ask) -> Result<Response<Incoming>, Error> {
        let waited = ask.timeout;
        let head = async {
            let response = self.send(ask).await?;
            match response.status().is_success() {
                true => Ok(response),
                // Reading it gives the error it carries.
                false => Err(match answer::read(&self.url, response).await {
                    Ok(answer) => answer.unexpected("it is neither a success nor an error"),
                    Err(error) => error,
                }),
            }
        };
        match tokio::time::timeout(waited, head).await {
            Ok(response) => response,
            Err(_) => Err(self.timed_out(waited)),
        }
    }

    async fn send(&self, ask: Ask) -> Result<Response<Incoming>, Error> {
        let mut request = self.request(ask)?;
        let sent = self.session.as_ref().map(|session| session.ask(request.headers_mut()));
        let response = self.http.request(request).await.map_err(|error| match error.is_connect() {
            true => Error::Unreachable { url: self.url.clone(), reason: innermost(&error) },
            false => Error::Broken { url: self.url.clone(), reason: innermost(&error) },
        })?;
        if let (Some(session), Some(sent)) = (&self.session, sent) {
            session.answered(&sent, response.headers());
        }
        Ok(response)
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, Error> {
        let unusable = |_| Error::Url { url: self.url.clone(), reason: "it does not make a request target" };
        let uri: Uri = format!("{}{}", self.url, ask.target).parse().map_err(unusable)?;
        let mut request = Request::new(Full::new(ask.body));
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.extend(ask.headers);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    fn timed_out(&self, waited: Duration) -> Error {
        Error::TimedOut { url: self.url.clone(), waited }
    }
}

/// One request, before it is addressed.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    timeout: Duration,
    /// It has a key, so that it is done once however often it is sent.
    once: bool,
}

impl Ask {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Ask {
        Ask {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: ANSWER_TIMEOUT,
            once: false,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Ask {
        self.headers.push((name, value));
        self
    }

    /// A key for it: this one, or a new one.
    pub(crate) fn once(mut self, key: Option<&IdempotencyKey>) -> Ask {
        self.once = true;
        self.header(IDEMPOTENCY_KEY, key.cloned().unwrap_or_default().header())
    }

    /// A body of that media type.
    pub(crate) fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Ask {
        self.body = body.into();
        self.header(CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    pub(crate) fn json(self, body: impl Into<Bytes>) -> Ask {
        self.body("application/json", body)
    }

    pub(crate) fn within(mut self, timeout: Duration) -> Ask {
        self.timeout = timeout;
        self
    }
}

const AGENT: &str = concat!("rejoin-client/", env!("CARGO_PKG_VERSION"));

/// The innermost cause: the outer ones only say that the request failed.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number helps nobody.
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn parse_base(given: &str) -> Result<String, Error> {
    let refuse = |reason| Error::Url { url: given.to_owned(), reason };
    let (scheme, rest) = given.trim().split_once("://").unwrap_or(("http", given.trim()));
    let text = format!("{}://{}", scheme.to_ascii_lowercase(), rest.trim_end_matches('/'));
    let uri: Uri = text.parse().map_err(|_| refuse("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(refuse(
                "https is not built in yet; use http, or a proxy on this machine that speaks TLS",
            ));
        }
        _ => return Err(refuse("it must begin with http://")),
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            return Err(refuse("it must not carry a user name or password; use a token"));
        }
        Some(authority) if !authority.host().is_empty() => {}
        _ => return Err(refuse("it names no host")),
    }
    if uri.query().is_some() || text.contains('#') {
        return Err(refuse("it must end before ? and #"));
    }
    Ok(text)
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Token);
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_forgiving_in_form_and_strict_in_kind() {
        for (given, normal) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://localhost:3000/", "http://localhost:3000"),
            ("localhost:3000", "http://localhost:3000"),
            (" http://[::1]:3000/node/a/ ", "http://[::1]:3000/node/a"),
        ] {
            assert_eq!(Client::new(given, None).unwrap().url(), normal);
        }
        for (given, reason) in [
            ("https://example.com", "https is not built in yet"),
            ("ftp://example.com", "must begin with http://"),
            ("ws://example.com", "must begin with http://"),
            ("http://", "not a URL"),
            ("https://", "not a URL"),
            ("", "not a URL"),
            ("http:///path", "not a URL"),
            ("http://a b", "not a URL"),
            ("http://me:secret@example.com", "user name or password"),
            ("http://example.com/?x=1", "before ? and #"),
        ] {
            let error = Client::new(given, None).unwrap_err();
            assert_eq!(error.code(), "invalid_url");
            assert!(error.to_string().contains(reason), "{given}: {error}");
        }
    }

    #[test]
    fn a_token_must_fit_a_header() {
        assert!(Client::new("http://a", Some("s3cret-._~+/=".into())).is_ok());
        for token in ["", "two words", "line\nbreak", "é"] {
            assert_eq!(Client::new("http://a", Some(token.into())).unwrap_err().code(), "invalid_token");
        }
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_named_with_what_to_do() {
        // Bound and dropped: nothing listens there now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error =
            Client::new(&format!("http://127.0.0.1:{port}"), None).unwrap().status().await.unwrap_err();
        assert_eq!(error.code(), "unreachable");
        assert_eq!(
            error.hint().unwrap(),
            format!("Is a node running at http://127.0.0.1:{port}? Start one with `rejoin serve`.")
        );
        assert_eq!(error.to_string(), format!("Cannot reach http://127.0.0.1:{port}: connection refused."));
    }
}
