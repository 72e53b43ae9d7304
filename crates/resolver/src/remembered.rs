//! A function in JavaScript as a resolver of the node, its results remembered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rejoin::{Candidate, Path, Resolver, ResolverError};

use crate::cache::{Cache, Key, Outcome};
use crate::exchange;
use crate::fault::Fault;
use crate::limits::CACHE_BYTES_MAX;

/// Something that calls a function in JavaScript.
pub trait Run: Send + Sync {
    /// Calls the function with a path and two candidates as JSON texts. The answer is a JSON text:
    /// `{"result": {"value", "timestamp", "origin"}}`, `{"result": {"deleted": true}}`, or `{"nonsense": reason}` for a
    /// result that is none.
    ///
    /// The node waits for it, so it must end in a bounded time.
    ///
    /// # Errors
    /// Why there is no answer.
    fn run(&self, path: &str, local: &str, remote: &str) -> Result<String, Fault>;

    /// Names the function for people.
    fn label(&self) -> &str;
}

/// A function in JavaScript as a resolver.
///
/// It remembers what came of each call, faults too: a read of a path in conflict costs a call only when its versions are
/// new. A fault is logged where it happens, once for the same versions.
#[derive(Debug)]
pub struct Remembered<R> {
    run: R,
    cache: Mutex<Cache>,
}

impl<R: Run> Remembered<R> {
    /// Remembers what comes of calls.
    pub fn new(run: R) -> Remembered<R> {
        Remembered { run, cache: Mutex::new(Cache::new(CACHE_BYTES_MAX)) }
    }

    /// What makes the calls.
    pub fn run(&self) -> &R {
        &self.run
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
        let answer = self.run.run(path.as_str(), &given_local, &given_remote);
        let outcome = answer.and_then(|answer| exchange::taken(&answer, local, remote));
        if let Err(fault) = &outcome {
            let resolver = self.run.label();
            tracing::warn!(path = path.as_str(), resolver, %fault, "a conflict resolver failed; showing the newest version");
        }
        self.cache().put(key, outcome.clone(), Instant::now());
        outcome
    }
}

impl<R: Run> Resolver for Remembered<R> {
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
