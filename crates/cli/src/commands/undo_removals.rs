//! `rejoin undo-removals`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use rejoin_client::RemovalFilter;

use crate::Ended;
use crate::arguments::Global;
use crate::output;
use crate::time::{parse_duration, show_unix_ms};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct UndoRemovals {
    /// Only what was removed by the word of this node, by its id
    #[arg(long, value_name = "NODE")]
    peer: Option<String>,
    /// Only what was removed in that time until now, such as 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<u64>,
    /// List what was removed, and bring nothing back
    #[arg(long)]
    list: bool,
}

/// How long ago, as a point in time in Unix milliseconds.
fn since(text: &str) -> Result<u64, String> {
    let ago = parse_duration(text).ok_or("not a time such as 90m, 2h or 3d")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX))
}

impl UndoRemovals {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let filter = RemovalFilter { peer: self.peer, since_ms: self.since.unwrap_or(0) };
        if self.list {
            let removals = client.removals(&filter).await?;
            for removed in &removals.items {
                let value = removed.value.as_ref().map_or("(deleted)", |value| value.get());
                let (at, path) = (show_unix_ms(removed.removed_at), &removed.path);
                match global.json {
                    true => output::line(serde_json::json!({
                        "path": path, "version": removed.version, "peer": removed.peer,
                        "reason": removed.reason, "removedAt": removed.removed_at, "value": removed.value,
                    }))?,
                    false => output::line(format_args!(
                        "{at}  {path}  {value}  (by {} of {})",
                        removed.reason, removed.peer
                    ))?,
                }
            }
            if removals.more {
                output::say("there are more; ask for a shorter time with --since, or for one --peer");
            }
            return Ok(());
        }
        let undone = client.undo_removals(&filter).await?;
        if let (true, Some(raw)) = (global.json, &undone.raw) {
            return output::raw(raw);
        }
        for path in &undone.restored {
            output::line(format_args!("restored\t{path}"))?;
        }
        for left in &undone.left {
            output::line(format_args!("left\t{}\t{}", left.path, left.why))?;
        }
        output::say(format_args!("{} brought back, {} left", undone.restored_count, undone.left_count));
        Ok(())
    }
}
