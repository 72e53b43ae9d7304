//! Random worlds: seeds, replays, coverage, and defects that must be seen.
//!
//! `REJOIN_SIM_SEEDS=100000` runs more of them (from `REJOIN_SIM_FROM` on), `REJOIN_SIM_SEED=7` replays one, and `REJOIN_SIM_TRACE=1` prints what
//! happened in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use rejoin_sim::scenario::{Options, Outcome, run};
use rejoin_sim::{Plant, Promise};

const SEEDS_DEFAULT: u64 = 700;

/// Situations that the default seeds must have met; without them a green run would say little.
const MUST_OCCUR: &[&str] = &[
    "audit-open",
    "backup restored",
    "catch-up waits for credit",
    "clock stepped",
    "clone alarm",
    "crash after commit",
    "crash amid effects",
    "crash before commit",
    "differ",
    "digest sessions crossed",
    "exchange",
    "floor rose",
    "frames lost in a cut",
    "identity renewed",
    "long absence",
    "one-way stall",
    "partition",
    "quarantined",
    "session catching up",
    "session fenced",
    "several inputs in a group",
    "superseded dots claimed with a push",
    "three siblings at the end",
    "unsynced tail lost",
    "write refused",
];

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn replay(seed: u64) -> String {
    format!(
        "replay with: REJOIN_SIM_SEED={seed} REJOIN_SIM_TRACE=1 cargo test -p rejoin-sim --test schedules \
         random_worlds -- --nocapture"
    )
}

fn expect_green(seed: u64, outcome: &Outcome) {
    for line in &outcome.lines {
        println!("{line}");
    }
    if let Some(violation) = &outcome.violation {
        panic!("seed {seed}: {violation}\n{}", replay(seed));
    }
}

#[test]
fn random_worlds_keep_every_promise() {
    let trace = setting("REJOIN_SIM_TRACE").is_some();
    if let Some(seed) = setting("REJOIN_SIM_SEED") {
        expect_green(seed, &run(seed, Options { trace, ..Options::default() }));
        return;
    }
    let seeds = setting("REJOIN_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let from = setting("REJOIN_SIM_FROM").unwrap_or(0);
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut writes, mut virtual_ms) = (0, 0);
    // Two threads, each with every second seed: a world itself is one thread's.
    let halves = std::thread::scope(|scope| {
        let half = |first: u64| {
            scope.spawn(move || {
                (from + first..from + seeds)
                    .step_by(2)
                    .map(|seed| {
                        let outcome = run(seed, Options::default());
                        expect_green(seed, &outcome);
                        outcome
                    })
                    .collect::<Vec<_>>()
            })
        };
        let halves = [half(0), half(1)];
        halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for outcome in halves.into_iter().flatten() {
        writes += outcome.writes;
        virtual_ms += outcome.virtual_ms;
        for (mark, times) in outcome.marks {
            *marks.entry(mark).or_default() += times;
        }
    }
    println!("{seeds} worlds, {writes} writes, {} virtual hours", virtual_ms / 3_600_000);
    for (mark, times) in &marks {
        println!("{times:>10}  {mark}");
    }
    if seeds >= SEEDS_DEFAULT {
        let missing: Vec<_> = MUST_OCCUR.iter().filter(|mark| !marks.contains_key(**mark)).collect();
        assert!(missing.is_empty(), "never occurred: {missing:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..20 {
        let (one, other) =
            (run(seed, Options::default()), run(seed, Options { trace: true, ..Options::default() }));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert_eq!(one.marks, other.marks, "seed {seed}");
        assert_ne!(one.hash, run(seed + 1, Options::default()).hash);
    }
}

/// Runs seeds with a planted defect until it is seen; says how.
fn caught(plant: Plant, seeds: u64) -> (u64, Promise) {
    for seed in 0..seeds {
        if let Some(violation) = run(seed, Options { plant: Some(plant), ..Options::default() }).violation {
            println!("{plant:?}: seed {seed}: {:?}", violation.promise);
            return (seed, violation.promise);
        }
    }
    panic!("{plant:?} was not seen in {seeds} worlds");
}

macro_rules! planted {
    ($($name:ident: $plant:ident => $($promise:ident)|+;)*) => {$(
        #[test]
        fn $name() {
            let (seed, promise) = caught(Plant::$plant, 300);
            assert!(
                matches!(promise, $(Promise::$promise)|+),
                "{:?} shows as {promise:?} (seed {seed})", Plant::$plant
            );
        }
    )*};
}

planted! {
    an_epoch_used_again_after_a_restore_is_seen: ReuseEpoch => NothingLost | NoZombie | Converges | Strategy | RowsAgree | Protocol;
    effects_released_before_their_commit_are_seen: ReleaseBeforeCommit => Durable;
    a_missing_fence_is_seen: NoFence => NoZombie;
    log_rows_that_stay_are_seen: KeepLogRows => RowsAgree;
    a_void_claim_ahead_of_its_documents_is_seen: ClaimEarly => NothingLost | NoZombie;
    a_forgotten_past_is_seen: ForgetPast => NoZombie;
    a_commit_that_does_not_sync_is_seen: NoSync => Durable;
    a_frontier_newer_than_its_states_is_seen: NewerFrontier => NothingLost;
    a_lost_document_of_a_catch_up_is_seen: LoseEntry => NothingLost;
}
