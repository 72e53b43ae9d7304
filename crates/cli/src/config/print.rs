//! Settings for people: as a configuration file that says where each value comes from, or as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rejoin::Path;
use serde_json::{Map, Value, json};

use super::{Key, Settings};
use crate::time::show_duration;

/// Stands for a secret that is set.
const HIDDEN: &str = "********";

/// Column of the comments, in characters.
const COMMENT_COLUMN: usize = 48;

/// The settings as TOML. What is not set is a comment, so that the output is a configuration file.
pub(crate) fn print(settings: &Settings) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in Key::ALL {
        // Prefixes are a table of their own, which must come after the options beside it.
        if matches!(key, Key::PathStrategies | Key::Resolvers) {
            continue;
        }
        if key.table() != table {
            if key.table() == "limits" {
                text.push_str(&path_strategies(settings));
                text.push_str(&resolvers(settings));
            }
            table = key.table();
            text.push_str(&format!("\n[{table}]\n"));
        }
        let (value, origin) = settings.shown(key);
        let comment = match key {
            Key::MaxMessageAge => format!("{origin}; accepted, not needed"),
            Key::Connections if value.is_null() => format!("{origin}; as open files allow"),
            _ => origin,
        };
        let option = match value {
            Value::Null => format!("# {} is not set", key.leaf()),
            value => format!("{} = {value}", key.leaf()),
        };
        text.push_str(&commented(&option, &comment));
    }
    text
}

/// The settings as one JSON object: each option with its value and origin.
pub(crate) fn print_json(settings: &Settings) -> Value {
    let option = |key: Key| {
        let (value, origin) = settings.shown(key);
        (key.name().to_owned(), json!({ "value": value, "origin": origin }))
    };
    Value::Object(Key::ALL.into_iter().map(option).collect())
}

impl Settings {
    /// The value of an option as JSON, which is also how TOML writes it, and where it came from.
    fn shown(&self, key: Key) -> (Value, String) {
        macro_rules! shown {
            ($setting:ident, $show:expr) => {
                (json!(($show)(&self.$setting.value)), self.$setting.origin.to_string())
            };
        }
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| HIDDEN);
        let same = |text: &Option<String>| text.clone();
        match key {
            Key::Listen => shown!(listen, String::clone),
            Key::DataDir => shown!(data_dir, |path: &std::path::PathBuf| path.display().to_string()),
            Key::Name => shown!(name, same),
            Key::Peers => shown!(peers, Vec::clone),
            Key::Durability => shown!(durability, ToString::to_string),
            Key::AuthToken => shown!(auth_token, hidden),
            Key::AllowedHosts => shown!(allowed_hosts, Vec::clone),
            Key::AllowedOrigins => shown!(allowed_origins, Vec::clone),
            Key::ClusterName => shown!(cluster_name, String::clone),
            Key::ClusterSecret => shown!(cluster_secret, hidden),
            Key::AntiEntropyInterval => shown!(anti_entropy_interval, |interval: &Option<_>| {
                interval.map_or("off".to_owned(), show_duration)
            }),
            Key::MaxVersions => shown!(max_versions, u32::clone),
            Key::TombstoneRetention => shown!(tombstone_retention, |age: &_| show_duration(*age)),
            Key::AllowRemovals => shown!(allow_removals, bool::clone),
            Key::MaxMessageAge => shown!(max_message_age, |age: &Option<_>| age.map(show_duration)),
            Key::DefaultStrategy => shown!(default_strategy, rejoin::Strategy::name),
            Key::PathStrategies => {
                let rules = self.path_strategies.value.iter();
                let rules = rules.map(|(prefix, strategy)| (prefix.to_string(), json!(strategy.name())));
                (Value::Object(rules.collect::<Map<_, _>>()), self.path_strategies.origin.to_string())
            }
            Key::Resolvers => shown!(resolvers, |files: &BTreeMap<Path, PathBuf>| {
                let shown = files
                    .iter()
                    .map(|(prefix, file)| (prefix.to_string(), json!(file.display().to_string())));
                Value::Object(shown.collect::<Map<_, _>>())
            }),
            Key::ValueBytes => shown!(value_bytes, usize::clone),
            Key::ValueDepth => shown!(value_depth, usize::clone),
            Key::Siblings => shown!(siblings, usize::clone),
            Key::SiblingsBytes => shown!(siblings_bytes, usize::clone),
            Key::Connections => shown!(connections, Option::clone),
            Key::GenerationFile => shown!(generation_file, |path: &Option<PathBuf>| {
                path.as_ref().map(|path| path.display().to_string())
            }),
            Key::ClockJumps => shown!(clock_jumps, bool::clone),
        }
    }
}

fn path_strategies(settings: &Settings) -> String {
    let origin = settings.path_strategies.origin.to_string();
    let mut text = String::from("\n[conflict.path_strategies]\n");
    for (prefix, strategy) in &settings.path_strategies.value {
        let option = format!("{} = {}", json!(prefix.as_str()), json!(strategy.name()));
        text.push_str(&commented(&option, &origin));
    }
    if settings.path_strategies.value.is_empty() {
        text.push_str(&commented("# no prefix has a strategy of its own", &origin));
    }
    text
}

fn resolvers(settings: &Settings) -> String {
    let origin = settings.resolvers.origin.to_string();
    let mut text = String::from("\n[conflict.resolvers]\n");
    for (prefix, file) in &settings.resolvers.value {
        let option = format!("{} = {}", json!(prefix.as_str()), json!(file.display().to_string()));
        text.push_str(&commented(&option, &origin));
    }
    if settings.resolvers.value.is_empty() {
        text.push_str(&commented("# no prefix has a resolver", &origin));
    }
    text
}

fn commented(option: &str, comment: &str) -> String {
    // The one character that JSON writes bare and TOML does not take so.
    let option = option.replace('\u{7F}', "\\u007F");
    format!("{option:<COMMENT_COLUMN$}  # {comment}\n")
}
