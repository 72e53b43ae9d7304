//! `rejoin config`

use clap::{Args, Subcommand};

use crate::arguments::Global;
use crate::config;
use crate::{Ended, output};

use super::serve::{self, Options};

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting that `serve` would use, and where it comes from; secrets are hidden
    Print(Options),
    /// Say whether `serve` would accept the configuration
    Check(Options),
}

impl Config {
    pub(crate) fn run(self, global: &Global) -> Ended {
        match self.action {
            Action::Print(options) => {
                let settings = options.settings(global)?;
                match global.json {
                    true => output::json(&config::print_json(&settings)),
                    false => output::line(config::print(&settings).trim_end()),
                }
            }
            Action::Check(options) => {
                drop(serve::check(&options.settings(global)?)?);
                match global.json {
                    true => output::json(&serde_json::json!({ "ok": true })),
                    false => {
                        output::say("The configuration is good.");
                        Ok(())
                    }
                }
            }
        }
    }
}
