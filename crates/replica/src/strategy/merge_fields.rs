//! Objects merge field by field: each top-level field is a last-write-wins register with a stamp of its own.
//!
//! A put is a merge: it stamps the fields it changes, carries those it repeats with their old stamps, and keeps
//! those it does not mention. So a write of one field can never undo a concurrent write of another.

use alloc::vec::Vec;

use rejoin_causal::{Dot, Hlc, plant};

use super::{Visible, last_end, last_write_wins};
use crate::body::{Body, Document, Field, Fields, Version};
use crate::json::Json;
use crate::merge_patch;

/// What is seen of concurrent versions: objects merged, else the newest value. `None` when all are tombstones.
pub fn visible(document: &Document) -> Option<Visible> {
    let values = || document.versions().iter().filter(|version| !version.body.is_tombstone());
    let newest = last_write_wins::winner(values())?;
    let mut visible = Visible::of(newest, document);
    if let Some(fields) = merged(values()) {
        visible.value = Some(fields.json());
        visible.expires_ms = last_end(values());
    }
    Some(visible)
}

/// The fields of all versions, newest first; `None` when the newest value is not an object, or there is no value.
pub fn merged<'a>(versions: impl IntoIterator<Item = &'a Version>) -> Option<Fields> {
    let mut values: Vec<&Version> =
        versions.into_iter().filter(|version| !version.body.is_tombstone()).collect();
    values.sort_by_key(|version| core::cmp::Reverse(version.rank()));
    let mut merged = fields_of(values.first()?)?;
    for older in &values[1..] {
        // A sibling that is no object lost to the newest value.
        let Some(fields) = fields_of(older) else { continue };
        for field in fields.0 {
            match merged.0.iter_mut().find(|ours| ours.name == field.name) {
                Some(ours) if ours.rank() < field.rank() => *ours = field,
                Some(_) => {}
                None => merged.0.push(field),
            }
        }
    }
    Some(merged)
}

/// The fields of one version; a plain object's fields all carry the stamp of the version.
fn fields_of(version: &Version) -> Option<Fields> {
    match &*version.body {
        Body::Fields(fields) => Some(fields.clone()),
        Body::Value(json) => {
            let members = json.members()?;
            let field = |(name, value): (alloc::string::String, Json)| Field {
                name: name.into(),
                hlc: version.hlc,
                dot: version.dot,
                value: Some(value),
            };
            Some(Fields(members.into_iter().map(field).collect()))
        }
        Body::Tombstone => None,
    }
}

/// What a write does with the fields it does not mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmentioned {
    /// They stay (a put).
    Keep,
    /// They are removed (an explicit replace).
    Remove,
}

/// The body that a put of `value` over the `observed` versions makes.
pub fn put<'a>(
    observed: impl IntoIterator<Item = &'a Version>,
    value: &Json,
    unmentioned: Unmentioned,
    (hlc, dot): (Hlc, Dot),
) -> Body {
    let Some(members) = value.members() else { return Body::Value(value.clone()) };
    let old = merged(observed).unwrap_or_default();
    let mut fields = Vec::with_capacity(members.len().max(old.0.len()));
    for (name, value) in members {
        let same = old.get(&name).filter(|field| field.value.as_ref() == Some(&value));
        fields.push(match same {
            Some(field) if !plant::is("restamp-fields") => field.clone(),
            _ => Field { name: name.into(), hlc, dot, value: Some(value) },
        });
    }
    for mut field in old.0 {
        if fields.iter().any(|written: &Field| written.name == field.name) {
            continue;
        }
        if unmentioned == Unmentioned::Remove && field.value.is_some() {
            field = Field { hlc, dot, value: None, ..field };
        }
        fields.push(field);
    }
    Body::Fields(Fields(fields))
}

/// The body that a merge patch (RFC 7396) over the `observed` versions makes; a `null` member removes its field.
pub fn patch<'a>(
    observed: impl IntoIterator<Item = &'a Version>,
    patch: &Json,
    (hlc, dot): (Hlc, Dot),
) -> Body {
    let Some(members) = patch.members() else { return Body::Value(patch.clone()) };
    let mut fields = merged(observed).unwrap_or_default();
    for (name, change) in members {
        let at = fields.0.iter().position(|field| *field.name == *name);
        let value = match change.as_str() {
            "null" => None,
            _ => Some(merge_patch::apply(at.and_then(|at| fields.0[at].value.as_ref()), &change)),
        };
        let field = Field { name: name.into(), hlc, dot, value };
        match at {
            Some(at) if fields.0[at].value == field.value => {}
            Some(at) => fields.0[at] = field,
            // A removal of a field nobody has is still remembered: a concurrent write of it may be on its way.
            None => fields.0.push(field),
        }
    }
    Body::Fields(fields)
}
