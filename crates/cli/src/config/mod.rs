//! The settings of `rejoin serve`: defaults, a TOML file, the environment and flags, each beating those before it.
//!
//! [`Settings::merge`] is the one place where they meet. Every source is first read into [`Given`]s, which say which
//! option was given what and where; so every setting knows where it came from, and every error can say it.

mod environment;
mod file;
mod key;
mod nearest;
mod print;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rejoin::{Durability, Path, Strategy};

use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use environment::Environment;
pub(crate) use key::Key;
pub(crate) use print::{print, print_json};
pub(crate) use value::{Raw, Rule};

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the configuration file.
    File { path: PathBuf, line: usize },
    /// An environment variable.
    Environment(String),
    /// A command line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One option as somebody gave it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) key: Key,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Setting<T> {
    fn default_of(value: T) -> Setting<T> {
        Setting { value, origin: Origin::Default }
    }
}

/// Every setting of a node, checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Setting<String>,
    pub(crate) data_dir: Setting<PathBuf>,
    pub(crate) name: Setting<Option<String>>,
    pub(crate) peers: Setting<Vec<String>>,
    pub(crate) durability: Setting<Durability>,
    pub(crate) auth_token: Setting<Option<String>>,
    /// Host names that requests may name, besides loopback and the node's own address.
    pub(crate) allowed_hosts: Setting<Vec<String>>,
    /// Origins of web pages that may use the node.
    pub(crate) allowed_origins: Setting<Vec<String>>,
    pub(crate) cluster_name: Setting<String>,
    pub(crate) cluster_secret: Setting<Option<String>>,
    pub(crate) anti_entropy_interval: Setting<Option<Duration>>,
    pub(crate) max_versions: Setting<u32>,
    pub(crate) tombstone_retention: Setting<Duration>,
    pub(crate) allow_removals: Setting<bool>,
    /// Accepted because the first server had it; nothing here needs it.
    pub(crate) max_message_age: Setting<Option<Duration>>,
    pub(crate) default_strategy: Setting<Strategy>,
    pub(crate) path_strategies: Setting<BTreeMap<Path, Rule>>,
    /// The files of custom strategies, by prefix; each relative to the place it was given in.
    pub(crate) resolvers: Setting<BTreeMap<Path, PathBuf>>,
    pub(crate) value_bytes: Setting<usize>,
    pub(crate) value_depth: Setting<usize>,
    /// Live versions of one path beyond which a write must not add another, and bytes of them.
    pub(crate) siblings: Setting<usize>,
    pub(crate) siblings_bytes: Setting<usize>,
    /// Open connections; none for as many as the limit of open files allows.
    pub(crate) connections: Setting<Option<usize>>,
    /// A file whose content changes with each copy of the machine.
    pub(crate) generation_file: Setting<Option<PathBuf>>,
    /// Whether a wall clock that jumps ahead is taken for a machine that was put back.
    pub(crate) clock_jumps: Setting<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: Setting::default_of("127.0.0.1:3000".into()),
            data_dir: Setting::default_of("./rejoin-data".into()),
            name: Setting::default_of(None),
            peers: Setting::default_of(Vec::new()),
            durability: Setting::default_of(Durability::Disk),
            auth_token: Setting::default_of(None),
            allowed_hosts: Setting::default_of(Vec::new()),
            allowed_origins: Setting::default_of(Vec::new()),
            cluster_name: Setting::default_of("default".into()),
            cluster_secret: Setting::default_of(None),
            anti_entropy_interval: Setting::default_of(Some(Duration::from_secs(60))),
            max_versions: Setting::default_of(10),
            tombstone_retention: Setting::default_of(Duration::from_secs(7 * 24 * 3_600)),
            allow_removals: Setting::default_of(false),
            max_message_age: Setting::default_of(None),
            default_strategy: Setting::default_of(Strategy::LastWriteWins),
            path_strategies: Setting::default_of(BTreeMap::new()),
            resolvers: Setting::default_of(BTreeMap::new()),
            value_bytes: Setting::default_of(1 << 20),
            value_depth: Setting::default_of(64),
            siblings: Setting::default_of(64),
            siblings_bytes: Setting::default_of(32 << 20),
            connections: Setting::default_of(None),
            generation_file: Setting::default_of(None),
            clock_jumps: Setting::default_of(true),
        }
    }
}

impl Settings {
    /// Reads the configuration file that a flag or the environment names, and merges everything that was given.
    ///
    /// # Errors
    /// The first thing that is wrong, with where it is.
    pub(crate) fn load(
        file: Option<&std::path::Path>,
        environment: &Environment,
        flags: Vec<Given>,
    ) -> Result<Settings, ConfigError> {
        let in_file = match file.or(environment.config_file()) {
            Some(path) => file::read(path)?,
            None => Vec::new(),
        };
        Settings::merge([in_file, environment.given()?, flags])
    }

    /// Lays the sources over the defaults, first source lowest.
    fn merge(sources: [Vec<Given>; 3]) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        for given in sources.into_iter().flatten() {
            settings.set(given)?;
        }
        settings.check_custom()?;
        Ok(settings)
    }

    fn set(&mut self, given: Given) -> Result<(), ConfigError> {
        let Given { key, raw, origin } = given;
        let wrong = |why: value::Wrong| ConfigError::wrong(key, &raw, origin.clone(), why);
        macro_rules! set {
            ($setting:ident, $parse:expr) => {
                self.$setting = Setting { value: $parse.map_err(wrong)?, origin }
            };
        }
        match key {
            Key::Listen => set!(listen, value::listen(&raw)),
            Key::DataDir => set!(data_dir, value::text(&raw).map(PathBuf::from)),
            Key::Name => set!(name, value::text(&raw).map(Some)),
            Key::Peers => set!(peers, value::peers(&raw)),
            Key::Durability => set!(durability, value::durability(&raw)),
            Key::AuthToken => set!(auth_token, value::token(&raw).map(Some)),
            Key::AllowedHosts => set!(allowed_hosts, value::hosts(&raw)),
            Key::AllowedOrigins => set!(allowed_origins, value::origins(&raw)),
            Key::ClusterName => set!(cluster_name, value::text(&raw)),
            Key::ClusterSecret => set!(cluster_secret, value::text(&raw).map(Some)),
            Key::AntiEntropyInterval => set!(anti_entropy_interval, value::interval(&raw)),
            Key::MaxVersions => set!(max_versions, value::count(&raw)),
            Key::TombstoneRetention => set!(tombstone_retention, value::duration(&raw)),
            Key::AllowRemovals => set!(allow_removals, value::flag(&raw)),
            Key::MaxMessageAge => set!(max_message_age, value::duration(&raw).map(Some)),
            Key::DefaultStrategy => set!(default_strategy, value::strategy(&raw)),
            Key::PathStrategies => set!(path_strategies, value::path_strategies(&raw)),
            Key::Resolvers => {
                let mut files = value::resolvers(&raw).map_err(wrong)?;
                let folder = match &origin {
                    Origin::File { path, .. } => path.parent().unwrap_or(std::path::Path::new("")),
                    _ => std::path::Path::new(""),
                };
                for file in files.values_mut() {
                    let joined = folder.join(&*file);
                    // What is printed must say the same in a file that lies elsewhere.
                    *file = std::path::absolute(&joined).unwrap_or(joined);
                }
                self.resolvers = Setting { value: files, origin };
            }
            Key::ValueBytes => set!(value_bytes, value::bytes(&raw)),
            Key::ValueDepth => set!(value_depth, value::depth(&raw)),
            Key::Siblings => set!(siblings, value::siblings(&raw)),
            Key::SiblingsBytes => set!(siblings_bytes, value::siblings_bytes(&raw)),
            Key::Connections => set!(connections, value::connections(&raw).map(Some)),
            Key::GenerationFile => set!(generation_file, value::text(&raw).map(PathBuf::from).map(Some)),
            Key::ClockJumps => set!(clock_jumps, value::flag(&raw)),
        }
        Ok(())
    }

    /// A custom strategy and its file go together.
    fn check_custom(&self) -> Result<(), ConfigError> {
        let (rules, files) = (&self.path_strategies, &self.resolvers);
        for (prefix, rule) in &rules.value {
            let allowed = match (rule, files.value.get(prefix)) {
                (Rule::Custom, None) => format!("beside a file for {prefix} under conflict.resolvers"),
                (Rule::BuiltIn(_), Some(_)) => {
                    format!("\"custom\", or left out: conflict.resolvers ({}) names a file", files.origin)
                }
                _ => continue,
            };
            return Err(ConfigError::Wrong {
                name: format!("{}.{prefix}", Key::PathStrategies.name()),
                shown: format!("{:?}", rule.name()),
                origin: rules.origin.clone(),
                allowed,
            });
        }
        Ok(())
    }
}

/// What is wrong with the configuration.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Unreadable { path: PathBuf, reason: String },
    /// The file is not TOML.
    Syntax { path: PathBuf, line: usize, reason: String },
    /// No option has this name.
    Unknown { name: String, origin: Origin, nearest: Option<String> },
    /// The option cannot have this value.
    Wrong { name: String, shown: String, origin: Origin, allowed: String },
}

impl ConfigError {
    fn wrong(key: Key, raw: &Raw, origin: Origin, why: value::Wrong) -> ConfigError {
        let allowed = why.allowed.unwrap_or_else(|| key.allowed().to_owned());
        // A wrong secret is still a secret.
        let shown = if key.is_secret() { "this text".to_owned() } else { raw.to_string() };
        let name = key.name().to_owned();
        match (why.entry, origin) {
            (None, origin) => ConfigError::Wrong { name, shown, origin, allowed },
            (Some(value::Entry { name: entry, shown, line }), origin) => ConfigError::Wrong {
                name: format!("{name}.{entry}"),
                shown,
                origin: match (origin, line) {
                    (Origin::File { path, .. }, Some(line)) => Origin::File { path, line },
                    (origin, _) => origin,
                },
                allowed,
            },
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        let fail = |code, message: String| Failure::new(Exit::Config, code, message);
        match error {
            ConfigError::Unreadable { path, reason } => fail(
                "config_unreadable",
                format!("The configuration file {} cannot be read: {reason}.", path.display()),
            )
            .hint("Check the path given by --config or REJOIN_CONFIG."),
            ConfigError::Syntax { path, line, reason } => {
                fail("config_syntax", format!("{}:{line} is not TOML: {reason}.", path.display()))
                    .hint("Correct the line; see https://toml.io for the format.")
            }
            ConfigError::Unknown { name, origin, nearest } => {
                let place = match origin {
                    Origin::File { .. } => format!(" at {origin}"),
                    _ => String::new(),
                };
                fail("unknown_option", format!("There is no option `{name}`{place}.")).hint(match nearest {
                    Some(nearest) => format!("Did you mean `{nearest}`?"),
                    None => "`rejoin config print` shows every option.".to_owned(),
                })
            }
            ConfigError::Wrong { name, shown, origin, allowed } => {
                fail("invalid_option", format!("`{name}` cannot be {shown} ({origin})."))
                    .hint(format!("It must be {allowed}."))
            }
        }
    }
}
