//! Everything that a reader can learn of a store, as JSON that no format of ours takes part in.

use std::collections::BTreeSet;

use rejoin::{ConflictState, Dot, Entry, HistoryEntry, Json, Node, Path};
use serde_json::{Map, Value, json};

/// The paths with a value, and those of `deleted`.
pub(crate) async fn dump(node: &Node, deleted: &[&str]) -> Value {
    let scanned: Vec<Entry> = node.scan("").unwrap().entries().collect::<Result<_, _>>().unwrap();
    let mut paths: BTreeSet<String> = scanned.iter().map(|entry| entry.path.as_str().to_string()).collect();
    paths.extend(deleted.iter().map(|path| (*path).to_string()));
    let documents: Map<String, Value> =
        paths.into_iter().map(|path| (path.clone(), document(node, &path))).collect();
    let status = node.status().await.unwrap();
    json!({
        "documents": documents,
        "conflicts": conflicts(node),
        "store": {
            "entries": status.entries,
            "tombstones": status.tombstones,
            "historyEntries": status.history_entries,
            "conflicts": status.conflicts,
            "digest": status.digest,
            "applied": status.vector_clock.tops().map(|dot| dot.to_string()).collect::<Vec<_>>(),
        },
    })
}

/// One path; `null` when nothing was ever there.
pub(crate) fn document(node: &Node, path: &str) -> Value {
    let parsed = Path::parse(path).unwrap();
    let Some(entry) = node.entry(&parsed).unwrap() else { return Value::Null };
    let history = node.history_page(&parsed, usize::MAX, None).unwrap().items;
    let siblings = entry.siblings.iter().map(|sibling| {
        json!({
            "version": dot(sibling.version),
            "stamp": stamp(sibling.hlc.0),
            "value": value(sibling.value.as_ref()),
            "expiresMs": sibling.expires_ms,
            "expired": sibling.expired,
            "wins": sibling.wins,
        })
    });
    json!({
        "value": value(entry.value.as_ref()),
        "version": dot(entry.version),
        "etag": entry.etag,
        "strategy": entry.strategy,
        "expiresMs": entry.expires_ms,
        "expired": entry.expired,
        "past": entry.vector_clock.tops().map(dot).collect::<Vec<_>>(),
        "siblings": siblings.collect::<Vec<_>>(),
        "history": history.iter().map(superseded).collect::<Vec<_>>(),
    })
}

fn superseded(row: &HistoryEntry) -> Value {
    json!({
        "version": dot(row.version),
        "stamp": stamp(row.hlc.0),
        "value": value(row.value.as_ref()),
        "by": row.superseded_by.map(dot),
        "outcome": row.outcome().name(),
        "end": row.end,
    })
}

/// The paths with conflicts, by the index of them.
fn conflicts(node: &Node) -> Value {
    let of = |state| {
        let found = node.conflicts("").unwrap().state(state);
        found.map(|conflict| conflict.unwrap().path.as_str().to_string()).collect::<Vec<_>>()
    };
    json!({ "open": of(ConflictState::Open), "settled": of(ConflictState::Settled) })
}

fn dot(dot: Dot) -> String {
    dot.to_string()
}

/// As text: JSON numbers of some readers end at 2^53.
fn stamp(stamp: u64) -> String {
    stamp.to_string()
}

/// The text as it was written, not what a parser makes of it.
fn value(value: Option<&Json>) -> Value {
    value.map_or(Value::Null, |value| Value::String(value.as_str().to_string()))
}
