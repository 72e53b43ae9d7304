//! Who is told of a commit.
//!
//! One thread follows the store. It reads each new row of the feed once, looks up whom it concerns, and leaves them
//! the number and the path. Values are read by the subscriber when it is ready for them, so they are the newest, and a
//! subscriber that is not ready costs the room of a few paths. When it leaves more unread than that, what was left for
//! it is thrown away, and it reads the feed of the store from its own position until it has caught up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::task::AtomicWaker;
use rejoin_replica::View as _;
use rejoin_replica::path::Path;
use tokio::sync::watch;

use crate::Error;
use crate::config::{FEED_ROWS_PER_READ, UNREAD_ROWS_MAX};
use crate::feed::index::Index;
use crate::feed::scopes::Scopes;
use crate::shared::{Job, Shared, lock};

/// How subscriptions have fared since the node opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// How often a subscriber left so many changes unread that it had to read the feed to catch up.
    pub slow: u64,
    /// Changes that were not told because a newer one of the same path was; those of subscribers that were reading the
    /// feed to catch up are not counted.
    pub coalesced: u64,
    /// How often a subscriber was told to start over.
    pub resyncs: u64,
}

/// The meeting point of commits and subscriptions.
#[derive(Debug)]
pub(crate) struct Hub {
    registry: Mutex<Registry>,
    /// Invariant: every change up to here has been left for all whom it concerns.
    position: AtomicU64,
    closed: AtomicBool,
    subscriptions: AtomicU64,
    slow: AtomicU64,
    coalesced: AtomicU64,
    resyncs: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Registry {
    index: Index<Arc<Slot>>,
    next_id: u64,
}

/// What was left for one subscriber.
#[derive(Debug)]
struct Slot {
    unread: Mutex<Unread>,
    waker: AtomicWaker,
}

/// What a subscriber has not looked at.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// The changes, in the order of the feed, each path once.
    pub(crate) rows: Vec<(u64, Path)>,
    /// Nothing is left here: the subscriber has to read, or is reading, the feed itself.
    pub(crate) behind: bool,
    /// Whoever has not read up to here has missed a removal that left no row.
    pub(crate) floor: u64,
}

impl Hub {
    /// A hub at the end of the feed.
    pub(crate) fn new(sequence: u64) -> Hub {
        Hub {
            registry: Mutex::new(Registry { index: Index::new(), next_id: 0 }),
            position: AtomicU64::new(sequence),
            closed: AtomicBool::new(false),
            subscriptions: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            thread: Mutex::new(None),
        }
    }

    /// Starts following the store.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        news: watch::Receiver<u64>,
        runtime: tokio::runtime::Handle,
    ) -> Result<(), Error> {
        let shared = Arc::clone(shared);
        let hub = Arc::clone(&shared.hub);
        let thread = std::thread::Builder::new()
            .name("rejoin-feed".to_string())
            .spawn(move || follow(&shared, news, &runtime))
            .map_err(|error| Error::Config(format!("the system starts no thread: {error}")))?;
        *lock(&hub.thread) = Some(thread);
        Ok(())
    }

    /// Waits for the thread to let the store go; the commits must have ended.
    pub(crate) fn join(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic there is logged by the panic hook, and has ended the subscriptions.
            let _ = thread.join();
        }
    }

    /// Takes a place for a subscriber, which is behind until it says otherwise.
    pub(crate) fn join_in(self: &Arc<Self>, scopes: Scopes) -> Seat {
        let unread = Unread { behind: true, ..Unread::default() };
        let slot = Arc::new(Slot { unread: Mutex::new(unread), waker: AtomicWaker::new() });
        let mut registry = lock(&self.registry);
        let id = registry.next_id;
        registry.next_id += 1;
        for scope in scopes.iter() {
            registry.index.insert(scope, id, Arc::clone(&slot));
        }
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        Seat { hub: Arc::clone(self), slot, id, scopes }
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(crate) fn status(&self) -> FeedStatus {
        FeedStatus {
            slow: self.slow.load(Ordering::Relaxed),
            coalesced: self.coalesced.load(Ordering::Relaxed),
            resyncs: self.resyncs.load(Ordering::Relaxed),
        }
    }

    /// Goes on to a committed position without reading, if there is no subscriber; false when there is one.
    pub(crate) fn pass(&self, sequence: u64) -> bool {
        let registry = lock(&self.registry);
        if registry.index.is_empty() {
            // Whoever joins from here on reads a snapshot that has all this.
            self.position.fetch_max(sequence, Ordering::Release);
            return true;
        }
        false
    }

    /// Reads what was committed after its position; false when there was nothing.
    fn advance(&self, shared: &Shared) -> Result<bool, Error> {
        let position = self.position.load(Ordering::Acquire);
        let snapshot = shared.snapshot()?;
        let counters = snapshot.counters()?;
        if counters.sequence <= position {
            return Ok(false);
        }
        let rows: Vec<(u64, Path)> =
            snapshot.feed(position).take(FEED_ROWS_PER_READ).collect::<Result<_, _>>()?;
        drop(snapshot);
        let reached = match rows.last() {
            Some((sequence, _)) if rows.len() == FEED_ROWS_PER_READ => *sequence,
            _ => counters.sequence,
        };
        let registry = lock(&self.registry);
        if counters.sequence_floor > position {
            registry.index.visit_all(&mut |slot: &Arc<Slot>| slot.raise(counters.sequence_floor));
        }
        for (sequence, path) in &rows {
            registry.index.visit_covering(path, &mut |slot: &Arc<Slot>| self.leave(slot, *sequence, path));
        }
        drop(registry);
        // Meanwhile a commit may have passed, when nobody was there.
        self.position.fetch_max(reached, Ordering::Release);
        Ok(true)
    }

    fn leave(&self, slot: &Slot, sequence: u64, path: &Path) {
        let mut unread = lock(&slot.unread);
        if unread.behind {
            return;
        }
        if let Some(at) = unread.rows.iter().position(|(_, left)| left == path) {
            if unread.rows[at].0 == sequence {
                return;
            }
            unread.rows.remove(at);
            self.coalesced.fetch_add(1, Ordering::Relaxed);
        } else if unread.rows.len() == UNREAD_ROWS_MAX {
            unread.rows = Vec::new();
            unread.behind = true;
            self.slow.fetch_add(1, Ordering::Relaxed);
            return;
        }
        unread.rows.push((sequence, path.clone()));
        drop(unread);
        slot.waker.wake();
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.registry).index.visit_all(&mut |slot: &Arc<Slot>| slot.waker.wake());
    }
}

impl Slot {
    fn raise(&self, floor: u64) {
        let mut unread = lock(&self.unread);
        unread.floor = unread.floor.max(floor);
        drop(unread);
        self.waker.wake();
    }
}

/// A subscriber's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
    id: u64,
    scopes: Scopes,
}

impl Seat {
    pub(crate) fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Who is to be woken when something is left here, or the node has closed.
    pub(crate) fn wake(&self, waker: &std::task::Waker) {
        self.slot.waker.register(waker);
    }

    /// From here on every change is left here. A snapshot that is taken afterwards has all that was not.
    pub(crate) fn attend(&self) {
        let mut unread = lock(&self.slot.unread);
        unread.rows.clear();
        unread.behind = false;
    }

    /// Nothing is to be left here: the subscriber reads by itself.
    pub(crate) fn look_away(&self) {
        let mut unread = lock(&self.slot.unread);
        unread.rows = Vec::new();
        unread.behind = true;
    }

    /// Takes what was left, and up to which sequence that is everything.
    pub(crate) fn take(&self) -> (Unread, u64) {
        // Read first: what was left up to this position lies here now.
        let position = self.hub.position.load(Ordering::Acquire);
        let mut unread = lock(&self.slot.unread);
        let (behind, floor) = (unread.behind, unread.floor);
        (Unread { rows: std::mem::take(&mut unread.rows), behind, floor }, position)
    }

    /// Whether the node has closed.
    pub(crate) fn is_over(&self) -> bool {
        self.hub.closed.load(Ordering::Acquire)
    }

    /// Counts a subscriber that has to start over.
    pub(crate) fn count_resync(&self) {
        self.hub.resyncs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut registry = lock(&self.hub.registry);
        for scope in self.scopes.iter() {
            registry.index.remove(scope, self.id);
        }
        drop(registry);
        self.hub.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Follows the store until its commits end.
fn follow(shared: &Shared, mut news: watch::Receiver<u64>, runtime: &tokio::runtime::Handle) {
    let hub = &shared.hub;
    let _over = CloseWhenDropped(hub);
    loop {
        // Marked as seen before reading, so that a commit during the read is noticed.
        let sequence = *news.borrow_and_update();
        while !hub.pass(sequence) {
            match hub.advance(shared) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Error::Closed) => return,
                Err(error) => {
                    // The store cannot be read: nobody may go on as if there were no changes.
                    shared.jobs.force(Job::Failed(error));
                    return;
                }
            }
        }
        if runtime.block_on(news.changed()).is_err() {
            return;
        }
    }
}

/// Ends the subscriptions, however the thread ends.
struct CloseWhenDropped<'a>(&'a Hub);

impl Drop for CloseWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
