//! `rejoin put`

use std::io::Read;
use std::time::Duration;

use clap::Args;
use rejoin_client::{Condition, RawValue, WriteOptions};

use crate::Ended;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::{Failure, sentence, words};
use crate::output::{self, Style};
use crate::time::parse_duration;

use super::client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rejoin put users/alice '{\"name\":\"Alice\"}'
  rejoin put motd --text 'Hello, world'
  rejoin put config/site @site.json
  rejoin put sessions/alice '{\"seen\":true}' --ttl 30m
  date | rejoin put --text log/last -")]
pub(crate) struct Put {
    /// Path to write to, such as users/alice
    path: String,
    /// The value as JSON; `-` reads it from standard input, `@file` from a file
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Take the value as plain text and write it as a JSON string
    #[arg(long)]
    text: bool,
    /// Merge the members of an object into the present value (JSON merge patch); null removes a member
    #[arg(long, conflicts_with = "text")]
    merge: bool,
    /// Only if the path holds no value
    #[arg(long, conflicts_with_all = ["if_match", "merge"])]
    if_absent: bool,
    /// Only if the value is still the one of this etag; `*` for any
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
    /// How long the value is to live, such as 30s, 10m, 24h or 7d; then it is deleted everywhere
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<Duration>,
}

/// A time with its unit: a number alone means different things to different people.
fn ttl(text: &str) -> Result<Duration, String> {
    let time =
        text.ends_with(|last: char| last.is_ascii_alphabetic()).then(|| parse_duration(text)).flatten();
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "give a whole number with a unit, such as 30s, 10m, 24h or 7d".to_owned())
}

impl Put {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let given = read(&self.value)?;
        let json = match self.text {
            true => {
                serde_json::to_string(given.trim_end_matches(['\r', '\n'])).map_err(std::io::Error::other)?
            }
            false => checked(given)?,
        };
        let condition = match (self.if_absent, self.if_match) {
            (true, _) => Condition::Absent,
            (false, Some(etag)) if etag == "*" => Condition::Present,
            (false, Some(etag)) => Condition::Matches(etag),
            (false, None) => Condition::Always,
        };
        let options = WriteOptions { condition, ttl: self.ttl, ..WriteOptions::default() };
        let written = match self.merge {
            true => client.patch_with(&self.path, json, &options).await?,
            false => client.put_with(&self.path, json, &options).await?,
        };
        if let (true, Some(raw)) = (global.json, &written.raw) {
            return output::raw(raw);
        }
        let style = Style::of_stderr();
        let done = if written.created { "created" } else { "replaced" };
        output::say(format_args!(
            "{} {}  {}",
            style.green(done),
            written.path,
            style.dim(format_args!("version {}", written.version))
        ));
        if !written.applied {
            output::say("note: a concurrent write wins over this one; `get --meta` shows what competes");
        }
        Ok(())
    }
}

/// The value's text, wherever it is.
fn read(value: &str) -> Result<String, Failure> {
    if value == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| unreadable(&format!("Standard input cannot be read: {}", words(&error))))?;
        return Ok(text);
    }
    match value.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| unreadable(&format!("The file {file} cannot be read: {}", words(&error)))),
        None => Ok(value.to_owned()),
    }
}

/// The server checks again, and more; checked here, a forgotten pair of quotes gets a better hint.
pub(super) fn checked(text: String) -> Result<String, Failure> {
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            Err(Failure::new(Exit::Usage, "invalid_json", format!("The value is not JSON: {error}."))
                .hint("For plain text add --text; JSON text has double quotes, as in '\"hello\"'."))
        }
    }
}

fn unreadable(message: &str) -> Failure {
    Failure::new(Exit::Usage, "unreadable_value", sentence(message))
        .hint("`-` reads standard input, `@file` a file.")
}
