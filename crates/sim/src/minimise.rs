//! From a world that fails to a smaller one that fails alike: fewer steps, nodes, paths and kinds of fault.

use crate::campaign::run_one;
use crate::scenario::{Fault, Options, Outcome};
use crate::violation::{Promise, Violation};

/// Worlds that are run to make one smaller, at most: a minute or so.
const RUNS_MAX: u64 = 300;

/// The smallest world that was found.
#[derive(Clone, Debug)]
pub struct Minimised {
    /// What makes it small.
    pub options: Options,
    /// The promise that it breaks: the same as the whole world.
    pub violation: Violation,
    /// Worlds that were run to find it.
    pub runs: u64,
}

struct Search {
    seed: u64,
    promise: Promise,
    best: Options,
    outcome: Outcome,
    runs: u64,
}

/// Makes the world of a seed smaller, as long as it breaks the same promise; `None` when it breaks none.
pub fn minimise(seed: u64, options: Options) -> Option<Minimised> {
    let outcome = run_one(seed, options);
    let promise = outcome.violation.as_ref()?.promise;
    let mut search = Search { seed, promise, best: options, outcome, runs: 1 };
    search.fewer_steps();
    for fault in Fault::ALL {
        let without = search.best.without.with(fault);
        search.fails(Options { without, ..search.best });
    }
    for nodes in 2..usize::try_from(search.outcome.nodes).unwrap_or(2) {
        if search.fails(Options { nodes_max: Some(nodes), ..search.best }) {
            break;
        }
    }
    for paths in [1, 2, 4, 16] {
        if search.fails(Options { paths_max: Some(paths), ..search.best }) {
            break;
        }
    }
    search.fewer_steps();
    let violation = search.outcome.violation?;
    Some(Minimised { options: search.best, violation, runs: search.runs })
}

impl Search {
    /// Tries a smaller world, and goes on from it when it fails alike.
    fn fails(&mut self, options: Options) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let outcome = run_one(self.seed, options);
        let alike = outcome.violation.as_ref().is_some_and(|violation| violation.promise == self.promise);
        if alike {
            (self.best, self.outcome) = (options, outcome);
        }
        alike
    }

    /// Cuts off the end of the schedule: half of what is left, then less and less.
    fn fewer_steps(&mut self) {
        let mut cut = self.outcome.steps / 2;
        self.fails(Options { steps_max: Some(self.outcome.steps), ..self.best });
        while cut > 0 {
            let steps = self.best.steps_max.unwrap_or(self.outcome.steps);
            if cut >= steps || !self.fails(Options { steps_max: Some(steps - cut), ..self.best }) {
                cut /= 2;
            }
        }
    }
}
