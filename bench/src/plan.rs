//! What can be measured, and how much of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// PUT, GET and both mixed, over 1 and 64 connections.
    Requests,
    /// Pages and streams of 1,000 and 10,000 documents.
    Scan,
    /// The library in a process of its own.
    Embedded,
    /// A write here until its event there.
    Propagation,
    /// Many writes here until all of them are there.
    Replication,
    /// What a node that was away is sent.
    CatchUp,
    /// A link that breaks while there is nothing to tell.
    Reconnect,
    /// An empty node until it has everything.
    Bootstrap,
    /// One write told to many subscribers.
    FanOut,
    /// How often a mesh sends one update.
    Mesh,
    /// Everything that must not grow with the documents, at several numbers of them.
    Size,
}

impl Workload {
    /// All, in the order of docs/performance.md.
    pub(crate) const ALL: [Workload; 11] = [
        Workload::Requests,
        Workload::Scan,
        Workload::Embedded,
        Workload::Propagation,
        Workload::Replication,
        Workload::CatchUp,
        Workload::Reconnect,
        Workload::Bootstrap,
        Workload::FanOut,
        Workload::Mesh,
        Workload::Size,
    ];
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("?", clap::builder::PossibleValue::get_name))
    }
}

/// How much.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// Documents that are there before something is measured.
    pub(crate) documents: u32,
    /// Times that everything is measured, all systems in turn: three make a median, and show a spread.
    pub(crate) rounds: u32,
    /// Seconds that one measurement of requests takes.
    pub(crate) seconds: f64,
    /// Single writes whose propagation is timed, in each round.
    pub(crate) propagated: u32,
    /// Writes of a sustained replication.
    pub(crate) replicated: u32,
    /// New documents that a node catches up on.
    pub(crate) caught_up: u32,
    /// Numbers of shared documents that it does so over.
    pub(crate) shared: Vec<u32>,
    /// Documents that an empty node is sent.
    pub(crate) bootstrapped: u32,
    /// Subscribers of a fan-out, each a connection.
    pub(crate) subscribers: u32,
    /// Subscribers to whom nothing is told, each a connection: as many of them as open files allow.
    pub(crate) idle_subscribers: u32,
    /// Nodes of a mesh.
    pub(crate) mesh_nodes: u32,
    /// Updates sent through a mesh.
    pub(crate) mesh_updates: u32,
    /// Numbers of documents at which everything is measured that must not grow with them.
    pub(crate) sizes: Vec<u32>,
}

impl Default for Plan {
    /// Some minutes on two cores.
    fn default() -> Plan {
        Plan {
            documents: 50_000,
            rounds: 3,
            seconds: 2.0,
            propagated: 300,
            replicated: 50_000,
            caught_up: 10_000,
            shared: vec![20_000, 100_000],
            bootstrapped: 100_000,
            subscribers: 1_000,
            idle_subscribers: 10_000,
            mesh_nodes: 16,
            mesh_updates: 1_000,
            sizes: vec![10_000, 100_000],
        }
    }
}

impl Plan {
    /// The sizes that the project's targets are about; an hour and more.
    pub(crate) fn full() -> Plan {
        Plan {
            documents: 100_000,
            seconds: 5.0,
            propagated: 1_000,
            shared: vec![100_000, 1_000_000],
            bootstrapped: 1_000_000,
            sizes: vec![10_000, 100_000, 1_000_000],
            ..Plan::default()
        }
    }

    pub(crate) fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}
