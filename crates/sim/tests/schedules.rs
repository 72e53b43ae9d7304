//! Random worlds: seeds, replays, coverage, and defects that must be seen. `cargo xtask sim` runs more of them, replays one,
//! and prints what happens in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has to stop"
)]

use rejoin_sim::campaign::{self, MARKS_WORLDS};
use rejoin_sim::report;
use rejoin_sim::scenario::{Options, run};
use rejoin_sim::{Plant, Promise};

#[test]
fn random_worlds_keep_every_promise() {
    let options = Options::default();
    let totals = campaign::run(0..MARKS_WORLDS, options, 2, |_, failure| {
        if let Some(failure) = failure {
            println!("{}", report::of_failure(&failure, &options));
        }
    });
    println!("{}", report::of_totals(&totals));
    assert_eq!(totals.failed, 0, "worlds that failed, see above");
    assert!(totals.missing_marks().is_empty(), "never occurred: {:?}", totals.missing_marks());
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
    effects_released_before_their_commit_are_seen: ReleaseBeforeCommit => Durable | Receipts;
    a_missing_fence_is_seen: NoFence => NoZombie;
    log_rows_that_stay_are_seen: KeepLogRows => RowsAgree;
    a_void_claim_ahead_of_its_documents_is_seen: ClaimEarly => NothingLost | NoZombie;
    a_forgotten_past_is_seen: ForgetPast => NoZombie;
    a_commit_that_does_not_sync_is_seen: NoSync => Durable;
    a_frontier_newer_than_its_states_is_seen: NewerFrontier => NothingLost;
    a_lost_document_of_a_catch_up_is_seen: LoseEntry => NothingLost | NoZombie;
}
