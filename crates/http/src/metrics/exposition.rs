//! Names, labels and values: one scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rejoin::{Histogram, Node, NodeStatus, PeerState, PeerStatus, Tally, WriteCounts};

use super::requests::{CLASSES, METHODS, RequestCounts};

/// What is known at one moment.
pub(super) struct Exposition {
    pub(super) node: Node,
    pub(super) status: NodeStatus,
    pub(super) requests: Arc<RequestCounts>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.process(&mut page)?;
        self.writes(&mut page)?;
        self.conflicts(&mut page)?;
        self.storage(&mut page)?;
        self.sync(&mut page)?;
        self.peers(&mut page)?;
        self.subscriptions(&mut page)?;
        self.requests(&mut page)
    }
}

type Label<'a> = [(&'static str, &'a str); 1];

impl Exposition {
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let started = self.node.info().started.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.gauge(
            "process_start_time",
            "When the node opened, in Unix time.",
            SECONDS,
            started.as_secs_f64(),
        )?;
        page.gauge("ready", "Whether the node can serve: 1 or 0.", None, truth(self.status.ready))?;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("engine", self.status.engine),
            ("durability", &self.status.durability.to_string()),
        ];
        let help = "Alarms that stand, by kind; the status says what to do about each.";
        let mut family = page.0.encode_descriptor("alarms", help, None, MetricType::Gauge)?;
        let mut kinds: Vec<&str> = self.status.alarms.iter().map(|alarm| alarm.kind).collect();
        kinds.sort_unstable();
        for same in kinds.chunk_by(|one, other| one == other) {
            gauge(&mut family, &[("kind", same[0])], number(same.len() as u64))?;
        }
        let help = "Lives of nodes that may be two; nothing that rests on them is removed.";
        page.gauge("doubted_lives", help, None, self.status.doubts.len() as u64)?;
        let help = "Which software this is; always 1.";
        let mut family = page.0.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)
    }

    fn writes(&self, page: &mut Page<'_>) -> fmt::Result {
        let (writes, metrics) = (&self.node.metrics().writes, self.node.metrics());
        let mut family = page.counters("writes", "Writes of clients, by operation and outcome.", None)?;
        for (kind, op) in WriteCounts::KINDS.into_iter().enumerate() {
            for (at, outcome) in WriteCounts::OUTCOMES.into_iter().enumerate() {
                // The first outcome always, so that a rate begins at 0 and not at nothing.
                let count = writes.get(kind, at);
                if count > 0 || at == 0 {
                    counter(&mut family, &[("op", op), ("outcome", outcome)], count)?;
                }
            }
        }
        page.histogram("storage_commit", "Time to hand a batch to the storage engine.", &metrics.commit)?;
        page.histogram("storage_fsync", "Time to make what was handed over durable.", &metrics.fsync)
    }

    fn conflicts(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("conflicts_open", "Paths with more than one live version.", None, self.status.conflicts)?;
        let help = "Conflicts by strategy: opened, when a path got a second live version, and closed, when it had one again.";
        let mut family = page.counters("conflicts", help, None)?;
        for (strategy, counts) in Tally::STRATEGIES.into_iter().zip(self.status.tally.conflicts) {
            for (outcome, count) in [("opened", counts.opened), ("closed", counts.closed)] {
                counter(&mut family, &[("strategy", strategy), ("outcome", outcome)], count)?;
            }
        }
        let metrics = self.node.metrics();
        let failed = metrics.resolver_failures.load(Relaxed);
        let (_, calls, _) = metrics.resolver.read();
        let mut family = page.counters(
            "resolver_calls",
            "Calls of conflict resolvers, remembered results included.",
            None,
        )?;
        counter(&mut family, &[("outcome", "resolved")], calls.saturating_sub(failed))?;
        counter(&mut family, &[("outcome", "failed")], failed)?;
        page.histogram("resolver", "Time of calls of conflict resolvers.", &metrics.resolver)
    }

    fn storage(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = &self.status;
        page.gauge("storage_entries", "Documents with a value.", None, status.entries)?;
        let help = "Values whose time had come, and whose deletes this node wrote.";
        page.counter("storage_expired_values", help, status.tally.expired)?;
        page.gauge(
            "storage_kept_answers",
            "Answers kept for requests that may come again.",
            None,
            status.kept,
        )?;
        let help = "Writes that were asked for again, and answered as the first time.";
        page.counter("storage_replayed_writes", help, status.tally.replayed)?;
        let help = "Answers forgotten before their day was over, because there were too many.";
        page.counter("storage_forgotten_answers", help, status.tally.forgotten_early)?;
        page.gauge("storage_tombstones", "Deletes that are remembered.", None, status.tombstones)?;
        page.gauge("storage_history_entries", "Superseded versions kept.", None, status.history_entries)?;
        page.gauge("storage_size", "Bytes on disk.", BYTES, status.disk_bytes)?;
        if let Some(free) = status.disk_free_bytes {
            page.gauge("storage_free", "Bytes left on the disk.", BYTES, free)?;
        }
        if let Some(kept) = status.disk_kept_bytes {
            let help = "Free bytes below which the disk counts as nearly full.";
            page.gauge("storage_reserve", help, BYTES, kept)?;
        }
        let help = "Whether the disk is nearly full, so that only reads and deletes are served: 1 or 0.";
        page.gauge("storage_disk_full", help, None, truth(status.disk_full))
    }

    fn sync(&self, page: &mut Page<'_>) -> fmt::Result {
        let (status, tally) = (&self.status, &self.status.tally);
        let mut family =
            page.counters("sync_rounds", "Anti-entropy rounds with a peer, by what they found.", None)?;
        for (outcome, count) in [("equal", tally.rounds_equal), ("unequal", tally.rounds_unequal)] {
            counter(&mut family, &[("outcome", outcome)], count)?;
        }
        if let Some(took) = status.last_round_ms {
            page.gauge("sync_last_round", "How long the last round took.", SECONDS, seconds(took))?;
        }
        let mut family = page.counters("sync_catch_ups", "Catch-ups that came to their end.", None)?;
        for (direction, count) in [("in", tally.catch_ups_received), ("out", tally.catch_ups_served)] {
            counter(&mut family, &[("direction", direction)], count)?;
        }
        page.counter("sync_digest_sessions", "Digest sessions that ended in order.", tally.digest_sessions)?;
        let help = "Versions that digest sessions brought or removed.";
        page.counter("sync_repaired_versions", help, tally.versions_repaired)?;
        let help = "Versions that were removed by peers' words.";
        page.counter("sync_removed_versions", help, tally.removed_by_peers)?;
        let (help, removals) = ("Versions removed by peers' words in this window.", &status.removals);
        page.gauge("sync_removals_window_versions", help, None, removals.count)?;
        let help = "Peers that were stopped for what they would remove.";
        page.gauge("sync_removals_stopped_peers", help, None, removals.stopped.len() as u64)?;
        let help =
            "Removals that were held back because the budget was used up, or the document rests on a doubt.";
        page.counter("sync_removals_held_versions", help, removals.held)?;
        page.counter("sync_unasked_messages", "Messages of peers that nobody asked for.", tally.unasked)?;
        let help = "Times that a peer named a write of this node that it never made.";
        page.counter("sync_unmade_writes", help, tally.unmade_writes)?;
        let help = "Documents that peers pushed or served.";
        page.counter("sync_received_documents", help, tally.documents_received)?;
        let help = "Documents that were pushed here and known already.";
        page.counter("sync_duplicate_documents", help, tally.documents_duplicate)?;
        page.counter("sync_served_documents", "Documents served in catch-ups.", tally.documents_served)?;
        let help = "Links over which updates came twice and are only announced since.";
        page.counter("sync_pruned_links", help, tally.links_pruned)?;
        let help = "Links asked to push again because an announced update did not come.";
        page.counter("sync_grafted_links", help, tally.links_grafted)?;
        let help = "Documents put aside because their stamps were far in the future.";
        page.counter("sync_quarantined_documents", help, tally.quarantined)?;
        let help = "Removals by a peer's word that were not done, for a doubt or for want of budget.";
        page.counter("sync_held_removals", help, status.held_removals)?;
        page.gauge("sync_quarantine_documents", "Documents in quarantine now.", None, status.quarantined)?;
        let help = "The greatest lead of a peer's clock seen.";
        page.gauge("clock_skew_max", help, SECONDS, seconds(status.skew_max_ms))
    }

    fn peers(&self, page: &mut Page<'_>) -> fmt::Result {
        let peers = &self.status.peers;
        let linked = |peer: &&PeerStatus| peer.state == PeerState::Connected;
        let help = "Peers by state: linked, or dialed.";
        let mut family = page.0.encode_descriptor("peers", help, None, MetricType::Gauge)?;
        for state in [PeerState::Connected, PeerState::Backoff, PeerState::Rejected] {
            let count = peers.iter().filter(|peer| peer.state == state).count();
            gauge(&mut family, &[("state", &state.to_string())], number(count as u64))?;
        }
        let known: Vec<(String, &PeerStatus)> =
            peers.iter().filter(linked).filter_map(|peer| Some((peer.id?.to_string(), peer))).collect();
        let mut each = |name: &'static str,
                        help: &'static str,
                        unit: Option<&Unit>,
                        value: &dyn Fn(&PeerStatus) -> Option<f64>| {
            let mut family = page.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            known.iter().try_for_each(|(id, peer)| match value(peer) {
                Some(value) => gauge(&mut family, &[("peer", id)], value),
                None => Ok(()),
            })
        };
        let (ahead, behind) =
            ("Writes that the peer is not known to have.", "Writes that the peer had and this node has not.");
        each("peer_ahead_writes", ahead, None, &|peer| Some(number(peer.ahead)))?;
        each("peer_behind_writes", behind, None, &|peer| Some(number(peer.behind)))?;
        let queue = "Bytes waiting to be sent to the peer.";
        each("peer_queue", queue, BYTES, &|peer| Some(number(peer.queue_bytes)))?;
        let rtt = "The measured round trip.";
        each("peer_rtt", rtt, SECONDS, &|peer| peer.rtt.map(|rtt| rtt.as_secs_f64()))?;
        let differs =
            "Whether the peer has other conflict strategies, so that it may show other values: 1 or 0.";
        each("peer_policy_mismatch", differs, None, &|peer| Some(truth(peer.policy_differs)))?;

        let help = "Bytes over the link to the peer, since the link came up.";
        let mut family = page.counters("peer", help, BYTES)?;
        for (id, peer) in &known {
            for (direction, bytes) in [("in", peer.bytes_in), ("out", peer.bytes_out)] {
                counter(&mut family, &[("peer", id), ("direction", direction)], bytes)?;
            }
        }
        Ok(())
    }

    fn subscriptions(&self, page: &mut Page<'_>) -> fmt::Result {
        let feed = &self.status.feed;
        page.gauge("subscriptions", "Live subscriptions.", None, self.status.subscriptions)?;
        let help = "How often a subscriber left so much unread that it had to read the feed to catch up.";
        page.counter("subscription_slow", help, feed.slow)?;
        let help = "Changes that were not told because a newer one of the same path was.";
        page.counter("subscription_coalesced_changes", help, feed.coalesced)?;
        page.counter("subscription_resyncs", "How often a subscriber was told to start over.", feed.resyncs)
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Answered requests, by route, method and class of status.";
        let mut family = page.counters("http_requests", help, None)?;
        for (route, counts) in self.requests.routes() {
            for (at, method) in METHODS.into_iter().enumerate() {
                for (place, status) in CLASSES.into_iter().enumerate() {
                    let count = counts.get(at, place);
                    if count > 0 {
                        let labels = [("route", route), ("method", method), ("status", status)];
                        counter(&mut family, &labels, count)?;
                    }
                }
            }
        }
        let help = "Time from a request's head to its answer's, by route.";
        let mut family =
            page.0.encode_descriptor("http_request_duration", help, SECONDS, MetricType::Histogram)?;
        for (route, counts) in self.requests.routes() {
            let (_, count, _) = counts.time.read();
            if count > 0 {
                histogram(&mut family.encode_family(&[("route", route)])?, &counts.time)?;
            }
        }
        Ok(())
    }
}

const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

/// The text in the making.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: impl Value) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value.number()).encode(metric)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn counters(
        &mut self,
        name: &'static str,
        help: &str,
        unit: Option<&'static Unit>,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, MetricType::Counter)
    }

    fn histogram(&mut self, name: &str, help: &str, times: &Histogram) -> fmt::Result {
        let name = format!("{name}_duration");
        let mut metric = self.0.encode_descriptor(&name, help, SECONDS, MetricType::Histogram)?;
        histogram(&mut metric, times)
    }
}

fn counter<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&'static str, &str); N],
    count: u64,
) -> fmt::Result
where
    for<'a> [(&'static str, &'a str); N]: EncodeLabelSet,
{
    ConstCounter::new(count).encode(family.encode_family(labels)?)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &Label<'_>, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

fn histogram(metric: &mut MetricEncoder<'_>, times: &Histogram) -> fmt::Result {
    let (sum, count, buckets) = times.read();
    metric.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
}

/// What a gauge can show.
trait Value {
    fn number(self) -> f64;
}

impl Value for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Value for u64 {
    fn number(self) -> f64 {
        number(self)
    }
}

/// Counts beyond 2^53 lose their last digits, as every number in a Prometheus does.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn number(count: u64) -> f64 {
    count as f64
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}
