//! What nodes and sessions had shown must be seen by what they show and write later.

use std::collections::BTreeMap;

use super::Violation;
use super::facts::{Acked, Facts};
use super::versions::{covers, parse};
use crate::history::{Clock, Line, Outcome, State, Verb};

/// Whose knowledge it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope<'a> {
    Node(&'a str),
    Session(&'a str),
}

/// How one number of a clock became known.
#[derive(Clone, Copy, Debug)]
struct Proof<'a> {
    number: u64,
    line: usize,
    scope: Scope<'a>,
    how: How,
}

/// How a node or a session came to know something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// A node that had shown it to somebody gave the session a token.
    Token,
    /// It was read.
    Read,
    /// It was written.
    Wrote,
}

/// What must be seen of a path: node id to the number that must be covered.
type Known<'a> = BTreeMap<&'a str, Proof<'a>>;

/// A call that was not answered yet.
struct Open<'a> {
    node: &'a str,
    session: Option<&'a str>,
    path: &'a str,
    /// What its node and session had shown when it began, by path.
    known: BTreeMap<&'a str, Known<'a>>,
    /// What its node had shown of all paths, when it is in a session: the token of the answer covers that.
    node_known: BTreeMap<&'a str, Known<'a>>,
}

pub(super) fn check<'a>(lines: &'a [Line], facts: &'a Facts<'a>, found: &mut Vec<Violation>) {
    let mut walk = Walk { facts, found, known: BTreeMap::new() };
    let mut open: BTreeMap<u64, Open<'a>> = BTreeMap::new();
    for (line, what) in (1..).zip(lines) {
        match what {
            Line::Call { op, node, session, verb, path, .. } => {
                let session = session.as_deref();
                let known = walk.known_at(node, session, *verb, path);
                let in_session = session.and_then(|_| walk.known.get(&Scope::Node(node)));
                let node_known = in_session.cloned().unwrap_or_default();
                open.insert(*op, Open { node, session, path, known, node_known });
            }
            Line::Answer { op, outcome, .. } => {
                if let Some(call) = open.remove(op) {
                    walk.answer(line, &call, outcome);
                }
            }
            Line::Final { node, path, state, .. } => {
                let known = walk.known_at(node, None, Verb::Explain, path);
                let known = known.get(path.as_str()).cloned().unwrap_or_default();
                match state {
                    Some(state) => walk.read(line, state, &known),
                    None => walk.absent(line, path, "missing", &known),
                }
            }
            _ => {}
        }
    }
}

struct Walk<'a, 'f> {
    facts: &'a Facts<'a>,
    found: &'f mut Vec<Violation>,
    known: BTreeMap<Scope<'a>, BTreeMap<&'a str, Known<'a>>>,
}

impl<'a> Walk<'a, '_> {
    fn known_at(
        &self,
        node: &'a str,
        session: Option<&'a str>,
        verb: Verb,
        path: &'a str,
    ) -> BTreeMap<&'a str, Known<'a>> {
        let scopes = [Some(Scope::Node(node)), session.map(Scope::Session)];
        let mut all: BTreeMap<&str, Known<'_>> = BTreeMap::new();
        for paths in scopes.into_iter().flatten().filter_map(|scope| self.known.get(&scope)) {
            let matching = paths.iter().filter(|(known, _)| match verb {
                Verb::Scan => known.starts_with(path),
                _ => **known == path,
            });
            for (path, known) in matching {
                let joined = all.entry(path).or_default();
                known.iter().for_each(|(node, proof)| raise(joined, node, *proof));
            }
        }
        all
    }

    fn answer(&mut self, line: usize, call: &Open<'a>, outcome: &'a Outcome) {
        let nothing = Known::new();
        let known = call.known.get(call.path).unwrap_or(&nothing);
        match outcome {
            Outcome::Written { version, clock, .. } => {
                self.write(line, call, version, clock, known);
                self.learn(line, call, call.path, clock, How::Wrote);
            }
            Outcome::Read { state } => {
                self.read(line, state, known);
                self.learn(line, call, &state.path, &state.clock, How::Read);
            }
            Outcome::Listed { items } => {
                for (path, known) in &call.known {
                    if !items.iter().any(|item| item.path == *path) {
                        self.absent(line, path, "deleted", known);
                    }
                }
                for state in items {
                    self.read(line, state, call.known.get(state.path.as_str()).unwrap_or(&nothing));
                    self.learn(line, call, &state.path, &state.clock, How::Read);
                }
            }
            Outcome::Absent { reason } => self.absent(line, call.path, reason, known),
            Outcome::Refused { .. } | Outcome::Unknown { .. } => {}
        }
        if !matches!(outcome, Outcome::Refused { .. } | Outcome::Unknown { .. }) {
            self.token(call);
        }
    }

    /// The answer's token covers everything that its node had shown to anybody before.
    fn token(&mut self, call: &Open<'a>) {
        let Some(session) = call.session else { return };
        let scope = Scope::Session(session);
        let known = self.known.entry(scope).or_default();
        for (path, shown) in &call.node_known {
            let known = known.entry(path).or_default();
            for (node, proof) in shown {
                raise(known, node, Proof { scope, how: How::Token, ..*proof });
            }
        }
    }

    /// An answer shows that its node, and its session, know that much of the path.
    fn learn(&mut self, line: usize, call: &Open<'a>, path: &'a str, clock: &'a Clock, how: How) {
        for scope in [Some(Scope::Node(call.node)), call.session.map(Scope::Session)].into_iter().flatten() {
            let known = self.known.entry(scope).or_default().entry(path).or_default();
            for (node, number) in clock {
                raise(known, node, Proof { number: *number, line, scope, how });
            }
        }
    }

    fn write(&mut self, line: usize, call: &Open<'a>, version: &str, clock: &Clock, known: &Known<'a>) {
        if !covers(clock, version) {
            let why = format!("the write's clock {clock:?} does not cover its own version {version}");
            self.found.push(Violation::new("bad-clock", [line], why));
        }
        if let Some((node, proof)) = lacks(clock, known) {
            let why = format!(
                "the write on {} saw {} of {node} and not {}, which line {} shows to be known",
                call.node,
                number_of(clock, node),
                proof.number,
                proof.line
            );
            self.found.push(Violation::new("stale-write", [line, proof.line], why));
        }
        for other in self.facts.acked(call.path) {
            if other.write.call > line && covers(clock, other.version) {
                let why = format!("the write claims to have seen {}, which began later", other.version);
                self.found.push(Violation::new("future-seen", [line, other.write.call], why));
            }
        }
    }

    fn read(&mut self, line: usize, state: &'a State, known: &Known<'a>) {
        match lacks(&state.clock, known) {
            None => self.superseded(line, state, known),
            Some((node, proof)) => {
                let why = format!(
                    "{} shows {} of {node}, and line {} had shown {}",
                    state.path,
                    number_of(&state.clock, node),
                    proof.line,
                    proof.number
                );
                self.found.push(Violation::new(broken(proof), [line, proof.line], why));
                self.superseded(line, state, &Known::new());
            }
        }
        self.lost(line, state);
    }

    /// Nothing may be live that a write known here has replaced.
    fn superseded(&mut self, line: usize, state: &State, known: &Known<'a>) {
        let live = state.live.iter().flatten().map(|live| (live.version.as_str(), live.value.as_deref()));
        for (version, value) in live.chain([(state.version.as_str(), state.value.as_deref())]) {
            // A claim to have seen the future is a violation of its own.
            let called = self.facts.writes(&state.path).iter().find(|write| write.version == Some(version));
            let called = called.map_or(0, |write| write.call);
            let replaced = |write: &Acked<'_>| {
                write.version != version
                    && (called..line).contains(&write.answer)
                    && covers(write.clock, version)
                    && (covers(&state.clock, write.version) || knows(known, write.version))
            };
            if let Some(write) = self.facts.acked(&state.path).find(replaced) {
                let kind = match write.write.value {
                    None if value.is_some() => "resurrection",
                    _ => "superseded-shown",
                };
                let why = format!(
                    "{} shows {version} ({value:?}), and {} had seen and replaced it",
                    state.path,
                    write.write.what()
                );
                self.found.push(Violation::new(kind, [line, write.answer], why));
            }
        }
    }

    /// An acknowledged write that the clock covers is live, or a live version had seen it.
    fn lost(&mut self, line: usize, state: &State) {
        let live: Vec<&str> = match &state.live {
            Some(live) => live.iter().map(|live| live.version.as_str()).collect(),
            None if state.conflicts == 0 => vec![&state.version],
            None => return,
        };
        if let Some(lost) = lost(self.facts, &state.path, &live, |write| covers(&state.clock, write.version))
        {
            let why = format!(
                "{} counts as known at {}, is not live there, and no live version had seen it",
                lost.write.what(),
                state.path
            );
            self.found.push(Violation::new("lost-write", [line, lost.answer], why));
        }
    }

    /// No value: a delete must explain it that nothing known here had replaced.
    fn absent(&mut self, line: usize, path: &str, reason: &str, known: &Known<'a>) {
        let possible = |write: &&super::facts::Write<'_>| {
            write.value.is_none()
                && write.call < line
                && !write.version.is_some_and(|deleted| {
                    self.facts.acked(path).any(|other| {
                        other.version != deleted
                            && covers(other.clock, deleted)
                            && knows(known, other.version)
                    })
                })
        };
        let explained = match reason {
            "missing" => false,
            _ => self.facts.writes(path).iter().any(|write| possible(&write)),
        };
        let newest = known.values().max_by_key(|proof| proof.line);
        match (explained, newest) {
            (true, _) => {}
            (false, Some(proof)) => {
                let why = format!(
                    "{path} is {reason}, no delete explains it, and line {} had shown that it was written",
                    proof.line
                );
                self.found.push(Violation::new(broken(proof), [line, proof.line], why));
            }
            (false, None) if reason == "missing" => {}
            (false, None) => {
                let why = format!("{path} is deleted, and nobody had begun to delete it");
                self.found.push(Violation::new("phantom", [line], why));
            }
        }
    }
}

/// An acknowledged write among those that `counts`, which is not live and which no live version had seen. What a live
/// version without an answer had seen is not known: it may have seen everything.
pub(super) fn lost<'f>(
    facts: &'f Facts<'_>,
    path: &str,
    live: &[&str],
    counts: impl Fn(&Acked<'_>) -> bool,
) -> Option<Acked<'f>> {
    let mut clocks = Vec::new();
    for version in live {
        clocks.push(facts.acked_as(path, version)?.clock);
    }
    facts.acked(path).find(|write| {
        counts(write)
            && !live.contains(&write.version)
            && !clocks.iter().any(|clock| covers(clock, write.version))
    })
}

fn raise<'a>(known: &mut Known<'a>, node: &'a str, proof: Proof<'a>) {
    let highest = known.entry(node).or_insert(proof);
    // A session's own knowledge is the stronger promise.
    let rank = |proof: &Proof<'_>| match (proof.scope, proof.how) {
        (Scope::Session(_), How::Token) => 0,
        (Scope::Node(_), _) => 1,
        (Scope::Session(_), How::Read | How::Wrote) => 2,
    };
    let stronger = rank(&proof) > rank(highest);
    if proof.number > highest.number || (proof.number == highest.number && stronger) {
        *highest = proof;
    }
}

fn knows(known: &Known<'_>, version: &str) -> bool {
    parse(version).is_some_and(|(node, number)| known.get(node).is_some_and(|proof| proof.number >= number))
}

/// What must be covered and is not.
fn lacks<'k, 'a>(clock: &Clock, known: &'k Known<'a>) -> Option<(&'a str, &'k Proof<'a>)> {
    known
        .iter()
        .find(|(node, proof)| number_of(clock, node) < proof.number)
        .map(|(node, proof)| (*node, proof))
}

fn number_of(clock: &Clock, node: &str) -> u64 {
    clock.get(node).copied().unwrap_or(0)
}

/// The promise that stands behind what was known.
fn broken(proof: &Proof<'_>) -> &'static str {
    match (proof.scope, proof.how) {
        (Scope::Session(_), How::Wrote) => "read-your-writes",
        (Scope::Session(_), How::Read) => "monotonic-reads",
        (Scope::Session(_), How::Token) => "token-not-met",
        (Scope::Node(_), _) => "node-went-back",
    }
}
