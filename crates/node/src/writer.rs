//! The replica's turns: each takes a group of jobs, commits it once, then does what came of it. [`Queue`] says whose turn
//! it is.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rejoin_causal::{Epoch, NodeId};
use rejoin_link::{Identity, NodeKey};
use rejoin_replica::config::RECEIPTS_OPEN_MAX;
use rejoin_replica::{
    AuditStep, BatchRefusal, Change, Doubt, Effect, Input, LinkId, Record, Refusal, Replica, RequestId,
    RoundReport, Statement, StatementKind, View as _, Write, Written,
};
use rejoin_store::Store;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Error;
use crate::attest;
use crate::batch::BatchError;
use crate::builder::KEY_NOTE;
use crate::clock::{random, wall_ms};
use crate::config::{MACHINE_LOOK_INTERVAL, READ_COMMANDS_MAX};
use crate::engine::NodeEngine;
use crate::links::{DISK_FULL, Outgoing, Ports};
use crate::machine::Machine;
use crate::queue::Queue;
use crate::room::{Room, Watch};
use crate::serving::ReadCommand;
use crate::shared::{Job, Shared};
use crate::statements::{self, STATEMENTS_NOTE};
use crate::token::Applied;

/// Goodbyes of links while a node closes.
const GOODBYE_MAX: Duration = Duration::from_secs(3);

/// A request that waits for its effect.
enum Asked {
    Quarantine(oneshot::Sender<Vec<rejoin_replica::Held>>),
    Release(oneshot::Sender<u64>),
    Write(oneshot::Sender<Result<Box<Written>, Error>>),
    WriteAll(oneshot::Sender<Result<Vec<Written>, BatchError>>),
    Holders(mpsc::UnboundedSender<NodeId>),
    AntiEntropy(oneshot::Sender<RoundReport>),
}

/// What a turn works on.
pub(crate) struct Writer {
    pub(crate) replica: Replica,
    pub(crate) store: Store<NodeEngine>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) committed: watch::Sender<u64>,
    /// Tells the feed's thread of commits.
    news: watch::Sender<u64>,
    pub(crate) runtime: tokio::runtime::Handle,
    asked: BTreeMap<RequestId, Asked>,
    ports: BTreeMap<LinkId, Ports>,
    next_request: u64,
    disk: Watch,
    machine: Machine,
    /// When the machine is looked at next, without a write.
    look_at_machine: Instant,
    /// When the thread looks again without being woken up.
    sleeps_until: Option<Instant>,
    /// Set once: no more turns.
    over: Option<Over>,
}

/// Why there are no more turns.
enum Over {
    /// Somebody asked for it.
    Closing(oneshot::Sender<Result<(), Error>>),
    /// The store has failed, and that was told.
    Failed,
}

impl Writer {
    pub(crate) fn new(
        replica: Replica,
        store: Store<NodeEngine>,
        shared: Arc<Shared>,
        committed: watch::Sender<u64>,
        news: watch::Sender<u64>,
        runtime: tokio::runtime::Handle,
        machine: Machine,
    ) -> Writer {
        let (asked, ports) = (BTreeMap::new(), BTreeMap::new());
        let disk = Watch::new(shared.disk_reserve, shared.config.value_bytes_max);
        let (sleeps_until, over) = (None, None);
        Writer {
            replica,
            store,
            shared,
            committed,
            news,
            runtime,
            asked,
            ports,
            next_request: 1,
            disk,
            machine,
            look_at_machine: Instant::now(),
            sleeps_until,
            over,
        }
    }

    /// Takes a turn; true when the thread has to come sooner than it would.
    pub(crate) fn turn(&mut self, queue: &Queue) -> bool {
        if self.over.is_some() {
            return true;
        }
        let (runtime, now) = (self.runtime.clone(), Instant::now());
        let _entered = runtime.enter();
        self.shared.board.renew(|| self.replica.status());
        let mut jobs = queue.take(self.disk.inputs_max());
        // A queue that is never empty must not keep the timers from firing.
        if now >= self.due() {
            jobs.push(Job::Input(Input::Tick));
        }
        let is_time_to_look =
            now >= self.look_at_machine || self.disk.again_in().is_some_and(|pause| pause.is_zero());
        if !jobs.is_empty() || is_time_to_look {
            // After a panic nobody knows what of the replica is as it should be: the node ends as if the store had failed.
            let turned = catch_unwind(AssertUnwindSafe(|| self.group(jobs)));
            let panicked = || Err(Error::Storage("a panic in the replica".to_owned()));
            match turned.unwrap_or_else(|_| panicked()) {
                Ok(None) => {}
                Ok(Some(answer)) => self.over = Some(Over::Closing(answer)),
                Err(error) => {
                    self.shared.fail(match error {
                        // Whoever tells of it says that the store has failed.
                        Error::Storage(reason) => reason,
                        error => error.to_string(),
                    });
                    self.over = Some(Over::Failed);
                }
            }
        }
        // A replica that has failed is ahead of what was committed: nobody is to hear of that.
        if !matches!(self.over, Some(Over::Failed)) {
            self.shared.board.renew(|| self.replica.status());
        }
        self.over.is_some()
            || self.store.wants_housekeeping()
            || self.sleeps_until.is_none_or(|until| self.next_look() < until)
    }

    /// Does what waits for the disk beside commits; for the thread.
    fn keep_house(&mut self) {
        if self.over.is_none()
            && self.store.wants_housekeeping()
            && let Err(error) = self.store.keep_house()
        {
            self.shared.fail(crate::error::chain(&error));
            self.over = Some(Over::Failed);
        }
    }

    /// Whether there are no more turns.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// When a timer of the replica fires.
    fn due(&self) -> Instant {
        self.shared.clock.instant(self.replica.deadline(self.shared.clock.now()))
    }

    /// When there is something to do even without jobs.
    fn next_look(&self) -> Instant {
        let due = self.due().min(self.look_at_machine);
        self.disk.again_in().map_or(due, |pause| due.min(Instant::now() + pause))
    }

    /// Handles a group of jobs: one batch, one sync, then the effects. A job to close ends it.
    fn group(&mut self, jobs: Vec<Job>) -> Result<Option<oneshot::Sender<Result<(), Error>>>, Error> {
        let mut inputs = Vec::with_capacity(jobs.len());
        let mut closing = None;
        self.look_at_machine(&mut inputs);
        // Given back when the group has been handled.
        let mut shares = Vec::new();
        self.look_at_disk(&mut inputs);
        for job in jobs {
            match job {
                // Whoever asked may have gone away meanwhile.
                Job::Write(write, answer)
                    if !self.has_room_for(slice::from_ref(&write))
                        && !self.was_done(slice::from_ref(&write)) =>
                {
                    let _ = answer.send(Err(self.no_room()));
                }
                Job::WriteAll(writes, answer) if !self.has_room_for(&writes) && !self.was_done(&writes) => {
                    let _ = answer.send(Err(self.no_room().into()));
                }
                Job::LinkUp(_, ports) if self.disk.room != Room::Plenty => {
                    ports.close(DISK_FULL.to_owned());
                }
                Job::Message(input, share) => {
                    shares.push(share);
                    inputs.push(input);
                }
                Job::Input(input) => {
                    if let Input::LinkDown(link) = &input {
                        self.ports.remove(link);
                    }
                    inputs.push(input);
                }
                Job::LinkUp(input, ports) => {
                    if let Input::LinkUp { link, .. } = &input {
                        self.ports.insert(*link, ports);
                    }
                    inputs.push(input);
                }
                Job::Write(write, answer) => {
                    let request = self.ask(Asked::Write(answer));
                    inputs.push(Input::Write(request, write));
                }
                Job::WriteAll(writes, answer) => {
                    let request = self.ask(Asked::WriteAll(answer));
                    inputs.push(Input::WriteAll(request, writes));
                }
                Job::AskHolders { dots, wait_ms, told, answer } => {
                    if self.asked.len() >= RECEIPTS_OPEN_MAX {
                        // A caller may go away before it has learnt the name of its question.
                        self.asked
                            .retain(|_, asked| !matches!(asked, Asked::Holders(told) if told.is_closed()));
                    }
                    let request = self.ask(Asked::Holders(told));
                    let _ = answer.send(request);
                    inputs.push(Input::AskHolders { request, dots, wait_ms });
                }
                Job::ForgetHolders(request) => {
                    self.asked.remove(&request);
                    inputs.push(Input::ForgetHolders(request));
                }
                Job::AntiEntropy(prefix, answer) => {
                    let request = self.ask(Asked::AntiEntropy(answer));
                    inputs.push(Input::AntiEntropy(request, prefix));
                }
                // Every group begins with a look.
                Job::Look(answer) => drop(answer.send(())),
                Job::Quarantine(answer) => {
                    let request = self.ask(Asked::Quarantine(answer));
                    inputs.push(Input::Quarantine(request));
                }
                Job::Release { path, node, answer } => {
                    let request = self.ask(Asked::Release(answer));
                    inputs.push(Input::Release { request, path, node });
                }
                Job::Failed(error) => return Err(error),
                Job::Close(answer) => closing = Some(answer),
            }
        }
        self.handle(inputs)?;
        Ok(closing)
    }

    /// Looks whether the machine was copied or put back. Ahead of each group: the writes of this one wait for another identity
    /// when it was.
    fn look_at_machine(&mut self, inputs: &mut Vec<Input>) {
        self.look_at_machine = Instant::now() + MACHINE_LOOK_INTERVAL;
        if let Some(reason) = self.machine.look() {
            let epoch = Epoch(self.shared.identity().epoch);
            inputs.push(Input::SelfDoubt { epoch, reason });
        }
        let unsure = self.machine.is_unsure();
        self.shared.unsure.send_if_modified(|was| std::mem::replace(was, unsure) != unsure);
    }

    /// Looks at the room on the disk. When it gets short, nothing more is taken from peers: what they have sent and was not
    /// handled is not acknowledged, and comes again by catch-up.
    fn look_at_disk(&mut self, inputs: &mut Vec<Input>) {
        let had_plenty = self.disk.room == Room::Plenty;
        let store = &self.store;
        self.disk.look(|| store.disk_space());
        self.shared.board.note_space(self.disk.space());
        match (had_plenty, self.disk.room == Room::Plenty) {
            (true, false) => {
                let space = self.disk.words();
                tracing::warn!(%space, "the disk is nearly full: refusing writes that grow data and closing links");
                self.shared.disk_full.send_replace(true);
                for (link, ports) in std::mem::take(&mut self.ports) {
                    ports.close(DISK_FULL.to_owned());
                    inputs.push(Input::LinkDown(link));
                }
            }
            (false, true) => {
                tracing::info!(space = %self.disk.words(), "the disk has room again");
                self.shared.disk_full.send_replace(false);
            }
            _ => {}
        }
    }

    fn no_room(&self) -> Error {
        Error::DiskFull(format!("the disk is nearly full: {}", self.disk.words()))
    }

    fn has_room_for(&self, writes: &[Write]) -> bool {
        match self.disk.room {
            Room::Plenty => true,
            Room::Short if writes.iter().all(|write| matches!(write.change, Change::Delete)) => {
                let snapshot = self.store.snapshot();
                // A read that fails is met again, where it matters.
                let records = writes.iter().filter_map(|write| snapshot.record(&write.path).ok().flatten());
                let versions = |record: &Record| -> usize {
                    record.document.versions().iter().map(|version| version.body.weight()).sum()
                };
                self.disk.fits_delete(records.map(|record| versions(&record) as u64).sum())
            }
            Room::Short | Room::Gone => false,
        }
    }

    /// Whether a request was done before, so that answering it again takes no room.
    fn was_done(&self, writes: &[Write]) -> bool {
        let once = writes.first().and_then(|write| write.once);
        once.is_some_and(|once| matches!(self.store.snapshot().kept_extent(&once.id), Ok(Some(_))))
    }

    fn ask(&mut self, asked: Asked) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.asked.insert(request, asked);
        request
    }

    fn handle(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        let mut inputs = inputs;
        // Renewing an identity makes one more input; everything else is done in one turn.
        while !inputs.is_empty() {
            let (now, policy) = (self.shared.clock.now(), self.shared.policy());
            if !Arc::ptr_eq(&policy, self.replica.policy()) {
                self.replica.set_policy(policy);
            }
            let effects = self.replica.handle(std::mem::take(&mut inputs), now, &self.store.snapshot())?;
            let effects = effects.commit(&mut self.store)?;
            self.publish();
            for effect in effects {
                if let Some(input) = self.perform(effect)? {
                    inputs.push(input);
                }
            }
        }
        Ok(())
    }

    /// Shows readers the commit that has just returned, before anybody is told of it.
    fn publish(&self) {
        let mut published = self.shared.published.write().unwrap_or_else(PoisonError::into_inner);
        let Some(published) = published.as_mut() else { return };
        published.snapshot = self.store.snapshot();
        self.shared.quarantined.store(self.replica.quarantined(), std::sync::atomic::Ordering::Relaxed);
        if self.shared.applied.borrow().frontier != *self.replica.frontier() {
            self.shared.applied.send_replace(Arc::new(Applied::new(self.replica.frontier().clone())));
        }
    }

    /// Does one thing that a committed group asked for; may bring about an input.
    fn perform(&mut self, effect: Effect) -> Result<Option<Input>, Error> {
        match effect {
            // Whoever asked may have gone away meanwhile.
            Effect::Reply(request, answer) => {
                if let Some(Asked::Write(waiting)) = self.asked.remove(&request) {
                    let _ = waiting.send(answer.map_err(|refusal| Error::from(*refusal)));
                }
            }
            Effect::ReplyAll(request, answer) => {
                if let Some(Asked::WriteAll(waiting)) = self.asked.remove(&request) {
                    let _ = waiting.send(answer.map_err(|refused| {
                        let BatchRefusal { at, refusal } = *refused;
                        // The size of a batch is not the doing of one write.
                        let of_one = !matches!(refusal, Refusal::BatchTooLarge { .. });
                        BatchError { at: of_one.then_some(at), error: refusal.into() }
                    }));
                }
            }
            Effect::Holder(request, node) => {
                if let Some(Asked::Holders(told)) = self.asked.get(&request) {
                    let _ = told.send(node);
                }
            }
            Effect::RoundDone(request, report) => {
                if let Some(Asked::AntiEntropy(waiting)) = self.asked.remove(&request) {
                    let _ = waiting.send(report);
                }
            }
            // Whoever asks looks at the board.
            Effect::Status(..) => {}
            Effect::Restamped { path, replaced, dot } => {
                tracing::debug!(%path, %replaced, by = %dot, "minted again what a wrong clock had stamped");
            }
            Effect::Held(request, held) => {
                if let Some(Asked::Quarantine(waiting)) = self.asked.remove(&request) {
                    let _ = waiting.send(held);
                }
            }
            Effect::Released(request, count) => {
                tracing::info!(count, "documents were taken out of quarantine by an operator");
                if let Some(Asked::Release(waiting)) = self.asked.remove(&request) {
                    let _ = waiting.send(count);
                }
            }
            Effect::Send(link, frame) => {
                if let Some(ports) = self.ports.get(&link) {
                    let _ = ports.frames.send(Outgoing::Counted(frame));
                }
            }
            Effect::Close(link, reason) => {
                tracing::warn!(%reason, "closing a link");
                if let Some(ports) = self.ports.remove(&link) {
                    ports.close(reason);
                }
            }
            Effect::Serve { link, known, exchange } => {
                self.read(link, |writer| ReadCommand::Serve(writer.store.snapshot(), known, exchange));
            }
            Effect::Grant(link, bytes) => self.read(link, |_| ReadCommand::Grant(bytes)),
            Effect::Audit(link, step) => self.read(link, |writer| {
                let begins = matches!(step, AuditStep::Open(_) | AuditStep::Accept);
                let snapshot = begins.then(|| writer.store.snapshot());
                ReadCommand::Audit(step, snapshot)
            }),
            Effect::Committed(sequence) => {
                self.committed.send_replace(sequence);
                // Waking the feed's thread up for nobody would cost more than many a write.
                if !self.shared.hub.pass(sequence) {
                    self.news.send_replace(sequence);
                }
            }
            Effect::Alarm(alarm) => self.shared.alarms.raise(&alarm),
            Effect::Attest { id, digest } => {
                let identity = self.shared.identity();
                return Ok(Some(Input::Attested(attest::sign(&identity, id, digest))));
            }
            Effect::Renew { doubts } => return self.renew(&doubts),
        }
        Ok(None)
    }

    fn read(&mut self, link: LinkId, command: impl FnOnce(&Writer) -> ReadCommand) {
        let Some(ports) = self.ports.get(&link) else { return };
        if ports.waiting.fetch_add(1, Ordering::Relaxed) < READ_COMMANDS_MAX {
            let _ = ports.reads.send(command(self));
        } else if let Some(ports) = self.ports.remove(&link) {
            const REASON: &str = "it asks faster than it is answered";
            tracing::warn!(reason = REASON, "closing a link");
            ports.close(REASON.to_owned());
        }
    }

    /// Takes a new identity, durably, before anything is written under it; what the old key still has to say is signed first
    /// and made durable with the new one.
    fn renew(&mut self, doubts: &[Doubt]) -> Result<Option<Input>, Error> {
        // Without randomness there is no new identity, and under the old one nothing may be written.
        let key = NodeKey::generate().map_err(|error| Error::Storage(error.to_string()))?;
        let old = self.shared.identity();
        // A doubt of a key that is gone stays unsigned: it holds here, and travels nowhere.
        let ours = doubts.iter().filter(|doubt| doubt.life.0.0 == old.key.id());
        let mut statements: Vec<Statement> =
            ours.map(|doubt| statements::sign(&old.key, doubt.life.1, doubt.kind())).collect();
        let noise = random().map_or(0, u16::from_le_bytes);
        let epoch = self.store.begin_epoch_with(wall_ms(), noise, |epoch| {
            statements.push(statements::sign(&key, epoch, StatementKind::Alive));
            vec![(KEY_NOTE, key.seed().to_vec()), (STATEMENTS_NOTE, statements::encode(&statements))]
        })?;
        let node = NodeId(key.id());
        let mut identity = self.shared.identity.write().unwrap_or_else(PoisonError::into_inner);
        *identity = Arc::new(Identity { key: Arc::new(key), epoch: epoch.0, ..(**identity).clone() });
        drop(identity);
        tracing::warn!(%node, "took a new identity");
        self.shared.links.close("the node took a new identity", |_| true);
        Ok(Some(Input::Renewed { node, epoch, statements }))
    }

    fn end(self, timers: &tokio::runtime::Runtime) {
        let _entered = self.runtime.enter();
        self.shared.stop();
        self.shared.links.close("the node is shutting down", |_| true);
        drop(self.ports);
        self.shared.jobs.close();
        drop(self.asked);
        timers.block_on(self.shared.links.drained(GOODBYE_MAX));
        *self.shared.published.write().unwrap_or_else(PoisonError::into_inner) = None;
        drop(self.committed);
        drop(self.news);
        self.shared.hub.join();
        let closed = match &*self.shared.failed.borrow() {
            Some(reason) => Err(Error::Storage(reason.clone())),
            None => self.store.close().map_err(Error::from),
        };
        if let Some(Over::Closing(answer)) = self.over {
            let _ = answer.send(closed);
        }
    }
}

/// The replica's thread: takes the turns that nobody else takes, until the node closes or the store fails.
pub(crate) fn run(writer: Writer) {
    let shared = Arc::clone(&writer.shared);
    // Its own timers: those of the caller's runtime end with it, and the store is to be closed in order even then.
    let timers = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(timers) => timers,
        Err(error) => return shared.fail(format!("the writer's timers do not start: {error}")),
    };
    let queue = &shared.jobs;
    queue.start(writer);
    let ended = loop {
        let mut replica = queue.replica();
        let Some(writer) = replica.as_mut() else { return };
        writer.sleeps_until = None;
        writer.keep_house();
        writer.turn(queue);
        if writer.over.is_some() {
            break replica.take();
        }
        let until = writer.next_look();
        writer.sleeps_until = Some(until);
        drop(replica);
        queue.sleep(until);
    };
    if let Some(writer) = ended {
        writer.end(&timers);
    }
}
