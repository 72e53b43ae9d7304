//! `rejoin conflicts`

use clap::Args;
use rejoin_client::{Conflict, RawValue};

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};
use crate::time::show_unix_ms;

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Conflicts {
    /// Only paths that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Also conflicts that were resolved and are still in history
    #[arg(long)]
    all: bool,
    /// Stop after this many paths
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Conflicts {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let list = client.conflicts(&self.prefix);
        let mut list = if self.all { list } else { list.open() };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut cursor: Option<String> = None;
        while left > 0 {
            let page = list.page().await?;
            for conflict in page.items.iter().take(left) {
                show(global, conflict)?;
            }
            left = left.saturating_sub(page.items.len());
            // A cursor that does not move on would ask for ever.
            let Some(next) = page.cursor.filter(|next| Some(next) != cursor.as_ref()) else { break };
            list = list.cursor(next.clone());
            cursor = Some(next);
        }
        Ok(())
    }
}

fn show(global: &Global, conflict: &Conflict) -> Ended {
    if let (true, Some(raw)) = (global.json, &conflict.raw) {
        return output::raw(raw);
    }
    let style = Style::of_stdout();
    output::line(format_args!("{}  {}", style.bold(&conflict.path), conflict.state))?;
    versions(conflict)?;
    for resolved in &conflict.resolved {
        let by = resolved.by.as_deref().unwrap_or("a write that is not known here");
        output::line(format_args!("  {}", style.dim(format_args!("resolved by {by}"))))?;
        for version in &resolved.versions {
            let value = version.value().map_or("(deleted)", RawValue::get);
            let outcome = version.outcome.as_deref().unwrap_or("");
            output::line(format_args!("    {outcome:<5} {}  {value}", show_unix_ms(version.timestamp)))?;
            output::line(format_args!("          {}", style.dim(&version.version)))?;
        }
    }
    Ok(())
}

/// The live versions, the winner first.
pub(super) fn versions(conflict: &Conflict) -> Ended {
    let style = Style::of_stdout();
    for version in &conflict.versions {
        let value =
            version.value.as_deref().filter(|_| version.op != "delete").map_or("(deleted)", RawValue::get);
        let outcome = if version.wins { style.green("wins ") } else { style.dim("loses") };
        output::line(format_args!("    {outcome} {}  {value}", show_unix_ms(version.timestamp)))?;
        output::line(format_args!("          {}", style.dim(&version.version)))?;
    }
    Ok(())
}
