//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::EngineError;

/// How long a contested lock is tried for: a process that was just killed is still letting go, and so is one that is
/// between fork and exec with a copy of the file.
const LOCK_WAIT_MAX: Duration = Duration::from_millis(300);

/// Pause between two tries.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// The lock on a data directory, released when dropped or when the process dies.
///
/// The file stays behind: deleting it would let two processes lock two different files of the same name.
#[derive(Debug)]
pub(super) struct LockFile {
    _file: File,
}

impl LockFile {
    /// Name of the lock file in the data directory. It contains the process id of the holder, for people.
    const NAME: &'static str = "LOCK";

    /// Takes the lock, or says who holds it.
    pub(super) fn acquire(directory: &Path) -> Result<Self, EngineError> {
        const OPERATION: &str = "lock the data directory";
        let failed = |error| EngineError::io(OPERATION, error);

        let path = directory.join(Self::NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let deadline = Instant::now() + LOCK_WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    let (directory, holder) = (directory.to_owned(), read_holder(&mut file));
                    return Err(EngineError::Locked { operation: OPERATION, directory, holder });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        // For people only: a disk without room for it must not keep a node from serving reads.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = file.write_all(std::process::id().to_string().as_bytes());
        Ok(Self { _file: file })
    }
}

/// The process id in a lock file. Some systems do not let others read a locked file, hence the `Option`.
fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.parse().ok()
}
