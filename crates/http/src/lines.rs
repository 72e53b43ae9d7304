//! Answers of one JSON text a line, streamed from a lazy walk that reads where blocking is allowed.

use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::answer::{self, NDJSON, Stream};
use crate::config::{STREAM_EXAMINED_MAX, STREAM_PIECE_BYTES, STREAM_PIECES_MAX};
use crate::problem::Problem;

/// A shape as a line.
pub(crate) fn line(shape: &impl Serialize) -> Vec<u8> {
    let mut line = answer::json_text(shape).into_bytes();
    line.push(b'\n');
    line
}

/// Streams lines, and `last` behind them. The first piece is read before the answer begins, so that an error there is
/// an answer of its own. A line may be empty: something was looked at and is not shown.
pub(crate) async fn stream<I>(lines: I, last: Vec<u8>) -> Result<Response<Stream>, Problem>
where
    I: Iterator<Item = Result<Vec<u8>, rejoin::Error>> + Send + 'static,
{
    let first = blocking(move || piece(lines)).await?;
    if let Some(error) = first.error {
        return Err(error.into());
    }
    let (sender, pieces) = mpsc::channel(STREAM_PIECES_MAX);
    tokio::spawn(async move {
        let mut read = first;
        loop {
            // A client that is gone takes no more. One that waits for a rare match is seen to be gone as well.
            if sender.is_closed() || !read.text.is_empty() && sender.send(read.text.into()).await.is_err() {
                return;
            }
            let Some(rest) = read.rest else { break };
            read = match blocking(move || piece(rest)).await {
                Ok(read) => read,
                Err(problem) => return drop(sender.send(ended(&problem)).await),
            };
            if let Some(error) = read.error.take() {
                // The status is long sent; the missing last line says that this is not all.
                let _ = sender.send(read.text.into()).await;
                return drop(sender.send(ended(&Problem::from(error))).await);
            }
        }
        let _ = sender.send(last.into()).await;
    });
    Ok(answer::stream(NDJSON, pieces))
}

fn ended(problem: &Problem) -> bytes::Bytes {
    (problem.json() + "\n").into()
}

struct Piece<I> {
    text: Vec<u8>,
    rest: Option<I>,
    error: Option<rejoin::Error>,
}

fn piece<I: Iterator<Item = Result<Vec<u8>, rejoin::Error>>>(mut lines: I) -> Piece<I> {
    let mut text = Vec::new();
    for _ in 0..STREAM_EXAMINED_MAX {
        if text.len() >= STREAM_PIECE_BYTES {
            break;
        }
        match lines.next() {
            Some(Ok(line)) => text.extend_from_slice(&line),
            Some(Err(error)) => return Piece { text, rest: None, error: Some(error) },
            None => return Piece { text, rest: None, error: None },
        }
    }
    Piece { text, rest: Some(lines), error: None }
}

/// Reads where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    spawn_blocking(read).await.map_err(|error| {
        tracing::error!(%error, "a read ended unexpectedly");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The read ended unexpectedly.")
            .hint("Report this with the server's log.")
    })
}
