//! The strategies of `serve`, with the functions that files hold.

use std::path::Path;

use rejoin::Strategy;

use crate::config::{Rule, Settings};
use crate::exit::Exit;
use crate::failure::Failure;

/// The strategies by path prefix; reads the files of resolvers.
pub(crate) fn load(settings: &Settings) -> Result<Vec<(String, Strategy)>, Failure> {
    let rules = settings.path_strategies.value.iter().filter_map(|(prefix, rule)| match rule {
        Rule::BuiltIn(strategy) => Some((prefix.to_string(), strategy.clone())),
        Rule::Custom => None,
    });
    let mut policy: Vec<(String, Strategy)> = rules.collect();
    for (prefix, file) in &settings.resolvers.value {
        let strategy = custom(file).map_err(|reason| {
            let message = format!(
                "The resolver of {prefix}, {} ({}), cannot be used: {reason}.",
                file.display(),
                settings.resolvers.origin
            );
            Failure::new(Exit::Config, "invalid_resolver", message)
                .hint("See docs/resolvers.md; `rejoin resolver test FILE` tries a file.")
        })?;
        policy.push((prefix.to_string(), strategy));
    }
    Ok(policy)
}

#[cfg(feature = "javascript")]
fn custom(file: &Path) -> Result<Strategy, String> {
    let script = rejoin_resolver::Script::read(file).map_err(|error| error.to_string())?;
    Ok(Strategy::Custom(rejoin_resolver::JavaScript::custom(script)))
}

#[cfg(not(feature = "javascript"))]
fn custom(_file: &Path) -> Result<Strategy, String> {
    Err("this build has no JavaScript (feature `javascript`)".to_owned())
}
