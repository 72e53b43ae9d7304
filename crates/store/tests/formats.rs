//! What a store says of what it cannot read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use rejoin_store::engine::{Keyspace, RawBatch};
use rejoin_store::{Engine as _, MemoryEngine, Store, StoreError, SyncPolicy};

fn opened(row: Option<(Keyspace, &[u8], &[u8])>) -> Result<(), StoreError> {
    let engine = MemoryEngine::new();
    if let Some((keyspace, key, value)) = row {
        let mut batch = RawBatch::new();
        batch.put(keyspace, key.to_vec(), value.to_vec());
        engine.commit(batch).unwrap();
    }
    Store::open(engine, SyncPolicy::EveryCommit).map(drop)
}

#[test]
fn an_empty_store_is_new() {
    opened(None).unwrap();
}

#[test]
fn documents_without_a_format_are_not_taken_for_a_new_store() {
    for keyspace in [Keyspace::Meta, Keyspace::Documents, Keyspace::Log] {
        let error = opened(Some((keyspace, b"lost", b"row"))).unwrap_err();
        assert!(!matches!(error, StoreError::NewerFormat { .. }), "{error}");
    }
}

#[test]
fn a_newer_format_is_named() {
    let error = opened(Some((Keyspace::Meta, b"format", &99u32.to_be_bytes()))).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 99, .. }), "{error}");
    opened(Some((Keyspace::Meta, b"format", b"?"))).unwrap_err();
}
