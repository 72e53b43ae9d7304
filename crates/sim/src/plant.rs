//! Planted defects: one line of wrong behaviour each, to prove that the checks would see it.

use crate::scenario::Fault;

/// A defect that a world plants between the replica and its surroundings.
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
    /// A catch-up claims its void dots before it has sent the documents.
    ClaimEarly,
    /// States travel without their causal past.
    ForgetPast,
    /// A commit returns before the device has it.
    NoSync,
    /// The frontier of a digest session is newer than the states it goes with.
    NewerFrontier,
    /// A document of a catch-up is lost on the way, and the rest arrives.
    LoseEntry,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 9] = [
        Plant::ReuseEpoch,
        Plant::ReleaseBeforeCommit,
        Plant::NoFence,
        Plant::KeepLogRows,
        Plant::ClaimEarly,
        Plant::ForgetPast,
        Plant::NoSync,
        Plant::NewerFrontier,
        Plant::LoseEntry,
    ];

    /// Its name in commands and figures.
    pub fn name(self) -> &'static str {
        match self {
            Plant::ReuseEpoch => "reuse-epoch",
            Plant::ReleaseBeforeCommit => "release-before-commit",
            Plant::NoFence => "no-fence",
            Plant::KeepLogRows => "keep-log-rows",
            Plant::ClaimEarly => "claim-early",
            Plant::ForgetPast => "forget-past",
            Plant::NoSync => "no-sync",
            Plant::NewerFrontier => "newer-frontier",
            Plant::LoseEntry => "lose-entry",
        }
    }

    /// The defect of that name.
    pub fn of_name(name: &str) -> Option<Plant> {
        Plant::ALL.into_iter().find(|plant| plant.name() == name)
    }

    /// Rounds of anti-entropy would mend what it breaks.
    pub(crate) fn needs_calm(self) -> bool {
        false
    }

    /// Faults without which it cannot show.
    pub fn needs(self) -> &'static [Fault] {
        match self {
            Plant::ReuseEpoch => &[Fault::Restore],
            Plant::ReleaseBeforeCommit => &[Fault::ProcessCrash],
            Plant::NoSync => &[Fault::PowerCut],
            _ => &[Fault::LinkCut],
        }
    }
}
