//! A client's write: minted as a document state and merged like any other.

use alloc::boxed::Box;
use core::slice;

use rejoin_causal::{Dot, Hlc, plant};

use crate::body::{Body, Content, Document, Unit, Version};
use crate::effect::{Alarm, Current, Effect, Refusal, Replay, Written};
use crate::expiry::{Expiry, as_of};
use crate::input::{Change, Condition, Observed, Write};
use crate::json::Json;
use crate::merge_patch;
use crate::path::Path;
use crate::policy::etag;
use crate::replica::{Group, Replica};
use crate::strategy::merge_fields::{self, Unmentioned};
use crate::strategy::{Strategy, Visible};
use crate::view::{Record, View};
use crate::wall::restamp_fields;

/// What a write would do to a document.
pub(crate) struct Planned {
    /// What it writes.
    pub(crate) body: Body,
    /// When that ends.
    pub(crate) expiry: Option<Expiry>,
    /// No value was visible before.
    pub(crate) created: bool,
}

impl Planned {
    /// What the version carries.
    pub(crate) fn content(self, unit: Option<Unit>) -> Content {
        Content { body: self.body, unit, expiry: self.expiry }
    }
}

/// Whether a write replaces this version.
pub(crate) fn observes(write: &Write, version: &Version) -> bool {
    match &write.observed {
        Observed::All => true,
        Observed::These(dots) => dots.contains(&version.dot) || plant::is("replace-unseen"),
    }
}

impl Replica {
    pub(crate) fn write<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        write: Write,
    ) -> Result<Result<Written, Refusal>, V::Error> {
        if let Some(first) = self.answered(group, slice::from_ref(&write))? {
            return Ok(first.map(|mut first| first.remove(0)));
        }
        let record = group.rows.record(&write.path)?;
        let document = record.as_ref().map_or_else(Document::new, |record| record.document.clone());
        let dot = Dot { node: self.node, epoch: self.epoch, seq: self.seq + 1 };
        // A refused write changes nothing, not even the clock.
        let mut clock = self.clock;
        self.observe_document(&mut clock, &document, group.now);
        let hlc = clock.tick(group.now.wall_ms);
        let planned = match self.plan(&document, &write, (hlc, dot), group.now.wall_ms) {
            Ok(planned) => planned,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let created = planned.created;
        let version = Version { dot, hlc, body: planned.content(None) };
        let state = document.written(version, |version| observes(&write, version));
        if let Err(refusal) = self.room_for_siblings(&write.path, &document, &state, group.now.wall_ms) {
            return Ok(Err(refusal));
        }
        self.clock = clock;
        let written = self.enact(group, write.path, record, (hlc, dot), state, created)?;
        if let Some(once) = write.once {
            self.keep(group, once, None, &write.change, &written)?;
        }
        Ok(Ok(written))
    }

    /// What a write would do to `document`; decides, and changes nothing.
    pub(crate) fn plan(
        &self,
        document: &Document,
        write: &Write,
        stamp: (Hlc, Dot),
        wall_ms: u64,
    ) -> Result<Planned, Refusal> {
        // A value whose time has come is no longer there, and nothing of it goes into what is written.
        let document = &*as_of(document, wall_ms);
        let strategy = self.policy.strategy(&write.path);
        let visible = strategy.visible(&write.path, document, wall_ms);
        admit(write, strategy, document, visible.as_ref())?;
        let seen = || document.versions().iter().filter(|version| observes(write, version));
        let old = visible.as_ref().and_then(|visible| visible.value.as_ref());
        // A patch is of what the client has read, which is not what is shown now.
        let read = match &write.observed {
            Observed::These(_) if seen().count() < document.versions().len() => {
                let read = Document::from_parts(document.vv().clone(), seen().cloned().collect());
                read.and_then(|read| strategy.visible(&write.path, &read, wall_ms))
                    .and_then(|visible| visible.value)
            }
            _ => old.cloned(),
        };
        let merging = matches!(strategy, Strategy::MergeFields);
        let mut body = match &write.change {
            Change::Put(value) if merging => merge_fields::put(seen(), value, Unmentioned::Keep, stamp),
            Change::Replace(value) | Change::Resolve(value) if merging => {
                merge_fields::put(seen(), value, Unmentioned::Remove, stamp)
            }
            Change::Patch(patch) if merging => merge_fields::patch(seen(), patch, stamp),
            Change::Put(value) | Change::Replace(value) | Change::Resolve(value) => {
                Body::Value(value.clone())
            }
            Change::Patch(patch) => Body::Value(merge_patch::apply(read.as_ref(), patch)),
            Change::Keep(kept) => match document.version(*kept).and_then(|version| version.body.json()) {
                Some(value) if merging => merge_fields::put(seen(), &value, Unmentioned::Remove, stamp),
                Some(value) => Body::Value(value),
                None => Body::Tombstone,
            },
            Change::Delete => Body::Tombstone,
        };
        if let Body::Fields(fields) = &mut body {
            restamp_fields(fields, stamp);
        }
        let bytes = body.weight();
        if bytes > self.config.value_bytes_max {
            return Err(Refusal::TooLarge { bytes, limit: self.config.value_bytes_max });
        }
        let expiry = match (&body, write.ttl, &write.change) {
            (Body::Tombstone, ..) => None,
            (_, Some(ttl), _) => Some(ttl.from(stamp.0)),
            // What the version says, its end included.
            (_, None, Change::Keep(kept)) => document.version(*kept).and_then(|kept| kept.body.expiry),
            (_, None, _) => None,
        };
        Ok(Planned { body, expiry, created: old.is_none() })
    }

    /// Does a write that was planned: merges its state with what is there, `before`, and tells what a reader sees then.
    pub(crate) fn enact<V: View>(
        &mut self,
        group: &mut Group<'_, V>,
        path: Path,
        before: Option<Record>,
        (hlc, dot): (Hlc, Dot),
        state: Document,
        created: bool,
    ) -> Result<Written, V::Error> {
        self.seq = dot.seq;
        self.merge_with(group, &path, before, state, None)?;
        self.applied(group, &path, dot, None);

        let document = group.rows.record(&path)?.map_or_else(Document::new, |record| record.document);
        let visible = self.policy.visible(&path, &document, group.now.wall_ms).unwrap_or(Visible {
            value: None,
            version: dot,
            hlc,
            conflicts: 0,
            expires_ms: None,
            expired: false,
            resolver_failed: false,
        });
        if visible.resolver_failed {
            group.effects.push(Effect::Alarm(Alarm::Resolver(path.clone())));
        }
        let (vector_clock, etag) = (document.vv().clone(), etag(&document));
        Ok(Written { path, dot, hlc, vector_clock, etag, visible, created, replay: Replay::No })
    }
}

/// Whether the write may be done at all.
fn admit(
    write: &Write,
    strategy: &Strategy,
    document: &Document,
    visible: Option<&Visible>,
) -> Result<(), Refusal> {
    let value: Option<&Json> = visible.and_then(|visible| visible.value.as_ref());
    let current = || Current {
        visible: visible.cloned().map(Box::new),
        etag: (!document.is_empty()).then(|| etag(document)),
        vector_clock: document.vv().clone(),
    };
    // A conflict may read as deleted, and is there all the same.
    let there = value.is_some() || (write.change.settles() && !document.is_empty());
    let holds = match &write.condition {
        Condition::Always => true,
        Condition::Absent => !there,
        Condition::Present => there,
        Condition::Matches(tags) => there && tags.contains(&etag(document)),
        Condition::NoneOf(tags) => !there || !tags.contains(&etag(document)),
    };
    if !holds && !plant::is("ignore-conditions") {
        return Err(Refusal::Precondition(current()));
    }
    if write.change.settles() {
        let all_seen = match &write.observed {
            Observed::All => true,
            Observed::These(dots) => document.versions().iter().all(|version| dots.contains(&version.dot)),
        };
        return match write.change {
            _ if !all_seen => Err(Refusal::Unseen(current())),
            _ if document.versions().len() < 2 => Err(Refusal::NoConflict(current())),
            Change::Keep(dot) if document.version(dot).is_none() => Err(Refusal::NotLive(current())),
            _ => Ok(()),
        };
    }
    match write.change {
        Change::Delete if value.is_none() => {
            // A delete that wins over a live value is not bare, and no less a delete.
            Err(Refusal::NotFound { deleted: !document.is_empty() })
        }
        Change::Put(_) | Change::Replace(_) | Change::Patch(_)
            if matches!(strategy, Strategy::FirstWriteWins) && value.is_some() =>
        {
            Err(Refusal::RejectedByStrategy(current()))
        }
        _ => Ok(()),
    }
}
