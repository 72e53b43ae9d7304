//! A deterministic world for replicas: network, faults, workload and an independent oracle.
//!
//! Real [`rejoin_replica::Replica`]s over real [`rejoin_store::Store`]s, in virtual time, on one thread, from one
//! seed. Read in this order:
//!
//! 1. [`World`]: nodes, links, crashes, clocks; performs effects as the node's shell does, and checks every commit.
//! 2. [`Oracle`]: an account of every write that shares no code with the merge. [`check`]: rows that must agree.
//! 3. [`scenario`]: a random world from a seed, [`campaign`]: many of them. [`Cluster`]: named stories in domain words.
//! 4. [`scale`]: thousands of nodes, without the oracle: what an update costs and how long it takes.
//! 5. [`plant`]: defects that the checks must see. [`minimise`] and [`seeds`]: worlds that failed, made small and kept.

mod clock;
mod cluster;
mod disk;
mod network;
mod node;
mod oracle;
mod rng;
mod strategies;
mod trace;
mod violation;
mod world;

pub mod campaign;
pub mod check;
pub mod minimise;
pub mod plant;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod seeds;

pub use clock::{Clock, WALL_BASE_MS};
pub use cluster::Cluster;
pub use disk::{Disk, DiskFault};
pub use node::{Backup, CrashPoint, NodeSnapshot};
pub use oracle::{Content, Known, Object, Oracle, Register, Rule};
pub use plant::Plant;
pub use rng::Rng;
pub use strategies::{json, policy, rule};
pub use trace::Trace;
pub use violation::{Promise, Violation};
pub use world::{Answer, BatchAnswer, Image, Settings, Tells, World};
