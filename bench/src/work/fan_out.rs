//! One write told to many subscribers, each a connection; and what very many cost while there is nothing to tell.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::client::http::Http;
use crate::document::{Documents, key};
use crate::figure::{Figures, Subject};
use crate::load::percentile;
use crate::plan::{Plan, Workload};
use crate::process::open_files;
use crate::server::rejoin::Node;
use crate::server::{System, Tools};

use super::propagation::subscribe;

/// Writes in a round.
const WRITES: u32 = 20;

/// Files of the load generator, and of the server, that are no subscriber's.
const OTHER_FILES: u64 = 512;

/// What idle subscribers cost in time is measured over this.
const IDLE: Duration = Duration::from_secs(5);

const SYSTEM: System = System::RejoinOs;

pub(crate) async fn measure(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    told(tools, plan, figures).await?;
    idle(tools, plan, figures).await
}

fn subject(case: &str) -> Subject<'_> {
    Subject { workload: Workload::FanOut, case, system: SYSTEM.name(), durability: SYSTEM.durability() }
}

async fn told(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let mut node = Node::create("os", Vec::new())?;
    node.start(tools).await?;
    let mut subscribers = Vec::new();
    for _ in 0..plan.subscribers {
        let mut http = node.connect().await?;
        subscribe(&mut http).await?;
        subscribers.push(http);
    }
    let case = format!("{} subscribers", plan.subscribers);
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
        figures.add(&subject(&case), "p50", "ms", percentile(&mut all, 0.5));
        figures.add(&subject(&case), "p99", "ms", percentile(&mut all, 0.99));
        let last = percentile(&mut lasts, 0.5);
        figures.add(&subject(&case), "last", "ms", last);
        figures.add(&subject(&case), "rate", "events/s", f64::from(plan.subscribers) / last * 1e3);
    }
    Ok(())
}

/// All of them over one way to the feed, and half over each.
async fn idle(tools: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let fit = u32::try_from(open_files().saturating_sub(OTHER_FILES)).unwrap_or(u32::MAX);
    let count = plan.idle_subscribers.min(fit);
    let share = |part: u32| (count - count * part / 2, count * part / 2);
    for (name, (events, sockets)) in
        [("server-sent events", share(0)), ("WebSockets", share(2)), ("half over each", share(1))]
    {
        let mut node = Node::create("os", Vec::new())?;
        node.start(tools).await?;
        let before = node.process()?.rss_mib();
        let mut subscribers = Vec::new();
        for _ in 0..events {
            let mut http = node.connect().await?;
            subscribe(&mut http).await?;
            subscribers.push(http);
        }
        for _ in 0..sockets {
            let mut http = node.connect().await?;
            subscribe_by_socket(&mut http).await?;
            subscribers.push(http);
        }
        let (cpu, begun) = (node.process()?.cpu_us(), Instant::now());
        tokio::time::sleep(IDLE).await;
        let cpu = (node.process()?.cpu_us() - cpu) / begun.elapsed().as_secs_f64() / 1e4;
        let memory = node.process()?.rss_mib();
        let case = format!("{count} idle subscribers, {name}");
        figures.add(&subject(&case), "memory of the server", "MiB", memory);
        let each = (memory - before) * 1024.0 / f64::from(count);
        figures.add(&subject(&case), "memory", "KiB/subscriber", each);
        figures.add(&subject(&case), "CPU", "%", cpu);
    }
    Ok(())
}

/// Follows all changes from now on over a WebSocket.
async fn subscribe_by_socket(http: &mut Http) -> anyhow::Result<()> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    http.send("GET", "/api/_ws", upgrade, b"").await?;
    crate::client::answered(http.until(b"\r\n\r\n")).await?;
    http.send_text(r#"{"id":1,"op":"subscribe","prefixes":["bench/"]}"#).await?;
    crate::client::answered(http.until(b"\"ok\":true")).await
}
