//! Parts of values: `name,address.city`.

use rejoin_replica::json::Json;

use crate::member::{Cursor, SyntaxError};

/// Members that one projection may name.
const FIELDS_MAX: usize = 64;

/// Which members of a value are wanted. The others are left out; those that are there keep their order and text.
///
/// A value that is no object has no members to choose from, and stays whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    members: Vec<(String, Part)>,
}

/// How much of a member is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of(Projection),
}

impl Projection {
    /// Reads a list of members, joined by commas.
    ///
    /// # Errors
    /// Says where and why it is not one.
    pub fn parse(text: &str) -> Result<Projection, SyntaxError> {
        let mut projection = Projection { members: Vec::new() };
        let mut from = Cursor::new(text);
        for number in 0.. {
            if number == FIELDS_MAX {
                return Err(from.error(format!("at most {FIELDS_MAX} members can be named")));
            }
            let whole = from.error("the whole value is sent when no members are named");
            let member = from.member()?;
            match member.0.is_empty() {
                true => return Err(whole),
                false => projection.add(&member.0),
            }
            from.skip_space();
            if from.is_at_end() {
                break;
            }
            if !from.eat(",") {
                return Err(from.error("a comma is expected"));
            }
        }
        Ok(projection)
    }

    fn add(&mut self, names: &[String]) {
        let Some((first, rest)) = names.split_first() else { return };
        let at = self.members.iter().position(|(name, _)| name == first);
        let part = match at {
            Some(at) => &mut self.members[at].1,
            None => {
                self.members.push((first.clone(), Part::Of(Projection { members: Vec::new() })));
                let last = self.members.len() - 1;
                &mut self.members[last].1
            }
        };
        match part {
            // A member that is named whole contains its own members.
            Part::Whole => {}
            Part::Of(_) if rest.is_empty() => *part = Part::Whole,
            Part::Of(inner) => inner.add(rest),
        }
    }

    /// The wanted part of a value.
    pub fn of(&self, value: &Json) -> Json {
        self.part(value).unwrap_or_else(|| value.clone())
    }

    /// `None`: it is no object.
    fn part(&self, value: &Json) -> Option<Json> {
        let members = value.members()?;
        let kept = members.into_iter().filter_map(|(name, value)| {
            let (_, part) = self.members.iter().find(|(wanted, _)| *wanted == name)?;
            let value = match part {
                Part::Whole => value,
                Part::Of(inner) => inner.part(&value)?,
            };
            Some((name, value))
        });
        let kept: Vec<(String, Json)> = kept.collect();
        Some(Json::from_members(kept.iter().map(|(name, value)| (name.as_str(), value))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_text() {
        let value =
            br#"{"z":1.0,"name":"A","address":{"city":"Berlin","zip":"1","geo":{"x":1}},"a.b":2,"n":null}"#;
        let value = Json::parse(value, &rejoin_replica::json::JsonLimits::default()).unwrap();
        for (fields, expected) in [
            ("name", r#"{"name":"A"}"#),
            ("name,z", r#"{"z":1.0,"name":"A"}"#),
            ("address.city", r#"{"address":{"city":"Berlin"}}"#),
            ("address.city,address", r#"{"address":{"city":"Berlin","zip":"1","geo":{"x":1}}}"#),
            ("address, address.city", r#"{"address":{"city":"Berlin","zip":"1","geo":{"x":1}}}"#),
            ("address.geo.x,address.zip", r#"{"address":{"zip":"1","geo":{"x":1}}}"#),
            ("name.first", "{}"),
            ("nothing", "{}"),
            ("\"a.b\",n", r#"{"a.b":2,"n":null}"#),
        ] {
            assert_eq!(Projection::parse(fields).unwrap().of(&value).as_str(), expected, "{fields}");
        }
        let list = Json::parse(b"[1]", &rejoin_replica::json::JsonLimits::default()).unwrap();
        assert_eq!(Projection::parse("name").unwrap().of(&list).as_str(), "[1]");
        for (fields, position) in [("", 1), ("a,", 3), ("a b", 3), (".", 1), ("a,.", 3), ("a=b", 2)] {
            assert_eq!(Projection::parse(fields).unwrap_err().position, position, "{fields}");
        }
    }
}
