//! The rows of one commit in the making: written back to back, one allocation a keyspace, and cut when complete.
//!
//! A commit of a catch-up has tens of thousands of rows, and a key and a value of its own for each would cost more than
//! what else is done with them. Keyspaces apart, because a write buffer keeps what it was given until it is full: one that
//! fills slowly must not keep the rows of one that fills fast.

use std::ops::Range;

use bytes::Bytes;

use crate::engine::{Keyspace, RawBatch};

/// Rows by keyspace.
#[derive(Default)]
pub(crate) struct Rows {
    keyspaces: [Written; Keyspace::ALL.len()],
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// Where the key and the value of a row are; one without a value is to be removed.
struct Row {
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl Rows {
    /// Writes a row, or its removal. Of two with one key, the later stands: a floor may rise twice in a commit.
    pub(crate) fn set<T>(
        &mut self,
        keyspace: Keyspace,
        put_key: impl FnOnce(&mut Vec<u8>),
        value: Option<T>,
        put_value: impl FnOnce(&mut Vec<u8>, T),
    ) {
        let Written { bytes, rows } = &mut self.keyspaces[keyspace as usize];
        let start = bytes.len();
        put_key(bytes);
        let key = start..bytes.len();
        let value = value.map(|value| {
            put_value(bytes, value);
            key.end..bytes.len()
        });
        rows.push(Row { key, value });
    }

    /// The batch of them.
    pub(crate) fn finish(self) -> RawBatch {
        let mut batch = RawBatch::new();
        for (keyspace, Written { mut bytes, mut rows }) in Keyspace::ALL.into_iter().zip(self.keyspaces) {
            // A write buffer counts what its rows are long, not what was set aside for them.
            bytes.shrink_to_fit();
            let bytes = Bytes::from(bytes);
            // Keeps rows of one key in the order in which they were written.
            rows.sort_by(|one, other| bytes[one.key.clone()].cmp(&bytes[other.key.clone()]));
            batch.reserve(keyspace, rows.len());
            for Row { key, value } in rows {
                let key = bytes.slice(key);
                match value {
                    Some(value) => batch.put(keyspace, key, bytes.slice(value)),
                    None => batch.delete(keyspace, key),
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn put(rows: &mut Rows, keyspace: Keyspace, key: &str, value: Option<&str>) {
        let put = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        rows.set(keyspace, |out| put(out, key), value, put);
    }

    #[test]
    fn rows_come_out_as_they_were_written_whatever_their_order() {
        let written = [("b", Some("2")), ("d", None), ("a", Some("1")), ("c", Some("")), ("", Some("0"))];
        let (mut rows, mut expected) = (Rows::default(), RawBatch::new());
        for (keyspace, prefix) in [(Keyspace::History, "history/"), (Keyspace::Meta, "")] {
            for (key, value) in written {
                let key = format!("{prefix}{key}x");
                put(&mut rows, keyspace, &key, value);
                match value {
                    Some(value) => expected.put(keyspace, key, value),
                    None => expected.delete(keyspace, key),
                }
            }
        }
        let batch = rows.finish();
        assert_eq!(batch, expected);
        let keys: Vec<_> = batch.iter().map(|(keyspace, key, _)| (keyspace, key.clone())).collect();
        assert_eq!(keys.len(), 2 * written.len());
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn of_two_rows_with_one_key_the_later_stands() {
        let mut rows = Rows::default();
        // Many, in no order: few are sorted in a way that keeps their order by chance.
        for round in ["earlier", "later"] {
            for number in 0..100_u32 {
                put(&mut rows, Keyspace::Meta, &format!("floor/{}", number * 37 % 100), Some(round));
            }
        }
        let batch = rows.finish();
        assert_eq!(batch.len(), 100);
        assert!(batch.iter().all(|(_, _, value)| value.is_some_and(|value| value == "later")));
    }

    #[test]
    fn a_row_that_is_kept_keeps_none_of_another_keyspace() {
        let mut rows = Rows::default();
        for key in ["a", "b"] {
            put(&mut rows, Keyspace::Feed, key, Some("path"));
            put(&mut rows, Keyspace::Meta, key, Some("value"));
        }
        let kept = rows.finish();
        let (_, feed, _) = kept.iter().find(|(keyspace, ..)| *keyspace == Keyspace::Feed).unwrap();
        let (_, meta, _) = kept.iter().find(|(keyspace, ..)| *keyspace == Keyspace::Meta).unwrap();
        let (feed, meta) = (feed.clone(), meta.clone());
        drop(kept);
        assert!(feed.is_unique() && meta.is_unique());
    }
}
