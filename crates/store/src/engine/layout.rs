//! What a store directory must contain before fjall may open it.
//!
//! fjall treats some missing files as the remains of an interrupted creation: it deletes a keyspace directory without
//! its `current` file, and every keyspace its own directory of keyspaces does not name. Without journals it also
//! forgets how far its sequence numbers had come, so that later writes hide beneath earlier ones. Damage would thus turn
//! into silent loss. Checking first turns it into an error that leaves the files alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::EngineError;
use super::error::Cause;

const OPERATION: &str = "open the store";

/// First bytes of fjall's `version` file, for the format this module and the journal check know.
const VERSION_MARKER: &[u8] = b"FJL\x03";

/// The keyspace in which fjall names the others.
const DIRECTORY_KEYSPACE: &str = "0";

/// Checks the files of a store and answers with its journals, oldest first; the last is the active one.
pub(super) fn check(store: &Path) -> Result<Vec<PathBuf>, EngineError> {
    check_version(&store.join("version"))?;
    check_keyspaces(&store.join("keyspaces"))?;
    find_journals(store)
}

fn check_version(path: &Path) -> Result<(), EngineError> {
    let marker = fs::read(path).map_err(|error| missing(path, error))?;
    if marker.starts_with(VERSION_MARKER) {
        Ok(())
    } else {
        Err(EngineError::corrupt(OPERATION, format!("{} does not say format 3 of fjall", path.display())))
    }
}

fn check_keyspaces(directory: &Path) -> Result<(), EngineError> {
    for keyspace in list(directory)? {
        if !keyspace.is_dir() {
            continue;
        }
        if number::<u64>(&keyspace, "").is_none() {
            return Err(EngineError::corrupt(
                OPERATION,
                format!("{} does not belong here", keyspace.display()),
            ));
        }
        check_table_list(&keyspace)?;
    }
    check_table_list(&directory.join(DIRECTORY_KEYSPACE))
}

/// Compares a keyspace's list of tables (`v3`) with the checksum in `current`, which fjall writes and never reads: a
/// flipped byte in the list would hide rows without an error.
fn check_table_list(keyspace: &Path) -> Result<(), EngineError> {
    let current = keyspace.join("current");
    let pointer = fs::read(&current).map_err(|error| missing(&current, error))?;
    let damaged = |path: &Path| {
        EngineError::corrupt(OPERATION, format!("{} and its list of tables do not match", path.display()))
    };
    let number = pointer.first_chunk::<8>().ok_or_else(|| damaged(&current))?;
    let checksum = pointer.get(8..).and_then(<[u8]>::first_chunk::<16>).ok_or_else(|| damaged(&current))?;
    let list = keyspace.join(format!("v{}", u64::from_le_bytes(*number)));
    let listed = fs::read(&list).map_err(|error| missing(&list, error))?;
    match xxh3_128(&listed) == u128::from_le_bytes(*checksum) {
        true => Ok(()),
        false => Err(damaged(&list)),
    }
}

/// The journals of a store, oldest first.
pub(super) fn find_journals(store: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let mut journals: Vec<(u64, PathBuf)> = list(store)?
        .into_iter()
        .filter_map(|path| number(&path, ".jnl").map(|number| (number, path)))
        .collect();
    journals.sort();
    if journals.is_empty() {
        return Err(EngineError::corrupt(
            OPERATION,
            format!("{} contains no journal (*.jnl)", store.display()),
        ));
    }
    for pair in journals.windows(2) {
        // fjall numbers journals without gaps and deletes the oldest first.
        if let [(older, _), (newer, _)] = pair
            && older + 1 != *newer
        {
            return Err(EngineError::corrupt(
                OPERATION,
                format!("a journal between {older}.jnl and {newer}.jnl is missing from {}", store.display()),
            ));
        }
    }
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// The number a file is named by, if it is named by one.
fn number<N: std::str::FromStr>(path: &Path, suffix: &str) -> Option<N> {
    path.file_name()?.to_str()?.strip_suffix(suffix)?.parse().ok()
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, EngineError> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| missing(directory, error))
}

/// A file that cannot be read: damage if it is not there, else the fault of the device or of its permissions.
fn missing(path: &Path, error: io::Error) -> EngineError {
    if error.kind() == io::ErrorKind::NotFound {
        EngineError::Corrupt {
            operation: OPERATION,
            detail: format!("{} is missing", path.display()),
            cause: Some(Cause::from(error)),
        }
    } else {
        EngineError::io(OPERATION, error)
    }
}
