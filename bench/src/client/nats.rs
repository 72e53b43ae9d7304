//! NATS, as much of it as a JetStream key-value bucket needs.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The bucket.
const BUCKET: &str = "bench";

/// A connection, with an inbox of its own.
#[derive(Debug)]
pub(crate) struct Nats {
    stream: TcpStream,
    inbox: String,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Of the input, what was looked at.
    used: usize,
}

impl Nats {
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Nats> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let inbox = format!("_INBOX.{:016x}", rand::random::<u64>());
        let mut nats = Nats { stream, inbox, out: Vec::new(), input: Vec::with_capacity(4096), used: 0 };
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB {} 1\r\n",
            nats.inbox
        );
        nats.stream.write_all(hello.as_bytes()).await?;
        Ok(nats)
    }

    /// Makes the bucket, as `nats kv add` does: the newest value of each key, in files.
    pub(crate) async fn make_bucket(&mut self) -> anyhow::Result<()> {
        let config = format!(
            "{{\"name\":\"KV_{BUCKET}\",\"subjects\":[\"$KV.{BUCKET}.>\"],\"max_msgs_per_subject\":1,\
             \"allow_rollup_hdrs\":true,\"deny_delete\":true,\"allow_direct\":true,\"storage\":\"file\",\
             \"discard\":\"new\",\"num_replicas\":1,\"max_msgs\":-1,\"max_bytes\":-1,\"retention\":\"limits\"}}"
        );
        let subject = format!("$JS.API.STREAM.CREATE.KV_{BUCKET}");
        let answer = self.request(&subject, config.as_bytes()).await?;
        let text = String::from_utf8_lossy(answer);
        ensure!(!text.contains("\"error\""), "a bucket: {text}");
        Ok(())
    }

    /// Makes a copy of the bucket of another server, which is in this domain: a stream that is fed by the other's.
    pub(crate) async fn make_mirror(&mut self, domain: &str) -> anyhow::Result<()> {
        let config = format!(
            "{{\"name\":\"KV_{BUCKET}\",\"mirror\":{{\"name\":\"KV_{BUCKET}\",\"external\":{{\"api\":\"$JS.{domain}.API\"}}}},\
             \"max_msgs_per_subject\":1,\"allow_direct\":true,\"mirror_direct\":true,\"storage\":\"file\",\
             \"discard\":\"new\",\"num_replicas\":1,\"max_msgs\":-1,\"max_bytes\":-1,\"retention\":\"limits\"}}"
        );
        let answer = self.request(&format!("$JS.API.STREAM.CREATE.KV_{BUCKET}"), config.as_bytes()).await?;
        let text = String::from_utf8_lossy(answer);
        ensure!(!text.contains("\"error\""), "a mirror: {text}");
        Ok(())
    }

    /// How many values the bucket has here.
    pub(crate) async fn count(&mut self) -> anyhow::Result<u64> {
        let answer = self.request(&format!("$JS.API.STREAM.INFO.KV_{BUCKET}"), b"").await?;
        let info: serde_json::Value = serde_json::from_slice(answer)?;
        info["state"]["messages"].as_u64().with_context(|| format!("no number of messages: {info}"))
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let answer = self.request(&format!("$KV.{BUCKET}.{key}"), value).await?;
        ensure!(
            memchr::memmem::find(answer, b"\"seq\"").is_some(),
            "put: {}",
            String::from_utf8_lossy(answer)
        );
        Ok(())
    }

    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<usize> {
        let subject = format!("$JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{key}");
        let answer = self.request(&subject, b"").await?;
        ensure!(answer.len() > 100, "get {key}: {}", String::from_utf8_lossy(answer));
        Ok(answer.len())
    }

    /// A request and the payload of its answer, headers included.
    async fn request(&mut self, subject: &str, payload: &[u8]) -> anyhow::Result<&[u8]> {
        self.out.clear();
        write!(self.out, "PUB {subject} {} {}\r\n", self.inbox, payload.len())?;
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.out).await?;
        super::answered(self.receive()).await
    }

    async fn receive(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.input[self.used..]) else {
                self.more().await?;
                continue;
            };
            let line = std::str::from_utf8(&self.input[self.used..self.used + end])?.trim_end().to_owned();
            let next = self.used + end + 1;
            if line.starts_with("MSG") || line.starts_with("HMSG") {
                let length = line.rsplit(' ').next().context("a message without a length")?;
                let length: usize = length.parse()?;
                while self.input.len() < next + length + 2 {
                    self.more().await?;
                }
                self.used = next + length + 2;
                return Ok(&self.input[next..next + length]);
            }
            self.used = next;
            match line.split(' ').next() {
                Some("PING") => self.stream.write_all(b"PONG\r\n").await?,
                Some("-ERR") => bail!("{line}"),
                _ => {}
            }
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.used == self.input.len() {
            self.input.clear();
            self.used = 0;
        }
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }
}
