//! Subscriptions: a position in the change feed, read when there is something to read.
//!
//! There is no queue between the writer and a subscriber, so a slow one costs nothing and loses nothing: the feed
//! holds one row per path at its newest change, and a reader that falls behind sees each path once, at its newest
//! value. What it can miss is the removal of a path whose tombstone was collected meanwhile; then it is told to
//! start over ([`Event::Resync`]) and gets the current values.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use rejoin_replica::View as _;
use rejoin_replica::path::Scope;
use rejoin_store::Snapshot;
use tokio::sync::watch;

use crate::Error;
use crate::config::FEED_ROWS_PER_READ;
use crate::engine::NodeSnapshot;
use crate::entry::Entry;
use crate::shared::Shared;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next change.
    Now,
    /// With the current values, then [`Event::SnapshotEnd`], then every change; without a hole between them.
    Snapshot,
    /// Behind a position of this node's feed, as [`Event::Change`] carried it.
    Position(u64),
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A path has a new state; a `value` of `None` means deleted.
    Change {
        /// The state now. Changes that came quickly after each other are told once, as the newest.
        entry: Box<Entry>,
        /// The change's place in this node's feed, to go on from; 0 (all over again) while the current values are
        /// being told.
        position: u64,
    },
    /// The current values have all been told; sent even when there were none.
    SnapshotEnd {
        /// How many there were.
        count: u64,
        /// The feed position they stand for.
        position: u64,
    },
    /// Removals were forgotten before this subscriber read them. Forget what you hold: the current values follow, as
    /// for [`From::Snapshot`].
    Resync,
}

/// A stream of [`Event`]s. It ends when the node closes.
pub struct Subscription {
    events: BoxStream<'static, Result<Event, Error>>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

impl Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

/// Counts live subscriptions.
#[derive(Debug)]
struct Counted(Arc<std::sync::atomic::AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

pub(crate) struct Source {
    pub(crate) shared: Arc<Shared>,
    /// The feed position of the last commit; closed when the node is.
    pub(crate) committed: watch::Receiver<u64>,
}

enum Phase {
    /// Telling the current values from a snapshot, from this key on.
    Snapshot { snapshot: Box<Snapshot<NodeSnapshot>>, from: Vec<u8>, count: u64, position: u64 },
    /// Telling changes behind this position.
    Live { position: u64 },
}

struct State {
    source: Source,
    scope: Scope,
    phase: Phase,
    ready: VecDeque<Event>,
    ended: bool,
    _counted: Counted,
}

impl Subscription {
    pub(crate) fn new(source: Source, scope: Scope, from: From) -> Result<Subscription, Error> {
        let live = &source.shared.subscriptions;
        live.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let counted = Counted(Arc::clone(live));
        let mut ready = VecDeque::new();
        let phase = match from {
            From::Now => Phase::Live { position: source.shared.snapshot()?.counters()?.sequence },
            // A position that this feed has not reached comes from before a restore, or from another node.
            From::Position(position) if position > source.shared.snapshot()?.counters()?.sequence => {
                ready.push_back(Event::Resync);
                snapshot_phase(&source)?
            }
            From::Position(position) => Phase::Live { position },
            From::Snapshot => snapshot_phase(&source)?,
        };
        let state = State { source, scope, phase, ready, ended: false, _counted: counted };
        let events = stream::unfold(state, |mut state| async move {
            let event = state.next().await?;
            Some((event, state))
        });
        Ok(Subscription { events: Box::pin(events) })
    }
}

fn snapshot_phase(source: &Source) -> Result<Phase, Error> {
    let snapshot = Box::new(source.shared.snapshot()?);
    let position = snapshot.counters()?.sequence;
    Ok(Phase::Snapshot { snapshot, from: Vec::new(), count: 0, position })
}

impl State {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => self.ended = self.source.committed.changed().await.is_err(),
                // The node closed while this was being read.
                Err(Error::Closed) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Reads on; false when there is nothing to read before the next commit.
    fn fill(&mut self) -> Result<bool, Error> {
        match &mut self.phase {
            Phase::Snapshot { snapshot, from, count, position } => {
                let rows: Vec<_> =
                    snapshot.documents(from, None).take(FEED_ROWS_PER_READ).collect::<Result<_, _>>()?;
                let last = rows.last().map(|(path, _)| path.key());
                let complete = rows.len() < FEED_ROWS_PER_READ;
                for (path, record) in rows.into_iter().filter(|(path, _)| self.scope.covers(path)) {
                    if let Some(entry) = Entry::of(&self.source.shared.policy, path, &record.document)
                        && entry.value.is_some()
                    {
                        *count += 1;
                        self.ready.push_back(Event::Change { entry: Box::new(entry), position: 0 });
                    }
                }
                if complete {
                    let position = *position;
                    self.ready.push_back(Event::SnapshotEnd { count: *count, position });
                    self.phase = Phase::Live { position };
                } else if let Some(mut last) = last {
                    last.push(0);
                    *from = last;
                }
                Ok(true)
            }
            Phase::Live { position } => {
                // Mark the wake-up seen before reading, so that a commit during the read wakes us again.
                let committed = *self.source.committed.borrow_and_update();
                if committed <= *position {
                    return Ok(false);
                }
                let snapshot = self.source.shared.snapshot()?;
                if snapshot.counters()?.sequence_floor > *position {
                    self.ready.push_back(Event::Resync);
                    self.phase = snapshot_phase(&self.source)?;
                    return Ok(true);
                }
                let mut read = 0;
                for row in snapshot.feed(*position).take(FEED_ROWS_PER_READ) {
                    let (sequence, path) = row?;
                    read += 1;
                    *position = sequence;
                    if !self.scope.covers(&path) {
                        continue;
                    }
                    if let Some(record) = snapshot.record(&path)?
                        && let Some(entry) = Entry::of(&self.source.shared.policy, path, &record.document)
                    {
                        self.ready.push_back(Event::Change { entry: Box::new(entry), position: sequence });
                    }
                }
                if read < FEED_ROWS_PER_READ {
                    // Rows of later positions may have been rewritten since; none is left below this.
                    *position = (*position).max(committed);
                }
                Ok(true)
            }
        }
    }
}
