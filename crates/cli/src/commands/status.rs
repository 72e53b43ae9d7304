//! `rejoin status`

use clap::Args;
use rejoin_client::Status as NodeStatus;

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};
use crate::time::show_age;

use super::{client, peers};

#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let status = client.status().await?;
        match (&status.raw, global.json) {
            (Some(raw), true) => output::raw(raw),
            _ => show(client.url(), &status),
        }
    }
}

fn show(url: &str, status: &NodeStatus) -> Ended {
    let style = Style::of_stdout();
    let ready = if status.ready { style.green("ready") } else { style.red("not ready") };
    let name = status.name.as_deref().map(|name| format!("  ({name})")).unwrap_or_default();
    let storage = &status.storage;
    let durability = storage.durability.as_deref().map(|kind| format!(", {kind}")).unwrap_or_default();
    // Whole seconds are what a person wants.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let age = show_age(status.uptime.max(0.0) as u64);
    let row = |name: &str, text: String| {
        output::line(format_args!("{}  {text}", style.dim(format_args!("{name:<9}"))))
    };
    row("node", format!("{}{name}", status.node))?;
    row("address", format!("{url}, version {}, up {age}, {ready}", status.version))?;
    row(
        "documents",
        format!(
            "{} with a value, {} deleted, {} past versions",
            storage.entries, storage.tombstones, storage.history_entries
        ),
    )?;
    let full = match (storage.disk_full, storage.free_bytes) {
        (true, Some(free)) => {
            format!(
                "  {}",
                style.red(format_args!("disk nearly full: {} left, writes are refused", output::bytes(free)))
            )
        }
        _ => String::new(),
    };
    row("storage", format!("{} ({}{durability}){full}", output::bytes(storage.bytes), storage.engine))?;
    row("conflicts", format!("{} open", status.conflicts.open))?;
    row("digest", status.convergence.digest.clone())?;
    for alarm in &status.alarms {
        let text = format!("{}: {} ({})", alarm.kind, alarm.message, alarm.hint);
        row("alarm", style.red(text))?;
    }
    for doubt in &status.doubts {
        let text = format!(
            "{} epoch {}: {}; nothing that rests on it is removed",
            doubt.node, doubt.epoch, doubt.reason
        );
        row("doubted", style.red(text))?;
    }
    row("peers", status.peers.len().to_string())?;
    peers::show(&status.peers)
}
