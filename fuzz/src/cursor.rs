//! Cursors and bounds of scans, as they come back from clients, against a filtered list.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rejoin::{Node, Path, Prefix, Scan};

use crate::bytes::Bytes;

/// Scans and histories of a node in memory, with any cursor.
pub fn cursor(data: &[u8]) {
    let (node, paths) = node();
    let mut bytes = Bytes::new(data);
    let flags = bytes.byte();
    let mut text = || String::from_utf8_lossy(bytes.run()).into_owned();
    let (prefix, start, end) = (text(), text(), text());
    let cursor = text();
    let wanted = Wanted {
        reverse: flags & 1 > 0,
        prefix: Prefix::parse(&prefix).ok(),
        start: (flags & 2 > 0).then_some(start),
        end: (flags & 4 > 0).then_some(end),
        // Mostly cursors that name some path: encoded here.
        cursor: (flags & 8 > 0)
            .then(|| if flags & 16 > 0 { cursor.clone() } else { URL_SAFE_NO_PAD.encode(&cursor) }),
    };
    let last = wanted.cursor.as_ref().map(|cursor| {
        let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|text| String::from_utf8(text).ok());
        // A cursor of a listing names a directory, by a slash at its end.
        text.filter(|text| Path::parse(text.strip_suffix('/').unwrap_or(text)).is_ok())
    });
    assert_eq!(node.scan(&prefix).is_ok(), wanted.prefix.is_some());
    if let Ok(path) = Path::parse(&prefix) {
        // History cursors are dots: refused or placed, never a panic.
        let _ = node.history_page(&path, usize::from(flags >> 5), Some(&cursor));
        let _ = node.history_page(&path, usize::from(flags >> 5), None);
    }
    let (Some(prefix), Some(scan)) = (&wanted.prefix, wanted.scan(node)) else { return };

    let expected: Vec<&str> = match &last {
        Some(None) => {
            assert!(scan.page().is_err(), "a cursor that names no path is taken");
            return;
        }
        last => {
            let last = last.clone().flatten();
            let inside = |path: &&Path| {
                let key = key(path.as_str());
                let behind = match (&last, wanted.reverse) {
                    (Some(last), false) => {
                        key > self::key(last) && !(last.ends_with('/') && path.as_str().starts_with(last))
                    }
                    (Some(last), true) => key < self::key(last),
                    (None, _) => true,
                };
                behind
                    && path.as_str().starts_with(prefix.as_str())
                    && wanted.start.as_ref().is_none_or(|start| key >= self::key(start))
                    && wanted.end.as_ref().is_none_or(|end| key < self::key(end))
            };
            let mut inside: Vec<&str> = paths.iter().filter(inside).map(Path::as_str).collect();
            if wanted.reverse {
                inside.reverse();
            }
            inside
        }
    };
    // Pages, each begun with the cursor of the one before, are the list.
    let mut found = Vec::new();
    let mut scan = Some(scan);
    while let Some(page) = scan.take() {
        let page = page.limit(1 + usize::from(flags >> 6)).page().expect("a scan failed");
        found.extend(page.entries.into_iter().map(|entry| entry.path.to_string()));
        assert!(found.len() <= paths.len(), "pages repeat paths");
        scan = page.cursor.and_then(|cursor| wanted.scan(node).map(|scan| scan.cursor(&cursor)));
    }
    assert_eq!(found, expected);
}

struct Wanted {
    reverse: bool,
    prefix: Option<Prefix>,
    start: Option<String>,
    end: Option<String>,
    cursor: Option<String>,
}

impl Wanted {
    fn scan(&self, node: &Node) -> Option<Scan> {
        let mut scan = node.scan_prefix(self.prefix.clone()?).ok()?.reverse(self.reverse);
        if let Some(start) = &self.start {
            scan = scan.start(start);
        }
        if let Some(end) = &self.end {
            scan = scan.end(end);
        }
        if let Some(cursor) = &self.cursor {
            scan = scan.cursor(cursor);
        }
        Some(scan)
    }
}

/// The order of paths, of text that need not be one.
fn key(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect()
}

/// One node for all runs; they only read.
fn node() -> &'static (Node, BTreeSet<Path>) {
    static NODE: OnceLock<(Node, BTreeSet<Path>)> = OnceLock::new();
    NODE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let names =
            ["a", "a!", "a/b", "a/b/c", "a/bc", "ab", "a0", "ü", "ü/x", "users/al", "users/alice", "z/%41"];
        let node = runtime.block_on(async {
            let node = Node::builder().in_memory().name("fuzz").open().await.expect("a node");
            for name in names {
                node.put(name, &1).await.expect("a write");
                node.put(name, &2).await.expect("a write");
            }
            node.put("a/gone", &1).await.expect("a write");
            node.delete("a/gone").await.expect("a delete");
            node
        });
        // It serves reads for as long as this process lives.
        std::mem::forget(runtime);
        (node, names.iter().map(|name| Path::parse(name).expect("a path")).collect())
    })
}
