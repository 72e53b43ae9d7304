//! A conversation of two nodes, recorded on the way between them.
//!
//! A recording is a file of messages in the order in which they were complete:
//! `direction u8 (0: from the node that dialed, 1: to it) . length u32 big endian . message`. A message is what one
//! WebSocket message held: first those of the handshake, then frames. Pings and closes are left out.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A message and where it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// By the node that dialed.
    pub(crate) by_dialer: bool,
    pub(crate) message: Vec<u8>,
}

/// Reads a recording.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    while let Some((&direction, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>().unwrap();
        let (message, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        said.push(Said { by_dialer: direction == 0, message: message.to_vec() });
        bytes = rest;
    }
    said
}

pub(crate) fn write(said: &[Said]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Said { by_dialer, message } in said {
        bytes.push(u8::from(!by_dialer));
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(message);
    }
    bytes
}

/// Pieces as they came, each with whether the node that dialed sent it.
type Tape = Mutex<Vec<(bool, Vec<u8>)>>;

/// A way to a node that remembers what went over it, of one connection.
pub(crate) struct Recorder {
    port: u16,
    tape: Arc<Tape>,
}

impl Recorder {
    pub(crate) fn to(node: SocketAddr) -> Recorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tape = Arc::new(Tape::default());
        let written = Arc::clone(&tape);
        // The listener ends with its first connection: a second one would be another conversation.
        thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(node).unwrap();
            let (near_back, far_back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let also = Arc::clone(&written);
            thread::spawn(move || pump(near, far, true, &written));
            thread::spawn(move || pump(far_back, near_back, false, &also));
        });
        Recorder { port, tape }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was said so far.
    pub(crate) fn said(&self) -> Vec<Said> {
        let tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut forth, mut back) = (Listening::default(), Listening::default());
        let mut said = Vec::new();
        for (by_dialer, bytes) in tape {
            let listening = if by_dialer { &mut forth } else { &mut back };
            let messages = listening.hear(&bytes);
            said.extend(messages.into_iter().map(|message| Said { by_dialer, message }));
        }
        said
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, by_dialer: bool, tape: &Tape) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        tape.lock().unwrap_or_else(PoisonError::into_inner).push((by_dialer, buffer[..bytes].to_vec()));
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// One direction: an HTTP head, then WebSocket fragments (RFC 6455, section 5.2).
#[derive(Default)]
struct Listening {
    bytes: Vec<u8>,
    upgraded: bool,
    message: Vec<u8>,
}

impl Listening {
    fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.bytes.extend_from_slice(bytes);
        if !self.upgraded {
            let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Vec::new();
            };
            self.bytes.drain(..end + 4);
            self.upgraded = true;
        }
        let mut messages = Vec::new();
        while let Some((head, payload, length)) = fragment(&self.bytes) {
            self.bytes.drain(..length);
            // Control frames have the high bit of the opcode.
            if head & 8 == 0 {
                self.message.extend_from_slice(&payload);
                if head & 0x80 != 0 {
                    messages.push(std::mem::take(&mut self.message));
                }
            }
        }
        messages
    }
}

/// First byte, unmasked payload, and length of the whole, once it is there.
fn fragment(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&head, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let mask: [u8; 4] = if second & 0x80 != 0 {
        let mask = *bytes.get(at..)?.first_chunk()?;
        at += 4;
        mask
    } else {
        [0; 4]
    };
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let payload = bytes.get(at..end)?;
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((head, payload, end))
}
