//! What was given, and its parsing into what a node needs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rejoin::{Durability, Path, Strategy};

use super::Key;
use crate::time::parse_duration;

/// A value as it was given, before anybody knows whether it fits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// Text from a file, or anything from the environment and the command line.
    Text(String),
    /// A whole number from a file.
    Integer(i64),
    /// True or false from a file.
    Boolean(bool),
    /// Several texts, from a list in a file or a repeated flag.
    List(Vec<Raw>),
    /// Names and values, each with its line, from a table in a file.
    Table(Vec<(String, Raw, usize)>),
    /// Something of a type that no option takes, as its kind and text.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => write!(f, "{text:?}"),
            Raw::Integer(number) => write!(f, "{number}"),
            Raw::Boolean(value) => write!(f, "{value}"),
            Raw::List(values) => {
                let texts: Vec<String> = values.iter().map(Raw::to_string).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Raw::Table(_) => f.write_str("a table"),
            Raw::Other(kind) => write!(f, "a value of type {kind}"),
        }
    }
}

/// The value does not fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wrong {
    /// What it must be, where the option's own description is not precise enough.
    pub(crate) allowed: Option<String>,
    /// The entry that does not fit, where the value is a table.
    pub(crate) entry: Option<Entry>,
}

/// An entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shown: String,
    /// Its line, when it is in a file.
    pub(crate) line: Option<usize>,
}

impl Wrong {
    fn allowed(allowed: impl Into<String>) -> Wrong {
        Wrong { allowed: Some(allowed.into()), entry: None }
    }
}

const WRONG: Wrong = Wrong { allowed: None, entry: None };

/// Anti-entropy more often than this is refused by the node: live pushes carry what is new, rounds only repair.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The largest value that peer links accept; see `rejoin_replica::config`.
const VALUE_BYTES_MAX: usize = 16 << 20;

/// The deepest value that every node can parse.
const VALUE_DEPTH_MAX: usize = 126;

/// More connections than one process serves: a number above it is a mistake.
const CONNECTIONS_MAX: usize = 1_000_000;

/// True or false.
pub(crate) fn flag(raw: &Raw) -> Result<bool, Wrong> {
    match raw {
        Raw::Boolean(value) => Ok(*value),
        Raw::Text(text) => text.parse().map_err(|_| WRONG),
        _ => Err(WRONG),
    }
}

/// Text that is not empty.
pub(crate) fn text(raw: &Raw) -> Result<String, Wrong> {
    match raw {
        Raw::Text(text) if !text.trim().is_empty() => Ok(text.clone()),
        _ => Err(WRONG),
    }
}

/// A host and port.
pub(crate) fn listen(raw: &Raw) -> Result<String, Wrong> {
    let text = text(raw)?;
    let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let fits = !host.is_empty()
        && (bracketed || !host.contains([':', '/', '[', ']']))
        && port.parse::<u16>().is_ok();
    if fits { Ok(text) } else { Err(WRONG) }
}

/// URLs of nodes; the node itself checks them to the letter.
pub(crate) fn peers(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let urls = texts(raw)?;
    if urls.iter().any(|url| url.starts_with("https://") || url.starts_with("wss://")) {
        return Err(Wrong::allowed("a list of http:// URLs: TLS is not built in yet"));
    }
    all(urls, |url| follows(url, &["http://", "ws://"]))
}

/// Names of hosts, with or without a port.
pub(crate) fn hosts(raw: &Raw) -> Result<Vec<String>, Wrong> {
    all(texts(raw)?, |host| !host.contains(['/', '@']) && !host.contains(char::is_whitespace))
}

/// Origins of web pages.
pub(crate) fn origins(raw: &Raw) -> Result<Vec<String>, Wrong> {
    all(texts(raw)?, |origin| follows(origin, &["http://", "https://"]) && origin.matches('/').count() == 2)
}

/// What a write survives.
pub(crate) fn durability(raw: &Raw) -> Result<Durability, Wrong> {
    text(raw)?.parse().map_err(|_| WRONG)
}

/// Text that fits a header.
pub(crate) fn token(raw: &Raw) -> Result<String, Wrong> {
    let text = text(raw)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(text) } else { Err(WRONG) }
}

/// A duration, or none.
pub(crate) fn interval(raw: &Raw) -> Result<Option<Duration>, Wrong> {
    match raw {
        Raw::Text(text) if text == "off" => Ok(None),
        _ => duration(raw)
            .and_then(|interval| if interval < INTERVAL_MIN { Err(WRONG) } else { Ok(Some(interval)) }),
    }
}

/// A duration.
pub(crate) fn duration(raw: &Raw) -> Result<Duration, Wrong> {
    match raw {
        Raw::Text(text) => parse_duration(text).ok_or(WRONG),
        Raw::Integer(ms) => u64::try_from(*ms).map(Duration::from_millis).map_err(|_| WRONG),
        _ => Err(WRONG),
    }
}

/// A whole number.
pub(crate) fn count(raw: &Raw) -> Result<u32, Wrong> {
    match raw {
        Raw::Text(text) => text.trim().parse().map_err(|_| WRONG),
        Raw::Integer(number) => u32::try_from(*number).map_err(|_| WRONG),
        _ => Err(WRONG),
    }
}

/// A depth.
pub(crate) fn depth(raw: &Raw) -> Result<usize, Wrong> {
    let depth = count(raw)? as usize;
    if (1..=VALUE_DEPTH_MAX).contains(&depth) { Ok(depth) } else { Err(WRONG) }
}

/// A number of connections.
pub(crate) fn connections(raw: &Raw) -> Result<usize, Wrong> {
    let connections = count(raw)? as usize;
    if (1..=CONNECTIONS_MAX).contains(&connections) { Ok(connections) } else { Err(WRONG) }
}

/// A size.
pub(crate) fn bytes(raw: &Raw) -> Result<usize, Wrong> {
    size(raw, VALUE_BYTES_MAX)
}

/// Live versions of one path.
pub(crate) fn siblings(raw: &Raw) -> Result<usize, Wrong> {
    let siblings = count(raw)? as usize;
    if (1..=SIBLINGS_MAX).contains(&siblings) { Ok(siblings) } else { Err(WRONG) }
}

/// Bytes of them.
pub(crate) fn siblings_bytes(raw: &Raw) -> Result<usize, Wrong> {
    size(raw, SIBLINGS_BYTES_MAX)
}

/// As many live versions of one path as travel.
const SIBLINGS_MAX: usize = 65_536;

/// Well below the largest document that travels (448 MiB), so that concurrent writes of several nodes do too.
const SIBLINGS_BYTES_MAX: usize = 256 << 20;

fn size(raw: &Raw, max: usize) -> Result<usize, Wrong> {
    let bytes = match raw {
        Raw::Text(text) => parse_bytes(text.trim()).ok_or(WRONG)?,
        Raw::Integer(number) => usize::try_from(*number).map_err(|_| WRONG)?,
        _ => return Err(WRONG),
    };
    if (1..=max).contains(&bytes) { Ok(bytes) } else { Err(WRONG) }
}

/// A strategy that needs no program.
pub(crate) fn strategy(raw: &Raw) -> Result<Strategy, Wrong> {
    let name = text(raw)?;
    Strategy::of_name(&name).ok_or_else(|| match name.as_str() {
        "custom" => Wrong::allowed(format!(
            "{}: a custom strategy is a function, for a prefix under conflict.resolvers",
            Key::DefaultStrategy.allowed()
        )),
        _ => WRONG,
    })
}

/// The strategy of a prefix.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    /// One that needs no function.
    BuiltIn(Strategy),
    /// The function that `conflict.resolvers` names for the same prefix.
    Custom,
}

impl Rule {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Rule::BuiltIn(strategy) => strategy.name(),
            Rule::Custom => "custom",
        }
    }
}

/// Strategies by path prefix; in text as `users=merge-fields,settings=first-write-wins`.
pub(crate) fn path_strategies(raw: &Raw) -> Result<BTreeMap<Path, Rule>, Wrong> {
    by_prefix(raw, RULES_IN_TEXT, |entry, raw| match raw {
        Raw::Text(name) if name == "custom" => Ok(Rule::Custom),
        raw => strategy(raw).map(Rule::BuiltIn).map_err(|wrong| Wrong {
            allowed: Some(wrong.allowed.unwrap_or_else(|| Key::DefaultStrategy.allowed().to_owned())),
            entry: Some(entry.clone()),
        }),
    })
}

/// Files by path prefix; in text as `inventory=inventory.js`.
pub(crate) fn resolvers(raw: &Raw) -> Result<BTreeMap<Path, PathBuf>, Wrong> {
    by_prefix(raw, RESOLVERS_IN_TEXT, |entry, raw| {
        let wrong = |_| Wrong { allowed: Some("the path of a file".to_owned()), entry: Some(entry.clone()) };
        text(raw).map(PathBuf::from).map_err(wrong)
    })
}

const RULES_IN_TEXT: &str = "prefixes and strategies, such as users=merge-fields,settings=first-write-wins";
const RESOLVERS_IN_TEXT: &str = "prefixes and files, such as inventory=inventory.js";

/// A table of path prefixes, or the same as text with `=` and commas.
fn by_prefix<T>(
    raw: &Raw,
    in_text: &str,
    value: impl Fn(&Entry, &Raw) -> Result<T, Wrong>,
) -> Result<BTreeMap<Path, T>, Wrong> {
    let pairs: Vec<(String, Raw, Option<usize>)> = match raw {
        Raw::Table(entries) => {
            entries.iter().map(|(prefix, value, line)| (prefix.clone(), value.clone(), Some(*line))).collect()
        }
        Raw::Text(text) => {
            let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
            let pairs = pairs.map(|pair| pair.split_once('=').ok_or_else(|| Wrong::allowed(in_text)));
            let pair = |(prefix, value): (&str, &str)| {
                (prefix.trim().to_owned(), Raw::Text(value.trim().to_owned()), None)
            };
            pairs.map(|split| split.map(pair)).collect::<Result<_, _>>()?
        }
        _ => return Err(WRONG),
    };
    let rule = |(prefix, raw, line): (String, Raw, Option<usize>)| {
        let entry = Entry { name: prefix.clone(), shown: raw.to_string(), line };
        let path = Path::parse(prefix.strip_suffix('/').unwrap_or(&prefix)).map_err(|error| Wrong {
            allowed: Some(format!("for a path prefix such as users, and {prefix:?} is none: {error}")),
            entry: Some(entry.clone()),
        })?;
        Ok((path, value(&entry, &raw)?))
    };
    pairs.into_iter().map(rule).collect()
}

/// Several texts: a list, as text also in the way it is written in a file, or text with commas.
fn texts(raw: &Raw) -> Result<Vec<String>, Wrong> {
    match raw {
        Raw::Text(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).map_err(|_| WRONG)
        }
        Raw::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
        }
        Raw::List(values) => values.iter().map(text).collect(),
        _ => Err(WRONG),
    }
}

fn all(texts: Vec<String>, fits: impl Fn(&str) -> bool) -> Result<Vec<String>, Wrong> {
    if texts.iter().all(|text| fits(text)) { Ok(texts) } else { Err(WRONG) }
}

fn follows(url: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit_bytes = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    count.parse::<usize>().ok()?.checked_mul(unit_bytes)
}
