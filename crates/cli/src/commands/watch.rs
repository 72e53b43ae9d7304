//! `rejoin watch`

use clap::Args;
use futures_util::StreamExt;
use rejoin_client::{Changed, Event};
use serde_json::json;

use crate::Ended;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Style};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Path to watch with everything below it; everything when left out
    #[arg(default_value = "")]
    path: String,
    /// Without the current values: only what changes from now on
    #[arg(long)]
    no_snapshot: bool,
    /// Go on behind the event that carried this token; `--json` shows the tokens
    #[arg(long, value_name = "TOKEN", conflicts_with = "no_snapshot")]
    since: Option<String>,
    /// When the connection ends, connect again and go on behind the last event
    #[arg(long)]
    reconnect: bool,
    /// Stop after this many changes, values of the snapshot included
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Watch {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let watch = client(global)?.watch(&self.path).snapshot(!self.no_snapshot);
        let watch = match self.since {
            Some(token) => watch.since(token),
            None => watch,
        };
        let mut changes = match self.reconnect {
            true => watch.follow().boxed(),
            false => watch.open().await?.boxed(),
        };
        if self.no_snapshot && !global.json {
            output::say(Style::of_stderr().dim("-- watching for changes"));
        }
        while left > 0 {
            let Some(event) = changes.next().await else { return Err(closed()) };
            match event? {
                Event::Change(change) => {
                    show(global, &change)?;
                    left -= 1;
                }
                Event::SnapshotEnd { count, .. } if !global.json => {
                    let values = if count == 1 { "value" } else { "values" };
                    let style = Style::of_stderr();
                    output::say(style.dim(format_args!("-- {count} {values}; now watching for changes")));
                }
                Event::SnapshotEnd { count, token } => {
                    output::json(&json!({ "event": "snapshot-end", "count": count, "token": token }))?;
                }
                Event::Resync { reason, oldest } if global.json => {
                    output::json(&json!({ "event": "resync", "reason": reason, "oldest": oldest }))?;
                }
                Event::Interrupted { reason } if global.json => {
                    output::json(&json!({ "event": "interrupted", "reason": reason }))?;
                }
                Event::Resync { reason, .. } | Event::Interrupted { reason } => {
                    output::say(Style::of_stderr().dim(format_args!("-- {reason}")));
                }
                Event::Closing => return Err(closed()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn show(global: &Global, change: &Changed) -> Ended {
    match (&change.raw, change.value()) {
        (Some(raw), _) if global.json => output::raw(raw),
        (_, Some(value)) => output::line(format_args!("put {}\t{}", change.path, value.get())),
        (_, None) if change.is_expiry() => output::line(format_args!("exp {}", change.path)),
        (_, None) => output::line(format_args!("del {}", change.path)),
    }
}

fn closed() -> Failure {
    Failure::new(Exit::Unreachable, "closing", "The node has closed the feed.")
        .hint("It is shutting down; watch again when it is back.")
}
