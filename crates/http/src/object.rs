//! Shapes that come from outside, of which each is a JSON object.
//!
//! What serde derives for a struct also takes an array of its members in their order: `["delete","users/alice"]` would
//! delete. Everything that this crate reads goes through here.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Reads an object of JSON text.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Object<T>>(text).map(|object| object.0)
}

/// Reads an object of JSON text.
pub(crate) fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    serde_json::from_str::<Object<T>>(text).map(|object| object.0)
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Object)
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape<'a> {
        name: String,
        #[serde(borrow)]
        value: Option<&'a RawValue>,
    }

    #[test]
    fn only_objects_are_taken() {
        let shape: Shape<'_> = from_str(r#"{"name":"a","value":[1.50]}"#).unwrap();
        assert_eq!((shape.name.as_str(), shape.value.unwrap().get()), ("a", "[1.50]"));
        for other in [r#"["a",1]"#, r#"["a"]"#, "[]", "null", "\"a\"", "1"] {
            let said = from_slice::<Shape<'_>>(other.as_bytes()).unwrap_err().to_string();
            assert!(said.contains("expected an object"), "{other}: {said}");
        }
        assert!(from_str::<Shape<'_>>(r#"{"name":"a","more":1}"#).is_err(), "unknown members stay unknown");
        assert!(from_str::<Shape<'_>>(r#"{"name":"a","name":"b"}"#).is_err(), "so do repeated ones");
    }
}
