//! What a node counts of its own work: atomics only, so that counting never waits.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rejoin_replica::path::Path;
use rejoin_replica::strategy::{Candidate, Custom, Resolver, ResolverError};
use rejoin_replica::{Change, Strategy};

use crate::Error;

/// What a node counts, beside what [`crate::NodeStatus`] says. Everything begins at 0 when the node opens.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Client writes by kind and outcome.
    pub writes: WriteCounts,
    /// Time to hand a batch to the storage engine.
    pub commit: Histogram,
    /// Time to make what was handed over durable; one for each group of writes under [`crate::Durability::Disk`].
    pub fsync: Histogram,
    /// Time of calls of custom resolvers, remembered results included.
    pub resolver: Histogram,
    /// Of these, those that failed.
    pub resolver_failures: AtomicU64,
}

/// Client writes by kind and outcome.
#[derive(Default)]
pub struct WriteCounts([[AtomicU64; WriteCounts::OUTCOMES.len()]; WriteCounts::KINDS.len()]);

impl WriteCounts {
    /// The kinds of writes. `resolve`: of a conflict.
    pub const KINDS: [&'static str; 5] = ["put", "replace", "patch", "delete", "resolve"];

    /// How a write can end. `abandoned`: nobody waited for its end.
    pub const OUTCOMES: [&'static str; 10] = [
        "applied",
        "precondition_failed",
        "rejected_by_strategy",
        "not_found",
        "too_large",
        "invalid",
        "overloaded",
        "disk_full",
        "failed",
        "abandoned",
    ];

    /// The count of one kind and outcome, by their places.
    pub fn get(&self, kind: usize, outcome: usize) -> u64 {
        self.0.get(kind).and_then(|row| row.get(outcome)).map_or(0, |count| count.load(Relaxed))
    }

    /// A write begins: it is counted when it is told how it ended, or forgotten.
    pub(crate) fn begin(&self, change: &Change) -> Counting<'_> {
        let kind = match change {
            Change::Put(_) => 0,
            Change::Replace(_) => 1,
            Change::Patch(_) => 2,
            Change::Delete => 3,
            Change::Resolve(_) | Change::Keep(_) => 4,
        };
        Counting { row: &self.0[kind], outcome: Self::OUTCOMES.len() - 1 }
    }
}

impl fmt::Debug for WriteCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteCounts")
    }
}

/// A write that has begun.
pub(crate) struct Counting<'a> {
    row: &'a [AtomicU64; WriteCounts::OUTCOMES.len()],
    outcome: usize,
}

impl Counting<'_> {
    pub(crate) fn end<T>(self, ended: &Result<T, Error>) {
        self.end_as(ended.as_ref().map(drop));
    }

    /// Ends it as others that were done or refused with it.
    pub(crate) fn end_as(mut self, ended: Result<(), &Error>) {
        self.outcome = match ended {
            Ok(_) => 0,
            Err(Error::Precondition(_)) => 1,
            Err(Error::RejectedByStrategy(_)) => 2,
            Err(Error::NotFound { .. }) => 3,
            Err(Error::TooLarge { .. } | Error::BatchTooLarge { .. } | Error::TooManySiblings { .. }) => 4,
            Err(Error::Path(_) | Error::Json(_) | Error::Ttl(_) | Error::KeyReused) => 5,
            Err(Error::Overloaded) => 6,
            Err(Error::DiskFull(_)) => 7,
            Err(_) => 8,
        };
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.row[self.outcome].fetch_add(1, Relaxed);
    }
}

/// Times in buckets.
#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Upper bounds of the buckets, in seconds; one more bucket has no bound. From a fast commit to a request that
    /// somebody gives up on.
    pub const BOUNDS: [f64; 15] =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

    /// Counts one time.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        self.buckets[at].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The sum of all times in seconds, their number, and the number in each bucket with its bound.
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = Self::BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (Duration::from_nanos(self.sum_nanos.load(Relaxed)).as_secs_f64(), count, buckets)
    }

    /// Does something and counts how long it took.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.observe(started.elapsed());
        done
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sum, count, _) = self.read();
        write!(f, "{count} times, {sum} s")
    }
}

/// A resolver that is watched, and whose panics are failures: it is run again for each reader and after each start, so what
/// it panics over must not end the node.
struct Watched {
    resolver: Arc<dyn Resolver>,
    metrics: Arc<Metrics>,
}

impl Resolver for Watched {
    fn resolve(
        &self,
        path: &Path,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Candidate, ResolverError> {
        // It gets nothing that it could leave half done, but what it shares with itself.
        let resolve = AssertUnwindSafe(|| self.resolver.resolve(path, local, remote));
        let outcome = self
            .metrics
            .resolver
            .time(|| catch_unwind(resolve).unwrap_or_else(|_| Err(ResolverError("it panicked".to_owned()))));
        if outcome.is_err() {
            self.metrics.resolver_failures.fetch_add(1, Relaxed);
        }
        outcome
    }
}

/// The same strategy, its resolver watched.
pub(crate) fn watched(strategy: Strategy, metrics: &Arc<Metrics>) -> Strategy {
    let watch = |custom: Custom| {
        custom.behind(|resolver| Arc::new(Watched { resolver, metrics: Arc::clone(metrics) }))
    };
    match strategy {
        Strategy::Custom(custom) => Strategy::Custom(watch(custom)),
        strategy => strategy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let histogram = Histogram::default();
        for micros in [100, 101, 1_000, 11_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (sum, count, buckets) = histogram.read();
        assert_eq!(count, 4);
        assert!((sum - 11.001_201).abs() < 1e-9, "{sum}");
        let full: Vec<f64> =
            buckets.iter().filter(|(_, count)| *count == 1).map(|(bound, _)| *bound).collect();
        assert_eq!(full, [0.0001, 0.00025, 0.001, f64::INFINITY]);
    }

    #[test]
    fn a_write_that_nobody_waits_for_is_counted_once() {
        let counts = WriteCounts::default();
        drop(counts.begin(&Change::Delete));
        counts.begin(&Change::Delete).end(&Ok::<_, Error>(()));
        let outcomes: Vec<u64> = (0..WriteCounts::OUTCOMES.len()).map(|at| counts.get(3, at)).collect();
        assert_eq!(outcomes, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
