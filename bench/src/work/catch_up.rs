//! What a node that was away is sent, and what a broken link costs when there is nothing to tell.

use std::time::{Duration, Instant};

use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::proxy::Proxy;
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

const SYSTEM: System = System::RejoinOs;

/// How long a link takes each way while its round trips are counted: longer than a node takes to answer.
const DELAY: Duration = Duration::from_millis(40);

/// A conversation is over when nothing was said for this time: many round trips.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for shared in &plan.shared {
        let (mut here, mut there, proxy) = pair(tools, *shared, Duration::ZERO).await?;
        let mut next = *shared;
        for round in 0..plan.rounds {
            there.stop().await?;
            let payload = here.fill(next..next + plan.caught_up, u64::from(round) + 2).await?;
            next += plan.caught_up;
            proxy.reset();
            let token = here.token().await?;
            there.start(tools).await?;
            let begun = Instant::now();
            there.has(&token).await?;
            let took = begun.elapsed();
            let case = format!("{} new over {shared} shared", plan.caught_up);
            let subject = subject(Workload::CatchUp, &case);
            figures.add(&subject, "bytes", "bytes", proxy.bytes() as f64);
            figures.add(&subject, "bytes to payload", "", proxy.bytes() as f64 / payload as f64);
            figures.add(&subject, "time", "ms", took.as_secs_f64() * 1e3);
        }
        there.stop().await?;
        here.stop().await?;
    }
    Ok(())
}

/// A link that is cut while both sides have everything.
pub(crate) async fn reconnect(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    for shared in &plan.shared {
        let (here, there, proxy) = pair(tools, *shared, DELAY).await?;
        for _ in 0..plan.rounds.max(3) {
            // What the last one set off is over, and the pause before the next dial is the first of its row again.
            tokio::time::sleep(Duration::from_secs(2)).await;
            proxy.reset();
            proxy.cut();
            proxy.quiet(QUIET).await?;
            there.linked(1).await?;
            let case = format!("{shared} shared");
            let subject = subject(Workload::Reconnect, &case);
            figures.add(&subject, "bytes", "", proxy.bytes() as f64);
            figures.add(&subject, "bytes after the handshake", "", proxy.bytes_after_handshake() as f64);
            figures.add(&subject, "round trips after it", "", proxy.round_trips());
        }
        drop((here, there));
    }
    Ok(())
}

/// Two nodes with documents that both have; the second dials the first through a proxy.
async fn pair(tools: &Tools, shared: u32, delay: Duration) -> anyhow::Result<(Node, Node, Proxy)> {
    let mut here = Node::create("os", Vec::new())?;
    here.start(tools).await?;
    here.load(0..shared, 1).await?;
    let proxy = Proxy::start_slow(here.port, delay).await?;
    let mut there = Node::create("os", vec![proxy.port])?;
    there.start(tools).await?;
    there.has(&here.token().await?).await?;
    Ok((here, there, proxy))
}

fn subject(workload: Workload, case: &str) -> Subject<'_> {
    Subject { workload, case, system: SYSTEM.name(), durability: SYSTEM.durability() }
}
