//! The library: put and get from one thread, in a process of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rejoin::{Durability, Node, Path};
use serde_json::value::RawValue;

use crate::document::{Documents, key};
use crate::figure::{Figures, Subject};
use crate::plan::{Plan, Workload};
use crate::server::Tools;

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the data goes.
    #[arg(long)]
    data_dir: PathBuf,
    /// `disk`, `os` or `memory`.
    #[arg(long)]
    durability: String,
    /// Documents to read from.
    #[arg(long)]
    documents: u32,
    /// Seconds of each measurement.
    #[arg(long)]
    seconds: f64,
}

/// Writers of one thread that wait at the same time.
const WRITERS: usize = 64;

/// Measures it apart from the load generator, so that neither's memory is the other's.
pub(crate) async fn measure_apart(_: &Tools, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let kinds = [("os", "kill -9 (no fsync)"), ("disk", "power cut (fsync before the answer)")];
    for _ in 0..plan.rounds {
        for (durability, words) in kinds {
            let home = tempfile::Builder::new().prefix("rejoin-bench-").tempdir()?;
            let output = tokio::process::Command::new(std::env::current_exe()?)
                .args(["embedded", "--durability", durability, "--data-dir"])
                .arg(home.path())
                .args(["--documents", &plan.documents.to_string(), "--seconds", &plan.seconds.to_string()])
                .output()
                .await?;
            if !output.status.success() {
                bail!("the library: {}", String::from_utf8_lossy(&output.stderr));
            }
            let figure: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&output.stdout)?;
            for (case, rate) in figure {
                let system = format!("Rejoin {durability}");
                let subject =
                    Subject { workload: Workload::Embedded, case: &case, system: &system, durability: words };
                figures.add(&subject, "rate", "/s", rate.as_f64().context("a rate")?);
            }
        }
    }
    Ok(())
}

/// Measures it here.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rates = runtime.block_on(rates(arguments))?;
    println!("{}", serde_json::to_string(&rates)?);
    Ok(())
}

async fn rates(arguments: &Arguments) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let durability = match arguments.durability.as_str() {
        "disk" => Durability::Disk,
        "os" => Durability::Os,
        "memory" => Durability::Memory,
        other => bail!("'{other}' is not a durability"),
    };
    let node = Node::builder().data_dir(&arguments.data_dir).durability(durability).open().await?;
    let during = Duration::from_secs_f64(arguments.seconds);
    let mut documents = Documents::new(1);
    let mut rates = serde_json::Map::new();

    let loaded = write(&node, &mut documents, 0, WRITERS, Until::Number(arguments.documents)).await?.0;
    let (next, rate) = write(&node, &mut documents, loaded, 1, Until::time(during)).await?;
    rates.insert("put, one after the other".into(), rate.into());
    let (_, rate) = write(&node, &mut documents, next, WRITERS, Until::time(during)).await?;
    rates.insert(format!("put, {WRITERS} at a time"), rate.into());
    rates.insert(
        "get of text".into(),
        read(&node, &mut documents, arguments.documents, during, false).await?.into(),
    );
    rates.insert(
        "get of a parsed value".into(),
        read(&node, &mut documents, arguments.documents, during, true).await?.into(),
    );
    node.close().await?;
    Ok(rates)
}

/// When to stop.
#[derive(Clone, Copy)]
enum Until {
    Number(u32),
    Time(Instant),
}

impl Until {
    fn time(during: Duration) -> Until {
        Until::Time(Instant::now() + during)
    }

    fn is_over(self, number: u32) -> bool {
        match self {
            Until::Number(end) => number >= end,
            Until::Time(end) => Instant::now() >= end,
        }
    }
}

/// Writes new documents, so many at a time; tells the next number and the rate.
async fn write(
    node: &Node,
    documents: &mut Documents,
    first: u32,
    writers: usize,
    until: Until,
) -> anyhow::Result<(u32, f64)> {
    let (begun, mut next) = (Instant::now(), first);
    let mut writing = FuturesUnordered::new();
    loop {
        while writing.len() < writers && !until.is_over(next) {
            let (key, value) = (key(next), document(documents)?);
            next += 1;
            writing.push(async move { node.put(&key, &value).await });
        }
        match writing.next().await {
            Some(written) => drop(written?),
            None => break,
        }
    }
    Ok((next, f64::from(next - first) / begun.elapsed().as_secs_f64()))
}

fn document(documents: &mut Documents) -> anyhow::Result<Box<RawValue>> {
    let text = std::str::from_utf8(documents.next())?;
    Ok(RawValue::from_string(text.to_owned())?)
}

/// Reads documents in random order; tells the rate.
async fn read(
    node: &Node,
    documents: &mut Documents,
    there: u32,
    during: Duration,
    parsed: bool,
) -> anyhow::Result<f64> {
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < during {
        for _ in 0..100 {
            let key = key(documents.number(there));
            if parsed {
                let value: Option<serde_json::Value> = node.get(&key).await?;
                ensure!(value.is_some_and(|value| value["age"] == 41), "{key} is not there");
            } else {
                let entry = node.entry(&Path::parse(&key)?)?;
                let value =
                    entry.and_then(|entry| entry.value).with_context(|| format!("{key} is not there"))?;
                ensure!(value.as_str().len() > 100, "{key} is short");
            }
        }
        count += 100;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}
