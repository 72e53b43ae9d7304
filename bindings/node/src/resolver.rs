//! Custom resolvers: functions in JavaScript, called on the event loop.
//!
//! A thread of the engine asks and waits: the replica's when a write or a merge needs what readers see, a reader's
//! otherwise. The event loop never waits for those, so it comes round to answer; while it is busy with something else,
//! whoever asks waits for a bounded time and then shows the last-write-wins view.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use rejoin_resolver::limits::{HUNG_MAX, TIME_MAX};
use rejoin_resolver::{Fault, Run};

use crate::outbox::Outbox;
use crate::shapes;

type Answer = Result<String, Fault>;

/// The way to the event loop and back, shared by all resolvers of a server.
pub(crate) struct Calls {
    outbox: Arc<Outbox>,
    event_loop: ThreadId,
    next: AtomicU64,
    /// Where answers go; nowhere, when nobody waits any more.
    open: Mutex<HashMap<u64, Option<SyncSender<Answer>>>>,
    /// Calls that nobody waits for any more and that have not been answered.
    late: AtomicUsize,
}

impl Calls {
    /// To be made on the event loop's thread.
    pub(crate) fn new(outbox: Arc<Outbox>) -> Calls {
        Calls {
            outbox,
            event_loop: std::thread::current().id(),
            next: AtomicU64::new(1),
            open: Mutex::default(),
            late: AtomicUsize::new(0),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Option<SyncSender<Answer>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the answer to a call from the event loop.
    pub(crate) fn answer(&self, call: u64, answer: Answer) {
        let mut open = self.open();
        match open.remove(&call) {
            // There is room for one answer. It is sent under the lock, so that a call is either answered or late.
            Some(Some(waiting)) => drop(waiting.send(answer)),
            Some(None) => drop(self.late.fetch_sub(1, Ordering::Relaxed)),
            None => {}
        }
    }

    fn ask(&self, resolver: u32, path: &str, local: &str, remote: &str) -> Answer {
        if std::thread::current().id() == self.event_loop {
            return Err(Fault::threw("it was asked for by the event loop itself, which cannot wait for it"));
        }
        if self.late.load(Ordering::Relaxed) >= HUNG_MAX {
            return Err(Fault::SwitchedOff);
        }
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = sync_channel(1);
        self.open().insert(call, Some(answer));
        self.outbox.push_urgent(shapes::call(call, resolver, path, local, remote));
        match answered.recv_timeout(TIME_MAX) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                match self.open().get_mut(&call) {
                    Some(waiting) => {
                        *waiting = None;
                        self.late.fetch_add(1, Ordering::Relaxed);
                    }
                    // It came just now.
                    None => return answered.try_recv().unwrap_or(Err(Fault::Time)),
                }
                let message = format!(
                    "the resolver of {path} was not answered within {} s, because the event loop was busy: showing the \
                     newest version meanwhile",
                    TIME_MAX.as_secs()
                );
                self.outbox.push(shapes::warning("REJOIN_RESOLVER", &message));
                Err(Fault::Time)
            }
            Err(RecvTimeoutError::Disconnected) => Err(Fault::threw("the server is closing")),
        }
    }

    /// Lets go whoever waits: the event loop will not answer any more.
    pub(crate) fn end(&self) {
        self.open().clear();
    }
}

/// One function in JavaScript.
pub(crate) struct Function {
    pub(crate) calls: Arc<Calls>,
    /// Its number there.
    pub(crate) number: u32,
    pub(crate) name: String,
}

impl Run for Function {
    fn run(&self, path: &str, local: &str, remote: &str) -> Result<String, Fault> {
        // On a thread of the runtime, others take over its tasks meanwhile.
        tokio::task::block_in_place(|| self.calls.ask(self.number, path, local, remote))
    }

    fn label(&self) -> &str {
        &self.name
    }
}
