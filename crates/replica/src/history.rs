//! Which history rows a path gives up when it has too many: the oldest, found without a search.
//!
//! An engine finds the oldest rows of a path by stepping over whatever it has not yet thrown away of older ones. On a path
//! that is written all the time that is nearly all that was ever written to it. So a record keeps the names of its oldest
//! rows, a few of them; when they are used up, the next few are read from where the last of them was.
//!
//! Invariant: the names in a record are those of its oldest rows, without a gap, the oldest first. None are known in a
//! record of before there were any.

use alloc::vec::Vec;

use rejoin_causal::{Dot, Hlc, plant};

use crate::batch::Overlay;
use crate::path::Path;
use crate::view::{Counters, Record, Superseded, View};

/// Names of rows that a record keeps: 8, some 12 bytes each. So one in eight writes of a path with history reads.
pub const OLDEST_MAX: usize = 8;

/// A history row by age: the version's stamp and dot, and whether it is of a conflict.
pub type Row = (Hlc, Dot, bool);

/// Adds a row of a path, at the place of that stamp.
pub(crate) fn add<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    path: &Path,
    record: &mut Record,
    stamp: Hlc,
    row: Superseded,
) {
    let named = (stamp, row.version.dot, row.concurrent);
    let all_known = record.oldest.len() == record.history as usize;
    let at = record.oldest.partition_point(|known| (known.0, known.1) < (named.0, named.1));
    // Behind the last of those that are known there may be others.
    if at < record.oldest.len() || all_known || plant::is("oldest-with-a-gap") {
        record.oldest.insert(at, named);
        record.oldest.truncate(OLDEST_MAX);
    }
    rows.batch.history.insert((path.clone(), named.0, named.1), Some(row));
    record.history += 1;
    counters.history += 1;
}

/// Keeps the newest `versions_max` rows of a path; tells how many of those that go are of a conflict.
pub(crate) fn trim<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    path: &Path,
    record: &mut Record,
    versions_max: u32,
) -> Result<u32, V::Error> {
    let (mut forgotten, mut last) = (0, None);
    while record.history > versions_max {
        if record.oldest.is_empty() {
            record.oldest = rows.oldest_history(path, last, OLDEST_MAX)?;
        }
        if record.oldest.is_empty() {
            break;
        }
        let (hlc, dot, concurrent) = record.oldest.remove(0);
        last = Some((hlc, dot));
        forget(rows, counters, path, (hlc, dot));
        record.history -= 1;
        forgotten += u32::from(concurrent);
    }
    // While it is known where they are.
    if record.oldest.is_empty() && record.history > 0 && last.is_some() {
        record.oldest = rows.oldest_history(path, last, OLDEST_MAX)?;
    }
    Ok(forgotten)
}

/// Removes all rows of a path; tells whether any was of a conflict.
pub(crate) fn clear<V: View>(
    rows: &mut Overlay<'_, V>,
    counters: &mut Counters,
    path: &Path,
    record: &Record,
) -> Result<bool, V::Error> {
    let mut all: Vec<Row> = record.oldest.clone();
    if all.len() < record.history as usize {
        let behind = all.last().map(|(hlc, dot, _)| (*hlc, *dot));
        all.extend(rows.oldest_history(path, behind, usize::MAX)?);
    }
    for (hlc, dot, _) in &all {
        forget(rows, counters, path, (*hlc, *dot));
    }
    Ok(all.iter().any(|(.., concurrent)| *concurrent))
}

fn forget<V: View>(rows: &mut Overlay<'_, V>, counters: &mut Counters, path: &Path, (hlc, dot): (Hlc, Dot)) {
    let key = (path.clone(), hlc, dot);
    // A version is superseded once: a row that this group has written is in no store yet, and need not get there.
    match rows.batch.history.get(&key) {
        Some(Some(_)) => rows.batch.history.remove(&key),
        _ => rows.batch.history.insert(key, None),
    };
    counters.history -= 1;
}
