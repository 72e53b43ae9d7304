//! The way to the replica: a queue, and whoever has time empties it.
//!
//! A thread of its own waits for the replica's timers, and for jobs that nobody else does. But a lone write that goes to
//! another thread and back waits for two wake-ups, which take longer than the write itself. So a task that has put a job
//! in does a group by itself, if nobody is at it: it takes all that waits, commits it once, and hands out the answers.
//! While one is at it, the jobs of others gather into the next group, which the thread takes. (Flat combining: Hendler,
//! Incze, Shavit, Tzafrir, SPAA 2010.)
//!
//! A commit that waits for a device is the thread's. A task would keep its worker from everything else for that long, and a
//! runtime may have no other; even where it has, what waits in that worker's own queue is not taken over in time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::config::{GATHERED_JOBS_MAX, QUEUE_JOBS_MAX};
use crate::shared::{Job, lock};
use crate::writer::Writer;

/// Of so many jobs that are done where they come from, one is left to the thread, to see whether others come meanwhile. Where
/// each is done at once, there never seem to be two. 256: the two wake-ups of one in so many do not count.
const PROBE_EVERY: u32 = 256;

/// Groups that the thread does after one of several jobs, until as many in a row were of one job.
const CROWD_GROUPS: u32 = 64;

/// Jobs for the replica, and the replica.
pub(crate) struct Queue {
    /// Whether a commit waits for a device: then it is the thread's, and worth waiting for others to share it.
    syncs: bool,
    /// How many more groups are the thread's: some, since there was one of several jobs.
    crowd: AtomicU32,
    /// Counts jobs that are not left to the thread, so that now and then one is.
    lone: AtomicU32,
    /// One permit for each job that may still wait.
    room: Semaphore,
    waiting: Mutex<Waiting>,
    /// Who holds this is in the replica. `None` before the node has started and after it has ended.
    replica: Mutex<Option<Writer>>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct Waiting {
    /// With each, whether it has taken room.
    jobs: VecDeque<(Job, bool)>,
    closed: bool,
}

/// What comes of a look at the replica.
pub(crate) enum Peek<T> {
    /// Nobody was in it, and nothing was waiting to be done.
    Seen(T),
    /// Somebody is in it, or will be at once.
    Busy,
    /// The node has ended, or has not begun.
    Gone,
}

/// The node has ended: nobody takes jobs any more.
#[derive(Debug)]
pub(crate) struct Ended;

impl Queue {
    pub(crate) fn new(syncs: bool) -> Queue {
        Queue {
            syncs,
            crowd: AtomicU32::new(0),
            lone: AtomicU32::new(0),
            room: Semaphore::new(QUEUE_JOBS_MAX),
            waiting: Mutex::default(),
            replica: Mutex::new(None),
            thread: OnceLock::new(),
        }
    }

    /// Opens the queue for work, from the replica's thread.
    pub(crate) fn start(&self, writer: Writer) {
        let _ = self.thread.set(std::thread::current());
        *lock(&self.replica) = Some(writer);
    }

    /// Puts a job in, and waits for room. Somebody has to [`Queue::work`], later.
    pub(crate) async fn put(&self, job: Job) -> Result<(), Ended> {
        let permit = match self.room.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.wake();
                self.room.acquire().await.map_err(|_| Ended)?
            }
        };
        permit.forget();
        if self.push(job, true)? >= GATHERED_JOBS_MAX {
            // Enough for a group: it need not wait until whoever gathers has a moment.
            self.wake();
        }
        Ok(())
    }

    /// Puts a job in that never comes in numbers, without waiting for room.
    pub(crate) fn force(&self, job: Job) {
        if self.push(job, false).is_ok() {
            self.wake();
        }
    }

    fn push(&self, job: Job, took_room: bool) -> Result<usize, Ended> {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            return Err(Ended);
        }
        waiting.jobs.push_back((job, took_room));
        Ok(waiting.jobs.len())
    }

    /// Takes the oldest jobs.
    pub(crate) fn take(&self, at_most: usize) -> Vec<Job> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.jobs.len().min(at_most);
        let mut room = 0;
        let out = |(job, took_room)| {
            room += usize::from(took_room);
            job
        };
        let jobs = waiting.jobs.drain(..count).map(out).collect();
        drop(waiting);
        self.room.add_permits(room);
        match count {
            0 => {}
            1 => {
                let fewer = |left: u32| left.checked_sub(1);
                let _ = self.crowd.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            }
            _ => self.crowd.store(CROWD_GROUPS, Ordering::Relaxed),
        }
        jobs
    }

    fn is_empty(&self) -> bool {
        lock(&self.waiting).jobs.is_empty()
    }

    /// As [`Queue::work`], or leaves it to the thread where jobs come in crowds: while it works, they become groups, which
    /// cost less than their jobs one by one.
    pub(crate) async fn gather_and_work(&self) {
        if self.crowd.load(Ordering::Relaxed) > 0
            || self.lone.fetch_add(1, Ordering::Relaxed).is_multiple_of(PROBE_EVERY)
        {
            return self.wake();
        }
        if self.syncs {
            // A sync is worth waiting for the tasks that are ready to run. Whoever asked may go away meanwhile: the thread
            // sees to what was put in all the same.
            let _left = WakeWhenDropped(self);
            yield_now().await;
            return;
        }
        if !self.is_empty() {
            self.work();
        }
    }

    /// Does a group of jobs, unless somebody is at it, who will see to what is left; or leaves it to the thread.
    pub(crate) fn work(&self) {
        if self.syncs {
            return self.wake();
        }
        let mut replica = match self.replica.try_lock() {
            Ok(replica) => replica,
            // Whoever holds it looks at the queue after letting go of it.
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        // Before the start and after the end there is none; the thread has yet to come, or has gone.
        let Some(writer) = replica.as_mut() else { return };
        let thread_is_needed = writer.turn(self);
        drop(replica);
        if thread_is_needed || !self.is_empty() {
            self.wake();
        }
    }

    /// Looks at the replica, without waiting for anybody.
    pub(crate) fn peek<T>(&self, look: impl FnOnce(&Writer) -> T) -> Peek<T> {
        if !self.is_empty() {
            self.work();
        }
        let replica = match self.replica.try_lock() {
            Ok(replica) => replica,
            Err(TryLockError::WouldBlock) => return Peek::Busy,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let Some(writer) = replica.as_ref() else { return Peek::Gone };
        if writer.is_over() {
            return Peek::Gone;
        }
        if self.is_empty() { Peek::Seen(look(writer)) } else { Peek::Busy }
    }

    /// Wakes the replica's thread up, or keeps it from falling asleep.
    pub(crate) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits until there is something to do.
    pub(crate) fn sleep(&self, until: Instant) {
        // A job may have come while the replica was held.
        if self.is_empty() {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// The replica, as soon as nobody is at it.
    pub(crate) fn replica(&self) -> MutexGuard<'_, Option<Writer>> {
        lock(&self.replica)
    }

    /// Takes no more jobs. Those that wait are dropped, which their callers read as "closed".
    pub(crate) fn close(&self) {
        self.room.close();
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        let jobs = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        drop(jobs);
    }
}

struct WakeWhenDropped<'a>(&'a Queue);

impl Drop for WakeWhenDropped<'_> {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.0.wake();
        }
    }
}
