//! Data directories that a node must not touch: in use, damaged, or of a newer version. It says what to do instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rejoin_store::engine::{Engine as _, FjallEngine, FjallOptions, Keyspace, RawBatch};
use serde_json::Value;

use crate::harness::{Launch, Server, free_port, read_files, rejoin, run};

/// Not now: in use.
const EXIT_TRY_AGAIN: i32 = 75;
/// The store is damaged.
const EXIT_STORAGE: i32 = 74;
/// The configuration does not fit: a store of a newer version, for one.
const EXIT_CONFIG: i32 = 78;

const ENDS_MAX: Duration = Duration::from_secs(20);

/// A node that has some data.
fn with_data(name: &str) -> Server {
    let server = Launch::new(name).quick().start();
    for number in 0..200 {
        server.put(
            &format!("data/{number}"),
            &format!("{{\"text\":\"something worth keeping, number {number}\"}}"),
        );
    }
    server
}

/// Starts a node that must refuse, and gives what it said.
#[track_caller]
fn refused(server: &mut Server, code: i32) -> String {
    server.spawn();
    let status = server.ends(ENDS_MAX);
    let said = server.log();
    assert_eq!(status.code(), Some(code), "{said}");
    let last = said.lines().rev().take(2).collect::<Vec<_>>().into_iter().rev();
    last.filter(|line| line.starts_with("error:") || line.starts_with("hint:"))
        .collect::<Vec<_>>()
        .join(" / ")
}

#[test]
fn a_second_process_on_a_data_directory_is_refused() {
    let first = with_data("first");
    let mut command = rejoin();
    command.args(["serve", "--name", "second", "--listen", &format!("127.0.0.1:{}", free_port())]);
    command.arg("--data-dir").arg(first.data_dir());
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(EXIT_TRY_AGAIN), "{said}");
    assert!(said.contains("hint:") && said.contains("another directory"), "{said}");
    // As programs see it.
    let output = run(command.arg("--json"));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"], "locked", "{error}");
    assert_eq!(error["retryable"], true, "{error}");
    // The first does not mind.
    first.put("after", "true");
    assert_eq!(first.scan().len(), 201);
    // The exit code is documented.
    let help = String::from_utf8(run(rejoin().arg("--help")).stdout).unwrap();
    assert!(help.contains("75  not now"), "{help}");
    println!(
        "second process on the same data directory: exit {EXIT_TRY_AGAIN}, {}",
        said.trim().replace('\n', " / ")
    );
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let mut server = with_data("newer");
    server.stop();
    set_format(&server, 3);
    let said = refused(&mut server, EXIT_CONFIG);
    assert!(
        said.contains("format 3") && said.contains("formats 1 to 2") && said.contains("newer version"),
        "{said}"
    );
    // Nothing was touched: the version that wrote it finds everything.
    set_format(&server, 2);
    server.start();
    assert_eq!(server.scan().len(), 200);
    println!("store of a newer format: exit {EXIT_CONFIG}, {said}");
}

/// The row in which a store says how it is laid out; see docs/storage.md.
fn set_format(server: &Server, format: u32) {
    let engine = FjallEngine::open(&server.data_dir(), FjallOptions::default()).unwrap();
    let mut batch = RawBatch::new();
    batch.put(Keyspace::Meta, b"format".to_vec(), format.to_be_bytes().to_vec());
    engine.commit(batch).unwrap();
    engine.close().unwrap();
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    // Killed, so that its data is in the journal; and stopped, so that it is in tables.
    let mut killed = with_data("killed");
    killed.kill();
    damaged(
        &mut killed,
        &[
            ("a journal overwritten in its middle", overwrite_journal),
            ("a journal with one value changed", change_a_journal_byte),
            ("a journal that is gone", remove_journal),
        ],
    );
    let mut stopped = with_data("stopped");
    stopped.stop();
    damaged(
        &mut stopped,
        &[
            ("keyspaces that are gone", remove_keyspaces),
            ("a version file of something else", overwrite_version),
        ],
    );
}

/// A name, and what is done to a store.
type Way<'a> = (&'a str, fn(&Path));

/// Damages the data directory of a server in several ways, each time from the same state.
#[track_caller]
fn damaged(server: &mut Server, ways: &[Way<'_>]) {
    let healthy = server.copy_data();
    for (name, damage) in ways {
        damage(&server.data_dir().join("fjall"));
        let before = read_files(&server.data_dir());
        let said = refused(server, EXIT_STORAGE);
        assert!(said.contains("backup") && said.contains("peers"), "{name}: {said}");
        let after = read_files(&server.data_dir());
        // The lock file names whoever tried last.
        let changed =
            before.keys().filter(|path| !path.ends_with("LOCK") && after.get(*path) != before.get(*path));
        let changed: Vec<&PathBuf> = changed.collect();
        assert!(changed.is_empty(), "{name}: {changed:?} changed");
        println!("{name}: exit {EXIT_STORAGE}, {said}");
        server.restore_data(healthy.path());
    }
    server.start();
    assert_eq!(server.scan().len(), 200, "the backup of {}", server.name());
}

fn journal(store: &Path) -> PathBuf {
    let files = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect();
    journals.sort();
    journals.pop().unwrap()
}

/// The place of a value in the middle of the journal.
fn middle(bytes: &[u8]) -> usize {
    let needle = b"worth keeping, number 100";
    bytes.windows(needle.len()).position(|window| window == needle).expect("the journal holds the values")
}

fn overwrite_journal(store: &Path) {
    let path = journal(store);
    let mut bytes = fs::read(&path).unwrap();
    let at = middle(&bytes);
    bytes[at - 300..at + 300].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn change_a_journal_byte(store: &Path) {
    let path = journal(store);
    let mut bytes = fs::read(&path).unwrap();
    let at = middle(&bytes);
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

fn remove_journal(store: &Path) {
    fs::remove_file(journal(store)).unwrap();
}

fn remove_keyspaces(store: &Path) {
    fs::remove_dir_all(store.join("keyspaces")).unwrap();
}

fn overwrite_version(store: &Path) {
    fs::write(store.join("version"), "not the library's").unwrap();
}
