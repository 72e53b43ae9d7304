//! `rejoin resolve`

use clap::Args;
use rejoin_client::{Resolution, WriteOptions};

use crate::Ended;
use crate::arguments::Global;
use crate::output::{self, Style};

use super::client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rejoin conflicts users/
  rejoin resolve users/alice --keep a6012594df8cedb20e46fda8685496d2.01a20437fc9ec6dd.1
  rejoin resolve users/alice --value '{\"name\":\"Alice\"}'")]
pub(crate) struct Resolve {
    /// Path whose conflict to resolve
    path: String,
    /// Keep what this version says; `rejoin conflicts` lists them
    #[arg(long, value_name = "VERSION", required_unless_present = "value", conflicts_with = "value")]
    keep: Option<String>,
    /// Write this JSON value instead of all versions
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    value: Option<String>,
    /// Refuse when there are versions that the reader of this context has not seen
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
}

impl Resolve {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let resolution = match (self.keep, self.value) {
            (Some(version), _) => Resolution::Keep(version),
            (None, value) => Resolution::Value(super::put::checked(value.unwrap_or_default())?),
        };
        let options = WriteOptions { context: self.context, ..WriteOptions::default() };
        let written = client.resolve(&self.path, &resolution, &options).await?;
        if let (true, Some(raw)) = (global.json, &written.raw) {
            return output::raw(raw);
        }
        let style = Style::of_stderr();
        let version = style.dim(format_args!("version {}", written.version));
        output::say(format_args!("{} {}  {version}", style.green("resolved"), written.path));
        Ok(())
    }
}
