//! The environment: every `REJOIN_*` variable, none ignored.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::key::Key;
use super::nearest::nearest;
use super::value::Raw;
use super::{ConfigError, Given, Origin};

const PREFIX: &str = "REJOIN_";
const CONFIG: &str = "REJOIN_CONFIG";

/// Variables that are not options of a node: they belong to the command line or to the log.
const OTHERS: [&str; 4] = [CONFIG, "REJOIN_URL", "REJOIN_TOKEN", "REJOIN_LOG"];

/// The variables that concern us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, OsString)>,
    config_file: Option<PathBuf>,
}

impl Environment {
    /// Those of this process.
    pub(crate) fn of_process() -> Environment {
        Environment::of(std::env::vars_os())
    }

    /// Those among `variables` that begin with `REJOIN_`, by name. Empty ones count as not set.
    pub(crate) fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            (!value.is_empty()).then_some((name, value))
        });
        let mut variables: Vec<(String, OsString)> = ours.collect();
        variables.sort();
        let config_file =
            variables.iter().find(|(name, _)| name == CONFIG).map(|(_, value)| PathBuf::from(value));
        Environment { variables, config_file }
    }

    /// The configuration file it names.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.config_file.as_deref()
    }

    /// The options it gives.
    pub(crate) fn given(&self) -> Result<Vec<Given>, ConfigError> {
        let ours = self.variables.iter().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
        ours.map(|(name, value)| option(name, value)).collect()
    }
}

fn option(name: &str, value: &OsString) -> Result<Given, ConfigError> {
    let origin = Origin::Environment(name.to_owned());
    let raw = match value.to_str() {
        Some(text) => Raw::Text(text.to_owned()),
        None => Raw::Other("text that is not UTF-8"),
    };
    match Key::ALL.into_iter().find(|key| key.variable() == name) {
        Some(key) => Ok(Given { key, raw, origin }),
        None => {
            let known: Vec<String> =
                Key::ALL.into_iter().map(Key::variable).chain(OTHERS.map(str::to_owned)).collect();
            let nearest = nearest_variable(name, &known);
            Err(ConfigError::Unknown { name: name.to_owned(), origin, nearest })
        }
    }
}

/// Variables have no tables: the leaf of an option may stand for all of it, as in `REJOIN_MAX_VERSIONS`.
fn nearest_variable(name: &str, known: &[String]) -> Option<String> {
    let bare = name.strip_prefix(PREFIX).unwrap_or(name);
    let bares = known.iter().filter_map(|variable| variable.strip_prefix(PREFIX));
    let of_option = || {
        let key = Key::of_name(nearest(bare, Key::ALL.iter().map(|key| key.name()))?)?;
        Some(key.variable())
    };
    nearest(bare, bares).map(|bare| format!("{PREFIX}{bare}")).or_else(of_option)
}
