//! Snapshots of readers that take their time.
//!
//! A snapshot makes the store keep everything that is replaced or removed after it. A client may take an hour for an answer,
//! or stop reading it, so a walk lets its snapshot go when it gets old, also while nobody asks for more, and goes on from
//! where it was with another.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rejoin_store::Snapshot;

use crate::Error;
use crate::config::SNAPSHOT_AGE_MAX;
use crate::engine::NodeSnapshot;
use crate::shared::{Shared, lock};

/// A snapshot for as long as it is young. Clones share it.
#[derive(Clone)]
pub(crate) struct Pinned {
    shared: Arc<Shared>,
    held: Arc<Held>,
}

type Held = Mutex<Option<(Snapshot<NodeSnapshot>, Instant)>>;

/// All that is held.
#[derive(Default)]
pub(crate) struct Pins(Mutex<Vec<Weak<Held>>>);

impl Pins {
    /// Lets go of what has been held for longer than `age_max`.
    pub(crate) fn release(&self, age_max: Duration) {
        let mut old = Vec::new();
        lock(&self.0).retain(|held| {
            let Some(held) = held.upgrade() else { return false };
            let is_old = |(_, taken): &mut (_, Instant)| taken.elapsed() >= age_max;
            old.extend(lock(&held).take_if(is_old));
            true
        });
        // Letting go of the last reader of a table may remove files.
        drop(old);
    }
}

impl Pinned {
    /// A snapshot of now.
    pub(crate) fn new(shared: &Arc<Shared>) -> Result<Pinned, Error> {
        let held = Arc::new(Mutex::new(Some((shared.snapshot()?, Instant::now()))));
        lock(&shared.pins.0).push(Arc::downgrade(&held));
        Ok(Pinned { shared: Arc::clone(shared), held })
    }

    /// The snapshot, and whether it is another than before: of now, because that one got old.
    pub(crate) fn get(&self) -> Result<(Snapshot<NodeSnapshot>, bool), Error> {
        let mut held = lock(&self.held);
        if let Some((snapshot, _)) = held.as_ref().filter(|(_, taken)| taken.elapsed() < SNAPSHOT_AGE_MAX) {
            return Ok((snapshot.clone(), false));
        }
        let snapshot = self.shared.snapshot()?;
        *held = Some((snapshot.clone(), Instant::now()));
        Ok((snapshot, true))
    }
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").field("held", &lock(&self.held).is_some()).finish_non_exhaustive()
    }
}

/// Lets go of old snapshots, for as long as the node runs.
pub(crate) async fn keep_young(shared: Arc<Shared>) {
    while !shared.pause(SNAPSHOT_AGE_MAX / 4).await {
        shared.pins.release(SNAPSHOT_AGE_MAX);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use futures_util::StreamExt as _;

    use super::*;
    use crate::{Event, From, Node, Scope};

    const DOCUMENTS: usize = 1_000;

    async fn filled() -> Node {
        let node = Node::builder().in_memory().open().await.unwrap();
        for n in 0..DOCUMENTS {
            node.put(&format!("a/{n:04}"), &n).await.unwrap();
        }
        node
    }

    fn held(node: &Node) -> usize {
        let pins = lock(&node.shared().pins.0);
        pins.iter().filter_map(Weak::upgrade).filter(|held| lock(held).is_some()).count()
    }

    #[tokio::test]
    async fn a_walk_that_stands_still_holds_no_old_snapshot_and_goes_on_where_it_was() {
        let node = filled().await;
        for reverse in [false, true] {
            let mut entries = node.scan("a/").unwrap().reverse(reverse).entries();
            let first = entries.next().unwrap().unwrap();
            assert_eq!(held(&node), 1);
            node.shared().pins.release(Duration::ZERO);
            assert_eq!(held(&node), 0, "nobody has asked for more, and nothing is kept for whoever may");
            let (behind, ahead) = if reverse { ("a/9990", "a/0001x") } else { ("a/0000x", "a/9990") };
            node.put(behind, &0).await.unwrap();
            node.put(ahead, &0).await.unwrap();
            let mut paths = vec![first.path.to_string()];
            paths.extend(entries.map(|entry| entry.unwrap().path.to_string()));
            assert_eq!(paths.len(), DOCUMENTS + 1, "each once, and what came ahead of it");
            assert!(paths.contains(&ahead.to_owned()) && !paths.contains(&behind.to_owned()));
            let sorted = if reverse { paths.iter().rev().is_sorted() } else { paths.is_sorted() };
            assert!(sorted, "in order");
            node.delete(behind).await.unwrap();
            node.delete(ahead).await.unwrap();
        }
        assert_eq!(held(&node), 0, "a walk that has ended holds nothing");
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_holds_no_old_snapshot() {
        let node = filled().await;
        let mut events = node.subscribe_scope(Scope::parse("a").unwrap(), From::Snapshot).unwrap();
        events.next().await.unwrap().unwrap();
        assert_eq!(held(&node), 1);
        node.shared().pins.release(Duration::ZERO);
        assert_eq!(held(&node), 0);
        node.put("a/0999", &"changed").await.unwrap();
        let mut told = 1;
        loop {
            match events.next().await.unwrap().unwrap() {
                Event::Change { .. } => told += 1,
                Event::SnapshotEnd { count, .. } => {
                    assert_eq!((count, told), (DOCUMENTS as u64, DOCUMENTS));
                    break;
                }
                Event::Resync { reason, .. } => unreachable!("{reason}"),
            }
        }
    }
}
