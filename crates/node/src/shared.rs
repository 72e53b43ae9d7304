//! What the parts of a running node share: the way to the replica's thread, the reading side, and the links.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rejoin_causal::{Dot, NodeId};
use rejoin_link::{BearerToken, Identity, Limits as LinkLimits};
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{Held, Input, Policy, RequestId, RoundReport, Write, Written};
use rejoin_store::{Snapshot, StoreReader};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Error;
use crate::alarms::Alarms;
use crate::batch::BatchError;
use crate::board::Board;
use crate::clock::Clock;
use crate::config::{QUEUE_WAIT_MAX, UNSURE_MAX};
use crate::engine::{NodeEngine, NodeSnapshot};
use crate::feed::hub::Hub;
use crate::feed::lineage::Lineage;
use crate::links::{INTRODUCTION_CHANGED, Links, Ports};
use crate::metrics::Metrics;
use crate::node::NodeInfo;
use crate::pins::Pins;
use crate::queue::{Ended, Queue};
use crate::receiving::{Reception, Share};
use crate::token::Applied;

/// One message to the replica's thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// Something happened.
    Input(Input),
    /// A message came in; what it takes of memory is given back when it has been handled.
    Message(Input, Share),
    /// A link is up: what happened, and where its frames go.
    LinkUp(Input, Ports),
    Write(Write, oneshot::Sender<Result<Box<Written>, Error>>),
    WriteAll(Vec<Write>, oneshot::Sender<Result<Vec<Written>, BatchError>>),
    /// Tells who holds these writes, each as it is heard of; answered at once with the name of the question.
    AskHolders {
        dots: Vec<Dot>,
        wait_ms: u64,
        told: mpsc::UnboundedSender<NodeId>,
        answer: oneshot::Sender<RequestId>,
    },
    /// Whoever asked that has heard enough.
    ForgetHolders(RequestId),
    AntiEntropy(Prefix, oneshot::Sender<RoundReport>),
    /// Tells what waits in quarantine.
    Quarantine(oneshot::Sender<Vec<Held>>),
    /// Takes documents out of quarantine; see [`Input::Release`].
    Release {
        path: Option<Path>,
        node: Option<NodeId>,
        answer: oneshot::Sender<u64>,
    },
    /// A reader of this store failed: the disk is not to be trusted.
    Failed(Error),
    /// Look at the machine now, and answer.
    Look(oneshot::Sender<()>),
    /// Finish, close the store, answer.
    Close(oneshot::Sender<Result<(), Error>>),
}

/// What readers see: the last commit that is as durable as configured.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) reader: StoreReader<NodeEngine>,
    pub(crate) snapshot: Snapshot<NodeSnapshot>,
}

pub(crate) struct Shared {
    pub(crate) info: NodeInfo,
    /// The strategies now. The replica's thread takes them over at its next group.
    pub(crate) policy: RwLock<Arc<Policy>>,
    pub(crate) clock: Clock,
    pub(crate) config: rejoin_replica::Config,
    pub(crate) link_limits: LinkLimits,
    pub(crate) peer_token: Option<BearerToken>,
    pub(crate) identity: RwLock<Arc<Identity>>,
    pub(crate) jobs: Queue,
    /// Whose turn it is to write atomically.
    pub(crate) batches: tokio::sync::Semaphore,
    /// Taken away when the node closes, so that the store can be let go.
    pub(crate) published: RwLock<Option<Published>>,
    /// Every dot that was applied by the published commit. Changed while [`Shared::published`] is locked for writing,
    /// so that what is taken after a snapshot covers what that shows.
    ///
    /// It is kept beside the snapshot because every answer of a server carries it as a token, and its row in the store
    /// is rewritten by every commit: reading it there means stepping over all its old versions.
    pub(crate) applied: watch::Sender<Arc<Applied>>,
    pub(crate) committed: watch::Receiver<u64>,
    pub(crate) links: Links,
    /// Snapshots of readers that take their time.
    pub(crate) pins: Pins,
    /// What the replica last said of itself.
    pub(crate) board: Board,
    /// Room for what comes over links.
    pub(crate) reception: Reception,
    /// Subscriptions, and who tells them.
    pub(crate) hub: Arc<Hub>,
    /// Which positions of the feed are positions of this feed.
    pub(crate) lineage: Lineage,
    pub(crate) metrics: Arc<Metrics>,
    /// What an operator must hear of.
    pub(crate) alarms: Alarms,
    /// Free space that is kept back, in bytes.
    pub(crate) disk_reserve: u64,
    /// Set while the disk is nearly full: nothing is accepted from peers then.
    pub(crate) disk_full: watch::Sender<bool>,
    /// Set while the machine may have been put back and that is not known yet: no link is taken in meanwhile, since what a
    /// peer has and this node does not know would be taken for deleted.
    pub(crate) unsure: watch::Sender<bool>,
    /// Why the store failed.
    /// How many documents wait in quarantine.
    pub(crate) quarantined: AtomicU64,
    pub(crate) failed: watch::Sender<Option<String>>,
    /// Set once: everything winds down.
    pub(crate) stopping: watch::Sender<bool>,
}

/// A lock whose holder panicked still guards plain data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Looks at what is published; an error when the node is closed.
    fn read<T>(&self, look: impl FnOnce(&Published) -> T) -> Result<T, Error> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published.as_ref().map(look).ok_or(Error::Closed)
    }

    /// The state after the last published commit.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<NodeSnapshot>, Error> {
        self.read(|published| published.snapshot.clone())
    }

    /// Every dot that this node has applied.
    pub(crate) fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied.borrow())
    }

    /// The reading side of the store; none when the node has ended.
    pub(crate) fn reader(&self) -> Option<StoreReader<NodeEngine>> {
        self.read(|published| published.reader.clone()).ok()
    }

    /// Waits until data may grow again.
    pub(crate) async fn disk_has_room(&self) {
        let mut full = self.disk_full.subscribe();
        // An end of the sender is an end of the node: nothing is left to wait for.
        let _ = full.wait_for(|full| !full).await;
    }

    /// Waits until it is known whether the machine was put back, for as long as finding out takes.
    pub(crate) async fn is_sure(&self) {
        let mut unsure = self.unsure.subscribe();
        let sure = unsure.wait_for(|unsure| !unsure);
        let _ = tokio::time::timeout(UNSURE_MAX, sure).await;
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the strategies, and makes links anew when they are other ones: a handshake says which a node has.
    pub(crate) fn set_policy(&self, policy: Policy) {
        let hash = policy.hash();
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        let mut identity = self.identity.write().unwrap_or_else(PoisonError::into_inner);
        if identity.policy == hash {
            return;
        }
        *identity = Arc::new(Identity { policy: hash, ..(**identity).clone() });
        drop(identity);
        self.links.close(INTRODUCTION_CHANGED, |_| true);
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a client's job into the queue; refuses as overload when that stays full.
    pub(crate) async fn put(&self, job: Job) -> Result<(), Error> {
        match tokio::time::timeout(QUEUE_WAIT_MAX, self.jobs.put(job)).await {
            Err(_) => Err(Error::Overloaded),
            Ok(Err(Ended)) => Err(self.ended()),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Hands a client's job over to the replica's thread, and waits for the answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.put(job(answer)).await?;
        self.jobs.wake();
        answered.await.map_err(|_| self.ended())
    }

    /// Has a write done, here if nobody is at it.
    pub(crate) async fn write(&self, write: Write) -> Result<Box<Written>, Error> {
        let (answer, answered) = oneshot::channel();
        self.put(Job::Write(write, answer)).await?;
        self.jobs.gather_and_work().await;
        answered.await.map_err(|_| self.ended())?
    }

    /// Hands a message of a link over; waits as long as it takes, which slows the link down. Somebody has to work on it, later.
    pub(crate) async fn note(&self, input: Input, share: Share) {
        let _ = self.jobs.put(Job::Message(input, share)).await;
    }

    /// Tells of something that happened to a link, and works on it.
    pub(crate) async fn tell(&self, input: Input) {
        // A closed queue means that the node is closing: nothing is left to tell.
        if self.jobs.put(Job::Input(input)).await.is_ok() {
            self.jobs.work();
        }
    }

    /// Why there is no replica any more.
    pub(crate) fn ended(&self) -> Error {
        match &*self.failed.borrow() {
            Some(reason) => Error::Storage(reason.clone()),
            None => Error::Closed,
        }
    }

    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(%reason, "the store has failed; no write is accepted until the process starts again");
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(reason);
            first
        });
    }

    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits for the end, or for that long.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        let mut stopping = self.stopping.subscribe();
        let stopped = stopping.wait_for(|stopping| *stopping);
        tokio::time::timeout(duration, stopped).await.is_ok()
    }
}
