//! Planted defects: one line of wrong behaviour each, to prove that the checks would see it.
//!
//! Some are planted where a replica meets its surroundings (messages, batches, disks); they need nothing of the code under
//! test. Others are inside `causal` and `replica`, behind the feature `plant`, which no build of the node has.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::campaign::run_one;
use crate::scenario::{Fault, Options};
use crate::violation::Promise;

/// Worlds in which a defect has to be seen.
pub const PLANT_SEEDS: u64 = 600;

/// A defect that a world plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A restored backup goes on in its old epoch.
    ReuseEpoch,
    /// Effects are released before the batch is durable, and then the process dies.
    ReleaseBeforeCommit,
    /// A peer below the floor is served from the log alone.
    NoFence,
    /// Log rows of replaced versions stay.
    KeepLogRows,
    /// Feed rows of earlier changes stay.
    KeepFeedRows,
    /// The index of tombstones keeps rows of tombstones that are gone.
    KeepTombstoneRows,
    /// The index of expiries keeps rows of values that are gone.
    KeepExpiryRows,
    /// The index of expiries does not get rows.
    LoseExpiryRows,
    /// Superseded versions do not get a row in history.
    LoseHistoryRows,
    /// Digest fences are not written.
    LoseDigestRows,
    /// The floor is not written.
    LoseFloor,
    /// One row of the frontier is not written.
    LoseFrontierRow,
    /// Counters are not written.
    LoseCounters,
    /// A catch-up claims its void dots before it has sent the documents.
    ClaimEarly,
    /// States travel without their causal past.
    ForgetPast,
    /// Pushes do not claim what was superseded within their group.
    PushWithoutSuperseded,
    /// A commit returns before the device has it.
    NoSync,
    /// The frontier of a digest session is newer than the states it goes with.
    NewerFrontier,
    /// A document of a catch-up is lost on the way, and the rest arrives.
    LoseEntry,
    /// Receipts are not checked for their signatures.
    ReceiptsUnsigned,
    /// A defect inside the code under test, by its name there.
    Inside(&'static str),
}

/// What is known of a defect.
#[derive(Debug)]
pub struct Row {
    /// The defect.
    pub plant: Plant,
    /// Its name.
    pub name: &'static str,
    /// What is wrong.
    pub says: &'static str,
    /// Faults without which it cannot show.
    pub needs: &'static [Fault],
    /// Rounds of anti-entropy would mend what it breaks, so it is looked for in worlds without.
    pub calm: bool,
}

const fn row(plant: Plant, name: &'static str, says: &'static str) -> Row {
    Row { plant, name, says, needs: &[Fault::LinkCut], calm: false }
}

const fn inside(name: &'static str, says: &'static str) -> Row {
    row(Plant::Inside(name), name, says)
}

const fn needing(row: Row, needs: &'static [Fault]) -> Row {
    Row { needs, ..row }
}

const fn calm(row: Row) -> Row {
    Row { calm: true, needs: &[Fault::SlowLink, Fault::LinkCut], ..row }
}

/// What keeps nodes apart for long enough that deletes are forgotten here and unknown there.
const APART: &[Fault] = &[Fault::LinkCut, Fault::Partition, Fault::LongAbsence, Fault::SlowLink];

/// Every defect. Those inside the code under test are last.
pub const TABLE: &[Row] = &[
    needing(
        row(Plant::ReuseEpoch, "reuse-epoch", "a restored backup goes on in its old epoch"),
        &[Fault::Restore],
    ),
    needing(
        row(
            Plant::ReleaseBeforeCommit,
            "release-before-commit",
            "answers and pushes leave before the batch is durable",
        ),
        &[Fault::ProcessCrash],
    ),
    needing(row(Plant::NoSync, "no-sync", "a commit returns before the device has it"), &[Fault::PowerCut]),
    row(Plant::NoFence, "no-fence", "the floor is not checked before the log serves a peer"),
    row(Plant::KeepLogRows, "keep-log-rows", "log rows of replaced versions stay"),
    row(Plant::KeepFeedRows, "keep-feed-rows", "feed rows of earlier changes stay"),
    row(Plant::KeepTombstoneRows, "keep-tombstone-rows", "the index of tombstones keeps what is gone"),
    row(Plant::KeepExpiryRows, "keep-expiry-rows", "the index of expiries keeps what is gone"),
    row(Plant::LoseExpiryRows, "lose-expiry-rows", "the index of expiries gets no rows"),
    row(Plant::LoseHistoryRows, "lose-history-rows", "superseded versions get no history row"),
    row(Plant::LoseDigestRows, "lose-digest-rows", "digest fences are not written"),
    row(Plant::LoseFloor, "lose-floor", "the floor is not written"),
    row(Plant::LoseFrontierRow, "lose-frontier-row", "one row of the frontier is not written"),
    row(Plant::LoseCounters, "lose-counters", "counters are not written"),
    row(Plant::ClaimEarly, "claim-early", "void dots are claimed before the documents are sent"),
    row(Plant::ForgetPast, "forget-past", "documents of a catch-up travel without their causal past"),
    calm(row(
        Plant::PushWithoutSuperseded,
        "push-without-superseded",
        "a push does not claim what its group superseded",
    )),
    row(Plant::NewerFrontier, "newer-frontier", "the frontier of a digest session is newer than its states"),
    row(Plant::LoseEntry, "lose-entry", "a document of a catch-up is lost, and the rest arrives"),
    needing(
        row(
            Plant::ReceiptsUnsigned,
            "receipts-unsigned",
            "receipts are believed from whoever passes them on",
        ),
        &[Fault::Liar],
    ),
    needing(inside("believe-unasked", "claims count whatever they answer"), &[Fault::Liar]),
    needing(
        inside("merge-unmade", "names for writes of ours that we never made are taken in"),
        &[Fault::Liar],
    ),
    needing(
        inside("budget-per-session", "each digest session and claim may remove as much as all may together"),
        &[Fault::Denial],
    ),
    needing(
        inside(
            "claim-held-removals",
            "claims are taken while a version that they replaced may not be removed yet",
        ),
        &[Fault::Denial],
    ),
    needing(inside("forget-removed", "what a peer's word removes gets no history row"), &[Fault::Denial]),
    inside("merge-without-frontier", "a merge does not ask the local frontier"),
    inside("drop-sibling", "a concurrent version that comes in is dropped"),
    inside("clock-observes-nothing", "the clock does not move on to stamps of peers"),
    inside("forget-claims", "the dots of a merged document are not taken as applied"),
    inside("claim-quarantined", "claims are taken while what covers them is held or was refused"),
    needing(
        inside("clock-never-falls-back", "stamps stay ahead of a clock that was wrong"),
        &[Fault::ClockWrong],
    ),
    needing(
        inside("restamp-nothing", "what a wrong clock has stamped is not minted again"),
        &[Fault::ClockWrong],
    ),
    needing(
        inside(
            "held-is-not-told",
            "peers are not told what waits in quarantine, and send it again in every round",
        ),
        &[Fault::ClockWrong],
    ),
    inside("drop-quarantined", "a document from the future is dropped instead of held"),
    inside("join-frontier-early", "the frontier of a digest session is joined when it begins"),
    needing(inside("bury-nothing", "a claim of a catch-up removes nothing"), APART),
    needing(
        inside("ignore-clone", "another process under one's own identity is not noticed"),
        &[Fault::Clone],
    ),
    needing(
        inside("ignore-doubt", "a machine that runs twice is not noticed, as it was before"),
        &[Fault::MemoryClone],
    ),
    needing(
        inside("keep-statements-to-oneself", "a doubt is not passed on"),
        &[Fault::MemoryClone, Fault::MemoryRevert],
    ),
    needing(inside("lose-doubts", "a doubt is not stored"), &[Fault::MemoryClone, Fault::MemoryRevert]),
    needing(
        inside("remove-in-doubt", "removals that rest on a doubted life are not held back"),
        &[Fault::MemoryClone, Fault::MemoryRevert, Fault::LinkCut, Fault::Partition],
    ),
    needing(
        inside("keep-doubted-identity", "a doubted process goes on under its identity"),
        &[Fault::MemoryClone, Fault::MemoryRevert],
    ),
    inside("collect-early", "tombstones are collected one round early"),
    needing(inside("collect-amid-sessions", "tombstones are collected while a session is open"), APART),
    inside("fingerprint-without-stamp", "fingerprints leave out the stamp"),
    inside("fingerprint-without-field", "fingerprints leave out the values of fields"),
    inside("fingerprint-without-expiry", "fingerprints leave out when a value ends"),
    inside("expiry-with-fresh-stamp", "the end of a value competes with its own stamp, not with the value's"),
    inside("expiry-takes-siblings", "the end of a value replaces its siblings too"),
    inside("expiry-without-grace", "any node ends the values of others at once"),
    inside("show-expired", "a value is shown until its delete is there"),
    inside("oldest-with-a-gap", "a record takes any history row for one of its oldest"),
    inside("tie-by-arrival", "of equal stamps the first version wins, not the greater dot"),
    inside("newest-wins-first", "first-write-wins shows the newest"),
    inside("restamp-fields", "a put stamps the fields that it only repeats"),
    inside("replace-unseen", "a write replaces versions that its client did not see"),
    inside("ignore-conditions", "conditions of writes are not checked"),
    inside("group-reads-committed", "later inputs of a group do not see what earlier ones wrote"),
    inside("echo", "a push goes back to where it came from"),
    needing(inside("queue-without-bound", "a full queue takes pushes all the same"), &[Fault::SlowLink]),
    inside("ignore-credit", "a catch-up does not wait for credit"),
    inside("claim-withheld", "a catch-up claims what it left out because it is too large to travel"),
    inside("lose-a-part", "a part of a frame is lost, and the frame is taken for whole"),
    inside("siblings-without-bound", "clients may add versions to a path without end"),
    inside("push-part-of-a-batch", "a push leaves out what was written together with its news"),
    inside("chunk-part-of-a-batch", "a catch-up sends an atomic batch in several chunks"),
    calm(inside("never-graft", "what was announced and does not come is not asked for")),
    inside("held-back-is-there", "a catch-up takes for there what was only announced"),
    inside("push-without-answers", "a push leaves behind what was answered to its writes"),
    inside("catch-up-without-answers", "a catch-up leaves behind what was answered to its writes"),
    calm(inside("forget-lag", "a push that found its queue full is forgotten")),
];

impl Plant {
    /// Those that this build can plant.
    pub fn available() -> impl Iterator<Item = &'static Row> {
        TABLE.iter().filter(|row| rejoin_causal::plant::PLANTED || !matches!(row.plant, Plant::Inside(_)))
    }

    /// What is known of it.
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.plant == self).unwrap_or(&TABLE[0])
    }

    /// Its name in commands and figures.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The defect of that name, if this build can plant it.
    pub fn of_name(name: &str) -> Option<Plant> {
        Plant::available().find(|row| row.name == name).map(|row| row.plant)
    }
}

/// A defect inside the code under test, planted in this thread for as long as this lives.
pub(crate) struct Planted;

impl Planted {
    pub(crate) fn new(plant: Plant) -> Planted {
        #[cfg(feature = "plant")]
        if let Plant::Inside(name) = plant {
            rejoin_causal::plant::set(Some(name));
        }
        #[cfg(not(feature = "plant"))]
        let _ = plant;
        Planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        #[cfg(feature = "plant")]
        rejoin_causal::plant::set(None);
    }
}

/// Where a defect was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The defect.
    pub row: &'static Row,
    /// The first seed whose world breaks a promise with it and none without it, and that promise.
    pub seen: Option<(u64, Promise)>,
}

/// Looks for every defect that this build can plant, on that many threads; in the order of the table.
pub fn look_for_all(threads: usize) -> Vec<Sighting> {
    let rows: Vec<&'static Row> = Plant::available().collect();
    let next = AtomicUsize::new(0);
    let sightings = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sighting = Sighting { row, seen: look_for(row.plant) };
                    sightings.lock().unwrap_or_else(PoisonError::into_inner).push(sighting);
                }
            });
        }
    });
    let mut sightings = sightings.into_inner().unwrap_or_else(PoisonError::into_inner);
    sightings.sort_by_key(|sighting| TABLE.iter().position(|row| row.plant == sighting.row.plant));
    sightings
}

fn look_for(plant: Plant) -> Option<(u64, Promise)> {
    (0..PLANT_SEEDS).find_map(|seed| {
        let planted = Options { plant: Some(plant), ..Options::default() };
        let violation = run_one(seed, planted).violation?;
        // A world that fails without the defect as well proves nothing.
        let healthy = run_one(seed, Options { control: true, ..planted }).violation.is_none();
        healthy.then_some((seed, violation.promise))
    })
}
