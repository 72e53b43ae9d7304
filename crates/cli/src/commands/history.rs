//! `rejoin history`

use clap::Args;
use rejoin_client::{PastVersion, RawValue};

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};
use crate::time::show_unix_ms;

use super::client;

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Path whose history to show
    path: String,
    /// Stop after this many versions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl History {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut cursor: Option<String> = None;
        while left > 0 {
            let page = client.history(&self.path, None, cursor.as_deref()).await?;
            for version in page.items.iter().take(left) {
                show(global, version)?;
            }
            left = left.saturating_sub(page.items.len());
            // A cursor that does not move on would ask for ever.
            if page.cursor.is_none() || page.cursor == cursor {
                break;
            }
            cursor = page.cursor;
        }
        Ok(())
    }
}

fn show(global: &Global, version: &PastVersion) -> Ended {
    if let (true, Some(raw)) = (global.json, &version.raw) {
        return output::raw(raw);
    }
    let value = version.value().map_or("(deleted)", RawValue::get);
    let lost = if version.concurrent { "  (concurrent)" } else { "" };
    let style = Style::of_stdout();
    output::line(format_args!("{}  {value}{}", show_unix_ms(version.timestamp), style.dim(lost)))
}
