//! A server to test, and an HTTP/1.1 client that sends any bytes and hides nothing.

use std::net::SocketAddr;
use std::time::Duration;

use rejoin::{Builder, Node};
use rejoin_http::{ServeOptions, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No step of any test takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) node: Node,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    _dir: Option<TempDir>,
}

impl Server {
    pub(crate) async fn memory() -> Server {
        Server::with(Node::builder().in_memory(), ServeOptions::default()).await
    }

    pub(crate) async fn on_disk() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let builder = Node::builder().data_dir(dir.path());
        Server { _dir: Some(dir), ..Server::with(builder, ServeOptions::default()).await }
    }

    pub(crate) async fn with(builder: Builder, options: ServeOptions) -> Server {
        let node = builder.open().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(node.clone(), listener, options, async {
            let _ = stopped.await;
        });
        let served = tokio::spawn(async { serving.await.unwrap() });
        Server { addr, node, stop: Some(stop), served, _dir: None }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.connect().await.send(method, target, headers, body).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    pub(crate) async fn put(&self, target: &str, body: &str) -> Answer {
        self.send("PUT", target, &[("content-type", "application/json")], body).await
    }

    pub(crate) async fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[], "").await
    }

    /// What the node has applied: equal before and after means that nothing was written.
    pub(crate) fn state(&self) -> String {
        self.node.token().to_string()
    }

    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(mut self) -> Node {
        self.tell_to_stop();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
        self.node
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    host: String,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).await.unwrap();
        Client { stream, read: Vec::new(), host: addr.to_string() }
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // A server that has hung up is seen when reading.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends all of it, or fails as a client does that writes before it reads.
    pub(crate) async fn all_of(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server does not read")
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.begin(method, target, headers, body).await;
        self.answer(method == "HEAD").await
    }

    /// Sends a request without reading the answer.
    pub(crate) async fn begin(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text += &format!("host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        let framed = headers.iter().any(|(name, _)| matches!(*name, "content-length" | "transfer-encoding"));
        if !framed && (!body.is_empty() || method == "PUT" || method == "PATCH") {
            text += &format!("content-length: {}\r\n", body.len());
        }
        self.raw((text + "\r\n" + body).as_bytes()).await;
    }

    /// Reads the head of an answer, whose body is then read piece by piece.
    pub(crate) async fn head(&mut self) -> Answer {
        let head = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            assert!(self.more().await, "the connection ended in a head: {:?}", text(&self.read));
        };
        let head = text(&head);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Answer { status, headers, body: Vec::new() }
    }

    pub(crate) async fn answer(&mut self, without_body: bool) -> Answer {
        let mut answer = self.head().await;
        if without_body || matches!(answer.status, 101 | 204 | 304) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(piece) = self.chunk().await {
                answer.body.extend(piece);
            }
        } else {
            let length: usize = answer.header("content-length").unwrap_or("0").parse().unwrap();
            while self.read.len() < length {
                assert!(self.more().await, "the connection ended in a body");
            }
            answer.body = self.read.drain(..length).collect();
        }
        answer
    }

    /// The next chunk of a streamed body; nothing after the last.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line = text(&self.read.drain(..end + 2).collect::<Vec<u8>>());
                break usize::from_str_radix(line.trim(), 16).unwrap();
            }
            assert!(self.more().await, "the connection ended between chunks");
        };
        while self.read.len() < length + 2 {
            assert!(self.more().await, "the connection ended in a chunk");
        }
        let chunk: Vec<u8> = self.read.drain(..length + 2).collect();
        (length > 0).then(|| chunk[..length].to_vec())
    }

    /// Waits for the server to close; gives what it sent before.
    pub(crate) async fn closed(&mut self) -> String {
        while self.more().await {}
        text(&self.read)
    }

    async fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("the server is silent");
        match read {
            Ok(bytes) => {
                self.read.extend_from_slice(&piece[..bytes]);
                bytes > 0
            }
            Err(_) => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the one shape of errors.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body = self.json();
        assert_eq!(body["error"], code, "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.ends_with('.') && !message.starts_with(char::is_lowercase), "{message}");
        assert!(!body["hint"].as_str().unwrap().is_empty(), "{body}");
        assert!(body["retryable"].is_boolean(), "{body}");
        assert!(body.get("path").is_some(), "{body}");
        body
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
