//! The messages of the handshake as bytes: one type byte, then fixed fields, integers big-endian.
//!
//! ```text
//! 1 Hello    "RJLK" · version min u16 · max u16 · cluster 16 · key 32 · epoch u64 · policy 16 · nonce 32 · name u8+n
//! 2 Proof    signature 64 · 0 | 1 MAC 32
//! 3 Refuse   code u8 · reason u8+n
//! 4 Welcome
//! ```
//! Invariant: the layout of Hello and Refuse never changes, so that any two versions can tell each other why not.
//! Decoding is total and exact: every message has one encoding, and bytes left over are an error.

use std::ops::RangeInclusive;

use super::refusal::{Refusal, RefusalCode};
use crate::config::HANDSHAKE_FRAME_BYTES_MAX;
use crate::identity::{ClusterId, is_name};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Hello),
    Proof(Proof),
    Refuse(Refusal),
    Welcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version_min: u16,
    pub(super) version_max: u16,
    pub(super) cluster: ClusterId,
    pub(super) key: [u8; 32],
    pub(super) epoch: u64,
    pub(super) policy: [u8; 16],
    pub(super) nonce: [u8; 32],
    pub(super) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) signature: [u8; 64],
    pub(super) mac: Option<[u8; 32]>,
}

/// Bytes that are no message of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("a handshake message is longer than {HANDSHAKE_FRAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("a handshake message is cut short")]
    Short,
    #[error("a handshake message has bytes left over")]
    Trailing,
    #[error("unknown handshake message type {0}")]
    UnknownType(u8),
    #[error("this is not the link protocol")]
    WrongMagic,
    #[error("a handshake message has a bad {0}")]
    BadField(&'static str),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => hello.encode(),
            Self::Proof(proof) => proof.encode(),
            Self::Refuse(refusal) => encode_refusal(refusal),
            Self::Welcome => vec![TYPE_WELCOME],
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > HANDSHAKE_FRAME_BYTES_MAX {
            return Err(MessageError::TooLong);
        }
        let mut fields = Fields(bytes);
        let message = match fields.byte()? {
            TYPE_HELLO => Self::Hello(Hello::decode(&mut fields)?),
            TYPE_PROOF => Self::Proof(Proof::decode(&mut fields)?),
            TYPE_REFUSE => {
                let code = RefusalCode::from_byte(fields.byte()?);
                Self::Refuse(Refusal::new(code, fields.text("reason")?))
            }
            TYPE_WELCOME => Self::Welcome,
            other => return Err(MessageError::UnknownType(other)),
        };
        if fields.0.is_empty() { Ok(message) } else { Err(MessageError::Trailing) }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Proof(_) => "Proof",
            Self::Refuse(_) => "Refuse",
            Self::Welcome => "Welcome",
        }
    }
}

impl Hello {
    pub(super) fn versions(&self) -> RangeInclusive<u16> {
        self.version_min..=self.version_max
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![TYPE_HELLO];
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.version_min.to_be_bytes());
        bytes.extend_from_slice(&self.version_max.to_be_bytes());
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.policy);
        bytes.extend_from_slice(&self.nonce);
        push_text(&mut bytes, &self.name);
        bytes
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, MessageError> {
        if &fields.array::<4>()? != MAGIC {
            return Err(MessageError::WrongMagic);
        }
        let hello = Self {
            version_min: u16::from_be_bytes(fields.array()?),
            version_max: u16::from_be_bytes(fields.array()?),
            cluster: ClusterId(fields.array()?),
            key: fields.array()?,
            epoch: u64::from_be_bytes(fields.array()?),
            policy: fields.array()?,
            nonce: fields.array()?,
            name: fields.text("name")?.to_owned(),
        };
        if hello.version_min > hello.version_max {
            return Err(MessageError::BadField("version range"));
        }
        if !is_name(&hello.name) {
            return Err(MessageError::BadField("name"));
        }
        Ok(hello)
    }
}

impl Proof {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![TYPE_PROOF];
        bytes.extend_from_slice(&self.signature);
        bytes.push(u8::from(self.mac.is_some()));
        bytes.extend_from_slice(self.mac.as_ref().map_or(&[], |mac| mac.as_slice()));
        bytes
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, MessageError> {
        let signature = fields.array()?;
        let mac = match fields.byte()? {
            0 => None,
            1 => Some(fields.array()?),
            _ => return Err(MessageError::BadField("MAC flag")),
        };
        Ok(Self { signature, mac })
    }
}

fn encode_refusal(refusal: &Refusal) -> Vec<u8> {
    let mut bytes = vec![TYPE_REFUSE, refusal.code.to_byte()];
    push_text(&mut bytes, &refusal.reason);
    bytes
}

/// Texts are bounded where they are made (names 64 bytes, reasons 200), so the length fits its byte.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let text = crate::socket::cut(text, usize::from(u8::MAX));
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, MessageError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(MessageError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, MessageError> {
        let length = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(MessageError::Short)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| MessageError::BadField(field))
    }
}

const MAGIC: &[u8; 4] = b"RJLK";
const TYPE_HELLO: u8 = 1;
const TYPE_PROOF: u8 = 2;
const TYPE_REFUSE: u8 = 3;
const TYPE_WELCOME: u8 = 4;
