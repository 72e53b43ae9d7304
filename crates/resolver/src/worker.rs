//! The threads that engines run on.
//!
//! Some functions of an engine loop without counting a step, over an array that claims to have 2^53 elements, say. No
//! bound ends those. So whoever asks waits for a bounded time, gives the thread up and goes on.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::engine;
use crate::fault::Fault;
use crate::limits::{HUNG_MAX, THREAD_STACK_BYTES, THREADS_MAX, TIME_GRACE, TIME_MAX};
use crate::script::Script;

/// The threads of one resolver, started when they are needed.
#[derive(Debug)]
pub(crate) struct Workers {
    script: Script,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    threads: Mutex<Threads>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Threads {
    idle: Vec<Sender<Job>>,
    /// Idle and busy, without those that hang.
    alive: usize,
    hung: usize,
}

#[derive(Debug)]
struct Job {
    path: String,
    local: String,
    remote: String,
    answer: SyncSender<Result<String, Fault>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    pub(crate) fn new(script: Script) -> Workers {
        Workers { script, shared: Arc::default() }
    }

    /// Calls the resolver in a fresh engine; takes [`TIME_MAX`] and [`TIME_GRACE`] at most, once it has a thread.
    pub(crate) fn call(&self, path: &str, local: &str, remote: &str) -> Result<String, Fault> {
        let worker = self.take()?;
        let (answer, answered) = sync_channel(1);
        let job = Job { path: path.to_owned(), local: local.to_owned(), remote: remote.to_owned(), answer };
        let lost = || Fault::threw("the engine's thread has ended");
        let sent = worker.send(job);
        let outcome = match sent {
            Ok(()) => answered.recv_timeout(TIME_MAX + TIME_GRACE),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        let mut threads = self.shared.lock();
        let outcome = match outcome {
            Ok(outcome) => {
                threads.idle.push(worker);
                outcome
            }
            Err(RecvTimeoutError::Timeout) => {
                threads.alive -= 1;
                threads.hung += 1;
                Err(Fault::Time)
            }
            Err(RecvTimeoutError::Disconnected) => {
                threads.alive -= 1;
                Err(lost())
            }
        };
        drop(threads);
        self.shared.freed.notify_one();
        outcome
    }

    /// An idle thread, or a new one; waits for one when there are enough.
    fn take(&self) -> Result<Sender<Job>, Fault> {
        let mut threads = self.shared.lock();
        loop {
            if threads.hung >= HUNG_MAX {
                return Err(Fault::SwitchedOff);
            }
            if let Some(worker) = threads.idle.pop() {
                return Ok(worker);
            }
            if threads.alive < THREADS_MAX {
                let worker = self.start()?;
                threads.alive += 1;
                return Ok(worker);
            }
            threads = self.shared.freed.wait(threads).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self) -> Result<Sender<Job>, Fault> {
        let (jobs, waiting) = channel();
        let (script, shared) = (self.script.clone(), Arc::clone(&self.shared));
        std::thread::Builder::new()
            .name("rejoin-resolver".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || work(&script, &shared, &waiting))
            .map_err(|error| Fault::threw(&format!("the system starts no thread: {error}")))?;
        Ok(jobs)
    }
}

/// Does jobs until nobody can send any.
fn work(script: &Script, shared: &Shared, jobs: &Receiver<Job>) {
    while let Ok(Job { path, local, remote, answer }) = jobs.recv() {
        let outcome = engine::call(script, &path, &local, &remote);
        if answer.send(outcome).is_err() {
            // Given up for hung, and back after all.
            shared.lock().hung -= 1;
            shared.freed.notify_all();
            return;
        }
    }
}
