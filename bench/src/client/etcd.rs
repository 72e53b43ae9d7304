//! etcd's gRPC, as much of it as Put and Range need: two messages of two fields each.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;

/// A connection.
#[derive(Debug)]
pub(crate) struct Etcd {
    requests: SendRequest<Bytes>,
    port: u16,
}

impl Etcd {
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Etcd> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            // Requests say when it breaks.
            let _ = connection.await;
        });
        Ok(Etcd { requests: requests.ready().await?, port })
    }

    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let message = framed(message(&[(1, key.as_bytes()), (2, value)]));
        super::answered(self.call("Put", message)).await.map(drop)
    }

    pub(crate) async fn get(&mut self, key: &str) -> anyhow::Result<usize> {
        let length = super::answered(self.call("Range", framed(message(&[(1, key.as_bytes())])))).await?;
        ensure!(length > 100, "there is no {key}");
        Ok(length)
    }

    /// Whether this member has a value of more than 100 bytes there, whatever the others have.
    pub(crate) async fn has(&mut self, key: &str) -> anyhow::Result<bool> {
        let mut request = message(&[(1, key.as_bytes())]);
        request.extend_from_slice(&SERIALIZABLE);
        let length = super::answered(self.call("Range", framed(request))).await?;
        Ok(length > 100)
    }

    /// Calls a method; tells the length of what it answers.
    async fn call(&mut self, method: &str, message: Vec<u8>) -> anyhow::Result<usize> {
        let request = Request::post(format!("http://127.0.0.1:{}/etcdserverpb.KV/{method}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut body) = self.requests.send_request(request, false)?;
        body.send_data(message.into(), true)?;
        let mut answer = response.await?.into_body();
        let mut length = 0;
        while let Some(piece) = answer.data().await {
            let piece = piece?;
            length += piece.len();
            answer.flow_control().release_capacity(piece.len())?;
        }
        let trailers = answer.trailers().await?.context("an answer without trailers")?;
        let status = trailers.get("grpc-status").context("an answer without a status")?;
        ensure!(status == "0", "{method}: {trailers:?}");
        Ok(length)
    }
}

/// The field `serializable` of a request of a range: 7, true.
const SERIALIZABLE: [u8; 2] = [7 << 3, 1];

/// What comes before a message of gRPC: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// A message of byte fields, with room for its frame before it.
fn message(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; FRAME_BYTES];
    for (number, bytes) in fields {
        message.push(number << 3 | 2);
        let mut length = bytes.len();
        while length > 127 {
            #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
            message.push((length & 127) as u8 | 128);
            length >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "seven bits")]
        message.push(length as u8);
        message.extend_from_slice(bytes);
    }
    message
}

/// A message as gRPC sends it.
fn framed(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len() - FRAME_BYTES).unwrap_or(u32::MAX);
    message[1..FRAME_BYTES].copy_from_slice(&length.to_be_bytes());
    message
}
