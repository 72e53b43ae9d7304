//! Both engines against one model, and the engine on disk against kills, other processes and damaged files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::type_complexity)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use rejoin_store::engine::{
    Engine, EngineError, FjallEngine, FjallOptions, KEY_BYTES_MAX, Keyspace, MemoryEngine, RawBatch,
    RawSnapshot, RefusedBatch,
};
use tempfile::TempDir;

type Entries = Vec<(Bytes, Bytes)>;
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Buffers so small that a test's worth of data passes through flushes and compactions.
fn small() -> FjallOptions {
    FjallOptions { memtable_bytes: 16 << 10, ..FjallOptions::default() }
}

fn open(directory: &Path) -> FjallEngine {
    FjallEngine::open(directory, small()).unwrap()
}

fn batch(puts: &[(Keyspace, &str, &str)]) -> RawBatch {
    let mut batch = RawBatch::new();
    for (keyspace, key, value) in puts {
        batch.put(*keyspace, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    batch
}

fn read<S: RawSnapshot>(snapshot: &S, keyspace: Keyspace, key: &str) -> Option<String> {
    let value = snapshot.get(keyspace, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

fn keys<S: RawSnapshot>(snapshot: &S, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> String {
    let text = |entry: Result<(Bytes, Bytes), _>| String::from_utf8(entry.unwrap().0.to_vec()).unwrap();
    let forward: Vec<_> = snapshot.range(Keyspace::Documents, lower, upper).map(text).collect();
    let mut backward: Vec<_> = snapshot.range(Keyspace::Documents, lower, upper).rev().map(text).collect();
    backward.reverse();
    assert_eq!(forward, backward, "a range reads the same from both ends");
    forward.concat()
}

/// Runs each story against both engines.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $story() { super::$story(&super::MemoryEngine::new()); })*
        }
        mod fjall {
            $(#[test] fn $story() {
                let directory = tempfile::tempdir().unwrap();
                super::$story(&super::open(directory.path()));
            })*
        }
    };
}

on_both_engines!(
    puts_are_read_and_deletes_are_not,
    the_last_operation_on_a_key_wins,
    ranges_take_every_kind_of_bound,
    a_range_can_be_read_from_both_ends_at_once,
    keyspaces_are_apart,
    a_snapshot_does_not_move,
    a_batch_is_visible_whole_or_not_at_all,
    batches_beyond_the_bounds_are_refused_and_change_nothing,
    an_empty_batch_is_fine,
);

fn puts_are_read_and_deletes_are_not(engine: &impl Engine) {
    engine.commit(batch(&[(Keyspace::Documents, "a", "1"), (Keyspace::Documents, "b", "")])).unwrap();
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "a").as_deref(), Some("1"));
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "b").as_deref(), Some(""));
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "c"), None);
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, ""), None);

    let mut second = batch(&[(Keyspace::Documents, "a", "2")]);
    second.delete(Keyspace::Documents, "b");
    second.delete(Keyspace::Documents, "never there");
    engine.commit(second).unwrap();
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "a").as_deref(), Some("2"));
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "b"), None);
    assert_eq!(keys(&engine.snapshot(), Unbounded, Unbounded), "a");
    engine.sync().unwrap();
}

fn the_last_operation_on_a_key_wins(engine: &impl Engine) {
    let mut changes =
        batch(&[(Keyspace::Log, "a", "1"), (Keyspace::Log, "a", "2"), (Keyspace::Log, "b", "1")]);
    changes.delete(Keyspace::Log, "b");
    changes.delete(Keyspace::Log, "c");
    changes.put(Keyspace::Log, "c", "3");
    assert_eq!((changes.len(), changes.bytes()), (3, 5));
    engine.commit(changes).unwrap();
    assert_eq!(read(&engine.snapshot(), Keyspace::Log, "a").as_deref(), Some("2"));
    assert_eq!(read(&engine.snapshot(), Keyspace::Log, "b"), None);
    assert_eq!(read(&engine.snapshot(), Keyspace::Log, "c").as_deref(), Some("3"));
}

fn ranges_take_every_kind_of_bound(engine: &impl Engine) {
    let docs = Keyspace::Documents;
    engine.commit(batch(&[(docs, "b", ""), (docs, "c", ""), (docs, "d", ""), (docs, "e", "")])).unwrap();
    let snapshot = engine.snapshot();
    let k = |text: &'static str| text.as_bytes();
    let cases: [(Bound<&[u8]>, Bound<&[u8]>, &str); 14] = [
        (Unbounded, Unbounded, "bcde"),
        (Included(k("c")), Unbounded, "cde"),
        (Excluded(k("c")), Unbounded, "de"),
        (Unbounded, Included(k("d")), "bcd"),
        (Unbounded, Excluded(k("d")), "bc"),
        (Included(k("c")), Included(k("d")), "cd"),
        (Excluded(k("b")), Excluded(k("e")), "cd"),
        (Included(k("bb")), Included(k("dd")), "cd"),
        (Included(k("c")), Included(k("c")), "c"),
        (Included(k("c")), Excluded(k("c")), ""),
        (Excluded(k("c")), Included(k("c")), ""),
        (Excluded(k("c")), Excluded(k("c")), ""),
        (Included(k("e")), Included(k("b")), ""),
        (Included(k("")), Included(k("")), ""),
    ];
    for (lower, upper, expected) in cases {
        assert_eq!(keys(&snapshot, lower, upper), expected, "{lower:?} .. {upper:?}");
    }
}

fn a_range_can_be_read_from_both_ends_at_once(engine: &impl Engine) {
    let docs = Keyspace::Documents;
    engine.commit(batch(&[(docs, "a", "1"), (docs, "b", "2"), (docs, "c", "3")])).unwrap();
    let snapshot = engine.snapshot();
    let mut range = snapshot.range(docs, Unbounded, Unbounded);
    assert_eq!(range.next().unwrap().unwrap().1, "1");
    assert_eq!(range.next_back().unwrap().unwrap().1, "3");
    assert_eq!(range.next().unwrap().unwrap().1, "2");
    assert!(range.next().is_none());
    assert!(range.next_back().is_none());
}

fn keyspaces_are_apart(engine: &impl Engine) {
    for (position, keyspace) in Keyspace::ALL.into_iter().enumerate() {
        assert_eq!(keyspace as usize, position);
        engine.commit(batch(&[(keyspace, "key", keyspace.name())])).unwrap();
    }
    for keyspace in Keyspace::ALL {
        assert_eq!(read(&engine.snapshot(), keyspace, "key").as_deref(), Some(keyspace.name()));
    }
}

fn a_snapshot_does_not_move(engine: &impl Engine) {
    engine.commit(batch(&[(Keyspace::Documents, "a", "old"), (Keyspace::Documents, "b", "old")])).unwrap();
    let before = engine.snapshot();
    let copy = before.clone();
    // Enough to flush and compact on disk while the snapshot is held.
    for round in 0..200 {
        let mut changes = RawBatch::new();
        changes.put(Keyspace::Documents, "a", vec![b'x'; 500 + round]);
        changes.put(Keyspace::Documents, format!("new {round}"), vec![b'y'; 500]);
        changes.delete(Keyspace::Documents, "b");
        engine.commit(changes).unwrap();
    }
    drop(before);
    assert_eq!(read(&copy, Keyspace::Documents, "a").as_deref(), Some("old"));
    assert_eq!(read(&copy, Keyspace::Documents, "b").as_deref(), Some("old"));
    assert_eq!(keys(&copy, Unbounded, Unbounded), "ab");
}

fn a_batch_is_visible_whole_or_not_at_all(engine: &impl Engine) {
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for round in 0..2_000 {
                let value = format!("{round}{}", "x".repeat(100));
                let mut changes = RawBatch::new();
                for keyspace in Keyspace::ALL {
                    changes.put(keyspace, "first", value.clone());
                    changes.put(keyspace, "last", value.clone());
                }
                engine.commit(changes).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let snapshot = engine.snapshot();
            let expected = snapshot.get(Keyspace::Meta, b"last").unwrap();
            for keyspace in Keyspace::ALL {
                assert_eq!(snapshot.get(keyspace, b"first").unwrap(), expected);
                let values = snapshot.range(keyspace, Unbounded, Unbounded).map(|entry| entry.unwrap().1);
                assert!(values.into_iter().all(|value| Some(value) == expected));
            }
        }
    });
}

fn batches_beyond_the_bounds_are_refused_and_change_nothing(engine: &impl Engine) {
    let refusal = |key: Vec<u8>| {
        let mut changes = batch(&[(Keyspace::Log, "beside", "1")]);
        changes.put(Keyspace::Documents, key, "1");
        match engine.commit(changes).unwrap_err() {
            EngineError::Refused { reason, .. } => reason,
            error => panic!("{error}"),
        }
    };
    let keyspace = Keyspace::Documents;
    assert_eq!(refusal(vec![]), RefusedBatch::EmptyKey { keyspace });
    let key_bytes = KEY_BYTES_MAX + 1;
    assert_eq!(refusal(vec![b'a'; key_bytes]), RefusedBatch::LongKey { keyspace, key_bytes });
    assert_eq!(read(&engine.snapshot(), Keyspace::Log, "beside"), None);

    let mut longest = RawBatch::new();
    longest.put(keyspace, vec![b'a'; KEY_BYTES_MAX], "1");
    engine.commit(longest).unwrap();
}

fn an_empty_batch_is_fine(engine: &impl Engine) {
    assert!(RawBatch::new().is_empty());
    engine.commit(RawBatch::new()).unwrap();
    engine.sync().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(Keyspace, Vec<u8>, Option<Vec<u8>>)>),
    Sync,
    Reopen,
    Close,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, b'a', b'b', 0xff]), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let keyspace = prop::sample::select(vec![Keyspace::Documents, Keyspace::Log, Keyspace::Meta]);
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..2_000));
    let operations = prop::collection::vec((keyspace, key(), value), 0..12);
    prop_oneof![
        20 => operations.prop_map(Step::Commit),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::Close),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![key().prop_map(Included), key().prop_map(Excluded), Just(Unbounded)]
}

type Model = BTreeMap<(Keyspace, Vec<u8>), Vec<u8>>;

/// Compares all a snapshot can answer about `bounds`, and everything else once, with the model.
fn compare<S: RawSnapshot>(snapshot: &S, model: &Model, bounds: &[Bounds]) {
    for keyspace in [Keyspace::Documents, Keyspace::Log, Keyspace::Meta] {
        let entries: Entries = model
            .iter()
            .filter(|((at, _), _)| *at == keyspace)
            .map(|((_, key), value)| (Bytes::from(key.clone()), Bytes::from(value.clone())))
            .collect();
        for (key, value) in &entries {
            assert_eq!(snapshot.get(keyspace, key).unwrap().as_ref(), Some(value));
        }
        for (lower, upper) in bounds.iter().chain([&(Unbounded, Unbounded)]) {
            let (lower, upper) = (slice(lower), slice(upper));
            let within = |key: &[u8]| {
                (match lower {
                    Included(lower) => key >= lower,
                    Excluded(lower) => key > lower,
                    Unbounded => true,
                }) && match upper {
                    Included(upper) => key <= upper,
                    Excluded(upper) => key < upper,
                    Unbounded => true,
                }
            };
            let mut expected: Entries = entries.iter().filter(|(key, _)| within(key)).cloned().collect();
            let forward: Entries = snapshot.range(keyspace, lower, upper).map(Result::unwrap).collect();
            assert_eq!(forward, expected);
            let backward: Entries =
                snapshot.range(keyspace, lower, upper).rev().map(Result::unwrap).collect();
            expected.reverse();
            assert_eq!(backward, expected);
        }
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_agree_with_a_map(
        steps in prop::collection::vec(step(), 1..60),
        bounds in prop::collection::vec((bound(), bound()), 6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = open(directory.path());
        let memory = MemoryEngine::new();
        let mut model = Model::new();
        let mut held = None;
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(operations) => {
                    let mut changes = RawBatch::new();
                    for (keyspace, key, value) in operations {
                        match value {
                            Some(value) => {
                                model.insert((keyspace, key.clone()), value.clone());
                                changes.put(keyspace, key, value);
                            }
                            None => {
                                model.remove(&(keyspace, key.clone()));
                                changes.delete(keyspace, key);
                            }
                        }
                    }
                    disk.commit(changes.clone()).unwrap();
                    memory.commit(changes).unwrap();
                }
                Step::Sync => {
                    disk.sync().unwrap();
                    memory.sync().unwrap();
                }
                Step::Reopen => {
                    held = None;
                    drop(disk);
                    disk = open(directory.path());
                }
                Step::Close => {
                    held = None;
                    disk.close().unwrap();
                    disk = open(directory.path());
                }
            }
            if index % 16 == 3 {
                held = Some((disk.snapshot(), memory.snapshot(), model.clone()));
            }
        }
        compare(&disk.snapshot(), &model, &bounds);
        compare(&memory.snapshot(), &model, &bounds);
        if let Some((disk, memory, model)) = held {
            compare(&disk, &model, &bounds);
            compare(&memory, &model, &bounds);
        }
    }
}

#[test]
fn a_crash_forgets_what_was_not_synced() {
    let engine = MemoryEngine::new();
    let after_restart = engine.clone();
    engine.commit(batch(&[(Keyspace::Documents, "a", "synced")])).unwrap();
    engine.sync().unwrap();
    engine.commit(batch(&[(Keyspace::Documents, "a", "lost"), (Keyspace::Log, "b", "lost")])).unwrap();
    let before = engine.snapshot();
    drop(engine);

    after_restart.crash();
    assert_eq!(read(&after_restart.snapshot(), Keyspace::Documents, "a").as_deref(), Some("synced"));
    assert_eq!(read(&after_restart.snapshot(), Keyspace::Log, "b"), None);
    assert_eq!(after_restart.disk_bytes(), 7);
    assert_eq!(read(&before, Keyspace::Log, "b").as_deref(), Some("lost"));
}

#[test]
fn a_fork_is_a_backup_with_its_own_unsynced_half() {
    let engine = MemoryEngine::new();
    engine.commit(batch(&[(Keyspace::Documents, "a", "1")])).unwrap();
    engine.sync().unwrap();
    engine.commit(batch(&[(Keyspace::Documents, "a", "2")])).unwrap();
    let backup = engine.fork();
    engine.commit(batch(&[(Keyspace::Documents, "a", "3")])).unwrap();
    engine.sync().unwrap();

    assert_eq!(read(&backup.snapshot(), Keyspace::Documents, "a").as_deref(), Some("2"));
    backup.crash();
    assert_eq!(read(&backup.snapshot(), Keyspace::Documents, "a").as_deref(), Some("1"));
    assert_eq!(read(&engine.snapshot(), Keyspace::Documents, "a").as_deref(), Some("3"));
}

// --- the directory ---------------------------------------------------------------------------------------------------

/// Names the directory a child process of these tests works on.
const CHILD_DIRECTORY: &str = "REJOIN_STORE_TEST_DIRECTORY";

fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD_DIRECTORY, directory);
    command
}

#[test]
fn a_directory_has_one_handle() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let refused = FjallEngine::open(directory.path(), small()).err().unwrap();
    assert!(matches!(&refused, EngineError::Locked { holder: Some(pid), .. } if *pid == std::process::id()));
    let text = refused.to_string();
    assert!(text.contains("this very process"), "{text}");

    let output = child("child_opens", directory.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("another Rejoin process"), "{text}");

    let reader = engine.snapshot();
    drop(engine);
    assert!(matches!(FjallEngine::open(directory.path(), small()), Err(EngineError::Locked { .. })));
    drop(reader);
    open(directory.path());
    let output = child("child_opens", directory.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("opened"));
}

#[test]
fn child_opens() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    match FjallEngine::open(Path::new(&directory), small()) {
        Ok(_) => println!("opened"),
        Err(error) => println!("{error}"),
    }
}

#[test]
fn a_directory_locked_by_fjall_alone_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let file = fs::File::open(directory.path().join("fjall/lock")).unwrap();
    file.lock().unwrap();
    assert!(matches!(FjallEngine::open(directory.path(), small()), Err(EngineError::Locked { .. })));
    drop(file);
    open(directory.path());
}

#[test]
fn an_interrupted_creation_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("fjall.new/keyspaces")).unwrap();
    fs::write(directory.path().join("fjall.new/0.jnl"), b"half").unwrap();
    open(directory.path()).commit(batch(&[(Keyspace::Meta, "a", "1")])).unwrap();
    assert!(!directory.path().join("fjall.new").exists());
}

// --- kill -9 -----------------------------------------------------------------------------------------------------------

/// Batch `number`: it adds a row, takes one away and counts, over several keyspaces.
fn numbered(number: u64) -> RawBatch {
    let mut batch = RawBatch::new();
    batch.put(Keyspace::Documents, number.to_be_bytes().to_vec(), numbered_value(number));
    batch.put(Keyspace::Log, number.to_be_bytes().to_vec(), "log");
    if let Some(previous) = number.checked_sub(1) {
        batch.delete(Keyspace::Log, previous.to_be_bytes().to_vec());
    }
    batch.put(Keyspace::Meta, "count", number.to_be_bytes().to_vec());
    batch
}

fn numbered_value(number: u64) -> Vec<u8> {
    number.to_string().repeat(40).into_bytes()
}

/// The last numbered batch in a store, after checking that all before it are there, whole and alone.
fn last_numbered<S: RawSnapshot>(snapshot: &S) -> Result<Option<u64>, EngineError> {
    let number = |bytes: &Bytes| u64::from_be_bytes(bytes.as_ref().try_into().unwrap());
    let count = snapshot.get(Keyspace::Meta, b"count")?.map(|count| number(&count));
    let mut expected = 0;
    for entry in snapshot.range(Keyspace::Documents, Unbounded, Unbounded) {
        let (key, value) = entry?;
        assert_eq!(number(&key), expected, "no document is missing");
        assert_eq!(value, numbered_value(expected), "document {expected} is what was written");
        assert_eq!(snapshot.get(Keyspace::Documents, &key)?.as_ref(), Some(&value));
        expected += 1;
    }
    assert_eq!(count, expected.checked_sub(1), "the last batch is whole");
    let log: Result<Entries, _> = snapshot.range(Keyspace::Log, Unbounded, Unbounded).rev().collect();
    assert_eq!(log?.iter().map(|(key, _)| number(key)).collect::<Vec<_>>(), Vec::from_iter(count));
    Ok(count)
}

#[test]
fn what_was_committed_survives_kill_minus_nine() {
    let directory = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..8 {
        let mut process =
            child("child_commits_until_killed", directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut printed = None;
        for (count, line) in BufReader::new(process.stdout.take().unwrap()).lines().enumerate() {
            // What comes through the pipe after the kill was committed before it.
            if let Some(number) = line.unwrap().strip_prefix("committed ") {
                printed = Some(number.parse::<u64>().unwrap());
            }
            if count == 100 + 150 * round {
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        let printed = printed.expect("the child committed something");
        assert!(printed >= next, "round {round} went on where the last one stopped");

        let engine = open(directory.path());
        let found = last_numbered(&engine.snapshot()).unwrap().unwrap();
        assert!(found >= printed, "round {round}: {printed} was acknowledged, {found} is the last one there");
        assert!(found <= printed + 1, "at most one commit was in flight");
        next = found + 1;
    }
}

#[test]
fn child_commits_until_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let engine = open(Path::new(&directory));
    let next = last_numbered(&engine.snapshot()).unwrap().map_or(0, |last| last + 1);
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout).unwrap();
    for number in next.. {
        engine.commit(numbered(number)).unwrap();
        writeln!(stdout, "committed {number}").unwrap();
        stdout.flush().unwrap();
    }
}

// --- damage ------------------------------------------------------------------------------------------------------------

const IN_TABLES: u64 = 600;
const IN_JOURNAL: u64 = 60;

/// A store with most batches in tables and some in the journal only.
fn damageable() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    (0..IN_TABLES).for_each(|number| engine.commit(numbered(number)).unwrap());
    engine.close().unwrap();
    // Opening cuts the journal to its contents: fjall's 64 MiB of zeros would hide the batches from the samples.
    let engine = FjallEngine::open(directory.path(), FjallOptions::default()).unwrap();
    (IN_TABLES..IN_TABLES + IN_JOURNAL).for_each(|number| engine.commit(numbered(number)).unwrap());
    drop(engine);
    directory
}

/// The files a store needs, which leaves out table lists (`v3`) that `current` no longer names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let current = fs::read(directory.join("current")).ok();
    let current = current.map(|current| format!("v{}", u64::from_le_bytes(current[..8].try_into().unwrap())));
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_stale = name.starts_with('v') && current.as_ref().is_some_and(|current| current != name);
        if path.is_dir() {
            found.extend(files(&path));
        } else if !is_stale {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    Everything,
    Torn(u64),
    Corrupt,
}

/// Opens and reads a damaged store. A panic or a wrong answer fails the test.
fn examine(directory: &Path, damage: &str) -> Found {
    let examined = catch_unwind(AssertUnwindSafe(|| {
        let engine = FjallEngine::open(directory, small())?;
        let last = last_numbered(&engine.snapshot())?.unwrap_or(0);
        for keyspace in Keyspace::ALL {
            engine.snapshot().range(keyspace, Unbounded, Unbounded).try_for_each(|entry| entry.map(drop))?;
        }
        Ok((last, engine.torn_bytes()))
    }));
    match examined {
        Ok(Ok((last, 0))) if last == IN_TABLES + IN_JOURNAL - 1 => Found::Everything,
        Ok(Ok((last, _))) => Found::Torn(last),
        Ok(Err(EngineError::Corrupt { .. })) => Found::Corrupt,
        Ok(Err(error)) => panic!("{damage}: {error:?}"),
        Err(_) => panic!("{damage}: panicked"),
    }
}

fn damaged(original: &Path, file: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(original, directory.path());
    let file = directory.path().join(file.strip_prefix(original).unwrap());
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, bytes).unwrap();
    directory
}

/// Positions looked at per file; more with the environment variable `REJOIN_STORE_TEST_SAMPLES`.
fn samples() -> usize {
    std::env::var("REJOIN_STORE_TEST_SAMPLES").map_or(12, |samples| samples.parse().unwrap())
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless() {
    let original = damageable();
    let mut corrupt = 0;
    for file in files(original.path()) {
        let bytes = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        let is_journal = file.extension().is_some_and(|extension| extension == "jnl");
        for sample in 0..samples().min(bytes) {
            let at = sample * bytes / samples().min(bytes);
            let damage = format!(
                "{} flipped at {at} of {bytes}",
                file.strip_prefix(original.path()).unwrap().display()
            );
            let directory = damaged(original.path(), &file, |bytes| bytes[at] ^= 0x55);
            match examine(directory.path(), &damage) {
                Found::Everything => {}
                Found::Corrupt => corrupt += 1,
                // The last batch of the journal may look unfinished. Nothing else may be missed.
                Found::Torn(last) => {
                    assert!(is_journal && last + 2 == IN_TABLES + IN_JOURNAL, "{damage}: {last} is the last");
                }
            }
        }
    }
    assert!(corrupt > samples(), "only {corrupt} errors: the samples miss the data");
}

#[test]
fn a_truncated_file_is_an_error_or_an_earlier_state() {
    let original = damageable();
    for file in files(original.path()) {
        let bytes = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        let is_journal = file.extension().is_some_and(|extension| extension == "jnl");
        for sample in 0..samples().min(bytes) {
            let at = sample * bytes / samples().min(bytes);
            let damage =
                format!("{} cut at {at} of {bytes}", file.strip_prefix(original.path()).unwrap().display());
            let directory = damaged(original.path(), &file, |bytes| bytes.truncate(at));
            match examine(directory.path(), &damage) {
                Found::Everything | Found::Corrupt => {}
                // A journal that ends early is what a power cut leaves behind.
                Found::Torn(_) => assert!(is_journal, "{damage}"),
            }
        }
    }
}

#[test]
fn a_last_batch_with_a_hole_is_a_commit_that_had_not_returned() {
    let original = damageable();
    let is_journal = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "jnl");
    let journal = files(original.path()).into_iter().rfind(is_journal).unwrap();
    // Both ends of the batch reached the disk, and a page between them did not.
    let last = IN_TABLES + IN_JOURNAL - 1;
    let hole = |bytes: &mut Vec<u8>, number: u64| {
        let value = numbered_value(number);
        let at = bytes.windows(value.len()).rposition(|window| window == value).unwrap();
        bytes[at + 10..at + value.len() - 10].fill(0);
    };
    let directory = damaged(original.path(), &journal, |bytes| hole(bytes, last));
    assert_eq!(examine(directory.path(), "a hole in the last batch"), Found::Torn(last - 1));
    assert_eq!(open(directory.path()).torn_bytes(), 0, "it was cut off");
    // A batch with others behind it had been synced.
    let directory = damaged(original.path(), &journal, |bytes| hole(bytes, last - 1));
    assert_eq!(examine(directory.path(), "a hole in the last batch but one"), Found::Corrupt);
}

#[test]
fn a_last_batch_without_its_number_is_a_commit_that_had_not_returned() {
    let original = damageable();
    let is_journal = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "jnl");
    let journal = files(original.path()).into_iter().rfind(is_journal).unwrap();
    // The first page of the batch reached the disk with its tag and its count, and without the sequence number.
    let forget = |bytes: &mut Vec<u8>, number: u64| {
        let value = numbered_value(number);
        let at = bytes.windows(value.len()).rposition(|window| window == value).unwrap();
        let before = bytes[..at].windows(4).rposition(|window| window == b"FJL\x03").unwrap();
        let sequence_number = before + 4 + 5;
        bytes[sequence_number..sequence_number + 8].fill(0);
    };
    let last = IN_TABLES + IN_JOURNAL - 1;
    let directory = damaged(original.path(), &journal, |bytes| forget(bytes, last));
    assert_eq!(examine(directory.path(), "the last batch without its number"), Found::Torn(last - 1));
    assert_eq!(open(directory.path()).torn_bytes(), 0, "it was cut off");
    let directory = damaged(original.path(), &journal, |bytes| forget(bytes, last - 1));
    assert_eq!(examine(directory.path(), "the last batch but one without its number"), Found::Corrupt);
}

#[test]
fn a_missing_file_is_an_error_and_nothing_is_deleted() {
    let original = damageable();
    let everything = files(original.path());
    for file in &everything {
        let name = file.file_name().unwrap().to_str().unwrap();
        if ["LOCK", "lock"].contains(&name) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let relative = file.strip_prefix(original.path()).unwrap();
        fs::remove_file(directory.path().join(relative)).unwrap();
        let damage = format!("{} removed", relative.display());
        assert_eq!(examine(directory.path(), &damage), Found::Corrupt, "{damage}");
        for other in everything.iter().filter(|other| *other != file) {
            let other = directory.path().join(other.strip_prefix(original.path()).unwrap());
            assert!(other.exists(), "{damage}: and so was {}", other.display());
        }
        // Put back, it opens.
        fs::copy(file, directory.path().join(relative)).unwrap();
        assert_eq!(examine(directory.path(), &damage), Found::Everything, "{damage} and put back");
    }
}
