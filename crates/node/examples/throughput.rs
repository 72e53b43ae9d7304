//! Puts and gets a second through this library, as `bindings/node/bench/throughput.js` measures them through the Node.js
//! package: the same values, paths and numbers of calls at a time.
//!
//! `cargo run --release -p rejoin --example throughput [disk|os|memory]...`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rejoin::{Durability, Error, Node};
use serde_json::{Value, json};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(3);

/// Paths that are written and read in turn.
const PATHS: u64 = 10_000;

/// Calls at a time.
const OPEN: [u64; 3] = [1, 64, 1_000];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let given: Vec<Durability> =
        std::env::args().skip(1).map(|name| name.parse()).collect::<Result<_, _>>()?;
    let all = vec![Durability::Disk, Durability::Os, Durability::Memory];
    for durability in if given.is_empty() { all } else { given } {
        let directory = tempfile::tempdir().map_err(|error| Error::Config(error.to_string()))?;
        let node = Node::builder().data_dir(directory.path()).durability(durability).open().await?;
        for open in OPEN {
            let puts = rate(open, &node, Call::Put).await?;
            let gets = rate(open, &node, Call::Get).await?;
            let durability = durability.to_string();
            println!("library, durability {durability:6}, {open:4} at a time: {puts} puts/s, {gets} gets/s");
        }
        node.close().await?;
    }
    Ok(())
}

/// What is measured.
#[derive(Clone, Copy)]
enum Call {
    Put,
    Get,
}

/// Calls a second, with that many at a time.
async fn rate(open: u64, node: &Node, call: Call) -> Result<u64, Error> {
    let (running, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let started = Instant::now();
    let callers: Vec<_> = (0..open)
        .map(|first| {
            let (node, running, done) = (node.clone(), Arc::clone(&running), Arc::clone(&done));
            tokio::spawn(async move {
                let mut n = first;
                while running.load(Ordering::Relaxed) {
                    let path = format!("bench/{}", n % PATHS);
                    match call {
                        Call::Put => {
                            node.put(&path, &json!({ "n": n, "text": "x".repeat(180) })).await?;
                        }
                        Call::Get => drop(node.get::<Value>(&path).await?),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    n += open;
                }
                Ok::<(), Error>(())
            })
        })
        .collect();
    tokio::time::sleep(TIME).await;
    running.store(false, Ordering::Relaxed);
    for caller in callers {
        caller.await.map_err(|error| Error::Config(error.to_string()))??;
    }
    let calls = f64::from(u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that fits")]
    Ok((calls / started.elapsed().as_secs_f64()) as u64)
}
