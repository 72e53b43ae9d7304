//! The TOML file: which options it gives, and on which line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, is_table};
use super::nearest::nearest;
use super::value::Raw;
use super::{ConfigError, Given, Origin};
use crate::failure::words;

/// Greatest size of a configuration file, in bytes: anything larger is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the options of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Given>, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let bytes = std::fs::metadata(path).map_err(|error| unreadable(words(&error)))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(words(&error)))?;
    parse(path, &text)
}

/// The options in the text of a file; `path` is only named.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Given>, ConfigError> {
    let source = Source { path, text };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: source.line(error.span().map_or(0, |span| span.start)),
        reason: error.message().trim_end_matches('.').replace('\n', "; "),
    })?;
    let mut found = Vec::new();
    source.walk(table.get_ref(), "", &mut found);
    // Tables come sorted by name; people read from the top.
    found.sort_by_key(|(line, _)| *line);
    found.into_iter().map(|(_, given)| given).collect()
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn walk(&self, table: &DeTable<'_>, within: &str, found: &mut Vec<(usize, Result<Given, ConfigError>)>) {
        for (name, value) in table {
            let line = self.line(name.span().start);
            let origin = Origin::File { path: self.path.to_owned(), line };
            let name = match within {
                "" => name.get_ref().to_string(),
                _ => format!("{within}.{}", name.get_ref()),
            };
            match (Key::of_name(&name), value.get_ref()) {
                (Some(key), _) => found.push((line, Ok(Given { key, raw: self.raw(value), origin }))),
                (None, DeValue::Table(table)) if is_table(&name) => self.walk(table, &name, found),
                (None, _) => {
                    let nearest = nearest(&name, Key::ALL.iter().map(|key| key.name())).map(str::to_owned);
                    found.push((line, Err(ConfigError::Unknown { name, origin, nearest })));
                }
            }
        }
    }

    /// The line of a byte, counted from 1.
    fn line(&self, byte: usize) -> usize {
        let before = self.text.as_bytes().get(..byte).unwrap_or(self.text.as_bytes());
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    fn raw(&self, value: &Spanned<DeValue<'_>>) -> Raw {
        match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                parsed.map_or(Raw::Other("integer of more than 64 bits"), Raw::Integer)
            }
            DeValue::Array(values) => Raw::List(values.iter().map(|value| self.raw(value)).collect()),
            DeValue::Table(table) => {
                let entries = table.iter().map(|(name, value)| {
                    (name.get_ref().to_string(), self.raw(value), self.line(name.span().start))
                });
                Raw::Table(entries.collect())
            }
            DeValue::Boolean(value) => Raw::Boolean(*value),
            DeValue::Float(_) => Raw::Other("float"),
            DeValue::Datetime(_) => Raw::Other("date-time"),
        }
    }
}
