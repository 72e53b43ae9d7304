//! Where messages end in one direction of a WebSocket, from the head of the upgrade on. Their content is not looked at.

/// The end of an HTTP head.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// The most bytes before a payload: two, a length of eight, a mask of four.
const HEADER_BYTES_MAX: usize = 14;

/// What was read so far.
#[derive(Debug)]
pub(crate) struct Messages {
    place: Place,
    /// Bytes of the message that is being read, headers included.
    bytes: u64,
}

#[derive(Debug)]
enum Place {
    /// In the head of the upgrade: how much of its end was seen.
    Head(usize),
    /// In the header of a frame.
    Header(Vec<u8>),
    /// In a payload: what is left of it, and of which frame it is.
    Payload { left: u64, frame: Frame },
}

/// A kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// A ping, a pong or a close.
    Control,
    /// A part of a message.
    Part,
    /// The last part, or all, of a message.
    Last,
}

impl Messages {
    pub(crate) fn new() -> Messages {
        Messages { place: Place::Head(0), bytes: 0 }
    }

    /// Reads on; `ended` is told the bytes of each message that ends in it.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut ended: impl FnMut(u64)) {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.place {
                Place::Head(seen) => {
                    bytes = rest;
                    *seen = match first {
                        byte if byte == HEAD_END[*seen] => *seen + 1,
                        byte => usize::from(byte == HEAD_END[0]),
                    };
                    if *seen == HEAD_END.len() {
                        self.place = Place::Header(Vec::with_capacity(HEADER_BYTES_MAX));
                    }
                }
                Place::Header(header) => {
                    bytes = rest;
                    header.push(first);
                    let Some((frame, payload)) = parse(header) else { continue };
                    if frame != Frame::Control {
                        self.bytes += header.len() as u64;
                    }
                    self.place = Place::Payload { left: payload, frame };
                    self.end_of_frame(&mut ended);
                }
                Place::Payload { left, frame } => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes = &bytes[taken..];
                    *left -= taken as u64;
                    if *frame != Frame::Control {
                        self.bytes += taken as u64;
                    }
                    self.end_of_frame(&mut ended);
                }
            }
        }
    }

    fn end_of_frame(&mut self, ended: &mut impl FnMut(u64)) {
        let Place::Payload { left: 0, frame } = self.place else { return };
        self.place = Place::Header(Vec::with_capacity(HEADER_BYTES_MAX));
        if frame == Frame::Last {
            ended(std::mem::take(&mut self.bytes));
        }
    }
}

/// The frame and the size of its payload, once its header is whole.
fn parse(header: &[u8]) -> Option<(Frame, u64)> {
    let (&first, &second) = (header.first()?, header.get(1)?);
    let (length_bytes, mask_bytes) = match second & 0x7f {
        126 => (2, usize::from(second >> 7) * 4),
        127 => (8, usize::from(second >> 7) * 4),
        _ => (0, usize::from(second >> 7) * 4),
    };
    if header.len() < 2 + length_bytes + mask_bytes {
        return None;
    }
    let length = header[2..2 + length_bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let length = if length_bytes == 0 { u64::from(second & 0x7f) } else { length };
    let frame = match first {
        _ if first & 0x08 != 0 => Frame::Control,
        _ if first & 0x80 != 0 => Frame::Last,
        _ => Frame::Part,
    };
    Some((frame, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(bytes: &[u8], piece: usize) -> Vec<u64> {
        let (mut messages, mut lengths) = (Messages::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            messages.read(piece, |bytes| lengths.push(bytes));
        }
        lengths
    }

    #[test]
    fn messages_end_where_their_last_frame_does() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
        // Binary, 3 bytes, without a mask.
        bytes.extend([0x82, 3, 1, 2, 3]);
        // A ping between two parts of a message, the second with a mask and a length of two bytes.
        bytes.extend([0x02, 1, 9]);
        bytes.extend([0x89, 0]);
        bytes.extend([0x80, 0x80 | 126, 1, 0, 7, 7, 7, 7]);
        bytes.extend([5; 256]);
        // Nothing at all, and a length of eight bytes.
        bytes.extend([0x82, 0]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]);
        for piece in [1, 2, 7, 1_000] {
            assert_eq!(lengths(&bytes, piece), [5, 3 + 8 + 256, 2, 12], "in pieces of {piece}");
        }
    }
}
