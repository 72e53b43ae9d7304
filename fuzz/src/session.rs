//! A live replica among peers that say anything: no panic, bounded memory, rows that agree, and no write of its own
//! that was answered and then lost.
//!
//! The bytes are a script of up to 200 messages and what happens between them: links, clocks, writes, readers that
//! serve, processes that end. Messages are built from the real types, nearly right more often than not, and pass
//! through the codec, as they would on a link.

mod ledger;
mod messages;
mod recount;
mod world;

use crate::bytes::Bytes;
use crate::meter;
use world::World;

/// Memory that a session may take, in bytes, for each byte of its script and whatever the script: the store is in
/// memory, and a script byte makes at most a few documents.
const BYTES_PER_BYTE: usize = 2_048;
const BYTES_FIXED: usize = 4 << 20;

/// A session of a replica with its peers and clients.
pub fn session(data: &[u8]) {
    let ((), peak) = meter::peak_of(|| World::new(Bytes::new(data)).run());
    let allowed = BYTES_FIXED + BYTES_PER_BYTE * data.len();
    assert!(peak <= allowed, "a script of {} bytes took {peak} bytes, {allowed} are allowed", data.len());
}
