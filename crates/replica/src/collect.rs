//! Collecting tombstones: a delete is forgotten when nothing can bring back what it removed.
//!
//! A bare tombstone older than the retention is collected when this replica has applied everything the tombstone
//! covers, and no link still needs it from here: it does not lag, and no catch-up is on its way to bring it from an older
//! snapshot. The floor rises to it; a peer that missed it meets the fence.
//!
//! Nothing else of what is going on on links matters. What a peer sends from an older snapshot is kept out by the frontier,
//! which holds all that the tombstone covers. What a digest session reads from an older snapshot of ours it sends with the
//! frontier of that snapshot. And whoever is to be served afterwards is compared with the floor first.
//!
//! A tombstone with a stamp from the future does not tell its age: a wrong clock has made it, and its author, who would mint it
//! again, may have collected it by that clock. Where it is below the floor, whoever lacks it meets the fence already, so it
//! need not grow old.
//!
//! Tombstones are looked at in turns of a bounded size, oldest first, in passes. While a pass goes on, the next turn comes at
//! once, behind whatever else is in the queue.

use alloc::format;
use alloc::vec::Vec;

use rejoin_causal::{Dot, Floor, Hlc, plant};

use crate::apply;
use crate::body::is_bare_tombstone;
use crate::config::COLLECT_SKIPPED_PAUSE_MS;
use crate::input::LinkId;
use crate::path::Path;
use crate::replica::{Group, Replica, is_applied};
use crate::view::{Record, View};

impl Replica {
    /// A turn of collection, and when the next one comes.
    pub(crate) fn collect<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        let early_ms = if plant::is("collect-early") { self.config.collect_interval_ms } else { 0 };
        let before_ms = (group.now.wall_ms + early_ms).saturating_sub(self.config.tombstone_retention_ms);
        let before = Hlc::of_wall(before_ms);
        let limit = self.config.collect_batch_max.max(1);
        let rows = group.rows.base.tombstones(before, self.collect_after.as_ref(), limit)?;
        let looked_at = rows.len();
        // Go on behind those that cannot be collected yet; start over when all were looked at.
        self.collect_after = if looked_at == limit { rows.last().cloned() } else { None };
        let mut ageless = Vec::new();
        if self.collect_after.is_none() {
            ageless = self.ageless(group, limit)?;
        }
        // Of before this turn: what it collects itself says nothing of others.
        let floor = if ageless.is_empty() { Floor::new() } else { self.floor.clone() };
        let mut collected = 0;
        for (_, path) in rows.into_iter().chain(ageless) {
            let Some(record) = group.rows.record(&path)? else { continue };
            // Its author mints it again.
            let collected_elsewhere = |dot: Dot| dot.node != self.node && floor.covers(dot);
            let mut versions = record.document.versions().iter();
            let old = versions.all(|version| version.hlc < before || collected_elsewhere(version.dot));
            if !old || !self.is_collectable(&record) {
                continue;
            }
            for version in record.document.versions() {
                self.raise_floor(group, None, version.dot);
            }
            apply::remove(&mut group.rows, &mut self.counters, &mut self.fences, &path, Some(record))?;
            collected += 1;
        }
        self.tally.collected += collected as u64;
        let pause_ms = match self.collect_after {
            None => self.random.jitter(self.config.collect_interval_ms),
            Some(_) if collected * 4 >= looked_at => 1,
            Some(_) => COLLECT_SKIPPED_PAUSE_MS,
        };
        self.next_collect_ms = group.now.steady_ms + pause_ms;
        Ok(())
    }

    /// The next tombstones with stamps from the future. They are few.
    fn ageless<V: View>(&mut self, group: &Group<'_, V>, limit: usize) -> Result<Vec<(Hlc, Path)>, V::Error> {
        let reach = self.reach(group.now);
        let Ok(first) = Path::parse("0") else { return Ok(Vec::new()) };
        let after =
            self.collect_ageless_after.take().filter(|(stamp, _)| *stamp > reach).unwrap_or((reach, first));
        let rows = group.rows.base.tombstones(Hlc(u64::MAX), Some(&after), limit)?;
        self.collect_ageless_after = if rows.len() == limit { rows.last().cloned() } else { None };
        Ok(rows)
    }

    fn is_collectable(&self, record: &Record) -> bool {
        let document = &record.document;
        let lacks = |dot| self.links.values().any(|link| link.may_lack(dot));
        is_bare_tombstone(document)
            && !self.rests_on_doubt(document)
            && is_applied(&self.frontier, document.vv())
            && !document.versions().iter().any(|version| lacks(version.dot))
    }

    /// Closes links whose peers have left something without a word for too long: what they were to answer would otherwise be
    /// waited for as long as the connection is there.
    pub(crate) fn close_silent<V>(&mut self, group: &mut Group<'_, V>) {
        let (now_ms, silence_max_ms) = (group.now.steady_ms, self.config.session_silence_max_ms);
        let silent = self
            .links
            .iter()
            .filter_map(|(id, link)| link.is_silent_about(now_ms, silence_max_ms).map(|about| (*id, about)));
        let silent: Vec<(LinkId, &'static str)> = silent.collect();
        for (id, about) in silent {
            self.close(group, id, format!("it left {about} without a word for {} s", silence_max_ms / 1000));
        }
    }
}
