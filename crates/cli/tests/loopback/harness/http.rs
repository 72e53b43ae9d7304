//! A tiny HTTP/1.1 client: one kept-alive connection, blocking, on the standard library alone.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than the longest request that a server may take its time for: an anti-entropy round of 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Shorter than the time after which a server closes an idle connection: a request must not meet that close.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A connection to one server, made when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    used: Instant,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(port: u16) -> Client {
        Client {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            connection: None,
            used: Instant::now(),
        }
    }

    /// Sends one request and reads the whole answer. After an error nobody knows whether the server acted; the next
    /// request opens a new connection.
    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> io::Result<Answer> {
        if self.used.elapsed() > IDLE_MAX {
            self.connection = None;
        }
        let answer = self.exchange(method, target, headers, body);
        self.used = Instant::now();
        if !answer.as_ref().is_ok_and(Answer::keeps_alive) {
            self.connection = None;
        }
        answer
    }

    /// Writes a value; the connection may break, but what the server answers must be a success.
    pub(crate) fn put(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.write("PUT", path, Some(value))
    }

    /// Deletes a value that is there.
    pub(crate) fn delete(&mut self, path: &str) -> io::Result<()> {
        self.write("DELETE", path, None)
    }

    fn write(&mut self, method: &str, path: &str, body: Option<&str>) -> io::Result<()> {
        let answer = self.send(method, &format!("/api/{path}"), &[], body)?;
        match answer.status {
            200 | 201 => Ok(()),
            status => Err(io::Error::other(format!("{method} {path}: {status} {}", answer.text()))),
        }
    }

    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                none.insert(BufReader::new(stream))
            }
        };
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            let bytes = body.len();
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        connection.get_mut().write_all(request.as_bytes())?;
        read_answer(connection, method)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn read_answer(from: &mut BufReader<TcpStream>, method: &str) -> io::Result<Answer> {
    let status_line = read_line(from)?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status line: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("no header line"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = read_line(from)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size];
            from.read_exact(&mut chunk)?;
            answer.body.append(&mut chunk);
            read_line(from)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    let bytes = answer.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    answer.body.resize(bytes, 0);
    from.read_exact(&mut answer.body)?;
    Ok(answer)
}

/// A line without its end; an early end of the stream is an error.
fn read_line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
