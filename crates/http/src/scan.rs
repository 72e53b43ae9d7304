//! `/api/scan/{prefix}`: the documents below a prefix, in pages or as one stream.

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use rejoin::{Entries, Entry, Prefix, Scan};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::answer::{self, NDJSON, REJOIN_COUNT, Stream};
use crate::api::Api;
use crate::config::{PAGE_ITEMS_DEFAULT, STREAM_PIECE_BYTES, STREAM_PIECES_MAX};
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::Item;

/// Parameters that the contract names and this version refuses by name, so that nobody mistakes all for some.
const NOT_YET: [&str; 2] = ["depth", "where"];

/// Answers a scan.
pub(crate) async fn answer(
    api: &Api,
    prefix: Prefix,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let known = ["limit", "cursor", "reverse", "keys_only", "start", "end", "meta", NOT_YET[0], NOT_YET[1]];
    let query = Query::parse(request.uri().query(), &known)?;
    for name in NOT_YET {
        if query.text(name).is_some() {
            return Err(Problem::parameter(format!("The parameter `{name}` is not available yet."))
                .hint(format!("Leave `{name}` out, and choose among the items in the client.")));
        }
    }
    let limit = query.number("limit", 1, api.node.info().limits.scan_items)?;
    let meta = query.switch("meta")?;
    let mut scan = api.node.scan_prefix(prefix)?;
    scan = scan.reverse(query.switch("reverse")?).keys_only(query.switch("keys_only")?);
    scan = scan.limit(limit.unwrap_or(PAGE_ITEMS_DEFAULT));
    if let Some(cursor) = query.text("cursor") {
        scan = scan.cursor(cursor);
    }
    if let Some(start) = query.text("start") {
        scan = scan.start(start);
    }
    if let Some(end) = query.text("end") {
        scan = scan.end(end);
    }
    let lines = answer::accepts(request.headers(), &NDJSON);
    if request.method() == Method::HEAD {
        count(scan).await
    } else if lines && limit.is_none() {
        stream(scan, meta).await
    } else {
        page(scan, meta, lines).await
    }
}

async fn count(scan: Scan) -> Result<Response<Stream>, Problem> {
    let count = blocking(move || scan.count()).await??;
    let mut response = answer::json(StatusCode::OK, "");
    response.headers_mut().insert(REJOIN_COUNT, HeaderValue::from(count));
    Ok(response)
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<Item<'a>>,
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Cursor<'a> {
    cursor: Option<&'a str>,
}

async fn page(scan: Scan, meta: bool, lines: bool) -> Result<Response<Stream>, Problem> {
    let text = blocking(move || {
        let page = scan.page()?;
        let cursor = page.cursor.as_deref();
        if lines {
            let mut text = Vec::new();
            page.entries.iter().for_each(|entry| push_line(&mut text, entry, meta));
            push_json_line(&mut text, &Cursor { cursor });
            return Ok::<_, rejoin::Error>(text);
        }
        let items = page.entries.iter().map(|entry| Item::of(entry, meta)).collect();
        Ok(answer::json_text(&Items { items, cursor }).into_bytes())
    });
    let mut response = answer::json(StatusCode::OK, text.await??);
    if lines {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, NDJSON);
    }
    Ok(response)
}

/// Streams everything from one snapshot. The first piece is read before the answer begins, so that a bad cursor or a
/// failed store is an answer of its own.
async fn stream(scan: Scan, meta: bool) -> Result<Response<Stream>, Problem> {
    let first = blocking(move || read_piece(scan.entries(), meta)).await?;
    if let Some(error) = first.error {
        return Err(error.into());
    }
    let (sender, pieces) = mpsc::channel(STREAM_PIECES_MAX);
    tokio::spawn(async move {
        let mut piece = first;
        loop {
            // A client that is gone takes no more.
            if !piece.text.is_empty() && sender.send(piece.text.into()).await.is_err() {
                return;
            }
            let Some(entries) = piece.rest else { return };
            piece = match blocking(move || read_piece(entries, meta)).await {
                Ok(piece) => piece,
                Err(problem) => Piece { text: line(problem.json()), rest: None, error: None },
            };
            if let Some(error) = piece.error.take() {
                // The status is long sent; the missing cursor line says that this is not all.
                piece.text.extend_from_slice(&line(Problem::from(error).json()));
            }
        }
    });
    Ok(answer::stream(NDJSON, pieces))
}

/// Some lines of a stream.
struct Piece {
    text: Vec<u8>,
    /// What is left to read; nothing after the last line.
    rest: Option<Entries>,
    error: Option<rejoin::Error>,
}

fn read_piece(mut entries: Entries, meta: bool) -> Piece {
    let mut text = Vec::with_capacity(STREAM_PIECE_BYTES);
    while text.len() < STREAM_PIECE_BYTES {
        match entries.next() {
            Some(Ok(entry)) => push_line(&mut text, &entry, meta),
            Some(Err(error)) => return Piece { text, rest: None, error: Some(error) },
            None => {
                push_json_line(&mut text, &Cursor { cursor: None });
                return Piece { text, rest: None, error: None };
            }
        }
    }
    Piece { text, rest: Some(entries), error: None }
}

fn push_line(text: &mut Vec<u8>, entry: &Entry, meta: bool) {
    push_json_line(text, &Item::of(entry, meta));
}

fn push_json_line(text: &mut Vec<u8>, shape: &impl Serialize) {
    text.extend_from_slice(&line(answer::json_text(shape)));
}

fn line(mut json: String) -> Vec<u8> {
    json.push('\n');
    json.into_bytes()
}

/// Reads where blocking is allowed.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    spawn_blocking(read).await.map_err(|error| {
        tracing::error!(%error, "a read ended unexpectedly");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The read ended unexpectedly.")
            .hint("Report this with the server's log.")
    })
}
