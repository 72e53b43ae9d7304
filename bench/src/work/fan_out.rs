//! One write told to many subscribers, each a connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::document::{Documents, key};
use crate::figure::{Figures, Subject};
use crate::load::percentile;
use crate::plan::{Plan, Workload};
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

use super::propagation::subscribe;

/// Writes in a round.
const WRITES: u32 = 20;

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let system = System::RejoinOs;
    let mut node = Node::create("os", Vec::new())?;
    node.start(tools).await?;
    let idle = node.process()?.anonymous_mib();
    let mut subscribers = Vec::new();
    for _ in 0..plan.subscribers {
        let mut http = node.connect().await?;
        subscribe(&mut http).await?;
        subscribers.push(http);
    }
    let case = format!("{} subscribers", plan.subscribers);
    let subject = Subject {
        workload: Workload::FanOut,
        case: &case,
        system: system.name(),
        durability: system.durability(),
    };
    let memory = node.process()?.anonymous_mib() - idle;
    figures.add(&subject, "memory", "KiB/subscriber", memory * 1024.0 / f64::from(plan.subscribers));
    let mut writer = node.connect().await?;
    let mut documents = Documents::new(3);
    for round in 0..plan.rounds {
        let (mut lasts, mut all) = (Vec::new(), Vec::new());
        for number in 0..WRITES {
            let key = key(round * WRITES + number);
            let value = documents.next().to_vec();
            let (sent, times) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
            let mut waiting = Vec::new();
            for mut http in subscribers.drain(..) {
                let (times, key) = (Rc::clone(&times), key.clone());
                waiting.push(tokio::task::spawn_local(async move {
                    crate::client::answered(http.until(key.as_bytes())).await?;
                    times.borrow_mut().push(sent.elapsed().as_secs_f32() * 1e3);
                    anyhow::Ok(http)
                }));
            }
            writer.put(&key, &value).await?;
            for waiting in waiting {
                subscribers.push(waiting.await??);
            }
            let mut times = times.take();
            lasts.push(times.iter().copied().fold(0.0, f32::max));
            all.append(&mut times);
        }
        figures.add(&subject, "p50", "ms", percentile(&mut all, 0.5));
        figures.add(&subject, "p99", "ms", percentile(&mut all, 0.99));
        let last = percentile(&mut lasts, 0.5);
        figures.add(&subject, "last", "ms", last);
        figures.add(&subject, "rate", "events/s", f64::from(plan.subscribers) / last * 1e3);
    }
    Ok(())
}
