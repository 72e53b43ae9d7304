//! `rejoin get`

use clap::Args;

use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{Ended, output};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Path of the value, such as users/alice
    path: String,
    /// Print a text without its JSON quotes
    #[arg(long, conflicts_with = "meta")]
    raw: bool,
    /// Print the value with its version, time, vector clock and conflicts
    #[arg(long)]
    meta: bool,
}

impl Get {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        if self.meta {
            return output::raw(&client.envelope(&self.path).await?);
        }
        let entry = client.entry_or_why(&self.path).await?;
        if entry.conflicts > 0 && !global.json {
            let others = if entry.conflicts == 1 { "version competes" } else { "versions compete" };
            output::say(format_args!("note: {} other {others} with this one; see --meta", entry.conflicts));
        }
        match self.raw {
            false => output::raw(&entry.value),
            true => {
                let text: String =
                    serde_json::from_str(entry.value.get()).map_err(|_| not_text(&self.path))?;
                output::line(text)
            }
        }
    }
}

fn not_text(path: &str) -> Failure {
    Failure::new(Exit::General, "type_mismatch", format!("The value at {path} is not a text."))
        .hint("Leave --raw out to print it as JSON.")
}
