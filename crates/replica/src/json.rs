//! JSON values as checked text: what a client wrote, kept to the digit, in one line.
//!
//! A [`Json`] never passes through a number or a map: numbers, string escapes and member order stay as written, only
//! insignificant white space goes. This module owns the checks (RFC 8259 syntax, UTF-8, unique member names, depth and
//! size) and the few operations on members that strategies need. It never decides which value wins.

use alloc::borrow::Cow;
use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::value::RawValue;

/// Default greatest size of a value, in bytes of text as sent: a document is a unit of conflict, not a file.
pub const JSON_BYTES_DEFAULT: usize = 1 << 20;

/// Default greatest depth of a value, in nested arrays and objects: more than people write, little
/// enough to recurse over.
pub const JSON_DEPTH_DEFAULT: usize = 64;

/// Greatest depth that limits can allow, in nested arrays and objects: one less than `serde_json` can enter (127), so
/// that our own check refuses first and every decoder of the family can read what was accepted.
pub const JSON_DEPTH_MAX: usize = 126;

/// The bounds that a value is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Greatest size, in bytes of the text as sent.
    pub bytes: usize,
    /// Greatest depth: a scalar has 0, `[]` 1, `[[]]` 2. More than [`JSON_DEPTH_MAX`] counts as that.
    pub depth: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { bytes: JSON_BYTES_DEFAULT, depth: JSON_DEPTH_DEFAULT }
    }
}

/// A JSON value as compact text. Cheap to clone; compares by text, so `1.0` differs from `1`.
///
/// Invariant: one valid JSON text without insignificant white space, member names unique at every level.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// Checks `text` and removes insignificant white space; everything else stays as written.
    ///
    /// # Errors
    /// Refuses text that is too large, not JSON, too deep, or that names a member twice.
    pub fn parse(text: &[u8], limits: &JsonLimits) -> Result<Self, JsonError> {
        if text.len() > limits.bytes {
            return Err(JsonError::TooLarge { bytes: text.len(), bytes_max: limits.bytes });
        }
        let text = core::str::from_utf8(text).map_err(|error| not_utf8(text, error.valid_up_to()))?;
        if text.starts_with('\u{FEFF}') {
            return Err(JsonError::Invalid {
                reason: "it begins with a byte order mark at line 1 column 1".into(),
            });
        }
        check(text, limits.depth.min(JSON_DEPTH_MAX))?;
        Ok(Self(compact(text)))
    }

    /// Writes `value` as JSON and checks it as [`Json::parse`] does.
    ///
    /// # Errors
    /// Refuses what cannot be written as JSON, and what [`Json::parse`] refuses.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T, limits: &JsonLimits) -> Result<Self, JsonError> {
        let text =
            serde_json::to_string(value).map_err(|error| JsonError::Invalid { reason: error.to_string() })?;
        Self::parse(text.as_bytes(), limits)
    }

    /// Takes text that was a [`Json`] before and comes back from this store, without checking it again.
    ///
    /// For text of any other origin use [`Json::parse`]: the rest of the store relies on the invariant.
    pub fn trusted(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self(text)
    }

    /// The value `null`, which is not the same as no value.
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// An object of these members, in this order.
    ///
    /// A name given again keeps its first place and takes the later value. The result is one level deeper than its
    /// deepest member; the caller answers for the depth and size limits.
    pub fn from_members<'a>(members: impl IntoIterator<Item = (&'a str, &'a Json)>) -> Self {
        let mut places = BTreeMap::new();
        let mut unique: Vec<(&str, &Json)> = Vec::new();
        for (name, value) in members {
            match places.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(unique.len());
                    unique.push((name, value));
                }
                Entry::Occupied(place) => unique[*place.get()].1 = value,
            }
        }
        let mut text = String::from("{");
        for (number, (name, value)) in unique.into_iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            push_string(&mut text, name);
            text.push(':');
            text.push_str(value.as_str());
        }
        text.push('}');
        Self(Arc::from(text))
    }

    /// The text, always one line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the value `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// The members of an object in order, names decoded; none for any other value.
    pub fn members(&self) -> Option<Vec<(String, Json)>> {
        // Text that holds the invariant always decodes, so the only `None` is that of another kind of value.
        serde_json::Deserializer::from_str(&self.0).deserialize_map(Members).ok()
    }

    /// Decodes the value into a Rust type.
    ///
    /// # Errors
    /// Says where the value does not fit the type.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        serde_json::from_str(&self.0).map_err(|error| JsonError::Mismatch { reason: error.to_string() })
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({})", self.as_str())
    }
}

/// Why a value was refused. The caller who sent it must act; nothing was changed.
///
/// Lines and columns count from 1, columns in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON.
    Invalid {
        /// What is wrong and where.
        reason: String,
    },
    /// The value is JSON, but not of the Rust type asked for.
    Mismatch {
        /// What does not fit and where.
        reason: String,
    },
    /// An object names a member twice; readers would disagree which one counts.
    DuplicateMember {
        /// The decoded name, cut after 64 characters.
        name: String,
        /// Line where reading stopped: at the second occurrence or just behind it.
        line: usize,
        /// Column where reading stopped.
        column: usize,
    },
    /// Arrays and objects nest deeper than allowed.
    TooDeep {
        /// The limit that was exceeded.
        depth_max: usize,
        /// Line where reading stopped: at the first bracket too many or just behind it.
        line: usize,
        /// Column where reading stopped.
        column: usize,
    },
    /// The text is larger than allowed.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit that was exceeded.
        bytes_max: usize,
    },
}

impl JsonError {
    /// The code of the public error: `invalid_json`, `duplicate_member`, `too_deep` or `too_large`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::Mismatch { .. } => "invalid_json",
            Self::DuplicateMember { .. } => "duplicate_member",
            Self::TooDeep { .. } => "too_deep",
            Self::TooLarge { .. } => "too_large",
        }
    }

    /// What the caller can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Invalid { reason } if reason.starts_with(NUMBER_OUT_OF_RANGE) => {
                "Numbers must lie within ±1.8e308; send a greater one as a string."
            }
            Self::Invalid { .. } => "Send one JSON value (RFC 8259) in UTF-8.",
            Self::Mismatch { .. } => "Send a value of the expected shape.",
            Self::DuplicateMember { .. } => "Keep one member of that name in the object.",
            Self::TooDeep { .. } => "Flatten the value, or split it over several paths.",
            Self::TooLarge { .. } => {
                "Split the value over several paths, or raise the limit in the configuration."
            }
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { reason } => write!(f, "The value is not valid JSON: {reason}."),
            Self::Mismatch { reason } => write!(f, "The value does not have the expected shape: {reason}."),
            Self::DuplicateMember { name, line, column } => {
                write!(f, "An object has the member {name:?} twice, again near line {line} column {column}.")
            }
            Self::TooDeep { depth_max, line, column } => {
                write!(f, "The value nests deeper than {depth_max} levels near line {line} column {column}.")
            }
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "The value has {bytes} bytes, more than the limit of {bytes_max}.")
            }
        }
    }
}

impl core::error::Error for JsonError {}

/// How `serde_json` words a number beyond the range of a double; only the choice of a hint depends on it.
const NUMBER_OUT_OF_RANGE: &str = "number out of range";

/// How much of a member name an error repeats, in characters: the name itself may be as large as a value.
const NAME_CHARS_SHOWN: usize = 64;

/// Checks syntax, depth and member names in one pass that builds nothing but the names of open objects.
fn check(text: &str, depth_max: usize) -> Result<(), JsonError> {
    let refusal = RefCell::new(None);
    let mut decoder = serde_json::Deserializer::from_str(text);
    let checked = Check { depth_left: depth_max, refusal: &refusal }.deserialize(&mut decoder);
    checked.and_then(|()| decoder.end()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match refusal.take() {
            Some(Refusal::DuplicateMember(name)) => JsonError::DuplicateMember { name, line, column },
            Some(Refusal::TooDeep) => JsonError::TooDeep { depth_max, line, column },
            None => JsonError::Invalid { reason: error.to_string() },
        }
    })
}

/// Why our visitor stopped the decoder, whose own error carries no more than text and position.
enum Refusal {
    DuplicateMember(String),
    TooDeep,
}

/// Visits one value, however nested, and keeps nothing of it.
#[derive(Clone, Copy)]
struct Check<'a> {
    depth_left: usize,
    refusal: &'a RefCell<Option<Refusal>>,
}

impl Check<'_> {
    fn enter<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(self.refuse(Refusal::TooDeep)),
        }
    }

    fn refuse<E: serde::de::Error>(self, refusal: Refusal) -> E {
        self.refusal.replace(Some(refusal));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let inner = self.enter()?;
        while elements.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inner = self.enter()?;
        let mut names = BTreeMap::new();
        while let Some(name) = members.next_key_seed(Name)? {
            match names.entry(name) {
                Entry::Vacant(place) => place.insert(()),
                Entry::Occupied(place) => {
                    let shown = place.key().chars().take(NAME_CHARS_SHOWN).collect();
                    return Err(self.refuse(Refusal::DuplicateMember(shown)));
                }
            };
            members.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// Reads a member name, decoded; borrowed from the text unless it contains an escape.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Self::Value, D::Error> {
        decoder.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.into()))
    }
}

/// Collects the members of one object, their values as text.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Json)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = access.next_entry::<String, &'de RawValue>()? {
            members.push((name, Json(Arc::from(value.get()))));
        }
        Ok(members)
    }
}

/// Removes the white space outside strings from checked text. Strings, most of most values, are passed in leaps.
fn compact(text: &str) -> Arc<str> {
    let bytes = text.as_bytes();
    let mut compacted = String::new();
    let (mut at, mut kept_from) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b' ' | b'\t' | b'\n' | b'\r' => {
                compacted.push_str(&text[kept_from..at]);
                at += 1;
                kept_from = at;
            }
            _ => at += 1,
        }
    }
    if kept_from == 0 {
        return Arc::from(text);
    }
    compacted.push_str(&text[kept_from..]);
    Arc::from(compacted)
}

/// Behind the quote that ends the string which goes on at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        // What is escaped is no end, whatever it is.
        at += 2;
    }
    bytes.len()
}

fn not_utf8(text: &[u8], valid_bytes: usize) -> JsonError {
    let before = &text[..valid_bytes];
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    JsonError::Invalid { reason: alloc::format!("it is not UTF-8 at line {line} column {column}") }
}

/// Appends `text` as a JSON string, escaping only what must be.
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{0}'..='\u{1F}' => json.push_str(&alloc::format!("\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
}
