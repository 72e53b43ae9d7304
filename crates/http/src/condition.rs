//! Conditional requests: entity tags in `If-Match` and `If-None-Match` (RFC 9110, 13.1).

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use rejoin::Condition;

use crate::problem::Problem;

/// Ends the entity tag of a value in its envelope: other bytes than the bare value, so another tag.
pub(crate) const ENVELOPE_SUFFIX: &str = "-meta";

/// The condition of a write.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Condition, Problem> {
    match (tags(headers, &IF_MATCH)?, tags(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::Always),
        (Some(Tags::Any), None) => Ok(Condition::Present),
        (Some(Tags::These(tags)), None) => {
            // A weak tag never matches here: it does not promise the same bytes.
            Ok(Condition::Matches(tags.iter().filter(|tag| !tag.weak).filter_map(Tag::document).collect()))
        }
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::These(tags))) => {
            Ok(Condition::NoneOf(tags.iter().filter_map(Tag::document).collect()))
        }
        (Some(_), Some(_)) => Err(Problem::header("The request has both `If-Match` and `If-None-Match`.")
            .hint("Send the one that you need.")),
    }
}

/// The condition of an operation in a batch: what the headers of a request of its own would hold, or one tag without its
/// quotes.
pub(crate) fn of_members(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, Problem> {
    let mut headers = HeaderMap::new();
    for (name, text) in [(IF_MATCH, if_match), (IF_NONE_MATCH, if_none_match)] {
        let Some(text) = text else { continue };
        let text = match text.trim() == "*" || text.contains('"') {
            true => text.to_owned(),
            false => format!("\"{text}\""),
        };
        headers.insert(&name, HeaderValue::try_from(text).map_err(|_| malformed(&name))?);
    }
    of_write(&headers)
}

/// What the conditions of a read mean for a representation with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// It is not the one the client means: 412.
    Failed,
}

/// Judges the conditions of a read; `etag` is without its quotes.
pub(crate) fn of_read(headers: &HeaderMap, etag: &str) -> Result<Read, Problem> {
    if let Some(Tags::These(tags)) = tags(headers, &IF_MATCH)?
        && !tags.iter().any(|tag| !tag.weak && tag.text == etag)
    {
        return Ok(Read::Failed);
    }
    Ok(match tags(headers, &IF_NONE_MATCH)? {
        Some(Tags::Any) => Read::NotModified,
        Some(Tags::These(tags)) if tags.iter().any(|tag| tag.text == etag) => Read::NotModified,
        _ => Read::Send,
    })
}

enum Tags {
    Any,
    These(Vec<Tag>),
}

struct Tag {
    text: String,
    weak: bool,
}

impl Tag {
    /// The tag of the document, whichever representation was read; none for a tag that is not ours.
    fn document(&self) -> Option<[u8; 16]> {
        let digits = self.text.strip_suffix(ENVELOPE_SUFFIX).unwrap_or(&self.text);
        if digits.len() != 32 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut tags = Vec::new();
    let mut any = false;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| malformed(name))?;
        if text.trim() == "*" {
            any = true;
        } else {
            parse_list(text, &mut tags).ok_or_else(|| malformed(name))?;
        }
    }
    match (any, tags.is_empty()) {
        (true, true) => Ok(Some(Tags::Any)),
        (false, false) => Ok(Some(Tags::These(tags))),
        (false, true) if !headers.contains_key(name) => Ok(None),
        _ => Err(malformed(name)),
    }
}

/// Reads `"a", W/"b"`; a tag may contain a comma, so the quotes lead.
fn parse_list(text: &str, tags: &mut Vec<Tag>) -> Option<()> {
    let mut rest = text.trim();
    loop {
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push(Tag { text: tag.to_owned(), weak });
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(());
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

fn malformed(name: &HeaderName) -> Problem {
    let name = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    Problem::header(format!("The header `{name}` is not a list of entity tags."))
        .hint(format!("Send `{name}: *`, or the ETag of an earlier answer with its double quotes."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "00112233445566778899aabbccddeeff";

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn conditions_of_writes() {
        let bytes = u128::from_str_radix(ETAG, 16).unwrap().to_be_bytes();
        let quoted = format!("\"{ETAG}\"");
        let envelope = format!("\"{ETAG}{ENVELOPE_SUFFIX}\"");
        let weak = format!("W/\"{ETAG}\"");
        let both = format!("\"a,b\" , {quoted}");
        for (name, value, expected) in [
            (&IF_MATCH, "*", Condition::Present),
            (&IF_NONE_MATCH, " * ", Condition::Absent),
            (&IF_MATCH, quoted.as_str(), Condition::Matches(vec![bytes])),
            (&IF_MATCH, envelope.as_str(), Condition::Matches(vec![bytes])),
            (&IF_MATCH, weak.as_str(), Condition::Matches(vec![])),
            (&IF_MATCH, both.as_str(), Condition::Matches(vec![bytes])),
            (&IF_NONE_MATCH, weak.as_str(), Condition::NoneOf(vec![bytes])),
        ] {
            assert_eq!(of_write(&headers(&[(name, value)])).unwrap(), expected, "{value}");
        }
        assert_eq!(of_write(&HeaderMap::new()).unwrap(), Condition::Always);
        for value in [ETAG, "", "\"a", "\"a\" \"b\"", "*, \"a\"", "\"a\","] {
            assert!(of_write(&headers(&[(&IF_MATCH, value)])).is_err(), "{value}");
        }
        assert!(of_write(&headers(&[(&IF_MATCH, "*"), (&IF_NONE_MATCH, "*")])).is_err());
    }

    #[test]
    fn conditions_of_reads() {
        let weak = format!("W/\"{ETAG}\"");
        for (name, value, expected) in [
            (&IF_NONE_MATCH, weak.as_str(), Read::NotModified),
            (&IF_NONE_MATCH, "\"other\"", Read::Send),
            (&IF_NONE_MATCH, "*", Read::NotModified),
            (&IF_MATCH, "*", Read::Send),
            (&IF_MATCH, weak.as_str(), Read::Failed),
        ] {
            assert_eq!(of_read(&headers(&[(name, value)]), ETAG).unwrap(), expected, "{value}");
        }
    }
}
