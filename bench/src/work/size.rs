//! What grows with the documents, and what must not: start-up, memory, disk, and the cost of requests.

use std::time::Duration;

use crate::document::key;
use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::server::{System, Tools};

use super::requests::{self, Kind};

/// Memory is looked at after this time without a request.
const IDLE: Duration = Duration::from_secs(5);

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::RejoinOs;
    for size in &plan.sizes {
        let mut node = crate::server::rejoin::Node::create("os", Vec::new())?;
        node.start(tools).await?;
        let raw = node.fill(0..*size, 1).await?;
        let case = format!("{size} documents");
        let subject = Subject {
            workload: Workload::Size,
            case: &case,
            system: system.name(),
            durability: system.durability(),
        };
        figures.add(&subject, "memory after load", "MiB", node.process()?.rss_mib());
        node.stop().await?;
        figures.add(&subject, "disk", "× raw", node.disk_bytes() as f64 / raw as f64);
        for _ in 0..plan.rounds {
            let took = node.start(tools).await?;
            figures.add(&subject, "start", "ms", took.as_secs_f64() * 1e3);
            node.stop().await?;
        }
        node.start(tools).await?;
        tokio::time::sleep(IDLE).await;
        figures.add(&subject, "memory idle", "MiB", node.process()?.rss_mib());
        let mut next = *size;
        for _ in 0..plan.rounds {
            for kind in [Kind::Get, Kind::Put] {
                let figure =
                    requests::time_of(node.process()?, node.port, kind, 64, &mut next, plan.slice()).await?;
                figure.add(
                    figures,
                    Workload::Size,
                    &format!("{}, {size} documents", requests::case(kind, 64)),
                    system,
                );
            }
            // What follows a page's end is found again, however many there are.
            let mut http = node.connect().await?;
            let begun = std::time::Instant::now();
            let target = format!("/api/scan/bench/?limit=1000&start={}", key(size / 2));
            let answer = http.request("GET", &target, "", b"").await?;
            anyhow::ensure!(answer.status == 200, "GET {target}: {}", answer.words());
            figures.add(&subject, "page of 1,000", "ms", begun.elapsed().as_secs_f64() * 1e3);
        }
        node.stop().await?;
    }
    Ok(())
}
