//! `rejoin sync`

use std::io::IsTerminal;
use std::time::Instant;

use clap::Args;

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Compare only the paths that begin with this, such as users/; everything when left out
    #[arg(default_value = "")]
    prefix: String,
}

impl Sync {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        if !global.json && std::io::stderr().is_terminal() {
            output::say(Style::of_stderr().dim("comparing with every peer …"));
        }
        let started = Instant::now();
        let round = client.anti_entropy_below(&self.prefix).await?;
        if global.json {
            return output::raw(&round.raw);
        }
        let done = Style::of_stderr().green("compared with every peer");
        output::say(format_args!("{done} in {} ms", started.elapsed().as_millis()));
        for (name, count) in &round.counts {
            output::line(format_args!("{name}\t{count}"))?;
        }
        Ok(())
    }
}
