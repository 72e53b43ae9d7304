//! `rejoin version`

use clap::Args;

use crate::arguments::Global;
use crate::{Ended, output};

/// The version of this binary.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, global: &Global) -> Ended {
        match global.json {
            true => output::json(&serde_json::json!({ "name": "rejoin", "version": VERSION })),
            false => output::line(format_args!("rejoin {VERSION}")),
        }
    }
}
