//! RESP, as much of it as SET and GET need.

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection.
#[derive(Debug)]
pub(crate) struct Redis {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl Redis {
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Redis> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Redis { stream, out: Vec::new(), input: Vec::with_capacity(4096) })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let answer = self.command(&[b"SET", key.as_bytes(), value]).await?;
        ensure!(answer == b"+OK\r\n", "SET: {}", String::from_utf8_lossy(answer));
        Ok(())
    }

    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<usize> {
        let answer = self.command(&[b"GET", key.as_bytes()]).await?;
        ensure!(
            answer.starts_with(b"$") && answer.len() > 100,
            "GET {key}: {}",
            String::from_utf8_lossy(answer)
        );
        Ok(answer.len())
    }

    /// A command and its answer, as it came: a line, or a text of a given length.
    pub(crate) async fn command(&mut self, words: &[&[u8]]) -> anyhow::Result<&[u8]> {
        self.send(words).await?;
        super::answered(self.receive()).await
    }

    pub(crate) async fn send(&mut self, words: &[&[u8]]) -> anyhow::Result<()> {
        self.out.clear();
        write!(self.out, "*{}\r\n", words.len())?;
        for word in words {
            write!(self.out, "${}\r\n", word.len())?;
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(self.stream.write_all(&self.out).await?)
    }

    async fn receive(&mut self) -> anyhow::Result<&[u8]> {
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server has closed the connection");
            }
            let Some(line) = memchr::memchr(b'\n', &self.input) else { continue };
            let whole = match self.input[0] {
                b'$' => {
                    let length = std::str::from_utf8(&self.input[1..line - 1])?.parse::<i64>()?;
                    let text = usize::try_from(length).map_or(0, |length| length + 2);
                    line + 1 + text
                }
                _ => line + 1,
            };
            if self.input.len() >= whole {
                return Ok(&self.input[..whole]);
            }
        }
    }

    /// Reads on until what was received holds `needle`; for subscriptions.
    pub(crate) async fn until(&mut self, needle: &[u8]) -> anyhow::Result<()> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.input, needle) {
                self.input.drain(..at + needle.len());
                return Ok(());
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server has closed the connection");
            }
        }
    }

    /// The number that a command answers with.
    pub(crate) async fn number(&mut self, words: &[&[u8]]) -> anyhow::Result<u64> {
        let answer = self.command(words).await?;
        let text = std::str::from_utf8(answer)?.trim();
        text.strip_prefix(':').context("not a number")?.parse().context("not a number")
    }
}
