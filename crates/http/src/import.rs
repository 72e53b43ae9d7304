//! `/api/_batch` as lines: operations in, results out, as long as the client likes.
//!
//! Operations are done as they arrive, some hundreds to a commit. Nothing is read from the client while a commit runs or
//! while the client does not take its results, so memory stays bounded whatever the length.

use std::pin::Pin;
use std::sync::Arc;

use crate::incoming::Incoming;
use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use hyper::body::Body as _;
use hyper::{Request, Response, StatusCode};
use rejoin::{Key, Write};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::{self, NDJSON, Stream};
use crate::api::Api;
use crate::batch::{of_text, result, write_each};
use crate::body::{Pace, no_memory, too_slow};
use crate::config::{
    IMPORT_GROUP_BYTES, IMPORT_GROUP_OPERATIONS, IMPORT_LINE_EXTRA_BYTES, IMPORT_PROGRESS, IMPORT_ROOM_WAIT,
    STREAM_PIECE_BYTES, STREAM_PIECES_MAX,
};
use crate::object;
use crate::once;
use crate::problem::Problem;
use crate::query::Query;

/// Answers a stream of operations with a stream of results.
pub(crate) fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &["results"])?;
    let all = match query.text("results") {
        None | Some("all") => true,
        Some("refused") => false,
        Some(_) => {
            return Err(Problem::parameter("The parameter `results` is neither `all` nor `refused`.")
                .hint("Leave it out for one result per operation."));
        }
    };
    let key = once::of_request(request.headers())?;
    let line_bytes_max = api.node.info().limits.value_bytes + IMPORT_LINE_EXTRA_BYTES;
    let (out, pieces) = mpsc::channel(STREAM_PIECES_MAX);
    let import = Import {
        api: Arc::clone(api),
        body: request.into_body(),
        out,
        text: Vec::new(),
        all,
        line_bytes_max,
        key,
        begun: 0,
        counts: Counts::default(),
        told: Instant::now(),
        claim: None,
    };
    tokio::spawn(import.run());
    Ok(answer::stream(NDJSON, pieces))
}

struct Import {
    api: Arc<Api>,
    body: Incoming,
    out: Sender<Bytes>,
    /// Lines not sent yet.
    text: Vec<u8>,
    /// Results of all operations, or of those that were refused.
    all: bool,
    line_bytes_max: usize,
    /// The key of the request. Each operation is done once by its place.
    key: Option<Key>,
    /// Operations that have come.
    begun: u64,
    counts: Counts,
    told: Instant,
    /// Room for the bytes that have come and are not done. A stream that waits for its client holds none, but for a line that
    /// has begun, which has to come at a pace.
    claim: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    operations: u64,
    applied: u64,
    refused: u64,
}

/// A line about the whole.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    how: How,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Progress(bool),
    Done(bool),
}

/// The client does not take its results any more.
struct Gone;

/// The last line of a scan, which an import of one meets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndOfScan {
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

impl Import {
    async fn run(mut self) {
        // A stream that ends without its last line is not complete, and its client knows.
        let _ = self.all_lines().await;
    }

    async fn all_lines(&mut self) -> Result<(), Gone> {
        let mut read = BytesMut::new();
        let mut pace: Option<Pace> = None;
        loop {
            let stall = self.api.limits.write_stall_timeout;
            let due = pace.as_ref().map_or(Instant::now() + stall, |pace| pace.deadline(read.len()));
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            let data = match timeout_at(due, frame).await {
                Err(_) if pace.is_some() => {
                    let problem = too_slow(read.len());
                    return self.end(problem.hint("Send each line at once, once it has begun.")).await;
                }
                Err(_) => {
                    let problem = Problem::new(
                        StatusCode::REQUEST_TIMEOUT,
                        "body_too_slow",
                        format!("Nothing came for {} s.", stall.as_secs()),
                    );
                    return self.end(problem.hint("Send the rest as a stream of its own.").retryable()).await;
                }
                // The client broke off: there is nobody to tell.
                Ok(Some(Err(_))) => return Err(Gone),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(None) => break,
            };
            if !self.has_room(data.len()).await {
                return self.end(no_memory()).await;
            }
            read.extend_from_slice(&data);
            let arrived = read.len();
            drop(data);
            self.whole_lines(&mut read).await?;
            self.give_back_all_but(read.len());
            match read.is_empty() {
                true => pace = None,
                // Another line has begun, now that those before it are done.
                false if pace.is_none() || read.len() < arrived => pace = Some(Pace::start(&self.api.limits)),
                false => {}
            }
            if read.len() > self.line_bytes_max {
                let problem = Problem::too_large(read.len() as u64, true, self.line_bytes_max);
                return self.end(problem.hint("Send one operation a line, ended by a line feed.")).await;
            }
        }
        if !read.is_empty() {
            read.extend_from_slice(b"\n");
            self.whole_lines(&mut read).await?;
        }
        self.tell(How::Done(true));
        self.flush().await
    }

    /// Claims room for bytes that have come; waits a little for others to give some back. What has come before is held
    /// meanwhile, so that two streams may wait for each other: then both end.
    async fn has_room(&mut self, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else { return false };
        let more = Arc::clone(&self.api.bodies).acquire_many_owned(bytes);
        let Ok(Ok(more)) = timeout(IMPORT_ROOM_WAIT, more).await else { return false };
        match &mut self.claim {
            Some(claim) => claim.merge(more),
            None => self.claim = Some(more),
        }
        true
    }

    fn give_back_all_but(&mut self, bytes: usize) {
        if let Some(claim) = &mut self.claim {
            drop(claim.split(claim.num_permits().saturating_sub(bytes)));
        }
        self.claim.take_if(|claim| claim.num_permits() == 0);
    }

    /// Does all operations whose lines are complete.
    async fn whole_lines(&mut self, read: &mut BytesMut) -> Result<(), Gone> {
        let mut group: Vec<Result<Write, Problem>> = Vec::new();
        let mut bytes = 0;
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line = read.split_to(end + 1);
            if let Some(operation) = self.operation(line.trim_ascii()) {
                bytes += line.len();
                group.push(operation);
            }
            if group.len() == IMPORT_GROUP_OPERATIONS || bytes >= IMPORT_GROUP_BYTES {
                self.done(std::mem::take(&mut group)).await?;
                bytes = 0;
            }
        }
        self.done(group).await
    }

    /// The operation of a line; nothing for a line that is none.
    fn operation(&mut self, line: &[u8]) -> Option<Result<Write, Problem>> {
        if line.is_empty() || object::from_slice::<EndOfScan>(line).is_ok() {
            return None;
        }
        let at = self.begun;
        self.begun += 1;
        Some(match std::str::from_utf8(line) {
            Ok(text) => of_text(&self.api, text).map(|write| once::part(self.key.as_ref(), at, write)),
            Err(_) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "The line is not text in UTF-8.")
                    .hint("Send one JSON object a line."))
            }
        })
    }

    async fn done(&mut self, group: Vec<Result<Write, Problem>>) -> Result<(), Gone> {
        if group.is_empty() {
            return Ok(());
        }
        for answer in write_each(&self.api, group).await {
            match &answer {
                Ok(_) => self.counts.applied += 1,
                Err(_) => self.counts.refused += 1,
            }
            if self.all || answer.is_err() {
                let line = match answer {
                    // Which line it was; a result of all operations is told by its place.
                    Err(problem) => {
                        let at = usize::try_from(self.counts.operations).unwrap_or(usize::MAX);
                        result(&self.api, &Err(problem.operation(at)))
                    }
                    written => result(&self.api, &written),
                };
                self.line(&line);
            }
            self.counts.operations += 1;
        }
        if !self.all && self.told.elapsed() >= IMPORT_PROGRESS {
            self.tell(How::Progress(true));
        }
        self.flush().await
    }

    fn tell(&mut self, how: How) {
        self.told = Instant::now();
        let line = answer::json_text(&Told { how, counts: self.counts });
        self.line(&line);
    }

    fn line(&mut self, json: &str) {
        self.text.extend_from_slice(json.as_bytes());
        self.text.push(b'\n');
    }

    /// Ends with a problem instead of the last line.
    async fn end(&mut self, problem: Problem) -> Result<(), Gone> {
        let line = problem.json();
        self.line(&line);
        self.flush().await
    }

    /// Sends the lines there are; waits while the client does not take them.
    async fn flush(&mut self) -> Result<(), Gone> {
        while !self.text.is_empty() {
            let piece = self.text.len().min(STREAM_PIECE_BYTES);
            let rest = self.text.split_off(piece);
            let piece = std::mem::replace(&mut self.text, rest);
            self.out.send(piece.into()).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}
