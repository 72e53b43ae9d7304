//! The parameters of a request's query: every one known, each given once.

use std::str::FromStr;

use crate::problem::Problem;

/// The decoded parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Decodes a raw query as forms encode it and checks its names against those that the route `known`s.
    pub(crate) fn parse(raw: Option<&str>, known: &[&'static str]) -> Result<Query, Problem> {
        Query::parse_repeating(raw, known, &[])
    }

    /// As [`Query::parse`], but these may be given several times.
    pub(crate) fn parse_repeating(
        raw: Option<&str>,
        known: &[&'static str],
        repeating: &[&str],
    ) -> Result<Query, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in raw.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            let is_single = !repeating.contains(&name.as_str());
            if is_single && parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::parameter(format!("The parameter `{name}` is given twice."))
                    .hint(format!("Give `{name}` once.")));
            }
            parameters.push((name, value));
        }
        Ok(Query { parameters })
    }

    /// The value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be given several times.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on: `name`, `name=true` and `name=1` are, `name=false`, `name=0` and absence are not.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => {
                Err(Problem::parameter(format!("The parameter `{name}` is `{}`.", excerpt(other)))
                    .hint(format!("Write `{name}=true` or `{name}=false`.")))
            }
        }
    }

    /// A number within bounds.
    pub(crate) fn number<T>(&self, name: &str, least: T, greatest: T) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= greatest => Ok(Some(number)),
            _ => Err(Problem::parameter(format!("The parameter `{name}` is `{}`.", excerpt(text)))
                .hint(format!("Give a whole number from {least} to {greatest}."))),
        }
    }
}

/// How much of a foreign text an error repeats, in characters.
const EXCERPT_CHARS: usize = 64;

/// The beginning of a text, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

fn unknown(name: &str, known: &[&'static str]) -> Problem {
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    let hint = match nearest {
        Some(nearest) => {
            let all = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!("Did you mean `{nearest}`? Known here: {all}.")
        }
        None => "This request takes no parameters.".to_owned(),
    };
    Problem::parameter(format!("The parameter `{}` is unknown.", excerpt(name))).hint(hint)
}

/// Edits between two names (Levenshtein), of a beginning that is long enough for any real name.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(EXCERPT_CHARS).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, other) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, own) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(*own != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Decodes `%xx` and `+`.
fn decode(raw: &str) -> Result<String, Problem> {
    let refuse = || {
        Problem::parameter(format!("The query `{}` is not validly encoded.", excerpt(raw)))
            .hint("Percent-encode it as UTF-8, and a literal `%` as `%25`.")
    };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(refuse()) };
                u8::try_from(high << 4 | low).map_err(|_| refuse())?
            }
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8(bytes).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["limit", "cursor", "reverse"];

    #[test]
    fn parameters_are_decoded_once() {
        let query = Query::parse(Some("cursor=a%2Bb+c%25&limit=7&reverse"), KNOWN).unwrap();
        assert_eq!(query.text("cursor"), Some("a+b c%"));
        assert_eq!(query.number("limit", 1, 10).unwrap(), Some(7));
        assert!(query.switch("reverse").unwrap());
        assert_eq!(query.text("absent"), None);
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let problem = Query::parse(Some("limt=3"), KNOWN).unwrap_err();
        assert!(problem.hint_text().contains("Did you mean `limit`?"), "{}", problem.hint_text());
    }

    #[test]
    fn malformed_queries_are_refused() {
        for raw in ["limit=1&limit=2", "limit=%", "limit=%4", "limit=%zz", "cursor=%FF", "=", "%6Cimi=1"] {
            assert!(Query::parse(Some(raw), KNOWN).is_err(), "{raw}");
        }
        let query = Query::parse(Some("limit=0&reverse=maybe"), KNOWN).unwrap();
        assert!(query.number("limit", 1, 10).is_err());
        assert!(query.switch("reverse").is_err());
    }
}
