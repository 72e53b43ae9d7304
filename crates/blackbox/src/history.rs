//! The record of a run: one JSON object a line, in the order in which the recorder saw things.
//!
//! A call is written before its request is sent, and its answer after it has been read whole. So an operation whose
//! answer stands above another's call had ended before that one began, and nothing else about time is used.
//!
//! | `kind` | Members | Meaning |
//! |---|---|---|
//! | `run` | `format`, `seed`, `max_versions` | the first line |
//! | `call` | `op`, `at_ms`, `node`, `client`, `session`, `do`, `path`, `value` | a client asks a node; with a `session` the request carries the session's token; the `path` of a scan is its prefix |
//! | `answer` | `op`, `at_ms`, `result`, … | what came back, see [`Outcome`]; a call without one was still open at the end |
//! | `event` | `at_ms`, `what`, `node`, `detail` | a fault or its end; for people, but for `died`: a server ended by itself |
//! | `settled` | `at_ms`, `took_ms`, `equal`, `detail` | all faults were taken away, and whether all nodes became equal in time |
//! | `final` | `node`, `path`, `state`, `listed`, `history` | after that, a path on a node: by itself, in a scan of everything, and its history |
//! | `expect` | `violation`, `lines` | only in the histories that test the checker |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What the `format` of the first line is.
pub const FORMAT: u32 = 1;

/// A causal past as the API shows it: node id to a number that grows with that node's writes.
pub type Clock = BTreeMap<String, u64>;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "every other line is of the largest kind")]
pub enum Line {
    /// The first line.
    Run {
        /// [`FORMAT`].
        format: u32,
        /// What the schedule of faults and the clients' choices were made of.
        seed: u64,
        /// How many superseded versions a node keeps of a path.
        max_versions: usize,
    },
    /// A request is about to be sent.
    Call {
        /// Names the operation; every call has another.
        op: u64,
        /// Milliseconds since the run began, for people.
        at_ms: u64,
        /// The node that is asked.
        node: String,
        /// Who asks.
        client: String,
        /// The session whose token the request carries; none: it carries no token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// What is asked.
        #[serde(rename = "do")]
        verb: Verb,
        /// The path, or the prefix of a scan.
        path: String,
        /// Of a put: a value that no other put writes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// The answer has been read.
    Answer {
        /// The operation.
        op: u64,
        /// Milliseconds since the run began.
        at_ms: u64,
        /// What it was.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A fault or its end.
    Event {
        /// Milliseconds since the run began.
        at_ms: u64,
        /// `kill`, `stop`, `start`, `pause`, `resume`, `link`, `heal`; `died` when a server ended by itself.
        what: String,
        /// The node, or `a>b` for the way on which a dials b.
        node: String,
        /// What else there is to say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// All faults were taken away some time ago.
    Settled {
        /// Milliseconds since the run began.
        at_ms: u64,
        /// Milliseconds from the end of the last fault until all nodes were equal, or until that was given up.
        took_ms: u64,
        /// All nodes said that they had applied the same and hold the same.
        equal: bool,
        /// What they said when they were not equal.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// A path on a node, after [`Line::Settled`].
    Final {
        /// The node.
        node: String,
        /// The path.
        path: String,
        /// What the path shows, with all live versions; none when the node knows nothing of it.
        state: Option<State>,
        /// What a scan of everything showed of it; none when it did not list it.
        listed: Option<State>,
        /// The superseded versions that the node lists.
        history: Vec<Past>,
    },
    /// What the checker must say of this file.
    Expect {
        /// The kind of violation.
        violation: String,
        /// The lines it must name, from 1.
        lines: Vec<usize>,
    },
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Write a value.
    Put,
    /// Delete.
    Delete,
    /// Read the value.
    Get,
    /// Read all live versions.
    Explain,
    /// Read all values whose paths begin so.
    Scan,
}

/// What an answer said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// A write was acknowledged.
    Written {
        /// Its version, `node.epoch.number`.
        version: String,
        /// The causal past of the document, the write included.
        clock: Clock,
        /// Unix milliseconds of its stamp.
        timestamp: u64,
    },
    /// A path was read.
    Read {
        /// What it showed.
        state: State,
    },
    /// A scan's items.
    Listed {
        /// In path order.
        items: Vec<State>,
    },
    /// There is no value: `missing` or `deleted`.
    Absent {
        /// Which.
        reason: String,
    },
    /// Nothing was done and nothing read.
    Refused {
        /// The HTTP status; 0 when there was no connection.
        status: u16,
        /// The error's code.
        code: String,
    },
    /// No answer, or one that does not say: a write may have been done, or may be done later.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A path as a node showed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The path.
    pub path: String,
    /// The value; none when the winner is a delete.
    pub value: Option<String>,
    /// The version that is shown.
    pub version: String,
    /// The causal past of the document.
    pub clock: Clock,
    /// Names the live versions.
    pub etag: String,
    /// How many other versions are live.
    pub conflicts: u64,
    /// All live versions, when they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Vec<Live>>,
}

/// A live version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The version.
    pub version: String,
    /// Unix milliseconds of its stamp.
    pub timestamp: u64,
    /// Its value; none when it is a delete.
    pub value: Option<String>,
}

/// A superseded version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The version.
    pub version: String,
    /// Its value; none when it was a delete.
    pub value: Option<String>,
    /// Unix milliseconds of its stamp.
    pub timestamp: u64,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] std::io::Error),
    /// A line is not one of the format.
    #[error("line {line} is not one of the format: {source}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Reads a record. The number of a line is its place from 1.
///
/// # Errors
/// A file that cannot be read, or a line that is not one of the format.
pub fn read(path: &Path) -> Result<Vec<Line>, ReadError> {
    let mut lines = Vec::new();
    for (at, text) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = serde_json::from_str(&text?).map_err(|source| ReadError::Line { line: at + 1, source })?;
        lines.push(line);
    }
    Ok(lines)
}

/// Writes a record, from any thread.
#[derive(Debug)]
pub struct Recorder {
    file: Mutex<BufWriter<File>>,
    began: Instant,
}

impl Recorder {
    /// A record in a new file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Recorder> {
        Ok(Recorder { file: Mutex::new(BufWriter::new(File::create(path)?)), began: Instant::now() })
    }

    /// Milliseconds since the run began.
    pub fn at_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds a line; its place is decided now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> std::io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
