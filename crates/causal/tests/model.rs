//! The replication rules over the real types: random schedules, every one of which must converge, lose nothing and
//! raise no dead; and mistakes on purpose, which the same schedules must notice.
//!
//! A port of the executable model that came before the code, for both ways of serving a peer below the floor.
//! `REJOIN_MODEL_RUNS=12000 cargo test -p rejoin-causal --test model -- --nocapture` runs it deeper and prints
//! figures; a failure prints its seed and its whole schedule.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "model/replica.rs"]
mod replica;
#[path = "model/rng.rs"]
mod rng;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/session.rs"]
mod session;
#[path = "model/world.rs"]
mod world;

use rules::{Configuration, Fence, Mutant, Rules};
use world::{Counts, Violation, World};

/// Schedules per configuration and variant in an ordinary run: 2,800 good ones in all.
const RUNS: u64 = 200;

/// Schedules after which a mutant counts as not noticed.
const MUTANT_RUNS_MAX: u64 = 20_000;

const PLAIN: Configuration =
    Configuration { replicas: 4, paths: 2, steps: 80, collect: 0.05, restore: 0.0, client_context: 0.2 };
const LONGER: Configuration = Configuration { steps: 100, ..PLAIN };
const CROWD: Configuration = Configuration { replicas: 5, steps: 150, collect: 0.03, ..PLAIN };
const NO_COLLECTION: Configuration = Configuration { replicas: 5, steps: 120, collect: 0.0, ..PLAIN };
const RESTORES: Configuration = Configuration { steps: 120, restore: 0.04, ..PLAIN };
const RESTORES_NO_COLLECTION: Configuration = Configuration { collect: 0.0, ..RESTORES };
const ONE_PATH: Configuration =
    Configuration { replicas: 3, paths: 1, steps: 60, collect: 0.08, client_context: 0.4, ..PLAIN };

/// Deletes are collected as fast as backups come back: rare combinations, often.
const STORM: Configuration =
    Configuration { replicas: 3, paths: 2, steps: 150, collect: 0.12, restore: 0.1, client_context: 0.2 };
const STORM_FEWER_RESTORES: Configuration = Configuration { restore: 0.03, ..STORM };

#[test]
fn a_fence_that_replaces_the_catch_up_keeps_the_promises() {
    holds(Fence::DigestOnly);
}

#[test]
fn a_fence_before_the_catch_up_keeps_the_promises() {
    holds(Fence::ThenLog);
}

fn holds(fence: Fence) {
    let all = [PLAIN, CROWD, NO_COLLECTION, RESTORES, RESTORES_NO_COLLECTION, ONE_PATH]
        .map(|configuration| good(fence, configuration));
    let storm = good(fence, STORM);
    // Schedules that never met these situations would prove nothing.
    for counts in [all[0], all[1], all[3], storm] {
        assert!(counts.digests > 0 && counts.collected > 0, "no fence or no collection: {counts:?}");
    }
    assert!(all[3].restores > 0 && all[4].restores > 0, "no restore: {all:?}");
}

/// Runs the variant as designed and fails with the first schedule that breaks a promise.
fn good(fence: Fence, configuration: Configuration) -> Counts {
    let rules = Rules { fence, mutant: Mutant::Good };
    let mut total = Counts::default();
    let mut failures = Vec::new();
    for seed in 0..runs() {
        let mut world = World::new(seed, rules, configuration);
        if let Err(violation) = world.run() {
            failures.push((seed, violation));
        }
        total.add(world.counts);
    }
    println!("{fence:?} {configuration:?}: {} runs, {} violations, {total:?}", runs(), failures.len());
    if let Some((seed, violation)) = failures.first() {
        let mut world = World::new(*seed, rules, configuration).traced();
        assert_eq!(world.run().as_ref(), Err(violation), "the same seed gives the same run");
        panic!(
            "{violation:?} with seed {seed} under {rules:?} in {configuration:?}, \
             as in {} of {} schedules\n{}",
            failures.len(),
            runs(),
            world.trace(),
        );
    }
    total
}

fn runs() -> u64 {
    match std::env::var("REJOIN_MODEL_RUNS") {
        Ok(runs) => runs.parse().expect("REJOIN_MODEL_RUNS is a number of schedules"),
        Err(_) => RUNS,
    }
}

/// Demands that some schedule notices the mutant, trying seeds from `first_seed` on: the rare ones start near one
/// that is known to.
fn caught(mutant: Mutant, fence: Fence, configuration: Configuration, first_seed: u64) {
    let rules = Rules { fence, mutant };
    let noticed = (first_seed..first_seed + MUTANT_RUNS_MAX)
        .find_map(|seed| Some((seed, World::new(seed, rules, configuration).run().err()?)));
    let Some((seed, violation)) = noticed else {
        panic!(
            "{rules:?} in {configuration:?} survived {MUTANT_RUNS_MAX} schedules: the checks are blind to it"
        )
    };
    println!("{mutant:?} under {fence:?} in {configuration:?}: {violation:?} with seed {seed}");
    // The same schedules pass without the mistake, so it is the mistake that was noticed.
    let rules = Rules { fence, mutant: Mutant::Good };
    assert_eq!(World::new(seed, rules, configuration).run(), Ok::<(), Violation>(()));
}

#[test]
fn a_merge_without_the_frontier_is_noticed() {
    caught(Mutant::NoDrop, Fence::DigestOnly, LONGER, 0);
    caught(Mutant::NoDrop, Fence::ThenLog, LONGER, 0);
}

#[test]
fn a_missing_fence_is_noticed() {
    caught(Mutant::NoFence, Fence::DigestOnly, LONGER, 0);
    caught(Mutant::NoFence, Fence::ThenLog, LONGER, 0);
}

#[test]
fn an_epoch_used_again_is_noticed() {
    caught(Mutant::Reuse, Fence::DigestOnly, RESTORES, 0);
    caught(Mutant::Reuse, Fence::ThenLog, RESTORES, 0);
}

#[test]
fn an_epoch_that_steps_back_is_noticed() {
    caught(Mutant::EpochStepsBack, Fence::DigestOnly, RESTORES, 0);
    caught(Mutant::EpochStepsBack, Fence::ThenLog, RESTORES, 0);
}

#[test]
fn claims_made_early_are_noticed() {
    for fence in [Fence::DigestOnly, Fence::ThenLog] {
        caught(Mutant::ClaimEarly, fence, PLAIN, 0);
        caught(Mutant::VoidEarly, fence, NO_COLLECTION, 0);
        caught(Mutant::VoidEarly, fence, STORM, 0);
    }
}

#[test]
fn versions_carried_but_not_claimed_are_noticed() {
    caught(Mutant::NamedOnly, Fence::DigestOnly, NO_COLLECTION, 0);
    caught(Mutant::NamedOnly, Fence::ThenLog, NO_COLLECTION, 0);
}

#[test]
fn collection_before_the_past_is_applied_is_noticed() {
    caught(Mutant::CollectUnready, Fence::DigestOnly, STORM, 0);
    caught(Mutant::CollectUnready, Fence::ThenLog, STORM, 0);
}

#[test]
fn old_documents_with_a_newer_frontier_are_noticed() {
    caught(Mutant::StalePairing, Fence::DigestOnly, LONGER, 0);
    caught(Mutant::StalePairing, Fence::ThenLog, LONGER, 0);
    caught(Mutant::DigestJoins, Fence::ThenLog, LONGER, 0);
}
#[test]
fn a_floor_left_behind_is_noticed() {
    caught(Mutant::NoFloorJoin, Fence::ThenLog, STORM, 93_600);
}

#[test]
fn bare_tombstones_in_the_digest_are_noticed() {
    caught(Mutant::DigestTombstones, Fence::ThenLog, STORM_FEWER_RESTORES, 45_600);
}
