//! Whoever connects and cannot prove who it is never gets a link: bytes before the handshake, messages in it.

use std::io::Cursor;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rejoin_link::{
    ClusterId, Identity, Limits, NodeKey, OpenHandshakes, accept, accept_http, parse_peer_url,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bytes::Bytes;
use crate::meter;

/// Bytes that a connection may take before it has proved anything: buffers of the WebSocket, mostly.
const CONNECTION_BYTES_MAX: usize = 1 << 20;

/// Upgrade requests, handshakes and peer URLs.
pub fn handshake(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mode = bytes.below(4);
    if mode == 0 {
        url(bytes.rest());
        return;
    }
    let mut input = Vec::new();
    if mode == 1 {
        input.extend_from_slice(bytes.rest());
    } else {
        if mode == 3 {
            input.extend_from_slice(UPGRADE);
        }
        messages(&mut bytes, &mut input);
    }
    let socket = Given { input: Cursor::new(input) };
    let (linked, peak) = meter::peak_of(|| {
        runtime().block_on(async {
            match mode {
                2 => accept(socket, us(), &limits()).await.is_ok(),
                _ => accept_http(socket, us(), &limits()).await.is_ok(),
            }
        })
    });
    assert!(!linked, "a link without a proof");
    assert!(peak <= CONNECTION_BYTES_MAX, "a stranger took {peak} bytes");
}

const UPGRADE: &[u8] = b"GET /api/_link HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// WebSocket packets, most of them messages of the handshake that are nearly right.
fn messages(bytes: &mut Bytes<'_>, input: &mut Vec<u8>) {
    for _ in 0..8 {
        if bytes.is_empty() {
            return;
        }
        let kind = bytes.byte();
        let message = match kind % 8 {
            0..=2 => hello(bytes),
            3 | 4 => proof(bytes),
            5 => vec![4],
            6 => [&[3, bytes.byte()], counted(bytes.run()).as_slice()].concat(),
            _ => bytes.run().to_vec(),
        };
        let opcode = if kind & 0xE0 == 0xE0 { bytes.byte() } else { 0x82 };
        packet(input, opcode, &message);
    }
    input.extend_from_slice(bytes.run());
}

fn hello(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let flags = bytes.byte();
    let mut hello = b"\x01RJLK".to_vec();
    let version: u8 = if flags & 1 > 0 { bytes.byte() } else { 1 };
    hello.extend_from_slice(&[0, version.min(1), 0, version]);
    hello.extend_from_slice(&if flags & 2 > 0 { [bytes.byte(); 16] } else { us().cluster.0 });
    let key = match flags >> 6 {
        0 => us().key.public(),
        // Points of small order and encodings of none.
        1 => [bytes.byte(); 32],
        _ => NodeKey::from_seed([bytes.byte(); 32]).public(),
    };
    hello.extend_from_slice(&key);
    hello.extend_from_slice(&if flags & 4 > 0 { bytes.word() } else { us().epoch }.to_be_bytes());
    hello.extend_from_slice(&[bytes.byte(); 48]);
    hello.extend_from_slice(&counted(if flags & 8 > 0 { bytes.run() } else { b"mallory" }));
    hello
}

fn proof(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut proof = vec![2];
    let mut signature = [bytes.byte(); 64];
    for _ in 0..bytes.below(4) {
        signature[usize::from(bytes.byte()) % 64] = bytes.byte();
    }
    proof.extend_from_slice(&signature);
    let flag = bytes.below(3) as u8;
    proof.push(flag);
    if flag == 1 {
        proof.extend_from_slice(&[bytes.byte(); 32]);
    }
    proof
}

fn counted(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat()
}

/// A masked WebSocket packet, as clients send them; the mask is zero.
fn packet(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(opcode);
    match u8::try_from(payload.len()) {
        Ok(len @ 0..=125) => out.push(0x80 | len),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn url(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match parse_peer_url(text) {
        Ok(url) => {
            assert!(url.port() > 0 && !url.host().is_empty());
            assert_eq!(parse_peer_url(&url.to_string()).as_ref(), Ok(&url), "a peer URL does not survive");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn us() -> &'static Identity {
    static US: OnceLock<Identity> = OnceLock::new();
    US.get_or_init(|| Identity {
        key: Arc::new(NodeKey::from_seed([7; 32])),
        cluster: ClusterId::of_name("default"),
        secret: None,
        name: "anna".to_owned(),
        epoch: 1,
        policy: [0; 16],
        handshakes: OpenHandshakes::default(),
    })
}

fn limits() -> Limits {
    let soon = Duration::from_millis(20);
    Limits { handshake_timeout: soon, header_timeout: soon, linger: soon, ..Limits::default() }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    })
}

/// A socket whose peer has said all it will ever say, and has hung up.
struct Given {
    input: Cursor<Vec<u8>>,
}

impl AsyncRead for Given {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_read(context, into)
    }
}

impl AsyncWrite for Given {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
