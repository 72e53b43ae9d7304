//! Which rules a world follows: a variant of the design, and perhaps one mistake on purpose.

/// How a peer below the floor is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The digest session replaces the catch-up and ends by joining frontiers and floors.
    DigestOnly,
    /// The digest phase joins nothing; a catch-up from a new snapshot follows. Every final claim joins the floor,
    /// and a peer without documents is not fenced.
    ThenLog,
}

/// A mistake that the checks must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// None: the design as it is.
    Good,
    /// The merge ignores the local frontier, so a collected delete comes back.
    NoDrop,
    /// A peer below the floor is served from the log only, and digest sessions are off.
    NoFence,
    /// A restored backup goes on in its old epoch, so dots are minted twice.
    Reuse,
    /// A catch-up claims everything when it starts.
    ClaimEarly,
    /// A catch-up claims the dots without a live version when it starts.
    VoidEarly,
    /// A final claim leaves the receiver's floor as it was.
    NoFloorJoin,
    /// A restored backup goes on in an epoch that is new, but not greater than those it used since.
    EpochStepsBack,
    /// The digest phase sends the documents of its snapshot with the frontier of now.
    StalePairing,
    /// The digest compares bare tombstones too, so a peer that has collected one takes it from a replica that has
    /// not applied what it covers, and with it the knowledge that this is dead (`ThenLog` only).
    DigestTombstones,
    /// Tombstones are collected before their past has been applied.
    CollectUnready,
    /// The end of the digest phase joins the server's frontier of that moment (`ThenLog` only).
    DigestJoins,
    /// A push claims only the dot it was made for, a digest none: not those of the versions they carry. The model
    /// that came before the code did so. A catch-up then misses such versions and claims void what they replaced.
    NamedOnly,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) fence: Fence,
    pub(crate) mutant: Mutant,
}

/// The shape of a schedule; probabilities are per step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Configuration {
    pub(crate) replicas: usize,
    pub(crate) paths: usize,
    pub(crate) steps: usize,
    pub(crate) collect: f64,
    pub(crate) restore: f64,
    /// Part of the writes in which the client had seen only some of the versions.
    pub(crate) client_context: f64,
}
