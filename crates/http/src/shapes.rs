//! The JSON shapes that several answers share.

use std::time::{SystemTime, UNIX_EPOCH};

use rejoin::{Entry, Json, VersionVector};
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A stored value, written as the text that is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(pub(crate) &'a Json);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Borrows the text; nothing is decoded.
        serde_json::from_str::<&RawValue>(self.0.as_str()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// A causal past: node to number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VectorClock<'a>(pub(crate) &'a VersionVector);

impl Serialize for VectorClock<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (node, ordinal) in self.0.ordinals() {
            map.serialize_entry(&node.to_string(), &ordinal)?;
        }
        map.end()
    }
}

/// A value and, if asked for, everything known about it.
#[derive(Debug, Serialize)]
pub(crate) struct Item<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Raw<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    meta: Option<Meta<'a>>,
}

/// Everything known about a value.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta<'a> {
    vector_clock: VectorClock<'a>,
    timestamp: u64,
    version: String,
    origin: String,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    conflicts: usize,
    strategy: &'static str,
    resolver_failed: bool,
    context: String,
}

impl<'a> Item<'a> {
    /// The shape of an entry.
    pub(crate) fn of(entry: &'a Entry, meta: bool) -> Item<'a> {
        let meta = meta.then(|| Meta {
            vector_clock: VectorClock(&entry.vector_clock),
            timestamp: entry.timestamp_ms(),
            version: entry.version.to_string(),
            origin: entry.origin().to_string(),
            etag: &entry.etag,
            expires: entry.expires_ms,
            conflicts: entry.conflicts,
            strategy: entry.strategy,
            resolver_failed: entry.resolver_failed,
            context: entry.context(),
        });
        Item { path: entry.path.as_str(), value: entry.value.as_ref().map(Raw), meta }
    }
}

/// Unix milliseconds of a moment.
pub(crate) fn unix_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
