//! The strategies that every world has, for replicas and for the oracle.

use rejoin_replica::path::Path;
use rejoin_replica::strategy::{Candidate, Custom, ResolverError};
use rejoin_replica::{Policy, Strategy};

use crate::oracle::{Object, Rule};

/// The strategies by prefix that every world has: `f`, `m` and `c`; everything else is last-write-wins.
pub fn policy() -> Policy {
    let path = |text: &str| Path::parse(text).ok();
    let greatest = |_: &Path, local: &Candidate, remote: &Candidate| -> Result<Candidate, ResolverError> {
        let object =
            |candidate: &Candidate| candidate.value.as_ref().and_then(|json| json.get::<Object>().ok());
        let value = match (object(local), object(remote)) {
            (Some(mut ours), Some(theirs)) => {
                for (name, value) in theirs {
                    let greatest = ours.entry(name).or_insert(value);
                    *greatest = value.max(*greatest);
                }
                Some(ours)
            }
            (ours, theirs) => ours.or(theirs),
        };
        let value = value.as_ref().map(json);
        Ok(Candidate { value, ..remote.clone() })
    };
    let rules = [
        ("f", Strategy::FirstWriteWins),
        ("m", Strategy::MergeFields),
        ("c", Strategy::Custom(Custom::new("greatest of each 1", greatest))),
    ];
    let mut policy = Policy::new(Strategy::LastWriteWins);
    for (prefix, strategy) in rules {
        if let Some(prefix) = path(prefix) {
            policy = policy.with(&prefix, strategy);
        }
    }
    policy
}

/// The oracle's rule for a path.
pub fn rule(path: &Path) -> Rule {
    match path.segments().next() {
        Some("f") => Rule::FirstWriteWins,
        Some("m") => Rule::MergeFields,
        Some("c") => Rule::GreatestOfEach,
        _ => Rule::LastWriteWins,
    }
}

/// An object as JSON.
pub fn json(object: &Object) -> rejoin_replica::json::Json {
    let members: Vec<String> = object.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    rejoin_replica::json::Json::trusted(format!("{{{}}}", members.join(",")))
}
