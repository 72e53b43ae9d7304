//! Requests by route, method and class of status.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::{Method, StatusCode};
use rejoin::Histogram;

use crate::endpoint::Endpoint;

/// Methods that are told apart.
pub(crate) const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "other"];

/// Classes of status codes.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Stands for requests that no route answers.
pub(crate) const UNMATCHED: &str = "unmatched";

/// What was asked of one route.
#[derive(Default)]
pub(crate) struct RouteCounts {
    counts: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    /// Time from a request's head to its answer's.
    pub(crate) time: Histogram,
}

impl RouteCounts {
    /// The count of one method and class, by their places.
    pub(crate) fn get(&self, method: usize, class: usize) -> u64 {
        self.counts[method][class].load(Relaxed)
    }
}

/// What was asked of all routes; one more for what no route answers.
pub(crate) struct RequestCounts(Vec<RouteCounts>);

impl RequestCounts {
    pub(crate) fn new() -> RequestCounts {
        RequestCounts((0..=Endpoint::ALL.len()).map(|_| RouteCounts::default()).collect())
    }

    /// Counts an answered request.
    pub(crate) fn count(
        &self,
        endpoint: Option<Endpoint>,
        method: &Method,
        status: StatusCode,
        time: Duration,
    ) {
        let place = endpoint.map_or(Endpoint::ALL.len(), |endpoint| endpoint as usize);
        let route = &self.0[place];
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        // hyper sends codes from 100 to 599 only.
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        route.counts[method][class].fetch_add(1, Relaxed);
        route.time.observe(time);
    }

    /// Every route with its template.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&'static str, &RouteCounts)> {
        let templates = Endpoint::ALL.iter().map(|endpoint| endpoint.template()).chain([UNMATCHED]);
        templates.zip(&self.0)
    }
}

impl fmt::Debug for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestCounts")
    }
}
