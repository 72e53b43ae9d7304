//! What a store says of what it cannot read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a failure of the test")]

use rejoin_replica::{Batch, Commit as _};
use rejoin_store::engine::{Keyspace, RawBatch, RawSnapshot as _};
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

fn format_of(engine: &MemoryEngine) -> u32 {
    let row = engine.snapshot().get(Keyspace::Meta, b"format").unwrap().unwrap();
    u32::from_be_bytes(*row.first_chunk().unwrap())
}

#[test]
fn a_store_of_format_1_is_one_of_format_2_from_its_first_commit_on() {
    let first_commits: [fn(&mut Store<MemoryEngine>); 3] = [
        |store| {
            store.begin_epoch(1, 1).unwrap();
        },
        |store| store.set_note("name", b"note").unwrap(),
        |store| store.commit(Batch::default()).unwrap(),
    ];
    for commit in first_commits {
        let engine = MemoryEngine::new();
        let mut batch = RawBatch::new();
        batch.put(Keyspace::Meta, b"format".to_vec(), 1u32.to_be_bytes().to_vec());
        engine.commit(batch).unwrap();
        let mut store = Store::open(engine.clone(), SyncPolicy::EveryCommit).unwrap();
        assert_eq!(format_of(&engine), 1, "opening alone changes nothing");
        commit(&mut store);
        assert_eq!(format_of(&engine), 2);
        Store::open(engine, SyncPolicy::EveryCommit).unwrap();
    }
}
