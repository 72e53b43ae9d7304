//! What one commit changes.

use bytes::Bytes;

use super::Keyspace;

/// The longest key an engine takes: fjall stores key lengths in 16 bits.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// The longest value an engine takes: fjall stores value lengths in 32 bits. Half of that keeps a batch with
/// such a value, and the sum of its lengths, far from every limit.
pub const VALUE_BYTES_MAX: usize = i32::MAX as usize;

/// Puts and deletes that become visible together.
///
/// The last operation on a key wins. Duplicates have to be resolved here: within one batch an engine gives all
/// operations the same sequence number, so a put and a delete of one key would otherwise have no order.
///
/// Keys are cheapest to put in order: each then goes behind the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawBatch {
    /// Invariant: sorted by key, without repeats.
    operations: [Vec<(Bytes, Option<Bytes>)>; Keyspace::ALL.len()],
}

impl RawBatch {
    /// A batch that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` under `key`.
    pub fn put(&mut self, keyspace: Keyspace, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.set(keyspace, key.into(), Some(value.into()));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, keyspace: Keyspace, key: impl Into<Bytes>) {
        self.set(keyspace, key.into(), None);
    }

    fn set(&mut self, keyspace: Keyspace, key: Bytes, value: Option<Bytes>) {
        let operations = &mut self.operations[keyspace as usize];
        if operations.last().is_none_or(|(last, _)| *last < key) {
            operations.push((key, value));
            return;
        }
        match operations.binary_search_by(|(there, _)| there.cmp(&key)) {
            Ok(at) => operations[at].1 = value,
            Err(at) => operations.insert(at, (key, value)),
        }
    }

    /// Makes room for as many more operations on a keyspace.
    pub(crate) fn reserve(&mut self, keyspace: Keyspace, operations: usize) {
        self.operations[keyspace as usize].reserve(operations);
    }

    /// Whether the batch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.iter().all(Vec::is_empty)
    }

    /// Number of keys the batch puts or deletes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.iter().map(Vec::len).sum()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.iter().map(|(_, key, value)| key.len() + value.map_or(0, Bytes::len)).sum()
    }

    /// Every operation, by keyspace and key; a delete has no value.
    pub fn iter(&self) -> impl Iterator<Item = (Keyspace, &Bytes, Option<&Bytes>)> {
        Keyspace::ALL.into_iter().flat_map(|keyspace| {
            let operations = self.operations[keyspace as usize].iter();
            operations.map(move |(key, value)| (keyspace, key, value.as_ref()))
        })
    }

    /// As [`RawBatch::iter`], giving the bytes away.
    pub(super) fn into_operations(self) -> impl Iterator<Item = (Keyspace, Bytes, Option<Bytes>)> {
        Keyspace::ALL.into_iter().zip(self.operations).flat_map(|(keyspace, operations)| {
            operations.into_iter().map(move |(key, value)| (keyspace, key, value))
        })
    }

    /// Checks the lengths every engine relies on; fjall would panic instead.
    pub(super) fn check_bounds(&self) -> Result<(), RefusedBatch> {
        for (keyspace, key, value) in self.iter() {
            if key.is_empty() {
                return Err(RefusedBatch::EmptyKey { keyspace });
            }
            if key.len() > KEY_BYTES_MAX {
                return Err(RefusedBatch::LongKey { keyspace, key_bytes: key.len() });
            }
            if let Some(value) = value
                && value.len() > VALUE_BYTES_MAX
            {
                return Err(RefusedBatch::LongValue { keyspace, value_bytes: value.len() });
            }
        }
        Ok(())
    }
}

/// Why a batch can never be committed. A bug of the caller; the store is unchanged and stays usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedBatch {
    /// A key of no bytes.
    #[error("a key in {keyspace} is empty")]
    EmptyKey {
        /// Where the key is.
        keyspace: Keyspace,
    },
    /// A key longer than [`KEY_BYTES_MAX`].
    #[error("a key in {keyspace} has {key_bytes} bytes, the limit is {KEY_BYTES_MAX}")]
    LongKey {
        /// Where the key is.
        keyspace: Keyspace,
        /// Its length.
        key_bytes: usize,
    },
    /// A value longer than [`VALUE_BYTES_MAX`].
    #[error("a value in {keyspace} has {value_bytes} bytes, the limit is {VALUE_BYTES_MAX}")]
    LongValue {
        /// Where the value is.
        keyspace: Keyspace,
        /// Its length.
        value_bytes: usize,
    },
}
