//! What the node last said of itself, for whoever asks while the replica is busy, stuck in a slow sync, or gone.
//!
//! Whoever asks for the status looks at the replica, if nobody is in it. Otherwise what was posted here is the answer, with
//! when that was. The replica posts before and after its turns, a few times a second at most; nobody waits in its queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rejoin_replica::Status;
use rejoin_store::{DiskSpace, StoreReader};
use tokio::time::{sleep, timeout};

use crate::config::{STATUS_AGE_MAX, STATUS_WAIT_MAX};
use crate::engine::NodeEngine;
use crate::queue::Peek;
use crate::shared::{Shared, lock};

/// Time between two looks at a replica that is busy.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A status, and of when it is.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) status: Arc<Status>,
    pub(crate) as_of: SystemTime,
    at: Instant,
}

/// What the disk said when it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Bytes that the store occupies.
    pub(crate) bytes: u64,
    /// What the disk has left.
    pub(crate) space: Option<DiskSpace>,
}

/// The latest of both.
#[derive(Debug)]
pub(crate) struct Board {
    latest: Mutex<Posted>,
    figures: Mutex<Figures>,
    /// Somebody asks the disk: it may not answer, and one thread that waits for it is enough.
    measuring: AtomicBool,
}

impl Board {
    pub(crate) fn new(status: Status, figures: Figures) -> Board {
        let posted = Posted { status: Arc::new(status), as_of: SystemTime::now(), at: Instant::now() };
        Board { latest: Mutex::new(posted), figures: Mutex::new(figures), measuring: AtomicBool::new(false) }
    }

    /// What was last posted.
    pub(crate) fn latest(&self) -> Posted {
        lock(&self.latest).clone()
    }

    /// What the replica has just heard of the disk.
    pub(crate) fn note_space(&self, space: Option<DiskSpace>) {
        lock(&self.figures).space = space;
    }

    /// Posts a status; for who is in the replica.
    pub(crate) fn post(&self, status: Status) -> Posted {
        let posted = Posted { status: Arc::new(status), as_of: SystemTime::now(), at: Instant::now() };
        lock(&self.latest).clone_from(&posted);
        posted
    }

    /// Posts one if the last is not quite new.
    pub(crate) fn renew(&self, status: impl FnOnce() -> Status) {
        if lock(&self.latest).at.elapsed() >= STATUS_AGE_MAX {
            self.post(status());
        }
    }
}

/// The status now, or as it was posted when nobody can say within [`STATUS_WAIT_MAX`].
pub(crate) async fn look(shared: &Shared) -> Posted {
    let begun = Instant::now();
    loop {
        match shared.jobs.peek(|writer| shared.board.post(writer.replica.status())) {
            Peek::Seen(posted) => return posted,
            Peek::Gone => return shared.board.latest(),
            Peek::Busy if begun.elapsed() >= STATUS_WAIT_MAX => return shared.board.latest(),
            Peek::Busy => sleep(LOOK_AGAIN).await,
        }
    }
}

/// The same without any wait.
pub(crate) fn glance(shared: &Shared) -> Posted {
    match shared.jobs.peek(|writer| shared.board.post(writer.replica.status())) {
        Peek::Seen(posted) => posted,
        Peek::Gone | Peek::Busy => shared.board.latest(),
    }
}

/// What the disk says now, or said before when it does not answer within [`STATUS_WAIT_MAX`]. The system may wait for a
/// disk even to say how full it is.
pub(crate) async fn figures(shared: &Arc<Shared>) -> Figures {
    let reader = shared.reader();
    if let Some(reader) = reader
        && !shared.board.measuring.swap(true, Ordering::AcqRel)
    {
        let done = Done(Arc::clone(shared));
        let measure = tokio::task::spawn_blocking(move || {
            *lock(&done.0.board.figures) = measure(&reader);
            drop(done);
        });
        let _ = timeout(STATUS_WAIT_MAX, measure).await;
    }
    *lock(&shared.board.figures)
}

/// Asks the disk; on a thread that may block.
pub(crate) fn measure(reader: &StoreReader<NodeEngine>) -> Figures {
    Figures { bytes: reader.disk_bytes(), space: reader.disk_space() }
}

/// What the disk said when it was last asked.
pub(crate) fn known_figures(shared: &Shared) -> Figures {
    *lock(&shared.board.figures)
}

/// Lets the next one ask the disk, also when this one comes to nothing.
struct Done(Arc<Shared>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.board.measuring.store(false, Ordering::Release);
    }
}
