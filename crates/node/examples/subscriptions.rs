//! What a write costs with 1, 1,000 and 100,000 subscriptions, each to a path of its own.
//!
//! `cargo run --release -p rejoin --example subscriptions [subscriptions...]`
//!
//! Everything is in memory and in one process, so that no disk or network hides the difference. Each write concerns one
//! subscription. Taken are the processor time of the whole process per write (Linux only), the time until the write is
//! answered and the time until its subscriber has been told. The last column is the time until all subscriptions have
//! been told of one change that concerns all of them, per subscription: what each would cost every write without the
//! index.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rejoin::{Error, Event, From, Node, Scope};
use tokio::sync::mpsc;

/// Writes per round.
const WRITES: u32 = 2_000;

/// Rounds, of which the quickest counts: the others met something else on the machine.
const ROUNDS: u32 = 3;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let given: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![1, 1_000, 100_000] } else { given };
    println!(
        "subscriptions      cpu us  ratio   answered us  ratio      told us  ratio   told to all, each us"
    );
    let mut first = None;
    for subscriptions in sizes {
        let [cpu, answered, told, all] = measure(subscriptions).await?;
        let base = *first.get_or_insert([cpu, answered, told]);
        let ratio = |time: Duration, base: Duration| time.as_secs_f64() / base.as_secs_f64();
        println!(
            "{subscriptions:>13} {:>11.1} {:>6.2} {:>13.1} {:>6.2} {:>12.1} {:>6.2} {:>22.2}",
            micros(cpu),
            ratio(cpu, base[0]),
            micros(answered),
            ratio(answered, base[1]),
            micros(told),
            ratio(told, base[2]),
            micros(all / subscriptions),
        );
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Processor time of this process so far, in steps of a hundredth of a second; nothing where the system does not say.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // User and system time, fields 14 and 15 of proc(5).
    let ticks: u64 =
        behind_name.split(' ').skip(12).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// For one write: processor time, time until it is answered, until its subscriber is told, until all are told.
async fn measure(subscriptions: u32) -> Result<[Duration; 4], Error> {
    let node = Node::builder().in_memory().open().await?;
    let (sender, mut told) = mpsc::unbounded_channel();
    for n in 0..subscriptions {
        let mut events = node.subscribe_scope(Scope::parse(&format!("k/{n}"))?, From::Now)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                if let Event::Change { entry, .. } = event
                    && sender.send(entry.path).is_err()
                {
                    break;
                }
            }
        });
    }
    let [mut cpu_best, mut answered_best, mut told_best, mut all_best] = [Duration::MAX; 4];
    for round in 0..ROUNDS {
        let (mut answered_in, mut told_in) = (Duration::ZERO, Duration::ZERO);
        let cpu_before = cpu();
        for n in 0..WRITES {
            // Spread over all of them, in no order that a cache would like.
            let path = format!("k/{}", u64::from(n) * 7_919 % u64::from(subscriptions));
            let started = Instant::now();
            node.put(&path, &(round, n)).await?;
            answered_in += started.elapsed();
            let heard = told.recv().await;
            told_in += started.elapsed();
            assert!(heard.is_some_and(|heard| heard.as_str() == path), "the one subscriber is told, once");
        }
        cpu_best = cpu_best.min((cpu() - cpu_before) / WRITES);
        // Their common ancestor concerns all of them.
        let started = Instant::now();
        node.put("k", &round).await?;
        for _ in 0..subscriptions {
            told.recv().await;
        }
        all_best = all_best.min(started.elapsed());
        answered_best = answered_best.min(answered_in / WRITES);
        told_best = told_best.min(told_in / WRITES);
    }
    assert_eq!(node.status().await?.subscriptions, u64::from(subscriptions), "all are there");
    node.close().await?;
    Ok([cpu_best, answered_best, told_best, all_best])
}
