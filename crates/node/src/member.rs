//! Members of values by name: `address.city`, `"a.b".c`, `tags.0`, and `.` for the whole value.

use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text that a caller gave as a question is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {reason}")]
pub struct SyntaxError {
    /// Where, counted in characters from 1; one behind the last when something is missing at the end.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
}

/// The place of a member in a value: names of members, or places in arrays, from the outside in. Empty: the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member(pub(crate) Vec<String>);

/// Levels that a member may be deep: as deep as a value may be.
const LEVELS_MAX: usize = 128;

impl Member {
    /// The text of the member in `value`, if it is there.
    pub(crate) fn of<'a>(&self, value: &'a str) -> Option<&'a str> {
        let mut deserializer = serde_json::Deserializer::from_str(value);
        // Stored values are JSON; what is behind the member is not even read.
        Find(&self.0).deserialize(&mut deserializer).ok().flatten()
    }
}

/// Walks down to a member, without decoding what lies beside it.
struct Find<'m>(&'m [String]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => Ok(Some(<&RawValue>::deserialize(deserializer)?.get())),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let Some((first, rest)) = self.0.split_first() else { return Ok(None) };
        while let Some(is_wanted) = map.next_key_seed(Is(first))? {
            match is_wanted {
                true => found = map.next_value_seed(Find(rest))?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let (wanted, rest) = match self.0 {
            [first, rest @ ..] => (first.parse::<usize>().ok(), rest),
            [] => (None, &[][..]),
        };
        let mut at = 0;
        loop {
            if wanted == Some(at) {
                match array.next_element_seed(Find(rest))? {
                    Some(member) => found = member,
                    None => return Ok(None),
                }
            } else if array.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares the name of a member, without keeping it.
struct Is<'m>(&'m str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Reads a question from left to right, and knows where it is.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Steps over `token`, if it is next.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let eaten = self.rest().starts_with(token);
        if eaten {
            self.at += token.len();
        }
        eaten
    }

    /// Everything up to the first character that ends it.
    pub(crate) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    /// A text in double quotes, written as in JSON.
    pub(crate) fn quoted(&mut self) -> Result<String, SyntaxError> {
        let mut texts = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        match texts.next() {
            Some(Ok(text)) => {
                self.at += texts.byte_offset();
                Ok(text)
            }
            _ => Err(self.error("this text in double quotes does not end, or is not written as in JSON")),
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> SyntaxError {
        let position = self.text[..self.at].chars().count() + 1;
        SyntaxError { position, reason: reason.into() }
    }

    /// A member; `.` is the whole value.
    pub(crate) fn member(&mut self) -> Result<Member, SyntaxError> {
        let mut names = Vec::new();
        self.skip_space();
        if self.eat(".") {
            return Ok(Member(names));
        }
        loop {
            if names.len() == LEVELS_MAX {
                return Err(self.error(format!("a member is at most {LEVELS_MAX} levels deep")));
            }
            if self.rest().starts_with('"') {
                names.push(self.quoted()?);
            } else {
                let plain = |end: char| end.is_whitespace() || ".,=!<>^()\"".contains(end);
                match self.take_until(plain) {
                    "" => return Err(self.error("the name of a member is missing")),
                    name => names.push(name.to_owned()),
                }
            }
            if !self.eat(".") {
                return Ok(Member(names));
            }
        }
    }
}
