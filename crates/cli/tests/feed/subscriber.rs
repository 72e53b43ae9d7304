//! A subscriber as a program without a library would be one: a socket, a few lines of HTTP, and the last token.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Whoever follows for longer misses something.
const FOLLOW_MAX: Duration = Duration::from_secs(120);

/// Which way to the feed it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Lines,
    ServerSent,
    LongPoll,
}

/// What a subscriber holds, and how it came by it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    way: Way,
    prefixes: Vec<&'static str>,
    address: SocketAddr,
    token: Option<String>,
    /// The version of each path that was told last.
    told: BTreeMap<String, Told>,
    pub(crate) seen: Seen,
}

/// How a version is ordered on one node: its epoch, its number. And its value; none for a delete.
type Told = ((String, u64), Option<Value>);

/// What happened on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: u64,
    pub(crate) changes: u64,
    pub(crate) repeats: u64,
    pub(crate) snapshot_ends: u64,
    pub(crate) resyncs: u64,
}

/// The connection of a subscriber, for somebody else to cut.
#[derive(Debug)]
pub(crate) struct Thread(Mutex<Option<TcpStream>>);

impl Thread {
    pub(crate) const fn new() -> Thread {
        Thread(Mutex::new(None))
    }

    /// Cuts it; false when there is none.
    pub(crate) fn cut(&self) -> bool {
        let stream = self.0.lock().unwrap().take();
        stream.is_some_and(|stream| stream.shutdown(Shutdown::Both).is_ok())
    }
}

impl Subscriber {
    pub(crate) fn new(way: Way, port: u16, prefixes: &[&'static str]) -> Subscriber {
        Subscriber {
            way,
            prefixes: prefixes.to_vec(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            token: None,
            told: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Follows the feed over as many connections as it takes, until `path` shows `value`, or nobody cares any more.
    pub(crate) fn follow(&mut self, thread: &Thread, path: &str, value: &Value, given_up: &AtomicBool) {
        let started = Instant::now();
        while !self.is_told(path, value) && !given_up.load(Ordering::SeqCst) {
            assert!(started.elapsed() < FOLLOW_MAX, "{path} never came: {:?}", self.seen);
            // Cut, refused, or not there: it makes no difference.
            if self.connect(thread, path, value).is_err() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Every path with its value.
    pub(crate) fn held(&self) -> BTreeMap<String, Value> {
        let values = self.told.iter().filter_map(|(path, (_, value))| Some((path.clone(), value.clone()?)));
        values.collect()
    }

    /// Whether a change of this path concerns it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let covers = |prefix: &&str| prefix.is_empty() || within(path, prefix) || within(prefix, path);
        self.prefixes.iter().any(covers)
    }

    /// One connection, to its end.
    fn connect(&mut self, thread: &Thread, path: &str, value: &Value) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        // Longer than the heartbeat that is asked for.
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        *thread.0.lock().unwrap() = Some(stream.try_clone()?);
        // Version 1.0, so that the body ends with the connection and is not cut into chunks.
        let (feed, accept) = match self.way {
            Way::Lines => ("", "application/x-ndjson"),
            Way::ServerSent => ("&feed=eventsource", "text/event-stream"),
            Way::LongPoll => ("&feed=longpoll&limit=40", "application/json"),
        };
        let prefixes: String = self.prefixes.iter().map(|prefix| format!("&prefix={prefix}")).collect();
        let (since, last_event_id) = match (&self.token, self.way) {
            (None, _) => ("0", String::new()),
            (Some(token), Way::ServerSent) => ("0", format!("Last-Event-ID: {token}\r\n")),
            (Some(token), _) => (token.as_str(), String::new()),
        };
        let request = format!(
            "GET /api/_changes?since={since}&heartbeat=1000{feed}{prefixes} HTTP/1.0\r\nHost: {}\r\nAccept: {accept}\r\n\
             {last_event_id}\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        self.seen.connections += 1;
        let mut lines = BufReader::new(stream);
        let status = line(&mut lines)?;
        while !line(&mut lines)?.is_empty() {}
        assert!(status.contains(" 200 ") || status.contains(" 503 "), "{status}");
        if status.contains(" 503 ") {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        match self.way {
            Way::Lines => loop {
                let text = line(&mut lines)?;
                if !text.is_empty() {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    let kind = event["event"].as_str().unwrap().to_owned();
                    self.event(&kind, &event, event["token"].as_str());
                }
                if self.is_told(path, value) {
                    return Ok(());
                }
            },
            Way::ServerSent => self.server_sent(&mut lines, path, value),
            Way::LongPoll => {
                let mut text = String::new();
                lines.read_to_string(&mut text)?;
                // A body that was cut is as if there had been none.
                let Ok(page) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
                for event in page["items"].as_array().unwrap() {
                    let kind = event["event"].as_str().unwrap();
                    self.event(kind, event, event["token"].as_str());
                }
                self.token = Some(page["token"].as_str().unwrap().to_owned());
                Ok(())
            }
        }
    }

    fn server_sent(&mut self, lines: &mut BufReader<TcpStream>, path: &str, value: &Value) -> io::Result<()> {
        let (mut id, mut kind, mut data) = (None, String::new(), None);
        loop {
            let text = line(lines)?;
            match text.split_once(':').map(|(name, rest)| (name, rest.trim_start())) {
                Some(("id", given)) => id = Some(given.to_owned()),
                Some(("event", given)) => kind = given.to_owned(),
                Some(("data", given)) => data = Some(serde_json::from_str::<Value>(given).unwrap()),
                Some(("", _)) => {}
                None if text.is_empty() => {
                    match data.take() {
                        Some(data) => self.event(&kind, &data, id.as_deref()),
                        // An id without data moves the place to go on from, as the standard says.
                        None => self.token = id.take().or(self.token.take()),
                    }
                    id = None;
                    if self.is_told(path, value) {
                        return Ok(());
                    }
                }
                other => panic!("not a line of an event stream: {other:?} {text:?}"),
            }
        }
    }

    fn is_told(&self, path: &str, value: &Value) -> bool {
        matches!(self.told.get(path), Some((_, Some(told))) if told == value)
    }

    fn event(&mut self, kind: &str, event: &Value, token: Option<&str>) {
        match kind {
            "change" => self.change(event),
            "snapshot-end" => self.seen.snapshot_ends += 1,
            "resync" => self.seen.resyncs += 1,
            "closing" => return,
            other => panic!("an event of the kind {other}"),
        }
        if let Some(token) = token {
            self.token = Some(token.to_owned());
        }
    }

    fn change(&mut self, event: &Value) {
        self.seen.changes += 1;
        let path = event["path"].as_str().unwrap();
        assert!(self.covers(path), "{path} concerns nobody here");
        let mut parts = event["version"].as_str().unwrap().rsplitn(3, '.');
        let number: u64 = parts.next().unwrap().parse().unwrap();
        let version = (parts.next().unwrap().to_owned(), number);
        let value = match event["op"].as_str().unwrap() {
            "put" => Some(event["value"].clone()),
            "delete" | "expire" => None,
            other => panic!("an op {other}"),
        };
        if let Some((before, held)) = self.told.get(path) {
            assert!(*before <= version, "{path} went back from {before:?} to {version:?}");
            if *before == version {
                assert_eq!(*held, value, "{path}: one version, two values");
                self.seen.repeats += 1;
            }
        }
        self.told.insert(path.to_owned(), (version, value));
    }
}

/// A whole line; what was cut off is an error.
fn line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    from.read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
