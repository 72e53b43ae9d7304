//! An empty node until it has everything that a full one has.

use std::time::Instant;

use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let mut full = Node::create("os", Vec::new())?;
    full.start(tools).await?;
    full.load(0..plan.bootstrapped, 1).await?;
    let token = full.token().await?;
    for _ in 0..plan.rounds {
        for (system, durability) in [(System::RejoinOs, "os"), (System::RejoinDisk, "disk")] {
            let mut empty = Node::create(durability, vec![full.port])?;
            let served = full.process()?.cpu_us();
            empty.start(tools).await?;
            let begun = Instant::now();
            empty.has(&token).await?;
            let took = begun.elapsed();
            let case = format!("{} documents", plan.bootstrapped);
            let subject = Subject {
                workload: Workload::Bootstrap,
                case: &case,
                system: system.name(),
                durability: system.durability(),
            };
            let documents = f64::from(plan.bootstrapped);
            figures.add(&subject, "rate", "documents/s", documents / took.as_secs_f64());
            figures.add(&subject, "CPU, empty node", "µs/document", empty.process()?.cpu_us() / documents);
            figures.add(
                &subject,
                "CPU, full node",
                "µs/document",
                (full.process()?.cpu_us() - served) / documents,
            );
        }
    }
    Ok(())
}
