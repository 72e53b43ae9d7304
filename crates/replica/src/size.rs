//! How large a document is on its way, and whether it can travel at all.
//!
//! Whoever sends looks before it encodes. What is too large is named and held back; nothing else waits for it.

use crate::body::{Body, Document, Version};
use crate::config::{
    FIELDS_PER_VERSION_MAX, VALUE_BYTES_PROTOCOL_MAX, VERSIONS_PER_DOCUMENT_MAX, VV_ENTRIES_MAX,
};
use crate::path::Path;

/// Bytes of a life in the table of its frame, the node's own included.
const LIFE_BYTES: usize = 16 + 3 + 8;

/// Bytes of a dot, at most: the place of its life, and its number.
const DOT_BYTES: usize = 5 + 10;

/// Bytes of a stamp.
const STAMP_BYTES: usize = 8;

/// Bytes of a length, at most.
const LENGTH_BYTES: usize = 5;

/// Bytes of a version without its body and its name in the table of lives, at most: dot, stamp, kind, batch, end.
const VERSION_BYTES: usize = 2 * (DOT_BYTES + STAMP_BYTES) + 1 + 4;

/// Whether a document can be sent: within the bytes that this replica sends at a time, and within the counts of the protocol.
pub(crate) fn travels(path: &Path, document: &Document, document_bytes_max: usize) -> bool {
    document.versions().len() <= VERSIONS_PER_DOCUMENT_MAX
        && document.vv().len() <= VV_ENTRIES_MAX
        && document.versions().iter().all(is_legal)
        && encoded_bytes(path, document) <= document_bytes_max
}

fn is_legal(version: &Version) -> bool {
    match &version.body.body {
        Body::Tombstone => true,
        Body::Value(json) => json.as_str().len() <= VALUE_BYTES_PROTOCOL_MAX,
        Body::Fields(fields) => fields.0.len() <= FIELDS_PER_VERSION_MAX,
    }
}

/// Bytes of a document in a frame, at most, with what it needs of the table of lives.
pub(crate) fn encoded_bytes(path: &Path, document: &Document) -> usize {
    let versions: usize = document.versions().iter().map(version_bytes).sum();
    path.as_str().len() + 4 * LENGTH_BYTES + document.vv().len() * (LIFE_BYTES + DOT_BYTES) + versions
}

fn version_bytes(version: &Version) -> usize {
    let body = match &version.body.body {
        Body::Tombstone => 0,
        Body::Value(json) => LENGTH_BYTES + json.as_str().len(),
        Body::Fields(fields) => {
            let each = 2 * LENGTH_BYTES + STAMP_BYTES + DOT_BYTES + LIFE_BYTES;
            let text = fields
                .0
                .iter()
                .map(|field| field.name.len() + field.value.as_ref().map_or(0, |value| value.as_str().len()));
            fields.0.len() * each + text.sum::<usize>()
        }
    };
    VERSION_BYTES + 2 * LIFE_BYTES + body
}
