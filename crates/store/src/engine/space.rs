//! The room that is left on the disk of a store, and what of it is spoken for.

use std::path::Path;

/// What a disk has left, and what the engine is going to write there by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
    /// What waits in write buffers: it goes to disk once more, as tables, before its journal can go.
    pub buffered_bytes: u64,
    /// What the largest merge of tables may write before the tables it replaces can go.
    pub merge_bytes: u64,
}

impl DiskSpace {
    /// What the engine may write in the background. When that does not fit, a background thread fails and the store
    /// with it, so it is not there for anybody else.
    #[must_use]
    pub fn owed_bytes(&self) -> u64 {
        self.buffered_bytes.saturating_add(self.merge_bytes)
    }
}

/// Free and total bytes of the file system that holds `directory`.
#[cfg(unix)]
pub(super) fn measure(directory: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(directory).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // What is free for everybody, not what the system keeps back for its administrator.
    Some((bytes(found.f_bavail), bytes(found.f_blocks)))
}

/// Nobody asks the system here yet.
#[cfg(not(unix))]
pub(super) fn measure(_: &Path) -> Option<(u64, u64)> {
    None
}
