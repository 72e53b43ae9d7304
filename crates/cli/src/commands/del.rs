//! `rejoin del`

use clap::Args;
use rejoin_client::Condition;

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};

use super::client;

#[derive(Debug, Args)]
pub(crate) struct Del {
    /// Path to delete
    path: String,
    /// Only if the value is still the one of this etag
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

impl Del {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let condition = self.if_match.map_or(Condition::Always, Condition::Matches);
        let answer = client(global)?.delete_or_why(&self.path, condition).await?;
        if global.json {
            return output::raw(&answer);
        }
        output::say(format_args!("{} {}", Style::of_stderr().green("deleted"), self.path));
        Ok(())
    }
}
