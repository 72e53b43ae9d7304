//! Every bound of a link: its name, unit, default and reason.

use std::time::Duration;

/// Oldest protocol version we still speak: a node of protocol 1 takes claims and removals that no node of 2 would send.
pub const PROTOCOL_VERSION_MIN: u16 = 2;
/// Newest protocol version we speak.
pub const PROTOCOL_VERSION_MAX: u16 = 2;

/// Longest frame a link carries, in bytes: 2 MiB. What is longer comes in parts of 1 MiB, which whoever takes them counts
/// before there are more; of a frame that is not whole the WebSocket holds what has come, and nobody counts that.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A frame is cut into WebSocket fragments of this many bytes. The write buffer of the WebSocket moves everything
/// not yet written at each partial write, so long fragments cost time squared; and heartbeats pass between fragments.
pub const FRAGMENT_BYTES: usize = 64 * 1024;

/// Longest fragment accepted, in bytes: above what we send, so that a later version may send longer ones, and far
/// below a frame, since its length is believed (and reserved) before its bytes arrive.
pub const FRAGMENT_BYTES_MAX: usize = 4 * FRAGMENT_BYTES;

/// Socket read buffer of one link, in bytes: one fragment per read.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The WebSocket writes to the socket once it holds this many bytes; we flush after each fragment anyway.
pub const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Most bytes the WebSocket may hold unwritten: one fragment, its header, a heartbeat and a close, with room. The
/// library's own default is unlimited.
pub const WRITE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Frames waiting for the socket in the queue of one link. Senders wait for their frame to be written, so this only
/// bounds how many may wait at once before the queue itself makes them wait.
pub const SEND_QUEUE_FRAMES: usize = 8;

/// Frames received and not yet taken by the owner, per link. Their bytes together are bounded by
/// [`Limits::frame_bytes_max`]; at either bound the link stops reading its socket.
pub const RECEIVE_QUEUE_FRAMES: usize = 64;

/// Longest message of the handshake, in bytes: the longest is a refusal with 203.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 512;

/// Most bytes read from a peer that has not proved itself, HTTP response head included.
pub const HANDSHAKE_INPUT_BYTES_MAX: usize = 16 * 1024;

/// Longest node name, in bytes: it is shown in tables and logs of other nodes.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest reason in a refusal, in bytes: one log line. Fits the one-byte length on the wire.
pub const REFUSAL_REASON_BYTES_MAX: usize = 200;

/// Longest reason in a close, in bytes: a WebSocket control frame holds 125, two of them the code.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Longest head of an HTTP upgrade request, in bytes: ours is about 200; proxies add some.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most header lines of an HTTP upgrade request.
pub const HTTP_HEADERS_MAX: usize = 64;

/// Longest peer URL, in bytes: a host name has at most 253.
pub const PEER_URL_BYTES_MAX: usize = 2048;

/// Connections of one [`crate::Listener`] that may be in their handshake at once; more wait in the kernel's backlog.
pub const HANDSHAKES_MAX: usize = 64;

/// Handshakes of one node that may be under way at once, dialed and accepted. 8,192: one for each link and each peer that a
/// node may have, with room; 64 bytes each.
pub const HANDSHAKES_OPEN_MAX: usize = 8_192;

/// A link is dead when nothing was heard for this many heartbeats: one may be lost to a pause, one to a slow answer.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;

/// Default of [`Limits::connect_timeout`]: a TCP connect that takes longer than 5 s meets a filter, not a distance.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Default of [`Limits::handshake_timeout`]: three messages, over the slowest path that could still be useful.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of [`Limits::header_timeout`]: as for the handshake; a slow sender of headers holds a socket no longer.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of [`Limits::heartbeat`]: a dead link is seen within 15 s at a cost of a few bytes per second.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Default of [`Limits::write_timeout`]: a fragment of 64 KiB in 30 s asks for 2 KiB/s, below any usable path.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of [`Limits::linger`]: a goodbye that is not read within a second is not worth the socket.
pub const LINGER: Duration = Duration::from_secs(1);

/// Ceiling of the first wait of a [`crate::Backoff`]: a restarted peer is found again at once.
pub const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// Ceiling of every later wait of a [`crate::Backoff`]: a healed partition is noticed within 10 s.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The bounds an operator or a test may change. `Limits::default()` is right for production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame, in bytes, both ways. Default [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// Longest wait for a TCP connection, name lookup included. Default [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// Longest time from connected to proved. Default [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// Longest time for the head of an HTTP upgrade request. Default [`HEADER_TIMEOUT`].
    pub header_timeout: Duration,
    /// Time between two pings; dead after [`HEARTBEATS_MISSED_MAX`] of silence. Default [`HEARTBEAT`].
    pub heartbeat: Duration,
    /// Longest time for [`FRAGMENT_BYTES`] to reach the socket. Default [`WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// Longest time spent on a goodbye after a link or a handshake ended. Default [`LINGER`].
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            connect_timeout: CONNECT_TIMEOUT,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_timeout: HEADER_TIMEOUT,
            heartbeat: HEARTBEAT,
            write_timeout: WRITE_TIMEOUT,
            linger: LINGER,
        }
    }
}

impl Limits {
    /// Silence after which a link is dead.
    pub fn silence_max(&self) -> Duration {
        self.heartbeat_bounded() * HEARTBEATS_MISSED_MAX
    }

    /// The heartbeat, from a millisecond to a day: timers panic at zero and beyond the end of time.
    pub(crate) fn heartbeat_bounded(&self) -> Duration {
        self.heartbeat.clamp(Duration::from_millis(1), Duration::from_secs(86_400))
    }
}

// A Hello is 114 bytes and the name, a refusal 3 bytes and the reason.
const _: () = assert!(114 + NAME_BYTES_MAX <= HANDSHAKE_FRAME_BYTES_MAX);
const _: () = assert!(3 + REFUSAL_REASON_BYTES_MAX <= HANDSHAKE_FRAME_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(REFUSAL_REASON_BYTES_MAX <= u8::MAX as usize);
// The WebSocket library panics unless its write limit is above its write buffer.
const _: () = assert!(WRITE_BUFFER_BYTES + FRAGMENT_BYTES + 1024 < WRITE_BUFFER_BYTES_MAX);
