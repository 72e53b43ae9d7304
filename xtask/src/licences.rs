//! Whether every dependency's licence is one that deny.toml allows.
//!
//! cargo-deny reads the same file and knows much more; this needs nothing but cargo, so that it runs everywhere.

use std::process::Command;

use serde_json::Value;

/// Checks all packages of the lock file; returns how many there are.
pub(crate) fn check() -> Result<usize, String> {
    let config =
        std::fs::read_to_string("deny.toml").map_err(|error| format!("cannot read deny.toml: {error}"))?;
    let config: toml::Table = config.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let allowed: Vec<&str> = config["licenses"]["allow"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .collect();

    let output = Command::new("cargo").args(["metadata", "--format-version", "1", "--locked"]).output();
    let output = output.map_err(|error| format!("cannot run `cargo metadata`: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or_default(), &allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    match refused.is_empty() {
        true => Ok(packages.len()),
        false => Err(format!("licences that deny.toml does not allow:\n  {}", refused.join("\n  "))),
    }
}

/// Whether an SPDX expression can be met with the allowed licences. Knows OR, AND and parentheses, and takes the old
/// `MIT/Apache-2.0` for OR.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allowed);
    met && words.peek().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words, allowed);
            words.next_if_eq(&")").is_some() && met
        }
        Some(licence) => {
            let mut name = licence.to_string();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            allowed.contains(&name.as_str())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions_are_met_or_not() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
        for met in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "MIT AND MIT"]
        {
            assert!(is_allowed(met, &allowed), "{met}");
        }
        for not in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "Apache-2.0 WITH LLVM-exception", "MIT MIT"] {
            assert!(!is_allowed(not, &allowed), "{not}");
        }
    }
}
