//! `/api/scan/{prefix}`: the documents below a prefix, in pages or as one stream.

use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use rejoin::{Entries, Filter, Listed, Listing, Prefix, Projection, Scan, SyntaxError};
use serde::Serialize;

use crate::answer::{self, NDJSON, REJOIN_COUNT, Stream};
use crate::api::Api;
use crate::config::PAGE_ITEMS_DEFAULT;
use crate::incoming::Incoming;
use crate::lines::{blocking, line, stream};
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::Item;

/// Every parameter of a scan.
const KNOWN: [&str; 10] =
    ["limit", "cursor", "reverse", "keys_only", "start", "end", "meta", "where", "fields", "depth"];

/// Levels of directories that a listing may show: as many as a path may have segments.
const DEPTH_MAX: usize = 64;

/// How items are shown.
#[derive(Clone, Copy)]
struct Shown {
    meta: bool,
    /// Directories at this depth stand for what is below them.
    depth: Option<usize>,
}

/// Answers a scan.
pub(crate) async fn answer(
    api: &Api,
    prefix: Prefix,
    request: &Request<Incoming>,
) -> Result<Response<Stream>, Problem> {
    let query = Query::parse(request.uri().query(), &KNOWN)?;
    let limit = query.number("limit", 1, api.node.info().limits.scan_items)?;
    let shown = Shown { meta: query.switch("meta")?, depth: query.number("depth", 1, DEPTH_MAX)? };
    if shown.depth.is_some() && query.text("where").is_some() {
        return Err(Problem::parameter("The parameters `depth` and `where` do not go together.")
            .hint("Leave `depth` out to filter values, or `where` out to list directories."));
    }
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
    if let Some(text) = query.text("where") {
        let filter = Filter::parse(text).map_err(|error| misread("where", &error));
        scan = scan.matching(filter.map_err(|problem| {
            problem.hint(
                "Write terms such as `age>=18,address.city==Berlin`, percent-encoded; texts with special \
                          characters in double quotes.",
            )
        })?);
    }
    if let Some(text) = query.text("fields") {
        let fields = Projection::parse(text).map_err(|error| misread("fields", &error));
        scan = scan.fields(fields.map_err(|problem| {
            problem.hint("Name members and join them by commas, such as `name,address.city`.")
        })?);
    }
    let lines = answer::accepts(request.headers(), &NDJSON);
    if request.method() == Method::HEAD {
        count(scan, shown).await
    } else if lines && limit.is_none() {
        stream(Walk::new(scan, shown), line(&Cursor { cursor: None })).await
    } else {
        page(scan, shown, lines).await
    }
}

/// A parameter that is not written as it has to be.
fn misread(name: &str, error: &SyntaxError) -> Problem {
    Problem::parameter(format!(
        "The parameter `{name}` is wrong at character {}: {}.",
        error.position, error.reason
    ))
}

async fn count(scan: Scan, shown: Shown) -> Result<Response<Stream>, Problem> {
    let count = blocking(move || match shown.depth {
        None => scan.count(),
        Some(depth) => scan.listing(depth).try_fold(0, |count, listed| listed.map(|_| count + 1)),
    });
    let count: u64 = count.await??;
    let mut response = answer::json(StatusCode::OK, "");
    response.headers_mut().insert(REJOIN_COUNT, HeaderValue::from(count));
    Ok(response)
}

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<Line<'a>>,
    cursor: Option<&'a str>,
}

/// One item.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Value(Item<'a>),
    Directory { path: &'a str, directory: bool },
}

impl<'a> Line<'a> {
    fn of(listed: &'a Listed, meta: bool) -> Line<'a> {
        match listed {
            Listed::Value(entry) => Line::Value(Item::of(entry, meta)),
            Listed::Directory(path) => Line::Directory { path, directory: true },
        }
    }
}

#[derive(Serialize)]
struct Cursor<'a> {
    cursor: Option<&'a str>,
}

async fn page(scan: Scan, shown: Shown, lines: bool) -> Result<Response<Stream>, Problem> {
    let text = blocking(move || {
        let meta = shown.meta;
        match shown.depth {
            None => scan.page().map(|page| {
                let items = page.entries.iter().map(|entry| Line::Value(Item::of(entry, meta)));
                page_text(items.collect(), page.cursor.as_deref(), lines)
            }),
            Some(depth) => scan.list(depth).map(|page| {
                let items = page.items.iter().map(|listed| Line::of(listed, meta));
                page_text(items.collect(), page.cursor.as_deref(), lines)
            }),
        }
    });
    let mut response = answer::json(StatusCode::OK, text.await??);
    if lines {
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, NDJSON);
    }
    Ok(response)
}

fn page_text(items: Vec<Line<'_>>, cursor: Option<&str>, lines: bool) -> Vec<u8> {
    if !lines {
        return answer::json_text(&Items { items, cursor }).into_bytes();
    }
    items.iter().flat_map(line).chain(line(&Cursor { cursor })).collect()
}

/// What a stream reads from.
struct Walk {
    source: Source,
    meta: bool,
}

enum Source {
    Entries(Box<Entries>),
    Listing(Box<Listing>),
}

impl Walk {
    fn new(scan: Scan, shown: Shown) -> Walk {
        let source = match shown.depth {
            None => Source::Entries(Box::new(scan.entries())),
            Some(depth) => Source::Listing(Box::new(scan.listing(depth))),
        };
        Walk { source, meta: shown.meta }
    }
}

/// Looks at one document each time, and has its line, if it has one.
impl Iterator for Walk {
    type Item = Result<Vec<u8>, rejoin::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let meta = self.meta;
        match &mut self.source {
            Source::Entries(entries) => entries.examine().map(|found| {
                found.map(|entry| entry.map_or_else(Vec::new, |entry| line(&Item::of(&entry, meta))))
            }),
            Source::Listing(listing) => listing.examine().map(|found| {
                found.map(|listed| listed.map_or_else(Vec::new, |listed| line(&Line::of(&listed, meta))))
            }),
        }
    }
}
