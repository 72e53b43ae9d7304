//! Reading many documents in path order: a page of 1,000, and 10,000 as pages and as a stream.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::client::http::{Http, Paths};
use crate::document::PREFIX;
use crate::figure::{Figures, Subject};
use crate::load::percentile;
use crate::plan::{Plan, Workload};
use crate::server::{System, Tools};

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::RejoinOs;
    let running = system.start(tools).await?;
    super::requests::fill(&running, plan.documents.max(10_000)).await?;
    let mut http = Http::connect(running.port, Paths::Rejoin).await?;
    for _ in 0..plan.rounds {
        for (case, pages) in [("page of 1,000", 1), ("10,000 in 10 pages", 10)] {
            let mut times = Vec::new();
            let begun = Instant::now();
            while begun.elapsed() < plan.slice() {
                let scanned = Instant::now();
                let mut cursor = String::new();
                for _ in 0..pages {
                    let target = format!("/api/scan/{PREFIX}?limit=1000{cursor}");
                    let answer = http.request("GET", &target, "", b"").await?;
                    ensure!(answer.status == 200, "GET {target}: {}", answer.words());
                    cursor = format!("&cursor={}", next(answer.body)?);
                }
                times.push(scanned.elapsed().as_secs_f32());
            }
            report(figures, system, case, f64::from(pages) * 1000.0, &mut times);
        }
        let mut times = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < plan.slice() {
            let scanned = Instant::now();
            let target = format!("/api/scan/{PREFIX}");
            let answer = http.request("GET", &target, "Accept: application/x-ndjson\r\n", b"").await?;
            ensure!(answer.status == 200, "GET {target}: {}", answer.words());
            times.push(scanned.elapsed().as_secs_f32());
        }
        report(figures, system, "all, streamed", f64::from(plan.documents.max(10_000)), &mut times);
    }
    Ok(())
}

fn report(figures: &mut Figures, system: System, case: &str, documents: f64, times: &mut [f32]) {
    let (name, durability) = (system.name(), system.durability());
    let subject = Subject { workload: Workload::Scan, case, system: name, durability };
    let median = percentile(times, 0.5);
    figures.add(&subject, "rate", "documents/s", documents / median);
    figures.add(&subject, "p50", "ms", median * 1e3);
    figures.add(&subject, "p99", "ms", percentile(times, 0.99) * 1e3);
}

/// The cursor of a page.
fn next(page: &[u8]) -> anyhow::Result<String> {
    let page: serde_json::Value = serde_json::from_slice(page)?;
    Ok(page["cursor"].as_str().context("a page without a cursor")?.to_owned())
}
