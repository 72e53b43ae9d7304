//! Whether a resolver is one on which nodes can agree.
//!
//! Nodes always fold the versions of a path in one order, from the oldest to the newest, so that even a resolver that
//! depends on the order gives the same value everywhere. But then the value depends on which of the writers had the
//! faster clock. A resolver whose result is the same in every order and grouping is free of that, and this says
//! whether it is, for the conflicts that it is tried on.

use rejoin::{Candidate, Hlc, Json, JsonLimits, NodeId, Path, VersionVector};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::exchange;
use crate::fault::Fault;
use crate::limits::SAMPLE_VERSIONS_MAX;
use crate::script::Script;
use crate::worker::Workers;

/// A conflict to try a resolver on.
#[derive(Clone, Debug)]
pub struct Sample {
    path: Path,
    versions: Vec<Candidate>,
}

/// What a resolver did with one sample.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where the conflict is.
    pub path: String,
    /// How many versions it has.
    pub versions: usize,
    /// How many times the resolver was called.
    pub calls: u64,
    /// Two versions have the same timestamp, so that a resolver that compares timestamps has to break a tie.
    pub tie: bool,
    /// The same call gives the same text in every engine.
    pub deterministic: bool,
    /// All orders of the versions give the same value. Nothing when there was a fault.
    pub order_independent: Option<bool>,
    /// Folding from the left and from the right gives the same value. Nothing when there was a fault.
    pub associative: Option<bool>,
    /// What nodes show: the value of the fold from the oldest to the newest; nothing when it is deleted.
    pub value: Option<Box<RawValue>>,
    /// Two orders and what they gave, when they differ.
    pub counterexample: Option<[Way; 2]>,
    /// The first fault, with the order in which it came.
    pub fault: Option<String>,
}

/// A way to fold, and what it gave.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// The versions by their place in the sample, from 1, as they were combined.
    pub fold: String,
    /// The value; nothing: deleted.
    pub value: Option<Box<RawValue>>,
}

/// A line of a file of samples, as in the answer of `GET /api/_explain/{path}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    path: String,
    #[serde(borrow)]
    versions: Vec<LineVersion<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineVersion<'a> {
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    timestamp: u64,
    #[serde(default)]
    counter: u16,
    origin: String,
    #[serde(default)]
    op: Option<String>,
    #[serde(default)]
    deleted: bool,
}

impl Sample {
    /// Reads a line: `{"path", "versions": [{"value", "timestamp", "origin"}]}`, as `GET /api/_explain/{path}` answers.
    /// A version with `"op": "delete"` or `"expire"`, or `"deleted": true`, is a delete.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(line: &str) -> Result<Sample, String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let path = Path::parse(&line.path).map_err(|error| error.to_string())?;
        let count = line.versions.len();
        if !(2..=SAMPLE_VERSIONS_MAX).contains(&count) {
            return Err(format!("it has {count} versions; a sample has 2 to {SAMPLE_VERSIONS_MAX}"));
        }
        let mut versions = Vec::new();
        for version in line.versions {
            let origin: NodeId =
                version.origin.parse().map_err(|_| format!("{:?} is no node id", version.origin))?;
            let deleted = version.deleted || matches!(version.op.as_deref(), Some("delete" | "expire"));
            let value = version.value.map_or("null", RawValue::get);
            let value = Json::parse(value.as_bytes(), &JsonLimits { bytes: 16 << 20, depth: 126 });
            let value = value.map_err(|error| error.to_string())?;
            if version.timestamp >= 1 << 48 {
                return Err(format!("the timestamp {} is too large", version.timestamp));
            }
            versions.push(Candidate {
                value: (!deleted).then_some(value),
                hlc: Hlc(Hlc::of_wall(version.timestamp).0 | u64::from(version.counter)),
                origin,
                vector_clock: VersionVector::default(),
            });
        }
        versions.sort_by_key(|version| (version.hlc, version.origin));
        Ok(Sample { path, versions })
    }

    /// Conflicts of common shapes. A resolver is written for one shape and may refuse the others.
    pub fn built_in() -> Vec<Sample> {
        // Written above, and read by a test.
        BUILT_IN.lines().filter_map(|line| Sample::parse(line).ok()).collect()
    }

    fn has_tie(&self) -> bool {
        self.versions.windows(2).any(|pair| pair[0].hlc.unix_ms() == pair[1].hlc.unix_ms())
    }
}

const BUILT_IN: &str = include_str!("samples.jsonl");

/// Tries a resolver on a sample: all orders, folded from the left and from the right, each call twice.
pub fn run(script: &Script, sample: &Sample) -> Report {
    let mut trial = Trial { workers: Workers::new(script.clone()), path: &sample.path, calls: 0, same: true };
    let mut report = Report {
        path: sample.path.as_str().to_owned(),
        versions: sample.versions.len(),
        calls: 0,
        tie: sample.has_tie(),
        deterministic: true,
        order_independent: None,
        associative: None,
        value: None,
        counterexample: None,
        fault: None,
    };
    match trial.all_ways(sample, &mut report) {
        Ok(()) => {}
        Err((fold, fault)) => report.fault = Some(format!("{fold}: {fault}")),
    }
    report.calls = trial.calls;
    report.deterministic = trial.same;
    report
}

struct Trial<'a> {
    workers: Workers,
    path: &'a Path,
    calls: u64,
    same: bool,
}

impl Trial<'_> {
    fn all_ways(&mut self, sample: &Sample, report: &mut Report) -> Result<(), (String, Fault)> {
        let mut first: Option<Way> = None;
        let (mut ordered, mut grouped) = (true, true);
        for order in orders(sample.versions.len()) {
            let left = self.fold(sample, &order, false)?;
            let right = self.fold(sample, &order, true)?;
            let same = agree(&left, &right);
            grouped &= same;
            if !same && report.counterexample.is_none() {
                report.counterexample = Some([left.clone(), right]);
            }
            match &first {
                None => first = Some(left),
                Some(first) if agree(first, &left) => {}
                Some(first) => {
                    ordered = false;
                    if report.counterexample.is_none() {
                        report.counterexample = Some([first.clone(), left]);
                    }
                }
            }
        }
        // The first order is the one in which nodes fold.
        report.value = first.and_then(|way| way.value);
        report.order_independent = Some(ordered);
        report.associative = Some(grouped);
        Ok(())
    }

    /// Folds the versions in this order, from the left or from the right.
    fn fold(&mut self, sample: &Sample, order: &[usize], from_right: bool) -> Result<Way, (String, Fault)> {
        let mut order: Vec<usize> = order.to_vec();
        if from_right {
            order.reverse();
        }
        let (mut text, mut so_far) = ((order[0] + 1).to_string(), sample.versions[order[0]].clone());
        for next in order.into_iter().skip(1) {
            let other = &sample.versions[next];
            let (local, remote) = if from_right { (other, &so_far) } else { (&so_far, other) };
            text =
                if from_right { format!("({} {text})", next + 1) } else { format!("({text} {})", next + 1) };
            so_far = self.call(local, remote).map_err(|fault| (text.clone(), fault))?;
        }
        let value = so_far.value.and_then(|value| RawValue::from_string(value.as_str().to_owned()).ok());
        Ok(Way { fold: text, value })
    }

    fn call(&mut self, local: &Candidate, remote: &Candidate) -> Result<Candidate, Fault> {
        let (given_local, given_remote) = (exchange::given(local), exchange::given(remote));
        let once = || self.workers.call(self.path.as_str(), &given_local, &given_remote);
        let (one, other) = (once(), once());
        self.calls += 2;
        self.same &= one == other;
        exchange::taken(&one?, local, remote)
    }
}

/// Whether two ways give the same value; the order of members is none of its matter.
fn agree(one: &Way, other: &Way) -> bool {
    let parsed = |way: &Way| {
        let text = way.value.as_ref()?.get();
        serde_json::from_str::<serde_json::Value>(text).ok()
    };
    parsed(one) == parsed(other)
}

/// All orders of that many things, the sorted one first.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..count {
        let longer = |order: &Vec<usize>| {
            let rest = (0..count).filter(|next| !order.contains(next));
            rest.map(|next| [order.as_slice(), &[next]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_sample_is_one() {
        for line in BUILT_IN.lines() {
            assert!(Sample::parse(line).is_ok(), "{:?}: {line}", Sample::parse(line).err());
        }
        let samples = Sample::built_in();
        assert!(samples.iter().any(|sample| sample.versions.len() == SAMPLE_VERSIONS_MAX));
        assert!(samples.iter().any(Sample::has_tie));
    }

    #[test]
    fn orders_are_all_and_the_nodes_own_comes_first() {
        assert_eq!(orders(3).len(), 6);
        assert_eq!(orders(4).len(), 24);
        assert_eq!(orders(4)[0], [0, 1, 2, 3]);
    }
}
