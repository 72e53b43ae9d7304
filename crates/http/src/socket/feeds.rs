//! The subscriptions of one socket, as one stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use futures_util::stream::{FusedStream as _, SelectAll};
use rejoin::{Event, Subscription};
use serde_json::value::RawValue;

/// What a subscription has to say.
pub(super) enum Told {
    /// To the client, under the id of its request.
    Event(Arc<RawValue>, Event),
    /// The node closes, or cannot read its store.
    Over,
}

/// Only those that have something to say are looked at.
pub(super) struct Feeds {
    all: SelectAll<Feed>,
    /// Those that were not removed.
    live: usize,
}

struct Feed {
    id: Arc<RawValue>,
    /// None: removed, or over.
    subscription: Option<Subscription>,
    waker: Option<Waker>,
}

impl Feeds {
    pub(super) fn new() -> Feeds {
        Feeds { all: SelectAll::new(), live: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Whether there is nothing to poll.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() || self.all.is_terminated()
    }

    pub(super) fn has(&self, id: &RawValue) -> bool {
        self.all.iter().any(|feed| feed.is_of(id))
    }

    pub(super) fn insert(&mut self, id: Box<RawValue>, subscription: Subscription) {
        self.live += 1;
        self.all.push(Feed { id: id.into(), subscription: Some(subscription), waker: None });
    }

    /// Ends a subscription; false when there is none of this id.
    pub(super) fn remove(&mut self, id: &RawValue) -> bool {
        let Some(feed) = self.all.iter_mut().find(|feed| feed.is_of(id)) else { return false };
        feed.subscription = None;
        self.live -= 1;
        // So that the set lets it go.
        if let Some(waker) = feed.waker.take() {
            waker.wake();
        }
        true
    }
}

impl Feed {
    fn is_of(&self, id: &RawValue) -> bool {
        self.subscription.is_some() && self.id.get() == id.get()
    }
}

impl Stream for Feeds {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Told>> {
        Pin::new(&mut self.all).poll_next(context)
    }
}

impl Stream for Feed {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Told>> {
        let this = &mut *self;
        let Some(subscription) = &mut this.subscription else { return Poll::Ready(None) };
        let told = match Pin::new(subscription).poll_next(context) {
            Poll::Pending => {
                this.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(event))) => Told::Event(Arc::clone(&this.id), event),
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(%error, "a subscription of a socket ends");
                Told::Over
            }
            Poll::Ready(None) => Told::Over,
        };
        if matches!(told, Told::Over) {
            this.subscription = None;
        }
        Poll::Ready(Some(told))
    }
}
