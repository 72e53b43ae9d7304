//! The feed as one answer: what there is, or what comes next.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream as _;
use hyper::{Response, StatusCode};
use rejoin::{Event, FeedToken, ResyncReason, Subscription};

use super::events;
use crate::answer::{self, Stream};
use crate::api::Api;
use crate::config::PAGE_ITEMS_DEFAULT;
use crate::problem::Problem;
use crate::query::Query;
use crate::server::is_true;

/// Changes in one answer.
pub(crate) fn limit(api: &Api, query: &Query) -> Result<usize, Problem> {
    Ok(query.number("limit", 1, api.node.info().limits.scan_items)?.unwrap_or(PAGE_ITEMS_DEFAULT))
}

/// Answers with at most `limit` changes; when there is none, waits for the first as long as `wait` says.
pub(crate) async fn answer(
    api: &Api,
    mut feed: Subscription,
    limit: usize,
    wait: Option<Duration>,
) -> Result<Response<Stream>, Problem> {
    let bytes_max = api.node.info().limits.scan_page_bytes;
    let mut page = Page::default();
    let mut next = feed.try_next()?;
    if next.is_none()
        && let Some(wait) = wait
    {
        let mut stopped = api.stopped.clone();
        let first = poll_fn(|context| Pin::new(&mut feed).poll_next(context));
        tokio::select! {
            first = tokio::time::timeout(wait, first) => {
                next = first.ok().flatten().transpose()?;
            }
            () = is_true(&mut stopped) => {}
        }
    }
    let mut token = feed.token();
    let mut more = false;
    while let Some(event) = next {
        if page.changes == limit && matches!(event, Event::Change { .. }) || page.text.len() >= bytes_max {
            more = true;
            break;
        }
        match &event {
            // What was gathered before it is good; the next request is told.
            Event::Resync { .. } if !page.is_empty() => break,
            Event::Resync { reason, oldest } => return Err(gone(*reason, oldest)),
            Event::Change { .. } | Event::SnapshotEnd { .. } => page.push(&event),
        }
        // Taken before looking further, which may move the feed on.
        token = feed.token();
        next = feed.try_next()?;
    }
    Ok(answer::unbuffered(answer::json(StatusCode::OK, page.closed(&token, more))))
}

fn gone(reason: ResyncReason, oldest: &FeedToken) -> Problem {
    Problem::new(StatusCode::GONE, "token_too_old", reason.to_string())
        .hint("Forget what you hold and begin with `snapshot=true`.")
        .oldest(oldest.to_string())
}

/// The answer in the making. Values are written once, as they are stored.
#[derive(Default)]
struct Page {
    text: String,
    changes: usize,
}

impl Page {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn push(&mut self, event: &Event) {
        self.text.push(if self.is_empty() { '[' } else { ',' });
        self.text.push_str(&events::object(None, event));
        self.changes += usize::from(matches!(event, Event::Change { .. }));
    }

    fn closed(self, token: &FeedToken, more: bool) -> String {
        let items = if self.is_empty() { "[".to_owned() } else { self.text };
        format!("{{\"items\":{items}],\"token\":\"{token}\",\"more\":{more}}}")
    }
}
