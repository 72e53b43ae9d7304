//! What can go wrong in an engine, sorted by what an operator does about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::RefusedBatch;

/// The error of the layer below, kept for the log.
pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// A failed engine operation. The kind says who must act; the message says on what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Another process, or another handle of this one, has the directory open.
    #[error("cannot {operation}: {} is in use by {}", directory.display(), who(*holder))]
    Locked {
        /// What was being done.
        operation: &'static str,
        /// The contested directory.
        directory: PathBuf,
        /// The process that seems to hold it.
        holder: Option<u32>,
    },
    /// The files contradict themselves. Nothing was repaired and nothing was deleted.
    #[error("cannot {operation}: the store is damaged: {detail}")]
    Corrupt {
        /// What was being done.
        operation: &'static str,
        /// What is wrong, and where.
        detail: String,
        /// The error below, where there is one.
        #[source]
        cause: Option<Cause>,
    },
    /// No space or no quota left.
    #[error("cannot {operation}: no space left on the device")]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// The error below.
        #[source]
        cause: Cause,
    },
    /// The operating system or the device refused.
    #[error("cannot {operation}: the device or the file system failed")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The error below.
        #[source]
        cause: Cause,
    },
    /// An earlier write failed, so no later one may be promised. Reads go on.
    #[error("cannot {operation}: an earlier write failed ({first_failure})")]
    Poisoned {
        /// What was being done.
        operation: &'static str,
        /// The failure that came first.
        first_failure: String,
    },
    /// The batch breaks a bound. Nothing changed; later writes are taken.
    #[error("cannot {operation}: {reason}")]
    Refused {
        /// What was being done.
        operation: &'static str,
        /// The bound and how it was broken.
        reason: RefusedBatch,
    },
}

impl EngineError {
    /// Sorts an error of the operating system.
    pub(super) fn io(operation: &'static str, error: io::Error) -> Self {
        Self::sort(operation, Box::new(error))
    }

    /// Sorts an error in whose chain a full disk may hide; anything else counts as [`EngineError::Io`].
    pub(super) fn sort(operation: &'static str, cause: Cause) -> Self {
        if is_disk_full(cause.as_ref()) {
            Self::DiskFull { operation, cause }
        } else {
            Self::Io { operation, cause }
        }
    }

    /// The files contradict themselves, by our own reading of them.
    pub(super) fn corrupt(operation: &'static str, detail: impl Into<String>) -> Self {
        Self::Corrupt { operation, detail: detail.into(), cause: None }
    }
}

/// Who holds a lock, for people. Two handles of one process are a mistake of that program, and no other one can be ended.
fn who(holder: Option<u32>) -> String {
    match holder {
        Some(pid) if pid == std::process::id() => {
            format!("this very process (pid {pid}), which has it open already")
        }
        Some(pid) => format!("another Rejoin process (pid {pid})"),
        None => "another Rejoin process".to_owned(),
    }
}

/// Whether ENOSPC or EDQUOT is anywhere in the chain.
fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return true;
            }
            // An `io::Error` that wraps another error answers with that error's source, skipping the error itself.
            if error.get_ref().is_some_and(|inner| is_disk_full(inner)) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENOSPC: i32 = 28;

    #[test]
    fn a_full_disk_is_recognised_through_wrapping_errors() {
        let wrapped = io::Error::other(fjall::Error::Storage(fjall::LsmError::Io(
            io::Error::from_raw_os_error(ENOSPC),
        )));
        assert!(matches!(EngineError::io("test", wrapped), EngineError::DiskFull { .. }));
    }

    #[test]
    fn other_failures_of_the_device_are_io() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(matches!(EngineError::io("test", error), EngineError::Io { .. }));
    }
}
