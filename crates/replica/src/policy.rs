//! Which strategy rules which paths.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};

use rejoin_causal::Dot;

use crate::body::Document;
use crate::path::Path;
use crate::strategy::{Strategy, Visible};

/// A default strategy and exceptions by path prefix. The longest matching prefix wins, on segment boundaries:
/// `users` rules `users` and `users/alice`, never `users2`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    default: Strategy,
    rules: BTreeMap<String, Strategy>,
}

impl Policy {
    /// One strategy for all paths.
    pub fn new(default: Strategy) -> Policy {
        Policy { default, rules: BTreeMap::new() }
    }

    /// Adds an exception for `prefix` and everything below it, or replaces the one it had.
    #[must_use]
    pub fn with(mut self, prefix: &Path, strategy: Strategy) -> Policy {
        self.rules.insert(prefix.as_str().to_string(), strategy);
        self
    }

    /// The strategy that rules `path`.
    pub fn strategy(&self, path: &Path) -> &Strategy {
        if self.rules.is_empty() {
            return &self.default;
        }
        let mut prefix = path.as_str();
        loop {
            if let Some(strategy) = self.rules.get(prefix) {
                return strategy;
            }
            match prefix.rfind('/') {
                Some(at) => prefix = &prefix[..at],
                None => return &self.default,
            }
        }
    }

    /// The rules: prefix and strategy, by prefix.
    pub fn rules(&self) -> impl Iterator<Item = (&str, &Strategy)> {
        self.rules.iter().map(|(prefix, strategy)| (prefix.as_str(), strategy))
    }

    /// The strategy of paths without a rule.
    pub fn default_strategy(&self) -> &Strategy {
        &self.default
    }

    /// What a reader of `document` at `path` sees at `wall_ms`; `None` for a document without versions.
    pub fn visible(&self, path: &Path, document: &Document, wall_ms: u64) -> Option<Visible> {
        self.strategy(path).visible(path, document, wall_ms)
    }

    /// What peers compare at the handshake: two policies mean two views of the same data.
    pub fn hash(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        let mut rule = |prefix: &str, strategy: &Strategy| {
            let resolver = match strategy {
                Strategy::Custom(custom) => custom.name(),
                _ => "",
            };
            for part in [prefix, strategy.name(), resolver] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        };
        rule("", &self.default);
        for (prefix, strategy) in &self.rules {
            rule(prefix, strategy);
        }
        first_16(&hasher.finalize())
    }
}

/// The first half of a hash: 128 bits are plenty where nobody gains by a collision with their own data.
pub(crate) fn first_16(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// The entity tag of a document: names its live versions, so it is the same on every node that has them.
pub fn etag(document: &Document) -> [u8; 16] {
    etag_of(document.versions().iter().map(|version| version.dot))
}

/// The entity tag of a document with these live versions.
pub(crate) fn etag_of(versions: impl IntoIterator<Item = Dot>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for dot in versions {
        hasher.update(&dot.node.0);
        hasher.update(&dot.epoch.0.to_le_bytes());
        hasher.update(&dot.seq.to_le_bytes());
    }
    first_16(&hasher.finalize())
}
