//! The WebSocket as this crate sets it up and takes it down.

use std::time::Duration;

use futures_util::SinkExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Message, WebSocketConfig, frame::coding::CloseCode,
};

use crate::config::{
    CLOSE_REASON_BYTES_MAX, FRAGMENT_BYTES_MAX, HANDSHAKE_FRAME_BYTES_MAX, Limits, READ_BUFFER_BYTES,
    WRITE_BUFFER_BYTES, WRITE_BUFFER_BYTES_MAX,
};
use crate::meter::Metered;

/// What a link needs of a socket.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for S {}

/// A WebSocket over a metered socket.
pub(crate) type Socket<S> = WebSocketStream<Metered<S>>;

/// All limits of the WebSocket, set explicitly: its own default never bounds the write buffer.
pub(crate) fn config(limits: &Limits) -> WebSocketConfig {
    // Handshake messages and control frames must pass whatever the frame limit is.
    let message_bytes_max = limits.frame_bytes_max.max(HANDSHAKE_FRAME_BYTES_MAX);
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max.min(FRAGMENT_BYTES_MAX)))
        .accept_unmasked_frames(false)
}

/// A close message with a reason, cut to what a control frame can hold.
pub(crate) fn close_frame(code: CloseCode, reason: &str) -> CloseFrame {
    CloseFrame { code, reason: cut(reason, CLOSE_REASON_BYTES_MAX).into() }
}

/// Says goodbye and takes the socket down.
///
/// A TCP socket closed with unread input answers with a reset, which destroys what the peer has not read yet, the
/// goodbye included. So: write it, close our half, and read on (discarding) until the peer has closed its half.
pub(crate) async fn wind_down<S: Io>(mut socket: Socket<S>, close: Option<CloseFrame>, linger: Duration) {
    let goodbye = async {
        // Fails when the peer closed first; then the answer the WebSocket has queued is what remains to be flushed.
        let _ = socket.send(Message::Close(close)).await;
        let _ = socket.flush().await;
        let io = socket.get_mut();
        io.lift_allowance();
        drain(io).await;
    };
    let _ = timeout(linger, goodbye).await;
}

/// Closes our half and reads until the peer closes its own. The caller bounds the time.
pub(crate) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(io: &mut S) {
    let mut discarded = [0; 4096];
    if io.shutdown().await.is_ok() {
        while matches!(io.read(&mut discarded).await, Ok(read) if read > 0) {}
    }
}

/// The longest prefix of whole characters within `bytes_max`.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Text of a peer as it may be logged: without control characters, with which it could write log lines of its own.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
