//! A change feed that outlives its connections.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use hyper::Method;
use serde::Deserialize;

use crate::client::Ask;
use crate::config::{FOLLOW_WAIT_LEAST, FOLLOW_WAIT_MAX};
use crate::error::Error;
use crate::watch::{Changes, Event, Watch};

impl Watch {
    /// The feed, opened again whenever its connection ends, behind the last event that was told. So no change is missed,
    /// a few may be told twice, and [`Event::Resync`] says when the node cannot go on from there.
    ///
    /// Each lost connection is told as [`Event::Interrupted`]. The stream ends with an error only where opening it again
    /// would not help: see [`Error::retryable`]. It waits between attempts, 100 ms at first and 5 s at most.
    pub fn follow(&self) -> Following {
        let follower = Follower { watch: self.clone(), changes: None, wait: Duration::ZERO, ended: false };
        Following { events: stream::unfold(follower, Follower::next).boxed() }
    }

    /// Where the feed is now: a token from which it can be opened later without missing what happens until then.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn token_now(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let target = format!("/api/_changes?feed=normal&since=now{}", self.prefixes_query());
        let answer = self.client().ask(Ask::new(Method::GET, target)).await?;
        answer.decode::<Answer>().map(|answer| answer.token)
    }
}

/// A change feed that is opened again whenever its connection ends; see [`Watch::follow`].
pub struct Following {
    events: BoxStream<'static, Result<Event, Error>>,
}

impl Stream for Following {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

struct Follower {
    /// Begins where the next connection has to.
    watch: Watch,
    changes: Option<Changes>,
    /// Before the next attempt.
    wait: Duration,
    ended: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Event, Error>, Follower)> {
        if self.ended {
            return None;
        }
        let event = match self.event().await {
            Err(error) if error.retryable() => {
                self.changes = None;
                self.wait = (self.wait * 2).clamp(FOLLOW_WAIT_LEAST, FOLLOW_WAIT_MAX);
                Ok(Event::Interrupted { reason: error.to_string() })
            }
            event => event,
        };
        self.ended = event.is_err();
        Some((event, self))
    }

    async fn event(&mut self) -> Result<Event, Error> {
        loop {
            let Some(changes) = &mut self.changes else {
                tokio::time::sleep(self.wait).await;
                if self.watch.begins_now() {
                    // Nothing that carries a token may come for long, and what happens until then must not be missed.
                    let token = self.watch.token_now().await?;
                    self.watch = self.watch.clone().since(token);
                }
                self.changes = Some(self.watch.open().await?);
                continue;
            };
            let event = match changes.next().await {
                // The end of the connection follows, and says the same.
                Some(Ok(Event::Closing)) => continue,
                Some(event) => event?,
                None => {
                    return Err(Error::Broken {
                        url: self.watch.client().url().to_owned(),
                        reason: "the node closed the feed".to_owned(),
                    });
                }
            };
            self.wait = Duration::ZERO;
            if let Some(token) = changes.token() {
                self.watch = self.watch.clone().since(token);
            }
            return Ok(event);
        }
    }
}
