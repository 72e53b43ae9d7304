//! `rejoin import`

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rejoin_client::Imported;
use serde::Serialize;

use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{Ended, output};

use super::client;

/// Lines sent in one request.
const REQUEST_LINES: usize = 1_000;

/// Bytes sent in one request, unless a line is longer.
const REQUEST_BYTES: usize = 1024 * 1024;

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Refusals that are told one by one; more are only counted.
const REFUSALS_TOLD: u64 = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Lines are {\"path\":…,\"value\":…}, as `rejoin scan --json` prints them, or other operations: see docs/batches.md.

Examples:
  rejoin import data.ndjson
  rejoin --url http://127.0.0.1:3000 scan --json | rejoin --url http://127.0.0.1:3001 import -")]
pub(crate) struct Import {
    /// File with one JSON object a line; `-` reads standard input
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Default, Serialize)]
struct Counts {
    operations: u64,
    applied: u64,
    refused: u64,
}

impl Import {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let mut input = open(&self.file)?;
        let mut counts = Counts::default();
        let mut told = Instant::now();
        loop {
            let (lines, last) = read(&mut *input)?;
            if !lines.is_empty() {
                let imported = client.import(lines).await?;
                tell_refusals(&imported, &counts);
                counts.operations += imported.operations;
                counts.applied += imported.applied;
                counts.refused += imported.operations - imported.applied;
            }
            if last {
                break;
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                output::say(format_args!("{} written", counts.applied));
            }
        }
        match global.json {
            true => output::json(&counts)?,
            false => output::line(format_args!("{} written, {} refused", counts.applied, counts.refused))?,
        }
        match counts.refused {
            0 => Ok(()),
            refused => Err(Failure::new(
                Exit::Refused,
                "some_refused",
                format!("{refused} of {} operations were refused.", counts.operations),
            )
            .hint("The others are done. Correct the refused lines and import them again.")),
        }
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let opened = std::fs::File::open(file).map_err(|error| {
        Failure::new(Exit::Usage, "invalid_file", format!("Cannot read {}: {error}.", file.display()))
    })?;
    Ok(Box::new(BufReader::new(opened)))
}

/// The next lines to send, and whether they are the last.
fn read(input: &mut dyn BufRead) -> Result<(String, bool), Failure> {
    let mut lines = String::new();
    for _ in 0..REQUEST_LINES {
        if lines.len() >= REQUEST_BYTES {
            break;
        }
        if input.read_line(&mut lines)? == 0 {
            return Ok((lines, true));
        }
    }
    Ok((lines, false))
}

fn tell_refusals(imported: &Imported, before: &Counts) {
    let room = REFUSALS_TOLD.saturating_sub(before.refused);
    for problem in imported.refused.iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
        let path = problem.path.as_deref().unwrap_or("a line without a path");
        output::say(format_args!("refused: {path}: {}", problem.message));
    }
}
