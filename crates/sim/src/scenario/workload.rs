//! What clients do: every kind of write, with and without contexts and conditions, under every strategy.

use std::collections::BTreeMap;

use rejoin_causal::Dot;
use rejoin_replica::json::Json;
use rejoin_replica::path::{Path, Prefix};
use rejoin_replica::{Change, Condition, Observed, Ttl, View, Write};

use crate::oracle::Object;
use crate::rng::Rng;
use crate::strategies::json;
use crate::world::World;

/// Paths whose hashes make them digest fences of two and three levels, so that small stores have them too.
const HIGH_FENCES: [&str; 11] = [
    "f/x4786", "l/x4877", "f/x6014", "l/x6403", "l/x8698", "f/x9671", "l/x11761", "l/x11797", "f/x55621",
    "c/x91514", "l/x96710",
];

/// What a workload draws from.
pub(super) struct Workload {
    paths: Vec<Path>,
    deletes: u64,
    contexts: u64,
    conditions: u64,
    /// Writes in a thousand that have a time to live, and what those draw from.
    ttls: u64,
    ttl: Rng,
    /// Versions that clients read at some time, by path.
    read: BTreeMap<Path, Vec<Dot>>,
}

/// A beginning that some paths of a workload have, and most have not.
pub(super) fn a_part(number: u64) -> Prefix {
    let parts = ["l", "m/", "c/1", "f/"];
    let part = parts[usize::try_from(number).unwrap_or(0) % parts.len()];
    Prefix::parse(part).unwrap_or_default()
}

impl Workload {
    pub(super) fn new(rng: &mut Rng, paths_max: Option<usize>, ttls: u64, ttl: Rng) -> Workload {
        let many = rng.chance(150);
        let count = if many { rng.between(150, 300) } else { rng.between(1, 8) };
        let prefixes = ["l", "f", "m", "c"];
        let only = rng.chance(600).then(|| *rng.pick(&["l", "l", "m", "c", "f"]));
        let mut names: Vec<String> = (0..count)
            .map(|number| {
                let prefix = only.unwrap_or(prefixes[rng.index(prefixes.len())]);
                format!("{prefix}/{number}")
            })
            .collect();
        if many || rng.chance(300) {
            names.extend(HIGH_FENCES.iter().map(|name| (*name).to_string()));
        }
        let mut paths: Vec<Path> = names.iter().filter_map(|name| Path::parse(name).ok()).collect();
        paths.truncate(paths_max.unwrap_or(usize::MAX).max(1));
        Workload {
            paths,
            deletes: *rng.pick(&[100, 300, 450]),
            contexts: *rng.pick(&[0, 150, 400]),
            conditions: *rng.pick(&[0, 100]),
            ttls,
            ttl,
            read: BTreeMap::new(),
        }
    }

    fn object(rng: &mut Rng) -> Object {
        let mut object = Object::new();
        for name in ["a", "b", "c", "d"] {
            if rng.chance(500) {
                object.insert(name.into(), i64::try_from(rng.below(50)).unwrap_or(0));
            }
        }
        object
    }

    fn patch(rng: &mut Rng) -> Json {
        let mut members: Vec<String> = Vec::new();
        for name in ["a", "b", "c"] {
            match rng.below(4) {
                0 => members.push(format!("\"{name}\":null")),
                1 => members.push(format!("\"{name}\":{}", rng.below(50))),
                _ => {}
            }
        }
        Json::trusted(format!("{{{}}}", members.join(",")))
    }

    /// The next write of a client of `node`; none while the node is down.
    pub(super) fn write(&mut self, world: &World, rng: &mut Rng, node: usize) -> Option<Write> {
        let path = rng.pick(&self.paths).clone();
        self.write_to(path, world, rng, node)
    }

    /// A write of a client of `node` to that path; none while the node is down.
    pub(super) fn write_to(
        &mut self,
        path: Path,
        world: &World,
        rng: &mut Rng,
        node: usize,
    ) -> Option<Write> {
        let document = world.snapshot(node)?.record(&path).ok()?.map(|record| record.document);
        let live: Vec<Dot> =
            document.iter().flat_map(|document| document.versions()).map(|version| version.dot).collect();
        let change = if rng.chance(self.deletes) {
            Change::Delete
        } else {
            match rng.below(11) {
                10 if live.is_empty() || rng.chance(300) => Change::Resolve(json(&Workload::object(rng))),
                10 => Change::Keep(*rng.pick(&live)),
                0 | 1 => Change::Replace(json(&Workload::object(rng))),
                2 | 3 => Change::Patch(Workload::patch(rng)),
                _ => Change::Put(json(&Workload::object(rng))),
            }
        };
        let observed = if rng.chance(self.contexts) {
            match rng.below(3) {
                0 => Observed::These(Vec::new()),
                1 => Observed::These(live.iter().copied().filter(|_| rng.chance(500)).collect()),
                _ => Observed::These(self.read.get(&path).cloned().unwrap_or_default()),
            }
        } else {
            Observed::All
        };
        let condition = if rng.chance(self.conditions) {
            match (rng.below(4), &document) {
                (0, _) => Condition::Absent,
                (1, _) => Condition::Present,
                (2, Some(document)) => Condition::Matches(vec![rejoin_replica::etag(document)]),
                _ => Condition::NoneOf(vec![[7; 16]]),
            }
        } else {
            Condition::Always
        };
        if rng.chance(300) {
            self.read.insert(path.clone(), live);
        }
        let ttl = self.ttl.chance(self.ttls).then(|| *self.ttl.pick(&[1, 20, 300, 3_000, 20_000]));
        let ttl = ttl.and_then(|ms: u64| Ttl::of_ms(self.ttl.between(1, ms)).ok());
        Some(Write { path, change, condition, observed, ttl, once: None })
    }
}
