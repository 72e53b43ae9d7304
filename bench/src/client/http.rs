//! HTTP/1.1, keep-alive, no pipelining.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Client;

/// Where documents are, and how their names are written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// `/api/bench/00000001`
    Rejoin,
    /// `/bench/bench%2F00000001`
    Couch,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    port: u16,
    paths: Paths,
    out: Vec<u8>,
    /// What was received; answers begin at 0.
    input: Vec<u8>,
}

/// An answer: where its parts are in what was received.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The text of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl Http {
    pub(crate) async fn connect(port: u16, paths: Paths) -> anyhow::Result<Http> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Http { stream, port, paths, out: Vec::new(), input: Vec::with_capacity(16 << 10) })
    }

    pub(crate) async fn client(port: u16, paths: Paths) -> anyhow::Result<Client> {
        Ok(Client::Http(Http::connect(port, paths).await?))
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let target = self.target(key);
        let answer = self.request("PUT", &target, "Content-Type: application/json\r\n", value).await?;
        ensure!(matches!(answer.status, 200 | 201), "PUT {target}: {}", answer.words());
        Ok(())
    }

    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<usize> {
        let target = self.target(key);
        let answer = self.request("GET", &target, "", b"").await?;
        ensure!(answer.status == 200, "GET {target}: {}", answer.words());
        Ok(answer.body.len())
    }

    fn target(&self, key: &str) -> String {
        match self.paths {
            Paths::Rejoin => format!("/api/{key}"),
            Paths::Couch => format!("/bench/{}", key.replace('/', "%2F")),
        }
    }

    /// Does a request. `headers` are whole lines.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer<'_>> {
        self.send(method, target, headers, body).await?;
        super::answered(self.receive()).await
    }

    /// Sends a request.
    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<()> {
        self.out.clear();
        let (port, length) = (self.port, body.len());
        write!(self.out, "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}")?;
        if method != "GET" && method != "HEAD" {
            write!(self.out, "Content-Length: {length}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await?;
        Ok(())
    }

    /// Sends a short text over a WebSocket that was upgraded to, masked with zeroes.
    pub(crate) async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).context("a long text")?;
        self.out.clear();
        self.out.extend_from_slice(&[0x81, 0x80 | length, 0, 0, 0, 0]);
        self.out.extend_from_slice(text.as_bytes());
        self.stream.write_all(&self.out).await?;
        Ok(())
    }

    async fn receive(&mut self) -> anyhow::Result<Answer<'_>> {
        self.input.clear();
        let head_end = loop {
            self.more().await?;
            if let Some(at) = memmem::find(&self.input, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = &self.input[..head_end];
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
        let status = status.context("an answer without a status")?;
        if let Some(length) = header(head, b"content-length") {
            let length: usize = std::str::from_utf8(length)?.parse()?;
            while self.input.len() < head_end + length {
                self.more().await?;
            }
        } else if header(head, b"transfer-encoding").is_some() {
            while !self.input.ends_with(b"0\r\n\r\n") {
                self.more().await?;
            }
        }
        let (head, body) = self.input.split_at(head_end);
        Ok(Answer { status, head, body })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }

    /// Reads on until what was received since holds `needle`; for streams.
    pub(crate) async fn until(&mut self, needle: &[u8]) -> anyhow::Result<()> {
        loop {
            if let Some(at) = memmem::find(&self.input, needle) {
                self.input.drain(..at + needle.len());
                return Ok(());
            }
            self.more().await?;
        }
    }
}

impl Answer<'_> {
    /// For errors.
    pub(crate) fn words(&self) -> String {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        format!("{} {body}", self.status)
    }
}

/// The value of a header in a head.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some(value) = line.get(name.len()..) else { continue };
        if line[..name.len()].eq_ignore_ascii_case(name) && value.first() == Some(&b':') {
            return Some(value[1..].trim_ascii());
        }
    }
    None
}
