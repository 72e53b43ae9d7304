//! Puts and gets a second through this library, as `bindings/node/bench/throughput.js` measures them through the Node.js
//! package: the same values, paths and numbers of calls at a time.
//!
//! `cargo run --release -p rejoin --example throughput [disk|os|memory]...`

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
    let started = Instant::now();
    let callers: Vec<_> = (0..open)
        .map(|first| {
            let node = node.clone();
            tokio::spawn(async move {
                let (mut n, mut done) = (first, 0_u32);
                // Reads wait for nothing: each caller looks at the clock itself, and lets the others have their turn.
                while started.elapsed() < TIME {
                    let path = format!("bench/{}", n % PATHS);
                    match call {
                        Call::Put => {
                            node.put(&path, &json!({ "n": n, "text": "x".repeat(180) })).await?;
                        }
                        Call::Get => drop(node.get::<Value>(&path).await?),
                    }
                    done += 1;
                    n += open;
                    if done.is_multiple_of(64) {
                        tokio::task::yield_now().await;
                    }
                }
                Ok::<u32, Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.map_err(|error| Error::Config(error.to_string()))??;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate that fits")]
    Ok((f64::from(done) / started.elapsed().as_secs_f64()) as u64)
}
