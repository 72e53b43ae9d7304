//! A script as a resolver of the node.

use std::sync::atomic::{AtomicU64, Ordering};

use rejoin::{Candidate, Custom, Path, Resolver, ResolverError};

use crate::fault::Fault;
use crate::remembered::{Remembered, Run};
use crate::script::Script;
use crate::worker::Workers;

/// A resolver in JavaScript; see [`Remembered`] for what it remembers.
#[derive(Debug)]
pub struct JavaScript {
    remembered: Remembered<Engines>,
}

/// Engines of a script, one for each call.
#[derive(Debug)]
struct Engines {
    script: Script,
    workers: Workers,
    started: AtomicU64,
}

impl JavaScript {
    /// A resolver of a script.
    pub fn new(script: Script) -> JavaScript {
        let workers = Workers::new(script.clone());
        JavaScript { remembered: Remembered::new(Engines { script, workers, started: AtomicU64::new(0) }) }
    }

    /// How many engines were started: one for each call that was not remembered.
    pub fn engines_started(&self) -> u64 {
        self.remembered.run().started.load(Ordering::Relaxed)
    }

    /// The strategy's part of a policy: the resolver under the name of its code.
    pub fn custom(script: Script) -> Custom {
        Custom::new(script.name().to_owned(), JavaScript::new(script))
    }
}

impl Run for Engines {
    fn run(&self, path: &str, local: &str, remote: &str) -> Result<String, Fault> {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.workers.call(path, local, remote)
    }

    fn label(&self) -> &str {
        self.script.file()
    }
}

impl Resolver for JavaScript {
    fn resolve(
        &self,
        path: &Path,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Candidate, ResolverError> {
        self.remembered.resolve(path, local, remote)
    }
}
