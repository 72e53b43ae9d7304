//! What a group did, told to the oracle: which writes were made, and which values came to their end.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_causal::{Dot, Hlc, NodeId};
use rejoin_replica::path::Path;
use rejoin_replica::{
    Change, Condition, Document, Effect, Expiry, Observed, Refusal, Replay, Ttl, View, Write, Written,
};

use super::World;
use super::group::Heard;
use super::memory::Doubtful;
use crate::node::NodeSnapshot;
use crate::oracle::{Content, Known, Object, Rule, no_newer_than};
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
        released: &[Effect],
        heard: Heard,
        doubtful: &Doubtful,
    ) -> Result<(), Violation> {
        let this = &self.nodes[node];
        let Some(process) = &this.process else { return Ok(()) };
        let (id, epoch, last_seq) = (this.id, this.epoch, process.last_seq);
        let mut minted = Vec::new();
        let again: BTreeSet<Dot> = released
            .iter()
            .filter_map(|effect| match effect {
                Effect::Restamped { dot, .. } => Some(*dot),
                _ => None,
            })
            .collect();
        for (path, document) in ended {
            for version in document.versions() {
                let dot = version.dot;
                if dot.node == id && dot.epoch == epoch && dot.seq > last_seq && !again.contains(&dot) {
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
            // What ends with a stamp from the future stands no later than its end.
            let rank = rank.map(|rank| rank.min(Hlc(hlc.0 - 1)));
            self.check_not_doubted(node, dot, doubtful)?;
            let clear = !self.oracle.is_tainted(path) && !self.oracle.is_forked_dot(dot);
            ensure(!clear || observed.contains(&ended) && rank == Some(of), Promise::Expiry, || {
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

    /// The id that a node goes by, and those that it has left.
    pub(super) fn identities(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(id), |id| self.was.get(id).copied())
    }

    /// Tells the oracle of the versions that a node has minted again because a wrong clock had stamped them, and checks that
    /// each says what it said before.
    pub(super) fn account_restamped(
        &mut self,
        node: usize,
        released: &[Effect],
        heard: Heard,
    ) -> Result<(), Violation> {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let snapshot = process.store.snapshot();
        let read = |error| Violation::new(Promise::RowsAgree, format!("a read failed: {error}"));
        let mut live: BTreeMap<Path, BTreeSet<Dot>> = BTreeMap::new();
        let mut minted = Vec::new();
        // Backwards from what is there now.
        for effect in released.iter().rev() {
            let Effect::Restamped { path, replaced, dot } = effect else { continue };
            let record = snapshot.record(path).map_err(read)?;
            let document = record.map(|record| record.document).unwrap_or_default();
            let live = live
                .entry(path.clone())
                .or_insert_with(|| document.versions().iter().map(|version| version.dot).collect());
            live.remove(dot);
            let version = document.version(*dot).cloned();
            minted.push((path.clone(), *replaced, *dot, version, live.clone()));
            live.insert(*replaced);
        }
        for (path, replaced, dot, version, kept) in minted.into_iter().rev() {
            let this = &self.nodes[node];
            let (name, wall_ms) = (this.name.clone(), this.clock.now(self.now_ms).wall_ms);
            let known = self.oracle.written_at(&path, replaced).cloned();
            let (Some(version), Some(old)) = (version, known) else {
                let detail = format!("{name} minted {replaced:?} of {path:?} again, as {dot:?}");
                return Err(Violation::new(Promise::Converges, detail));
            };
            // A number with two meanings tells nothing of what was minted again.
            let clear = !self.oracle.is_tainted(&path) && !self.oracle.is_forked_dot(replaced);
            let from_the_future = old.hlc.unix_ms() > wall_ms + this.config.clock_skew_max_ms;
            ensure(
                !clear || from_the_future && self.identities(this.id).any(|id| id == replaced.node),
                Promise::StampsGrow,
                || format!("{name} minted {replaced:?} of {path:?} again at {wall_ms}: {old:?}"),
            )?;
            let (mut content, mut expires_ms) = (old.content, old.expires_ms);
            if let Some(ms) = expires_ms.filter(|ms| *ms >= old.hlc.unix_ms()) {
                expires_ms = Some(ms.min(version.hlc.unix_ms() + (ms - old.hlc.unix_ms())));
            }
            if let Content::Fields(fields) = &mut content {
                no_newer_than(fields, (version.hlc, dot));
            }
            if let Content::End(of, ended) = content {
                match version.body.expiry {
                    Some(Expiry::Of(stands, _)) => content = Content::End(stands.min(of), ended),
                    _ => {
                        // The wrong clock had ended it before its time.
                        let value = self.oracle.written_at(&path, ended).cloned();
                        let value = value.filter(|value| value.expires_ms.is_some_and(|ms| ms > wall_ms));
                        let Some(value) = value else {
                            let detail =
                                format!("{name} brought {ended:?} of {path:?} back, which had ended");
                            return Err(Violation::new(Promise::Expiry, detail));
                        };
                        self.trace.mark("a value that had ended too early came back");
                        (content, expires_ms) = (value.content, value.expires_ms);
                    }
                }
            }
            self.trace.mark("a version was minted again");
            self.trace.mix(&[6, dot.epoch.0, dot.seq, version.hlc.0]);
            self.restamped.insert(path.clone());
            let known = Known {
                path,
                hlc: version.hlc,
                content,
                expires_ms,
                observed: BTreeSet::from([replaced]),
                kept,
                acknowledged: false,
            };
            self.oracle.record(dot, known)?;
            let this = &mut self.nodes[node];
            if let Some(process) = this.process.as_mut() {
                ensure(dot.seq == process.last_seq + 1, Promise::DotsAreUnique, || {
                    format!("{name} minted {dot:?} after {}", process.last_seq)
                })?;
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
        doubtful: &Doubtful,
    ) -> Result<(), Violation> {
        let mut live: BTreeMap<Path, BTreeSet<Dot>> = BTreeMap::new();
        let wall_ms = self.nodes[node].clock.now(self.now_ms).wall_ms;
        // A write may have waited for a new identity, so what is answered is what was done.
        let mut done: Vec<(Write, Result<&Written, &Refusal>)> = Vec::new();
        for effect in released {
            match effect {
                // What was done before was accounted for then.
                Effect::Reply(request, Ok(written)) if written.replay != Replay::No => {
                    let once = self.pending.remove(request).and_then(|write| write.once);
                    let first = self.keyed.get(&written.dot).map(|once| once.id);
                    // The number may stand for two writes, of which this node has the other.
                    let twice = self.oracle.is_forked_dot(written.dot);
                    ensure(twice || once.map(|once| once.id) == first, Promise::Once, || {
                        format!("{} gives an answer of another request: {written:?}", self.nodes[node].name)
                    })?;
                    self.trace.mark("answered again");
                }
                Effect::Reply(request, Err(refusal)) if **refusal == Refusal::KeyReused => {
                    self.pending.remove(request);
                }
                Effect::ReplyAll(request, Ok(written))
                    if written.iter().any(|written| written.replay != Replay::No) =>
                {
                    self.pending_batches.remove(request);
                    self.trace.mark("answered again");
                }
                Effect::Reply(request, answer) => {
                    let write = self.pending.remove(request);
                    // It may be sent again in the same group.
                    if let (Some(once), Ok(written)) = (write.as_ref().and_then(|write| write.once), answer) {
                        self.keyed.insert(written.dot, once);
                    }
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
            // Where dots name two writes, what is there is not told by its dots.
            let this = &self.nodes[node];
            let clear = !self.oracle.is_tainted(&write.path) && !self.oracle.is_forked((this.id, this.epoch));
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
            let kept = match &write.observed {
                Observed::All => 0,
                Observed::These(dots) => versions.iter().filter(|dot| !dots.contains(dot)).count(),
            };
            let crowded =
                kept > 0 && kept + 1 > self.nodes[node].config.siblings_max && kept + 1 > versions.len();
            let allowed = allowed && !crowded;
            let name = &self.nodes[node].name;
            if crowded {
                self.trace.mark("too many siblings for a write");
            }
            match answer {
                Ok(written) => {
                    ensure(!clear || admitted != Some(false) && allowed, Promise::Admission, || {
                        format!("{name} accepts {write:?} over {visible:?}")
                    })?;
                    let this = &self.nodes[node];
                    let last_seq = this.process.as_ref().map_or(0, |process| process.last_seq);
                    let expected = Dot { node: this.id, epoch: this.epoch, seq: last_seq + 1 };
                    let reuses = self.settings.plant == Some(Plant::ReuseEpoch);
                    self.check_not_doubted(node, written.dot, doubtful)?;
                    ensure(written.dot == expected || reuses, Promise::DotsAreUnique, || {
                        format!("{name} minted {:?} and should have minted {expected:?}", written.dot)
                    })?;
                    // The clock has seen every stamp that was merged here and is not from the future.
                    let reach_ms = wall_ms + this.config.clock_skew_max_ms;
                    let newest = versions
                        .iter()
                        .filter_map(|dot| self.oracle.writes().get(dot))
                        .map(|known| known.hlc)
                        .filter(|hlc| hlc.unix_ms() <= reach_ms);
                    let newest = newest.max().unwrap_or_default();
                    ensure(!clear || written.hlc > newest, Promise::StampsGrow, || {
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
                    ensure(!clear || found == shown.clone().map(Some), Promise::Strategy, || {
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
                    ensure(!clear || admitted != Some(true) || !allowed, Promise::Admission, || {
                        format!("{name} refuses {write:?} over {visible:?}: {answer:?}")
                    })?;
                }
            }
        }
        Ok(())
    }
}
