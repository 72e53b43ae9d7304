//! What a version of a document says: a value, fields with stamps of their own, or that the document is gone.

use alloc::boxed::Box;
use alloc::vec::Vec;

use rejoin_causal::{Dot, Hlc};

use crate::expiry::Expiry;
use crate::json::Json;

/// The state of one path; see [`rejoin_causal::Document`].
pub type Document = rejoin_causal::Document<Content>;

/// One sibling of a document.
pub type Version = rejoin_causal::Version<Content>;

/// What a version carries: its body, and what its write said beside it. A version without marks costs nothing for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The body.
    pub body: Body,
    /// The atomic batch that the version was written in, if there was more in it.
    pub unit: Option<Unit>,
    /// Of a value: when it ends. Of a tombstone: that it is the end of such a value.
    pub expiry: Option<Expiry>,
}

/// The numbers of the writes of one atomic batch: consecutive ones of the version's own node and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl From<Body> for Content {
    fn from(body: Body) -> Content {
        Content { body, unit: None, expiry: None }
    }
}

impl core::ops::Deref for Content {
    type Target = Body;

    fn deref(&self) -> &Body {
        &self.body
    }
}

/// What a version says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A JSON value, exactly as written.
    Value(Json),
    /// An object under merge-fields: each top-level field is a register of its own.
    Fields(Fields),
    /// The document was deleted.
    Tombstone,
}

/// The top-level fields of an object, each a last-write-wins register. Order is the order of presentation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fields(pub Vec<Field>);

/// One field: its newest value, or that it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The member name.
    pub name: Box<str>,
    /// When it was written.
    pub hlc: Hlc,
    /// By which write.
    pub dot: Dot,
    /// `None`: the field was removed.
    pub value: Option<Json>,
}

impl Field {
    /// The order in which writes of one field win.
    pub fn rank(&self) -> (Hlc, Dot) {
        (self.hlc, self.dot)
    }
}

impl Body {
    /// The value as a reader sees it; `None` for a tombstone.
    pub fn json(&self) -> Option<Json> {
        match self {
            Body::Value(json) => Some(json.clone()),
            Body::Fields(fields) => Some(fields.json()),
            Body::Tombstone => None,
        }
    }

    /// Whether it says that the document was deleted.
    pub fn is_tombstone(&self) -> bool {
        matches!(self, Body::Tombstone)
    }

    /// Bytes that it takes, about: what limits count.
    pub fn weight(&self) -> usize {
        match self {
            Body::Value(json) => json.as_str().len(),
            Body::Fields(fields) => fields
                .0
                .iter()
                .map(|field| {
                    field.name.len() + 4 + field.value.as_ref().map_or(0, |value| value.as_str().len())
                })
                .sum(),
            Body::Tombstone => 0,
        }
    }
}

impl Fields {
    /// The field of that name, removed or not.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| &*field.name == name)
    }

    /// The object that the fields make.
    pub fn json(&self) -> Json {
        Json::from_members(
            self.0.iter().filter_map(|field| field.value.as_ref().map(|value| (&*field.name, value))),
        )
    }
}

/// Whether a document holds nothing but tombstones.
pub fn is_bare_tombstone(document: &Document) -> bool {
    document.versions().iter().all(|version| version.body.is_tombstone())
}
