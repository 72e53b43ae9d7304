//! `rejoin import`

mod items;
mod progress;

use std::cell::Cell;
use std::fmt;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use rejoin_client::{Imported, Problem};
use serde::Serialize;

use self::items::{Item, Items, read_start};
use self::progress::Progress;
use crate::arguments::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{Ended, output};

use super::client;

/// Operations sent in one request.
const REQUEST_OPERATIONS: usize = 1_000;

/// Bytes sent in one request, unless an operation is longer.
const REQUEST_BYTES: usize = 1024 * 1024;

/// Refusals that are told one by one; more are only counted.
const REFUSALS_TOLD: u64 = 10;

/// What every gzip file begins with, and no JSON text.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes that are read of a file at a time.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Lines are {\"path\":…,\"value\":…}, as `rejoin scan --json` prints them, or other operations: see docs/batches.md.
A file may be compressed by gzip, begin with a byte order mark, or be one JSON array of such objects.
docs/how-to/import.md has recipes for CouchDB, Firebase, etcd and Redis.

Examples:
  rejoin import data.ndjson
  rejoin import --keep-going dump.json.gz
  rejoin --url http://127.0.0.1:3000 scan --json | rejoin --url http://127.0.0.1:3001 import -")]
pub(crate) struct Import {
    /// File with one JSON object a line, or an array of them; `-` reads standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Go on when operations are refused, and tell how many at the end
    #[arg(long)]
    keep_going: bool,
    /// Begin at this line
    #[arg(long, value_name = "LINE", default_value_t = 1)]
    from: u64,
}

/// What was done so far.
#[derive(Default, Serialize)]
struct Counts {
    operations: u64,
    applied: u64,
    refused: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written, {} refused", self.applied, self.refused)
    }
}

/// An import on its way.
struct Run {
    counts: Counts,
    /// All operations up to this line are done or refused.
    line: u64,
    /// The line of the first refusal.
    first_refused: Option<u64>,
    progress: Progress,
}

/// Operations of one request, and the line of each.
#[derive(Default)]
struct Group {
    text: String,
    lines: Vec<u64>,
}

impl Import {
    pub(crate) async fn run(self, global: &Global) -> Ended {
        let client = client(global)?;
        let input = Input::open(&self.file)?;
        let mut run = Run {
            counts: Counts::default(),
            line: self.from.saturating_sub(1),
            first_refused: None,
            progress: Progress::new(input.bytes),
        };
        let mut items = Items::new(input.text).map_err(|failure| run.interrupted(failure, None))?;
        loop {
            let group = run.group(&mut items, self.from);
            let (group, rest) = match group {
                Ok(group) => group,
                Err(failure) => return Err(run.interrupted(failure, None)),
            };
            if let (Some(first), Some(last)) = (group.lines.first(), group.lines.last()) {
                match client.import(group.text).await {
                    Ok(imported) => run.done(&imported, &group.lines),
                    Err(error) => {
                        let sent = !matches!(error, rejoin_client::Error::Unreachable { .. });
                        return Err(run.interrupted(error.into(), sent.then_some((*first, *last))));
                    }
                }
            }
            run.progress.tell(input.read.get(), &run.counts, run.line);
            match rest {
                Rest::More if run.counts.refused > 0 && !self.keep_going => return Err(run.stopped()),
                Rest::More => {}
                Rest::Nothing => break,
                Rest::Broken(failure) => return Err(run.interrupted(failure, None)),
            }
        }
        run.progress.end();
        match global.json {
            true => output::json(&run.counts)?,
            false => output::line(&run.counts)?,
        }
        match run.counts.refused {
            0 => Ok(()),
            refused => Err(Failure::new(
                Exit::Refused,
                "some_refused",
                format!(
                    "{refused} of {} operations were refused, the first in line {}.",
                    run.counts.operations,
                    run.first_refused.unwrap_or_default()
                ),
            )
            .hint("The others are done. Correct the refused lines and import them again.")),
        }
    }
}

/// What is behind a group.
enum Rest {
    More,
    Nothing,
    /// The input cannot be read further.
    Broken(Failure),
}

impl Run {
    /// The next operations to send. What is in front of a place that cannot be read is sent first.
    fn group(&mut self, items: &mut Items<Box<dyn BufRead>>, from: u64) -> Result<(Group, Rest), Failure> {
        let mut group = Group::default();
        while group.lines.len() < REQUEST_OPERATIONS && group.text.len() < REQUEST_BYTES {
            let item = match items.next() {
                Ok(Some(item)) => item,
                Ok(None) => return Ok((group, Rest::Nothing)),
                Err(failure) if group.lines.is_empty() => return Err(failure),
                Err(failure) => return Ok((group, Rest::Broken(failure))),
            };
            let Item { line, text } = item;
            if line < from {
                continue;
            }
            match String::from_utf8(text) {
                Ok(text) => {
                    group.text.push_str(&text);
                    group.text.push('\n');
                    group.lines.push(line);
                }
                Err(_) => self.refused(line, None, "It is not text in UTF-8."),
            }
        }
        Ok((group, Rest::More))
    }

    fn done(&mut self, imported: &Imported, lines: &[u64]) {
        self.counts.operations += imported.operations;
        self.counts.applied += imported.applied;
        let mut told = 0;
        for problem in &imported.refused {
            let Problem { path, message, operation, .. } = problem;
            let place = operation.and_then(|at| usize::try_from(at).ok()).and_then(|at| lines.get(at));
            self.refused(place.copied().unwrap_or_default(), path.as_deref(), message);
            told += 1;
        }
        // `refused` has counted these as operations, and so has the server.
        self.counts.operations -= told;
        self.line = lines.last().copied().unwrap_or(self.line);
    }

    fn refused(&mut self, line: u64, path: Option<&str>, message: &str) {
        self.first_refused.get_or_insert(line);
        if self.counts.refused < REFUSALS_TOLD {
            let path = path.unwrap_or("a line without a path");
            self.progress.say(format_args!("refused: {path}: {message} (line {line})"));
        }
        self.counts.refused += 1;
        self.counts.operations += 1;
    }

    /// It ends here, since something was refused.
    fn stopped(&mut self) -> Failure {
        self.progress.end();
        let message = format!(
            "Stopped after line {}: {}; the first refusal is in line {}.",
            self.line,
            self.counts,
            self.first_refused.unwrap_or_default()
        );
        Failure::new(Exit::Refused, "some_refused", message).hint(format!(
            "Correct the refused lines and import them again, or go on behind them with `--from {}`; `--keep-going` does \
             not stop.",
            self.line + 1
        ))
    }

    /// It ends here, since something is broken; of the lines of a request that was sent nobody knows what became.
    fn interrupted(&mut self, failure: Failure, unknown: Option<(u64, u64)>) -> Failure {
        self.progress.end();
        let done = match self.line {
            0 => "Nothing was written before".to_owned(),
            line => format!("Done up to line {line}: {}", self.counts),
        };
        let unknown = unknown.map(|(first, last)| format!("; of lines {first} to {last} nothing is known"));
        let failure = failure.adding(format!("{done}{}.", unknown.unwrap_or_default()));
        match self.line {
            0 => failure,
            line => failure.hint_more(format!(
                "Go on with `--from {}`; what is imported twice is written twice, with the same value.",
                line + 1
            )),
        }
    }
}

/// Where operations come from.
struct Input {
    text: Box<dyn BufRead>,
    /// Bytes of the file, when it is one.
    bytes: Option<u64>,
    /// Bytes of it that were read.
    read: Rc<Cell<u64>>,
}

impl Input {
    fn open(file: &Path) -> Result<Input, Failure> {
        let refuse = |error| {
            Failure::new(Exit::Usage, "invalid_file", format!("Cannot read {}: {error}.", file.display()))
        };
        let read = Rc::new(Cell::new(0));
        let (source, bytes): (Box<dyn Read>, _) = match file == Path::new("-") {
            true => (Box::new(std::io::stdin().lock()), None),
            false => {
                let opened = std::fs::File::open(file).map_err(refuse)?;
                let known = opened.metadata().map_err(refuse)?;
                if known.is_dir() {
                    return Err(refuse(std::io::ErrorKind::IsADirectory.into()));
                }
                (Box::new(opened), known.is_file().then_some(known.len()))
            }
        };
        let mut source = Counted { source, read: Rc::clone(&read) };
        let start = read_start(&mut source, GZIP.len()).map_err(refuse)?;
        let is_packed = start == GZIP;
        let source = BufReader::with_capacity(READ_BYTES, Cursor::new(start).chain(source));
        let text: Box<dyn BufRead> = match is_packed {
            true => Box::new(BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(source))),
            false => Box::new(source),
        };
        Ok(Input { text, bytes, read })
    }
}

/// Counts what is read.
struct Counted {
    source: Box<dyn Read>,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.read.set(self.read.get() + bytes as u64);
        Ok(bytes)
    }
}
