//! The engine on disk: fjall, a log-structured merge tree in Rust.
//!
//! A data directory contains the lock file and a folder `fjall`, which belongs to the library. The folder is made under
//! another name and moved into place when complete, so that a first start that is killed leaves nothing half made.
//!
//! What this module adds to the library: a look at the files before fjall may act on them, errors an operator can act
//! on, a poison that remembers why, waiting for flushes in a way that cannot wait for ever, and the order in which things
//! reach the disk: tables never hold what the journal has not synced ([`FjallEngine::seal`]).

use std::any::Any;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::config::FilterPolicy;
use fjall::{AbstractTree, Database, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};
use xxhash_rust::xxh3::xxh3_64;

use super::error::Cause;
use super::lock::LockFile;
use super::{
    DiskSpace, Engine, EngineError, Keyspace, RawBatch, RawSnapshot, is_empty_range, journal, layout, space,
};

/// Size of one write buffer: one of them in every keyspace is filling. 8 MiB instead of fjall's 64 keeps seven of them
/// within a small machine and leaves little to replay; it costs some 15 % of write throughput.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// All sealed journals together, before the keyspaces that hold them back are flushed: the size at which fjall seals one.
/// The library's own default of 512 MiB would be replayed at the next open.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// What an entry of a write buffer takes beyond its key and value, roughly.
const ENTRY_BYTES: u64 = 64;

/// Blocks kept uncompressed. Enough for the upper levels of a million documents; the page cache holds the rest.
const BLOCK_CACHE_BYTES: u64 = 64 << 20;

/// One worker flushes write buffers, the other compacts. With a single worker a long compaction would stall writers;
/// more of them compete with the replica on a small machine.
const WORKERS: usize = 2;

/// Files kept open, of the 1,024 a process usually may: the rest is for links and clients. fjall's default is 900.
const OPEN_FILES_MAX: usize = 256;

/// Sealed write buffers per keyspace at which commits wait. fjall waits at 4, in a loop that does not end when the
/// worker it waits for has died; staying below keeps out of it.
const SEALED_MEMTABLES_MAX: usize = 3;

/// The most that one merge of tables writes, as fjall chooses them: a level of 4 tables of 64 MiB into the next, or one
/// table and the ten it overlaps below.
const MERGE_BYTES_MAX: u64 = 12 * (64 << 20);

/// Tables of the first level from which on a merge is near: fjall merges 4, and one may be on its way.
const FRESH_TABLES_NEAR_MERGE: usize = 3;

/// Size of a lower level from which on a merge out of it is near: fjall merges at 256 MiB.
const DEEP_LEVEL_BYTES: u64 = 192 << 20;

/// Rows of a write buffer that were replaced or removed while in it, at which it becomes a table, however small. 2,048: a
/// range read steps over them at a microsecond each, and a path that is written all the time makes nothing else.
const DEAD_ROWS_MAX: u64 = 2_048;

/// Keys of a write buffer that are remembered, to notice one that is written again. 1,024: more than a few keys that are
/// written all the time, and 8 KiB.
const RECENT_KEYS: usize = 1_024;

/// Pause between looks at a flush in progress.
const FLUSH_POLL: Duration = Duration::from_millis(2);

/// The longest a clean close waits for flushes. What is not flushed by then is replayed from the journal.
const CLOSE_FLUSH_MAX: Duration = Duration::from_secs(30);

/// The library's folder in the data directory.
const STORE_FOLDER: &str = "fjall";

/// The same while it is being made.
const STAGING_FOLDER: &str = "fjall.new";

/// What may be tuned. The defaults suit a machine of two cores and 512 MiB.
#[derive(Clone, Copy, Debug)]
pub struct FjallOptions {
    /// Memory for uncompressed blocks.
    pub block_cache_bytes: u64,
    /// Size of one write buffer.
    pub memtable_bytes: u64,
    /// Sealed journals kept, in bytes, of 64 MiB each; at least one.
    pub journal_bytes_max: u64,
    /// Background threads; at least 1.
    pub workers: usize,
    /// Write buffers are sealed by [`Engine::keep_house`] and not by commits, which then wait for no device.
    pub seals_apart: bool,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: BLOCK_CACHE_BYTES,
            memtable_bytes: MEMTABLE_BYTES,
            journal_bytes_max: JOURNAL_BYTES_MAX,
            workers: WORKERS,
            seals_apart: false,
        }
    }
}

/// An [`Engine`] on a directory.
pub struct FjallEngine {
    database: Database,
    files: Arc<Files>,
    /// The first failed write. Once set, no later write is tried.
    poison: OnceLock<String>,
    /// Held during a commit.
    writer: Mutex<Buffers>,
    /// The state after the last commit. fjall's own snapshots may catch a batch half applied: a flush that ends while a
    /// batch is being applied moves the mark up to which snapshots see past that batch (lsm-tree 3.1,
    /// `upgrade_version_with_seqno`).
    /// Invariant: taken while no batch is being applied.
    ///
    /// Shared by all who read it: each clone of fjall's own goes through a lock and a hash map twice.
    latest: Mutex<Arc<fjall::Snapshot>>,
    torn_bytes: u64,
    options: FjallOptions,
}

/// What is in a write buffer, roughly.
struct Filled {
    bytes: u64,
    /// Rows that only a reader who steps over them can tell from none: removals, and values that others replaced.
    dead: u64,
    /// Hashes of keys, each in its place.
    recent: Box<[u64; RECENT_KEYS]>,
}

impl Filled {
    fn new(bytes: u64) -> Filled {
        Filled { bytes, dead: 0, recent: Box::new([0; RECENT_KEYS]) }
    }

    fn add(&mut self, key: &[u8], value: Option<&Bytes>) {
        self.bytes += (key.len() + value.map_or(0, Bytes::len)) as u64 + ENTRY_BYTES;
        let hash = xxh3_64(key);
        let place = usize::try_from(hash % RECENT_KEYS as u64).unwrap_or_default();
        let known = &mut self.recent[place];
        let again = std::mem::replace(known, hash) == hash;
        self.dead += u64::from(again || value.is_none());
    }
}

/// What waits in memory to become tables.
struct Buffers {
    /// Each keyspace's active write buffer.
    filled: [Filled; Keyspace::ALL.len()],
    /// Journals there were after the last commit.
    journals: usize,
}

/// What a reader needs, and what keeps the directory ours while there are readers.
struct Files {
    // Order matters: fjall lets go of the directory before the lock does.
    keyspaces: [fjall::Keyspace; Keyspace::ALL.len()],
    directory: PathBuf,
    _lock: LockFile,
}

impl FjallEngine {
    /// Opens the store in `directory`, or creates it.
    ///
    /// # Errors
    /// [`EngineError::Locked`] when it is open elsewhere, [`EngineError::Corrupt`] when its files contradict
    /// themselves; damage that is noticed leaves the files as they were.
    pub fn open(directory: &Path, options: FjallOptions) -> Result<Self, EngineError> {
        const OPERATION: &str = "open the store";
        let failed = |error| EngineError::io(OPERATION, error);

        make_directory(directory).map_err(failed)?;
        let lock = LockFile::acquire(directory)?;
        let store = directory.join(STORE_FOLDER);
        if !store.try_exists().map_err(failed)? {
            create(directory, options)?;
        }
        let torn = journal::check(&layout::check(&store)?)?;
        if let Some(torn) = &torn {
            torn.cut()?;
        }
        let torn_bytes = torn.map_or(0, |torn| torn.bytes);
        // fjall wants its own lock file to exist, but says nothing in it: a backup may well have left it out.
        fs::OpenOptions::new().append(true).create(true).open(store.join("lock")).map_err(failed)?;

        let database = open_database(OPERATION, &store, options)?;
        for keyspace in Keyspace::ALL {
            if !database.keyspace_exists(keyspace.name()) {
                return Err(EngineError::corrupt(OPERATION, format!("keyspace {keyspace} is missing")));
            }
        }
        let keyspaces = open_keyspaces(OPERATION, &database)?;
        let files = Arc::new(Files { keyspaces, directory: directory.to_owned(), _lock: lock });
        let latest = Mutex::new(Arc::new(database.snapshot()));
        let filled = std::array::from_fn(|at| Filled::new(files.keyspaces[at].tree.active_memtable().size()));
        let writer = Mutex::new(Buffers { filled, journals: 1 });
        Ok(Self { database, files, poison: OnceLock::new(), writer, latest, torn_bytes, options })
    }

    /// Bytes of a commit that had not returned when the previous process died, dropped at open.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    fn latest(&self) -> MutexGuard<'_, Arc<fjall::Snapshot>> {
        // A snapshot is replaced whole, so it is sound even if a holder of the lock panicked.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses writes after a failed one.
    fn check_poison(&self, operation: &'static str) -> Result<(), EngineError> {
        match self.poison.get() {
            Some(first_failure) => {
                Err(EngineError::Poisoned { operation, first_failure: first_failure.clone() })
            }
            None => Ok(()),
        }
    }

    /// Remembers the first failed write.
    fn poison(&self, operation: &'static str, error: fjall::Error) -> EngineError {
        let error = match error {
            fjall::Error::Poisoned => self.explain_background_failure(operation),
            error => sort(operation, error),
        };
        let mut failure = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            failure = format!("{failure}: {cause}");
        }
        let _ = self.poison.set(failure);
        error
    }

    /// fjall does not pass on why a flush or a compaction failed. By far the commonest reason can be asked for.
    fn explain_background_failure(&self, operation: &'static str) -> EngineError {
        const PROBE_BYTES: usize = 1 << 20;
        let path = self.files.directory.join("probe");
        let probe = fs::write(&path, vec![1; PROBE_BYTES]);
        let _ = fs::remove_file(&path);
        match probe.map_err(|error| EngineError::io(operation, error)) {
            Err(full @ EngineError::DiskFull { .. }) => full,
            _ => EngineError::Poisoned {
                operation,
                first_failure: "a flush or a merge of tables in the background".to_owned(),
            },
        }
    }

    /// Waits while the flushes of any keyspace lag behind, as long as somebody is flushing.
    fn wait_for_flushes(&self, operation: &'static str) -> Result<(), EngineError> {
        while self.sealed_memtables_max() >= SEALED_MEMTABLES_MAX {
            self.check_background(operation)?;
            thread::sleep(FLUSH_POLL);
        }
        Ok(())
    }

    /// Fails if fjall's workers have failed.
    fn check_background(&self, operation: &'static str) -> Result<(), EngineError> {
        self.database.persist(PersistMode::Buffer).map_err(|error| self.poison(operation, error))
    }

    fn sealed_memtables_max(&self) -> usize {
        self.files.keyspaces.iter().map(|keyspace| keyspace.tree.sealed_memtable_count()).max().unwrap_or(0)
    }

    /// Whether tables hold everything that was committed.
    fn is_flushed(&self) -> bool {
        self.files.keyspaces.iter().all(|keyspace| {
            keyspace.tree.sealed_memtable_count() == 0 && keyspace.tree.active_memtable().is_empty()
        })
    }

    /// Bytes that wait to be written out as tables.
    fn buffered_bytes(&self) -> u64 {
        let buffered = |keyspace: &fjall::Keyspace| {
            let sealed = keyspace.tree.sealed_memtable_count() as u64 * self.options.memtable_bytes;
            sealed + keyspace.tree.active_memtable().size()
        };
        self.files.keyspaces.iter().map(buffered).sum()
    }

    /// Seals the write buffers that are full, and all of them when sealed journals wait for what is in them. Workers make
    /// tables of what is sealed.
    ///
    /// fjall would seal buffers by itself, and sync the journal before it writes them out. But it then writes out all that
    /// is sealed, also what a second worker sealed after that sync: after a power cut in between, a table held a document
    /// of a batch whose frontier, index and log were gone with the end of the journal. So the library is told of no limits
    /// ([`keyspace_options`]), and here the journal is synced first, while no commit is under way.
    fn seal(&self, operation: &'static str, buffers: &mut Buffers) -> Result<(), EngineError> {
        let journals = self.database.journal_count();
        let journals_max = self.options.journal_bytes_max.max(JOURNAL_BYTES_MAX) / JOURNAL_BYTES_MAX;
        let hold_back = journals > buffers.journals && journals as u64 > journals_max;
        buffers.journals = journals;
        let is_due =
            |filled: &Filled, keyspace| self.is_full(filled, keyspace) || (hold_back && filled.bytes > 0);
        if !Keyspace::ALL.iter().any(|keyspace| is_due(&buffers.filled[*keyspace as usize], *keyspace)) {
            return Ok(());
        }
        self.wait_for_flushes(operation)?;
        self.database.persist(PersistMode::SyncData).map_err(|error| self.poison(operation, error))?;
        for (keyspace, filled) in Keyspace::ALL.into_iter().zip(&mut buffers.filled) {
            if is_due(filled, keyspace) {
                let keyspace = &self.files.keyspaces[keyspace as usize];
                keyspace.rotate_memtable().map_err(|error| self.poison(operation, error))?;
                *filled = Filled::new(0);
            }
        }
        Ok(())
    }

    /// Whether a write buffer is to become a table.
    fn is_full(&self, filled: &Filled, keyspace: Keyspace) -> bool {
        // Where flushes are slow, readers step over more rather than that writers wait.
        let dead = || {
            filled.dead >= DEAD_ROWS_MAX
                && is_read_in_ranges(keyspace)
                && self.files.keyspaces[keyspace as usize].tree.sealed_memtable_count() == 0
        };
        filled.bytes >= self.options.memtable_bytes || dead()
    }

    /// Writes all buffers out as tables, so that the next open finds nothing to replay.
    fn flush(&self, operation: &'static str) -> Result<(), EngineError> {
        for keyspace in &self.files.keyspaces {
            keyspace.rotate_memtable().map_err(|error| self.poison(operation, error))?;
        }
        let deadline = Instant::now() + CLOSE_FLUSH_MAX;
        while self.sealed_memtables_max() > 0 && Instant::now() < deadline {
            self.check_background(operation)?;
            thread::sleep(FLUSH_POLL);
        }
        Ok(())
    }
}

impl Engine for FjallEngine {
    type Snapshot = FjallSnapshot;

    fn snapshot(&self) -> FjallSnapshot {
        FjallSnapshot { snapshot: Arc::clone(&self.latest()), files: Arc::clone(&self.files) }
    }

    fn commit(&self, batch: RawBatch) -> Result<(), EngineError> {
        const OPERATION: &str = "commit a batch";
        batch.check_bounds().map_err(|reason| EngineError::Refused { operation: OPERATION, reason })?;
        let mut buffers = self.writer.lock().map_err(|_| EngineError::Poisoned {
            operation: OPERATION,
            first_failure: "a thread panicked during a commit".to_owned(),
        })?;
        self.check_poison(OPERATION)?;
        // Without this mode the commit may return with the batch still in a buffer of this process.
        let mut writes = OwnedWriteBatch::with_capacity(self.database.clone(), batch.len())
            .durability(Some(PersistMode::Buffer));
        for (keyspace, key, value) in batch.into_operations() {
            buffers.filled[keyspace as usize].add(&key, value.as_ref());
            let keyspace = &self.files.keyspaces[keyspace as usize];
            match value {
                Some(value) => writes.insert(keyspace, key, value),
                None => writes.remove(keyspace, key),
            }
        }
        writes.commit().map_err(|error| self.poison(OPERATION, error))?;
        *self.latest() = Arc::new(self.database.snapshot());
        if self.options.seals_apart { Ok(()) } else { self.seal(OPERATION, &mut buffers) }
    }

    fn wants_housekeeping(&self) -> bool {
        let Ok(buffers) = self.writer.try_lock() else { return false };
        self.options.seals_apart
            && (self.database.journal_count() > buffers.journals
                || Keyspace::ALL
                    .iter()
                    .any(|keyspace| self.is_full(&buffers.filled[*keyspace as usize], *keyspace)))
    }

    fn keep_house(&self) -> Result<(), EngineError> {
        const OPERATION: &str = "seal write buffers";
        self.check_poison(OPERATION)?;
        let mut buffers = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.seal(OPERATION, &mut buffers)
    }

    fn sync(&self) -> Result<(), EngineError> {
        const OPERATION: &str = "sync the store";
        self.check_poison(OPERATION)?;
        // The size of a file and where its blocks lie are part of "data"; only its times are not.
        self.database.persist(PersistMode::SyncData).map_err(|error| self.poison(OPERATION, error))
    }

    fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.files.directory.join(STORE_FOLDER))
    }

    fn disk_space(&self) -> Option<DiskSpace> {
        let (free_bytes, total_bytes) = space::measure(&self.files.directory)?;
        // Merges are done by one worker, so one at a time.
        let merge_bytes = self.files.keyspaces.iter().map(merge_bytes).max().unwrap_or(0);
        Some(DiskSpace { free_bytes, total_bytes, buffered_bytes: self.buffered_bytes(), merge_bytes })
    }

    fn close(self) -> Result<(), EngineError> {
        const OPERATION: &str = "close the store";
        self.sync()?;
        // On a disk without room for the tables, everything stays in the journal, where the next open finds it.
        if self.disk_space().is_none_or(|space| space.free_bytes > space.owed_bytes()) {
            self.flush(OPERATION)?;
        }
        let is_flushed = self.is_flushed();
        let Self { database, files, latest, .. } = self;
        drop(latest);
        // Ends the workers: from here on nothing writes to the store.
        drop(database);
        if is_flushed { empty_journal(OPERATION, &files.directory.join(STORE_FOLDER)) } else { Ok(()) }
    }
}

/// The most that the next merge of tables in a keyspace may write, as far as one is near: it writes no more than it reads.
fn merge_bytes(keyspace: &fjall::Keyspace) -> u64 {
    let version = keyspace.tree.current_version();
    let fresh = version.l0();
    let mut below = version.iter_levels().skip(1);
    // The last level is merged into, never from.
    let deep = below
        .by_ref()
        .take(version.level_count().saturating_sub(2))
        .any(|level| level.size() > DEEP_LEVEL_BYTES);
    if deep {
        return MERGE_BYTES_MAX;
    }
    if fresh.table_count() < FRESH_TABLES_NEAR_MERGE {
        return 0;
    }
    let into = version.iter_levels().skip(1).map(|level| level.size()).find(|bytes| *bytes > 0);
    (fresh.size() + into.unwrap_or(0)).min(MERGE_BYTES_MAX)
}

/// Empties the active journal of a store whose tables hold everything.
///
/// fjall seals a journal at 64 MB and not before, and reads it whole at the next open, at some 30 ms per MB, even when
/// nothing in it is needed any more. An empty journal is what it finds after every rotation.
fn empty_journal(operation: &'static str, store: &Path) -> Result<(), EngineError> {
    let Some(active) = layout::find_journals(store)?.pop() else { return Ok(()) };
    let emptied = fs::OpenOptions::new().write(true).open(active).and_then(|file| {
        file.set_len(0)?;
        file.sync_all()
    });
    emptied.map_err(|error| EngineError::io(operation, error))
}

/// Makes a store aside and moves it into place.
fn create(directory: &Path, options: FjallOptions) -> Result<(), EngineError> {
    const OPERATION: &str = "create the store";
    let failed = |error| EngineError::io(OPERATION, error);

    let staging = directory.join(STAGING_FOLDER);
    if staging.try_exists().map_err(failed)? {
        fs::remove_dir_all(&staging).map_err(failed)?;
    }
    let database = open_database(OPERATION, &staging, options)?;
    open_keyspaces(OPERATION, &database)?;
    database.persist(PersistMode::SyncAll).map_err(|error| sort(OPERATION, error))?;
    drop(database);
    // fjall does not sync the directory in which it has made its keyspaces.
    sync_tree(&staging).map_err(failed)?;
    fs::rename(&staging, directory.join(STORE_FOLDER)).map_err(failed)?;
    sync_directory(directory).map_err(failed)
}

/// Opens the library's database. A panic of the library over files it did not expect becomes an error.
fn open_database(
    operation: &'static str,
    store: &Path,
    options: FjallOptions,
) -> Result<Database, EngineError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Database::builder(store)
            .cache_size(options.block_cache_bytes)
            .max_journaling_size(u64::MAX)
            .worker_threads(options.workers.max(1))
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(fjall::Error::Locked)) => {
            let directory = store.parent().unwrap_or(store).to_owned();
            Err(EngineError::Locked { operation, directory, holder: None })
        }
        Ok(Err(error)) => Err(sort(operation, error)),
        Err(panic) => Err(EngineError::corrupt(operation, format!("fjall gave up: {}", message(&*panic)))),
    }
}

fn open_keyspaces(
    operation: &'static str,
    database: &Database,
) -> Result<[fjall::Keyspace; Keyspace::ALL.len()], EngineError> {
    let mut keyspaces = Vec::with_capacity(Keyspace::ALL.len());
    for keyspace in Keyspace::ALL {
        let opened = database.keyspace(keyspace.name(), || keyspace_options(keyspace));
        keyspaces.push(opened.map_err(|error| sort(operation, error))?);
    }
    keyspaces.try_into().map_err(|_| EngineError::corrupt(operation, "a keyspace is missing"))
}

fn keyspace_options(keyspace: Keyspace) -> KeyspaceCreateOptions {
    // Sealing is not the library's business.
    let created = KeyspaceCreateOptions::default().max_memtable_size(u64::MAX);
    match keyspace {
        // Read by key, and often for a key that is not there: a new document, a path never deleted or never in conflict.
        Keyspace::Documents | Keyspace::Tombstones | Keyspace::Conflicts => created,
        // Read by key; the key is there.
        Keyspace::Digest | Keyspace::Meta => created.expect_point_read_hits(true),
        // Read in ranges, where a Bloom filter answers nothing.
        Keyspace::Log | Keyspace::History | Keyspace::Feed => created.filter_policy(FilterPolicy::disabled()),
    }
}

/// Whether others than a start read runs of rows there.
fn is_read_in_ranges(keyspace: Keyspace) -> bool {
    !matches!(keyspace, Keyspace::Meta | Keyspace::Digest)
}

/// Sorts an error of the library. What it found in files rather than heard from the system is damage.
fn sort(operation: &'static str, error: fjall::Error) -> EngineError {
    use fjall::{Error, LsmError};
    // What the system said, without what the library says about it.
    let error = match error {
        Error::Storage(LsmError::Io(io)) | Error::Io(io) if !is_damage(io.kind()) => {
            return EngineError::io(operation, io);
        }
        error => error,
    };
    let detail = match &error {
        Error::Storage(LsmError::Io(_)) | Error::Io(_) => "a file is missing, too short, or points nowhere",
        Error::Locked | Error::Poisoned | Error::KeyspaceDeleted => {
            return EngineError::sort(operation, Cause::from(error));
        }
        Error::JournalRecovery(_) => "a journal contradicts itself",
        Error::Storage(LsmError::ChecksumMismatch { .. }) => "a block does not match its checksum",
        _ => "a file is not what it should be",
    };
    EngineError::Corrupt { operation, detail: detail.to_owned(), cause: Some(Cause::from(error)) }
}

/// Whether the system complains about a file because of what another file said of it: names that are not there,
/// positions that cannot be.
fn is_damage(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(kind, NotFound | UnexpectedEof | InvalidInput | InvalidData)
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a word".to_owned())
}

/// A state of a [`FjallEngine`]. While one is held, its directory stays locked and old tables stay on disk.
#[derive(Clone)]
pub struct FjallSnapshot {
    snapshot: Arc<fjall::Snapshot>,
    files: Arc<Files>,
}

const READ: &str = "read the store";

impl RawSnapshot for FjallSnapshot {
    type Range<'a> = FjallRange;

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.snapshot.get(&self.files.keyspaces[keyspace as usize], key) {
            Ok(value) => Ok(value.map(Bytes::from)),
            Err(error) => Err(sort(READ, error)),
        }
    }

    fn range(&self, keyspace: Keyspace, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> FjallRange {
        if is_empty_range(lower, upper) {
            return FjallRange { entries: None };
        }
        let keyspace = &self.files.keyspaces[keyspace as usize];
        FjallRange { entries: Some(self.snapshot.range::<&[u8], _>(keyspace, (lower, upper))) }
    }
}

/// Entries of a [`FjallSnapshot`].
pub struct FjallRange {
    entries: Option<fjall::Iter>,
}

impl FjallRange {
    fn yielded(&mut self, entry: fjall::Guard) -> Result<(Bytes, Bytes), EngineError> {
        match entry.into_inner() {
            Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
            Err(error) => {
                // Where the tree goes on after an error is anybody's guess.
                self.entries = None;
                Err(sort(READ, error))
            }
        }
    }
}

impl Iterator for FjallRange {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.as_mut()?.next()?;
        Some(self.yielded(entry))
    }
}

impl DoubleEndedIterator for FjallRange {
    fn next_back(&mut self) -> Option<Self::Item> {
        let entry = self.entries.as_mut()?.next_back()?;
        Some(self.yielded(entry))
    }
}

/// Bytes a directory occupies. fjall allocates journals ahead, so lengths would overstate an empty store by 64 MiB. Files
/// that come and go meanwhile count or do not.
fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => allocated_bytes(&metadata),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(unix)]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    std::os::unix::fs::MetadataExt::blocks(metadata) * BLOCK_BYTES
}

#[cfg(not(unix))]
fn allocated_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// Makes a directory and what is missing above it, each of which survives a power cut.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(above)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(above),
    }
}

/// Makes every file and directory below survive a power cut.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            fs::OpenOptions::new().append(true).open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

/// Makes a rename within `directory` survive a power cut.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Directories cannot be synced here; the file system does what it does.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
