//! Subscriptions: a position in the change feed, read when there is something to read.
//!
//! There is no queue of values between the writer and a subscriber, so a slow one costs little and loses nothing: the
//! feed holds one row per path at its newest change, and a reader that falls behind sees each path once, at its newest
//! value. What it can miss is the removal of a path whose tombstone was collected meanwhile; then it is told to start
//! over ([`Event::Resync`]) and gets the current values.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use rejoin_replica::path::Path;
use rejoin_replica::{Counters, Record, View as _};

use crate::Error;
use crate::clock::wall_ms;
use crate::config::{FEED_BYTES_PER_READ, FEED_READS_PER_POLL, FEED_ROWS_PER_READ};
use crate::entry::Entry;
use crate::feed::hub::Seat;
use crate::feed::scopes::{KeyRange, Scopes};
use crate::feed::token::{FeedToken, Scanned};
use crate::pins::Pinned;
use crate::shared::Shared;

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next change.
    Now,
    /// With the current values, then [`Event::SnapshotEnd`], then every change; without a hole between them.
    Snapshot,
    /// Behind the event that carried this token, on this node or on what became of it after restarts. A token that is
    /// not one of this feed, or is older than what it retains, leads to [`Event::Resync`].
    Token(FeedToken),
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A path has a new state; a `value` of `None` means deleted, or, where [`Entry::expired`] says so, that its time has
    /// come.
    Change {
        /// The state now. Changes that came quickly after each other are told once, as the newest.
        entry: Box<Entry>,
        /// From where to go on behind this event, also within the current values.
        token: FeedToken,
    },
    /// The current values have all been told; sent even when there were none.
    ///
    /// They are those of one moment, unless telling them took more than a minute or was resumed; then each was current
    /// while they were told, and the changes that follow make up the difference.
    SnapshotEnd {
        /// How many there were.
        count: u64,
        /// From where to go on behind this event.
        token: FeedToken,
    },
    /// The subscription cannot go on from where it was without missing something. Forget what you hold: the current
    /// values follow, as for [`From::Snapshot`].
    Resync {
        /// Why.
        reason: ResyncReason,
        /// The oldest place from which the feed is complete.
        oldest: FeedToken,
    },
}

/// Why a subscriber has to start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResyncReason {
    /// The token is of another node, or of a state of this one that a restored copy does not have.
    OtherFeed,
    /// Removals behind that place have been forgotten.
    Forgotten,
    /// The token is one of a reading of the current values for other scopes.
    OtherScopes,
}

impl fmt::Display for ResyncReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResyncReason::OtherFeed => {
                "The token is of another node, or of a state that this node had before it was restored."
            }
            ResyncReason::Forgotten => "Removals behind that place have been forgotten.",
            ResyncReason::OtherScopes => {
                "The token was given while the values of other prefixes were being told."
            }
        })
    }
}

/// A stream of [`Event`]s. It ends when the node closes.
///
/// What it promises: no hole between the current values and the changes, nor after resuming; every path's newest
/// state, at least once, and never an older one after it; [`Event::SnapshotEnd`] even for nothing;
/// [`Event::Resync`] where it cannot keep this. A slow reader is told the newest state of each path and costs the node
/// no more than a quick one.
pub struct Subscription {
    shared: Arc<Shared>,
    seat: Seat,
    phase: Phase,
    ready: VecDeque<Event>,
    /// Behind the last event that was handed out.
    told: FeedToken,
    ended: bool,
}

enum Phase {
    /// Telling the current values.
    Scanning(Box<Scan>),
    /// Reading the feed behind this position.
    Behind { position: u64 },
    /// Caught up: what comes is left at the seat.
    Attending { position: u64, left: VecDeque<(u64, Path)> },
}

struct Scan {
    /// All that is told of one moment, unless that takes long.
    pin: Pinned,
    ranges: Vec<KeyRange>,
    after: Vec<u8>,
    count: u64,
    /// The feed's position when it began; what follows is read from there.
    position: u64,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("scopes", self.seat.scopes()).finish_non_exhaustive()
    }
}

impl Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Before looking, so that what is left during the look wakes us again.
        this.seat.wake(context.waker());
        for _ in 0..FEED_READS_PER_POLL {
            match this.step() {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Ok(Some(event))) => return Poll::Ready(Some(Ok(event))),
                ControlFlow::Break(Ok(None)) if this.ended => return Poll::Ready(None),
                ControlFlow::Break(Ok(None)) => return Poll::Pending,
                ControlFlow::Break(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
        // Many rows that concern others: let other tasks run.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Subscription {
    pub(crate) fn new(shared: &Arc<Shared>, scopes: Scopes, from: From) -> Result<Subscription, Error> {
        let seat = shared.hub.join_in(scopes);
        let mut ready = VecDeque::new();
        let here = |position| FeedToken { generation: shared.lineage.current(), position, scan: None };
        let phase = match from {
            From::Now => {
                seat.attend();
                let position = shared.snapshot()?.counters()?.sequence;
                Phase::Attending { position, left: VecDeque::new() }
            }
            From::Snapshot => Phase::Scanning(Box::new(Scan::begin(shared, seat.scopes())?)),
            From::Token(token) => match Scan::resume(shared, seat.scopes(), &token)? {
                Ok(phase) => phase,
                Err(reason) => {
                    let scan = Scan::begin(shared, seat.scopes())?;
                    let floor = scan.pin.get()?.0.counters()?.sequence_floor;
                    seat.count_resync();
                    ready.push_back(Event::Resync { reason, oldest: here(floor) });
                    Phase::Scanning(Box::new(scan))
                }
            },
        };
        let told = here(0);
        let shared = Arc::clone(shared);
        let mut subscription = Subscription { shared, seat, phase, ready, told, ended: false };
        subscription.told = subscription.reached();
        Ok(subscription)
    }

    /// The next event that there is without waiting for one; none when all has been told that was committed before
    /// this subscription began, or the node has closed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let ControlFlow::Break(outcome) = self.step() {
                return outcome;
            }
        }
    }

    /// From where to go on behind everything that was told so far. It moves on by itself while other paths change, so
    /// a subscriber that hears nothing can still keep a recent one.
    pub fn token(&self) -> FeedToken {
        match self.ready.is_empty() {
            true => self.reached(),
            false => self.told.clone(),
        }
    }

    /// Hands out an event, or reads on; breaks with none when there is nothing to read.
    fn step(&mut self) -> ControlFlow<Result<Option<Event>, Error>> {
        if let Some(event) = self.ready.pop_front() {
            if let Event::Change { token, .. } | Event::SnapshotEnd { token, .. } = &event {
                self.told.clone_from(token);
            }
            return ControlFlow::Break(Ok(Some(event)));
        }
        if self.ended {
            return ControlFlow::Break(Ok(None));
        }
        let read = match &self.phase {
            Phase::Scanning(_) => self.scan(),
            Phase::Behind { .. } => self.catch_up(),
            Phase::Attending { .. } => self.attend(),
        };
        match read {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => {
                self.ended = self.seat.is_over();
                ControlFlow::Break(Ok(None))
            }
            // The node closed while this was being read.
            Err(Error::Closed) => {
                self.ended = true;
                ControlFlow::Break(Ok(None))
            }
            Err(error) => {
                self.ended = true;
                ControlFlow::Break(Err(error))
            }
        }
    }

    fn here(&self, position: u64) -> FeedToken {
        FeedToken { generation: self.shared.lineage.current(), position, scan: None }
    }

    /// The place up to which everything has been read.
    fn reached(&self) -> FeedToken {
        match &self.phase {
            Phase::Scanning(scan) => self.within(scan.position, scan.after.clone(), scan.count),
            Phase::Behind { position } | Phase::Attending { position, .. } => self.here(*position),
        }
    }

    fn within(&self, position: u64, after: Vec<u8>, count: u64) -> FeedToken {
        let scanned = Scanned { after, count, scopes: self.seat.scopes().name() };
        FeedToken { scan: Some(Box::new(scanned)), ..self.here(position) }
    }

    /// Tells the current values on.
    fn scan(&mut self) -> Result<bool, Error> {
        let Phase::Scanning(scan) = &mut self.phase else { return Ok(false) };
        let (snapshot, is_other) = scan.pin.get()?;
        if is_other {
            let counters = snapshot.counters()?;
            if counters.sequence_floor > scan.position {
                return self.start_over(&counters);
            }
        }
        let mut batch = Batch::default();
        let (position, mut after, mut count) = (scan.position, scan.after.clone(), scan.count);
        let mut told = Vec::new();
        'ranges: for (lower, upper) in &scan.ranges {
            if upper.as_ref().is_some_and(|upper| *upper <= after) {
                continue;
            }
            let lower = if *lower > after { lower.clone() } else { [after.as_slice(), &[0]].concat() };
            for row in snapshot.documents(&lower, upper.as_deref()) {
                if batch.is_full() {
                    break 'ranges;
                }
                let (path, record) = row?;
                batch.rows += 1;
                after = path.key();
                if let Some(entry) = Entry::of(&self.shared.policy(), path, &record.document, wall_ms())
                    && entry.value.is_some()
                {
                    batch.bytes += bytes(&entry);
                    count += 1;
                    told.push((entry, after.clone(), count));
                }
            }
        }
        (scan.after, scan.count) = (after, count);
        for (entry, after, count) in told {
            let token = self.within(position, after, count);
            self.ready.push_back(Event::Change { entry: Box::new(entry), token });
        }
        if !batch.is_full() {
            self.ready.push_back(Event::SnapshotEnd { count, token: self.here(position) });
            self.phase = Phase::Behind { position };
        }
        Ok(true)
    }

    /// Reads rows of the feed, until none is left.
    fn catch_up(&mut self) -> Result<bool, Error> {
        let Phase::Behind { position } = self.phase else { return Ok(false) };
        self.seat.attend();
        let snapshot = self.shared.snapshot()?;
        let counters = snapshot.counters()?;
        if counters.sequence_floor > position {
            return self.start_over(&counters);
        }
        let (mut position, mut batch, mut complete) = (position, Batch::default(), true);
        for row in snapshot.feed(position) {
            if batch.is_full() {
                complete = false;
                break;
            }
            let (sequence, path) = row?;
            batch.rows += 1;
            position = sequence;
            if self.seat.scopes().cover(&path)
                && let Some(record) = snapshot.record(&path)?
            {
                batch.bytes += self.tell(sequence, path, &record);
            }
        }
        self.phase = match complete {
            true => Phase::Attending { position: position.max(counters.sequence), left: VecDeque::new() },
            false => {
                self.seat.look_away();
                Phase::Behind { position }
            }
        };
        Ok(true)
    }

    /// Tells what was left at the seat; false when that is nothing.
    fn attend(&mut self) -> Result<bool, Error> {
        let Phase::Attending { position, left } = &mut self.phase else { return Ok(false) };
        if left.is_empty() {
            let (unread, complete_to) = self.seat.take();
            if unread.floor > *position {
                let counters = self.shared.snapshot()?.counters()?;
                return self.start_over(&counters);
            }
            if unread.behind {
                self.phase = Phase::Behind { position: *position };
                return Ok(true);
            }
            if unread.rows.is_empty() {
                *position = complete_to.max(*position);
                return Ok(false);
            }
            left.extend(unread.rows);
        }
        let (mut position, mut left) = (*position, std::mem::take(left));
        let snapshot = self.shared.snapshot()?;
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some((sequence, path)) = left.pop_front()
        {
            batch.rows += 1;
            // It was in the snapshot that the subscription began or caught up with.
            if sequence <= position {
                continue;
            }
            match snapshot.record(&path)? {
                Some(record) if record.sequence == sequence => {
                    batch.bytes += self.tell(sequence, path, &record);
                }
                // It has changed again. To be told in its new place, and not to be waited for as long as it keeps
                // changing, it is read from the feed.
                Some(_) => {
                    self.phase = Phase::Behind { position: sequence - 1 };
                    return Ok(true);
                }
                // Its tombstone was collected before this subscriber looked.
                None => return self.start_over(&snapshot.counters()?),
            }
            position = sequence;
        }
        self.phase = Phase::Attending { position, left };
        Ok(true)
    }

    /// Tells a record as the change at `sequence`; gives its size in bytes.
    fn tell(&mut self, sequence: u64, path: Path, record: &Record) -> usize {
        let Some(entry) = Entry::of(&self.shared.policy(), path, &record.document, wall_ms()) else {
            return 0;
        };
        let winner = record.document.version(entry.version);
        if entry.expired && winner.is_some_and(|winner| !winner.body.is_end()) {
            // Its delete, or a newer value, will be told in its place: one version is not told with two contents.
            return 0;
        }
        let size = bytes(&entry);
        let token = self.here(sequence);
        self.ready.push_back(Event::Change { entry: Box::new(entry), token });
        size
    }

    fn start_over(&mut self, counters: &Counters) -> Result<bool, Error> {
        let scan = Scan::begin(&self.shared, self.seat.scopes())?;
        self.seat.look_away();
        self.seat.count_resync();
        let oldest = self.here(counters.sequence_floor);
        self.ready.push_back(Event::Resync { reason: ResyncReason::Forgotten, oldest });
        self.phase = Phase::Scanning(Box::new(scan));
        Ok(true)
    }
}

impl Scan {
    fn begin(shared: &Arc<Shared>, scopes: &Scopes) -> Result<Scan, Error> {
        let pin = Pinned::new(shared)?;
        let position = pin.get()?.0.counters()?.sequence;
        let ranges = scopes.key_ranges();
        Ok(Scan { pin, ranges, after: Vec::new(), count: 0, position })
    }

    /// Where a token leads, or why it leads nowhere.
    fn resume(
        shared: &Arc<Shared>,
        scopes: &Scopes,
        token: &FeedToken,
    ) -> Result<Result<Phase, ResyncReason>, Error> {
        let pin = Pinned::new(shared)?;
        let counters = pin.get()?.0.counters()?;
        if !shared.lineage.knows(token.generation, token.position, counters.sequence) {
            return Ok(Err(ResyncReason::OtherFeed));
        }
        if counters.sequence_floor > token.position {
            return Ok(Err(ResyncReason::Forgotten));
        }
        let Some(scanned) = &token.scan else { return Ok(Ok(Phase::Behind { position: token.position })) };
        if scanned.scopes != scopes.name() {
            return Ok(Err(ResyncReason::OtherScopes));
        }
        let Scanned { after, count, .. } = (**scanned).clone();
        let (ranges, position) = (scopes.key_ranges(), token.position);
        let scan = Scan { pin, ranges, after, count, position };
        Ok(Ok(Phase::Scanning(Box::new(scan))))
    }
}

/// What one read may take.
#[derive(Default)]
struct Batch {
    rows: usize,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.rows >= FEED_ROWS_PER_READ || self.bytes >= FEED_BYTES_PER_READ
    }
}

fn bytes(entry: &Entry) -> usize {
    let siblings = entry.siblings.iter().filter_map(|sibling| sibling.value.as_ref());
    siblings.chain(&entry.value).map(|value| value.as_str().len()).sum()
}
