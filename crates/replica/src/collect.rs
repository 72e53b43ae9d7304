//! Collecting tombstones: a delete is forgotten when nothing can bring back what it removed.
//!
//! A bare tombstone older than the retention is collected when this replica has applied everything the tombstone
//! covers, and no session or lag still needs it. The floor rises to it; a peer that missed it meets the fence.

use rejoin_causal::plant;

use crate::apply;
use crate::body::is_bare_tombstone;
use crate::replica::{Group, Replica, is_applied};
use crate::view::{Record, View};

impl Replica {
    pub(crate) fn collect<V: View>(&mut self, group: &mut Group<'_, V>) -> Result<(), V::Error> {
        // A session open now was served from a snapshot that may not hold the tombstone.
        if !self.links.values().all(|link| link.is_quiet()) && !plant::is("collect-amid-sessions") {
            return Ok(());
        }
        let early_ms = if plant::is("collect-early") { self.config.collect_interval_ms } else { 0 };
        let before_ms = (group.now.wall_ms + early_ms).saturating_sub(self.config.tombstone_retention_ms);
        let before = rejoin_causal::Hlc::of_wall(before_ms);
        let limit = self.config.collect_batch_max;
        let rows = group.rows.base.tombstones(before, self.collect_after.as_ref(), limit)?;
        // Go on behind those that cannot be collected yet; start over when all were looked at.
        self.collect_after = if rows.len() == limit { rows.last().cloned() } else { None };
        for (_, path) in rows {
            let Some(record) = group.rows.record(&path)? else { continue };
            if !self.is_collectable(&record) {
                continue;
            }
            for version in record.document.versions() {
                self.raise_floor(group, None, version.dot);
            }
            apply::remove(&mut group.rows, &mut self.counters, &mut self.fences, &path, Some(record))?;
        }
        Ok(())
    }

    fn is_collectable(&self, record: &Record) -> bool {
        let document = &record.document;
        let lags = |dot| self.links.values().any(|link| link.may_lack(dot));
        is_bare_tombstone(document)
            && is_applied(&self.frontier, document.vv())
            && !document.versions().iter().any(|version| lags(version.dot))
    }
}
