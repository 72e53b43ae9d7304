//! `rejoin demo`

use clap::Args;

use crate::Ended;
use crate::arguments::Global;
use crate::demo::{self, Narrator};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End when the story is told, instead of keeping the nodes for you to try
    #[arg(long)]
    exit: bool,
}

impl Demo {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        demo::run(Narrator::new(global.json), self.exit).await
    }
}
