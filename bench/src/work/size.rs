//! What must not grow with the documents: the cost of requests, of links, of a start, and memory; and the disk they take.
//!
//! One row for each measurement, one column for each number of documents.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::document::key;
use crate::figure::{Figures, Subject};
use crate::load::percentile;
use crate::plan::{Plan, Workload};
use crate::proxy::Proxy;
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

use super::propagation::{follow, marks};
use super::requests::{self, Kind};

/// Memory is looked at after this time without a request, and without the disk's bytes changing.
const IDLE: Duration = Duration::from_secs(10);

/// Merges of tables come to their end within this time, or the disk is looked at as it is.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// Pages whose time is measured in each round.
const PAGES: u32 = 20;

/// Single writes whose propagation is timed.
const PROPAGATED: u32 = 100;

/// A conversation of a link is over when nothing was said for this time.
const QUIET: Duration = Duration::from_secs(1);

const SYSTEM: System = System::RejoinOs;

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for size in &plan.sizes {
        let mut table = Column { figures: &mut *figures, name: format!("{} documents", grouped(*size)) };
        let mut node = Node::create("os", Vec::new())?;
        node.start(tools).await?;
        let begun = Instant::now();
        let raw = node.load(0..*size, 1).await?;
        table.add("loaded, documents/s", f64::from(*size) / begun.elapsed().as_secs_f64());
        table.add("memory after load, MiB", node.process()?.rss_mib());
        settled(&node).await?;
        table.add("memory idle after load, MiB", node.process()?.rss_mib());
        node.stop().await?;
        for _ in 0..plan.rounds {
            let took = node.start(tools).await?;
            table.add("start until ready, ms", took.as_secs_f64() * 1e3);
            node.stop().await?;
        }
        node.start(tools).await?;
        settled(&node).await?;
        table.add("disk to paths and values", node.disk_bytes() as f64 / raw as f64);
        table.add("memory idle after a start, MiB", node.process()?.rss_mib());
        let mut next = *size;
        for _ in 0..plan.rounds {
            for kind in [Kind::Get, Kind::Put] {
                for connections in [1, 64] {
                    let figure = requests::time_of(
                        node.process()?,
                        node.port,
                        kind,
                        connections,
                        &mut next,
                        plan.slice(),
                    )
                    .await?;
                    let case = requests::case(kind, connections);
                    table.add(&format!("{case}: p50, ms"), figure.p50_us() / 1e3);
                    table.add(&format!("{case}: server CPU, µs"), figure.cpu_us());
                }
            }
            table.add("page of 1,000: p50, ms", page(&node, *size).await?);
        }
        table.add("memory after requests, MiB", node.process()?.rss_mib());
        links(tools, plan, &mut table, node, next).await?;
    }
    Ok(())
}

/// What links cost: a second node takes all, hears of single writes, loses its link, is away.
async fn links(
    tools: &Tools,
    plan: &Plan,
    table: &mut Column<'_>,
    here: Node,
    mut next: u32,
) -> anyhow::Result<()> {
    let proxy = Proxy::start(here.port).await?;
    let mut there = Node::create("os", vec![proxy.port])?;
    there.start(tools).await?;
    there.has(&here.token().await?).await?;
    for _ in 0..plan.rounds {
        let mut events = there.connect().await?;
        follow(&mut events).await?;
        let mut times = marks(&here, events, PROPAGATED).await?;
        table.add("propagation over one link: p50, ms", percentile(&mut times, 0.5));
    }
    for _ in 0..plan.rounds {
        // What the last one set off is over, and the pause before the next dial is the first of its row again.
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.reset();
        proxy.cut();
        proxy.quiet(QUIET).await?;
        table.add("reconnect, bytes", proxy.bytes() as f64);
    }
    for round in 0..plan.rounds {
        there.stop().await?;
        here.load(next..next + plan.caught_up, u64::from(round) + 2).await?;
        next += plan.caught_up;
        proxy.reset();
        there.start(tools).await?;
        there.has(&here.token().await?).await?;
        table.add(&format!("catch-up on {}, bytes", grouped(plan.caught_up)), proxy.bytes() as f64);
    }
    Ok(())
}

/// Milliseconds of a page from the middle of the documents.
async fn page(node: &Node, size: u32) -> anyhow::Result<f64> {
    let (mut http, mut times) = (node.connect().await?, Vec::new());
    for _ in 0..PAGES {
        let begun = Instant::now();
        let target = format!("/api/scan/bench/?limit=1000&start={}", key(size / 2));
        let answer = http.request("GET", &target, "", b"").await?;
        ensure!(answer.status == 200, "GET {target}: {}", answer.words());
        times.push(begun.elapsed().as_secs_f32() * 1e3);
    }
    Ok(percentile(&mut times, 0.5))
}

/// Waits until nothing is written any more.
async fn settled(node: &Node) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut bytes, mut since) = (node.disk_bytes(), Instant::now());
    while since.elapsed() < IDLE && begun.elapsed() < SETTLE_MAX {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = node.disk_bytes();
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// The figures of one number of documents.
struct Column<'a> {
    figures: &'a mut Figures,
    name: String,
}

impl Column<'_> {
    fn add(&mut self, row: &str, sample: f64) {
        let (system, durability) = (SYSTEM.name(), SYSTEM.durability());
        let subject = Subject { workload: Workload::Size, case: row, system, durability };
        self.figures.add(&subject, &self.name, "", sample);
    }
}

/// A number with its thousands apart.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
