//! What a group did, told to the oracle: which writes were made, and which values came to their end.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::Dot;
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Document, Effect, Expiry, Observed, Refusal, Ttl, View, Write, Written,
};

use super::World;
use super::group::Heard;
use crate::node::NodeSnapshot;
use crate::oracle::{Content, Known, Object, Rule};
use crate::plant::Plant;
use crate::strategies::rule;
use crate::violation::{Promise, Violation, ensure};

impl World {
    /// Tells the oracle of the deletes that a node wrote because the time of values had come, and checks that it had.
    pub(super) fn account_ends(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        ended: &[(Path, Document)],
        heard: Heard,
    ) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        let (id, epoch, last_seq) = (this.id, this.epoch, process.last_seq);
        let mut minted = Vec::new();
        for (path, document) in ended {
            for version in document.versions() {
                let dot = version.dot;
                if dot.node == id && dot.epoch == epoch && dot.seq > last_seq {
                    minted
                        .extend(version.body.expiry.map(|expiry| (dot, version.hlc, expiry, path, document)));
                }
            }
        }
        minted.sort_by_key(|(dot, ..)| *dot);
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let wall_ms = this.clock.now(self.now_ms).wall_ms;
        let patient_ms = wall_ms.saturating_sub(this.config.expire_grace_ms);
        let name = this.name.clone();
        for (dot, hlc, expiry, path, document) in minted {
            let Expiry::Of(of, ended) = expiry else { continue };
            let Some(process) = &self.nodes[node].process else { return Ok(()) };
            ensure(dot.seq == process.last_seq + 1, Promise::DotsAreUnique, || {
                format!("{name} minted {dot:?} after {}", process.last_seq)
            })?;
            let record = before.record(path).map_err(read)?;
            let mut there: BTreeSet<Dot> = record
                .iter()
                .flat_map(|record| record.document.versions())
                .map(|version| version.dot)
                .collect();
            // A tick may also have let something out of quarantine.
            let known = before.frontier().map_err(read)?;
            there.extend(
                self.oracle
                    .known(path, process.replica.frontier())
                    .iter()
                    .filter(|dot| !known.contains(**dot)),
            );
            let live = |dot: &Dot| document.version(*dot).is_some();
            let due =
                |dot: &Dot| self.oracle.has_ended(*dot, if dot.node == id { wall_ms } else { patient_ms });
            let observed: BTreeSet<Dot> =
                there.iter().copied().filter(|dot| !live(dot) && due(dot)).collect();
            let rank = self.oracle.writes().get(&ended).map(|write| write.hlc);
            ensure(observed.contains(&ended) && rank == Some(of), Promise::Expiry, || {
                format!(
                    "{name} ends {ended:?} of {path:?} at {wall_ms}: {:?}",
                    self.oracle.writes().get(&ended)
                )
            })?;
            self.trace.mark(if ended.node == id {
                "a value ended"
            } else {
                "a node ended a value of another"
            });
            self.trace.mix(&[5, dot.epoch.0, dot.seq, hlc.0]);
            self.hlc_max_ms = self.hlc_max_ms.max(hlc.unix_ms());
            let known = Known {
                path: path.clone(),
                hlc,
                content: Content::End(of, ended),
                expires_ms: None,
                observed,
                kept: there.into_iter().filter(live).collect(),
                acknowledged: false,
            };
            match self.oracle.record(dot, known) {
                Err(_) if self.settings.plant == Some(Plant::ReuseEpoch) => {}
                recorded => recorded?,
            }
            let this = &mut self.nodes[node];
            if let Some(process) = this.process.as_mut() {
                process.last_seq = dot.seq;
            }
            if heard != Heard::Nothing {
                this.promised.insert(dot);
            }
        }
        Ok(())
    }

    /// Tells the oracle of the writes of a group, in order.
    pub(super) fn account(
        &mut self,
        node: usize,
        before: &NodeSnapshot,
        released: &[Effect],
        heard: Heard,
    ) -> Result<(), Violation> {
        let mut live: BTreeMap<Path, BTreeSet<Dot>> = BTreeMap::new();
        let wall_ms = self.nodes[node].clock.now(self.now_ms).wall_ms;
        // A write may have waited for a new identity, so what is answered is what was done.
        let mut done: Vec<(Write, Result<&Written, &Refusal>)> = Vec::new();
        for effect in released {
            match effect {
                Effect::Reply(request, answer) => {
                    let write = self.pending.remove(request);
                    done.extend(write.map(|write| (write, answer.as_deref().map_err(|refusal| &**refusal))));
                }
                Effect::ReplyAll(request, answer) => {
                    let writes = self.pending_batches.remove(request).unwrap_or_default();
                    match answer {
                        Ok(written) => {
                            if let [first, _, ..] = written.as_slice() {
                                self.units.push(written.iter().map(|written| written.dot).collect());
                                self.trace.mark("atomic batch");
                                self.trace.mix(&[4, first.dot.seq, written.len() as u64]);
                            }
                            done.extend(writes.into_iter().zip(written.iter().map(Ok)));
                        }
                        Err(_) => self.trace.mark("batch refused"),
                    }
                }
                _ => {}
            }
        }
        for (write, answer) in done {
            let record = before
                .record(&write.path)
                .map_err(|error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}")))?;
            let versions = live.entry(write.path.clone()).or_insert_with(|| {
                let versions = record.iter().flat_map(|record| record.document.versions());
                versions.map(|version| version.dot).collect()
            });
            let rule = rule(&write.path);
            let visible = self.oracle.visible(rule, versions, wall_ms);
            let settles = write.change.settles();
            let there = visible.is_some() || (settles && !versions.is_empty());
            let admitted = match &write.condition {
                Condition::Always => Some(true),
                Condition::Absent => Some(!there),
                Condition::Present => Some(there),
                Condition::Matches(_) if !there => Some(false),
                Condition::NoneOf(_) if !there => Some(true),
                _ => None,
            };
            let seen = match &write.observed {
                Observed::All => true,
                Observed::These(dots) => versions.iter().all(|dot| dots.contains(dot)),
            };
            let allowed = match &write.change {
                Change::Delete => visible.is_some(),
                Change::Keep(dot) => versions.len() > 1 && seen && versions.contains(dot),
                Change::Resolve(_) => versions.len() > 1 && seen,
                _ => rule != Rule::FirstWriteWins || visible.is_none(),
            };
            let name = &self.nodes[node].name;
            match answer {
                Ok(written) => {
                    ensure(admitted != Some(false) && allowed, Promise::Admission, || {
                        format!("{name} accepts {write:?} over {visible:?}")
                    })?;
                    let this = &self.nodes[node];
                    let last_seq = this.process.as_ref().map_or(0, |process| process.last_seq);
                    let expected = Dot { node: this.id, epoch: this.epoch, seq: last_seq + 1 };
                    let reuses = self.settings.plant == Some(Plant::ReuseEpoch);
                    ensure(written.dot == expected || reuses, Promise::DotsAreUnique, || {
                        format!("{name} minted {:?} and should have minted {expected:?}", written.dot)
                    })?;
                    // The clock has seen every stamp that was merged here.
                    let newest = versions
                        .iter()
                        .filter_map(|dot| self.oracle.writes().get(dot))
                        .map(|known| known.hlc);
                    let newest = newest.max().unwrap_or_default();
                    ensure(written.hlc > newest, Promise::StampsGrow, || {
                        format!("{name} stamps {:?} over {newest:?} at {:?}", written.hlc, write.path)
                    })?;
                    let observed: BTreeSet<Dot> = match &write.observed {
                        Observed::All => versions.clone(),
                        Observed::These(dots) => {
                            versions.iter().copied().filter(|dot| dots.contains(dot)).collect()
                        }
                    };
                    let kept: BTreeSet<Dot> = versions.difference(&observed).copied().collect();
                    let stamp = (written.hlc, written.dot);
                    let content = self.oracle.content(rule, &write.change, &observed, stamp, wall_ms);
                    let ttl_ms = write.ttl.map(Ttl::ms);
                    let expires_ms = self.oracle.expires_ms(&write.change, &content, ttl_ms, written.hlc);
                    if versions.iter().any(|dot| self.oracle.has_ended(*dot, wall_ms)) {
                        self.trace.mark("a write over a value that had ended");
                    }
                    versions.clone_from(&kept);
                    versions.insert(written.dot);
                    self.hlc_max_ms = self.hlc_max_ms.max(written.hlc.unix_ms());
                    let known = Known {
                        path: write.path.clone(),
                        hlc: written.hlc,
                        content,
                        expires_ms,
                        observed,
                        kept,
                        acknowledged: heard == Heard::Now,
                    };
                    self.trace.mix(&[3, written.dot.epoch.0, written.dot.seq, written.hlc.0]);
                    match self.oracle.record(written.dot, known) {
                        Err(_) if reuses => {}
                        recorded => recorded?,
                    }
                    let shown = self.oracle.visible(rule, versions, wall_ms);
                    let found = written.visible.value.as_ref().map(|json| json.get::<Object>().ok());
                    ensure(found == shown.clone().map(Some), Promise::Strategy, || {
                        format!("{write:?} made {:?}, and should have made {shown:?}", written.visible)
                    })?;
                    let this = &mut self.nodes[node];
                    if let Some(process) = this.process.as_mut() {
                        process.last_seq = written.dot.seq;
                    }
                    if heard != Heard::Nothing {
                        this.promised.insert(written.dot);
                    }
                }
                Err(_) => {
                    self.trace.mark("write refused");
                    ensure(admitted != Some(true) || !allowed, Promise::Admission, || {
                        format!("{name} refuses {write:?} over {visible:?}: {answer:?}")
                    })?;
                }
            }
        }
        Ok(())
    }
}
