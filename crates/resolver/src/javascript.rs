//! A script as a resolver of the node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rejoin::{Candidate, Custom, Path, Resolver, ResolverError};

use crate::cache::{Cache, Key, Outcome};
use crate::exchange;
use crate::limits::CACHE_BYTES_MAX;
use crate::script::Script;
use crate::worker::Workers;

/// A resolver in JavaScript.
///
/// It remembers what came of each call, faults too: a read of a path in conflict costs an engine only when its versions
/// are new. A fault is logged where it happens, once for the same versions.
#[derive(Debug)]
pub struct JavaScript {
    script: Script,
    workers: Workers,
    cache: Mutex<Cache>,
    engines: AtomicU64,
}

impl JavaScript {
    /// A resolver of a script.
    pub fn new(script: Script) -> JavaScript {
        let cache = Mutex::new(Cache::new(CACHE_BYTES_MAX));
        JavaScript { workers: Workers::new(script.clone()), script, cache, engines: AtomicU64::new(0) }
    }

    /// How many engines were started: one for each call that was not remembered.
    pub fn engines_started(&self) -> u64 {
        self.engines.load(Ordering::Relaxed)
    }

    /// The strategy's part of a policy: the resolver under the name of its code.
    pub fn custom(script: Script) -> Custom {
        Custom::new(script.name().to_owned(), JavaScript::new(script))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, path: &Path, local: &Candidate, remote: &Candidate) -> Outcome {
        let (given_local, given_remote) = (exchange::given(local), exchange::given(remote));
        let key = key(path, [local, remote], [&given_local, &given_remote]);
        if let Some(outcome) = self.cache().get(&key, Instant::now()) {
            return outcome;
        }
        self.engines.fetch_add(1, Ordering::Relaxed);
        let answer = self.workers.call(path.as_str(), &given_local, &given_remote);
        let outcome = answer.and_then(|answer| exchange::taken(&answer, local, remote));
        if let Err(fault) = &outcome {
            let file = self.script.file();
            tracing::warn!(path = path.as_str(), file, %fault, "a conflict resolver failed; showing the newest version");
        }
        self.cache().put(key, outcome.clone(), Instant::now());
        outcome
    }
}

impl Resolver for JavaScript {
    fn resolve(
        &self,
        path: &Path,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Candidate, ResolverError> {
        self.call(path, local, remote).map_err(|fault| ResolverError(fault.to_string()))
    }
}

/// Names a call by all that its outcome depends on. The whole stamps are in it beside the texts, which have
/// milliseconds only: the next call of a fold gets what this one leaves.
fn key(path: &Path, candidates: [&Candidate; 2], given: [&str; 2]) -> Key {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(path.as_str().as_bytes());
    for (candidate, given) in candidates.into_iter().zip(given) {
        part(&candidate.hlc.0.to_le_bytes());
        part(given.as_bytes());
    }
    *hasher.finalize().as_bytes()
}
