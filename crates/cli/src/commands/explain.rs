//! `rejoin explain`

use clap::Args;
use rejoin_client::RawValue;

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};

use super::client;
use super::conflicts::versions;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Path to explain
    path: String,
}

impl Explain {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let explained = client(global)?.explain(&self.path).await?;
        if let (true, Some(raw)) = (global.json, &explained.raw) {
            return output::raw(raw);
        }
        let style = Style::of_stdout();
        let value = explained.value.as_deref().map_or("(deleted)", RawValue::get);
        output::line(format_args!("{}  {value}", style.bold(&explained.path)))?;
        output::line(format_args!("  strategy {}", explained.strategy))?;
        output::line(format_args!("  {}", explained.why))?;
        versions(&explained)
    }
}
