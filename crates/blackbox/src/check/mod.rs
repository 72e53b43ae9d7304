//! Says which lines of a record contradict each other, and why.
//!
//! The rules are the promises of docs/consistency.md, in terms of what clients were told. What a write had seen is
//! what its answer's clock covers; a clock that claims too little is caught by what the node and the session had shown
//! before, one that claims too much by what is then missing without a live version that saw it.
//!
//! | Violation | What contradicts |
//! |---|---|
//! | `incomplete` | the record ends before the nodes were compared, so it proves nothing |
//! | `not-converged` | after all faults the nodes did not become equal in time |
//! | `unequal` | they said they were equal, and show different things |
//! | `lost-write` | an acknowledged write is not live, and no live version had seen it |
//! | `history-lost` | an acknowledged write is neither live nor in the history of the node that acknowledged it |
//! | `resurrection` | a value is shown that a known delete had seen |
//! | `superseded-shown` | a value is shown that a known write had replaced |
//! | `read-your-writes` | a session does not see its own write |
//! | `monotonic-reads` | a session sees less than it saw before |
//! | `token-not-met` | a request with a node's token is shown less than that node had shown before |
//! | `node-went-back` | a node shows less than it showed or acknowledged before |
//! | `stale-write` | a write had not seen what its node or session had shown before |
//! | `phantom` | a value or delete that nobody wrote there |
//! | `version-reused` | one version names two writes |
//! | `written-twice` | one write has two versions |
//! | `bad-etag` | one entity tag names two states |
//! | `wrong-winner` | of the live versions, one is shown that is older than another, or that is not live |
//! | `bad-clock` | a state's clock does not cover what it shows |
//! | `future-seen` | a write claims to have seen one that began after it was acknowledged |
//! | `scan-differs` | a scan and a read of the same state differ |
//! | `server-error` | a server failed: status 500, or its process ended by itself |

mod end;
mod facts;
mod names;
mod reads;
mod versions;

use std::fmt;

use crate::history::{Line, Outcome};
use facts::Facts;

/// Lines that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which promise is broken: a name of the table above.
    pub kind: &'static str,
    /// Numbers of lines, from 1, ascending.
    pub lines: Vec<usize>,
    /// Why, in one sentence.
    pub why: String,
}

impl Violation {
    fn new(kind: &'static str, lines: impl IntoIterator<Item = usize>, why: impl Into<String>) -> Violation {
        let mut lines: Vec<usize> = lines.into_iter().collect();
        lines.sort_unstable();
        lines.dedup();
        Violation { kind, lines, why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        write!(f, "{} (lines {}): {}", self.kind, lines.join(", "), self.why)
    }
}

/// Everything in a record that must not be, without repeats.
pub fn check(lines: &[Line]) -> Vec<Violation> {
    let facts = Facts::of(lines);
    let mut found = Vec::new();
    servers(lines, &mut found);
    names::check(lines, &facts, &mut found);
    reads::check(lines, &facts, &mut found);
    end::check(lines, &facts, &mut found);
    found.sort();
    found.dedup();
    found
}

/// Servers that failed rather than refused.
fn servers(lines: &[Line], found: &mut Vec<Violation>) {
    for (line, what) in (1..).zip(lines) {
        match what {
            Line::Answer { outcome: Outcome::Refused { status: 500, code }, .. } => {
                found.push(Violation::new("server-error", [line], format!("the server answered 500 {code}")));
            }
            Line::Event { what, node, detail, .. } if what == "died" => {
                let why = format!("the process of {node} ended by itself: {detail}");
                found.push(Violation::new("server-error", [line], why));
            }
            _ => {}
        }
    }
}
