//! One replica as a sans-IO state machine: input and time in, a batch to commit and sealed effects out.
//!
//! `no_std`: no clock, socket, thread or randomness can be named here. Read in this order:
//!
//! 1. [`Replica::handle`]: a group of [`Input`]s over a [`View`] gives [`Effects`], and [`Effects::commit`] is the
//!    only way to see them: nothing is answered, sent or told before its batch is durable.
//! 2. [`body`], [`strategy`], [`policy`]: what documents say, and what readers see of concurrent versions.
//! 3. [`message`] and `sync`: the conversation with a peer. [`CatchUp`] and [`Audit`] are its readers: they serve a
//!    snapshot beside the replica and never wait for it.
//! 4. [`batch`], [`view`], [`digest`]: what is read and written.
//! 5. [`path`], [`json`], [`codec`], [`packing`]: what comes from outside is parsed once, here, and carried as proof.
#![no_std]

extern crate alloc;

mod apply;
mod audit;
mod broadcast;
mod catch_up;
mod collect;
mod doubt;
mod effect;
mod expiry;
mod frontiers;
mod input;
mod intake;
mod key;
mod lives;
mod merge_patch;
mod once;
mod quarantine;
mod random;
mod receipts;
mod removals;
mod replica;
mod rounds;
mod session;
mod siblings;
mod size;
mod statement;
mod sweep;
mod sync;
mod tally;
mod unit;
mod wall;
mod write;

pub mod batch;
pub mod body;
pub mod codec;
pub mod config;
pub mod context;
pub mod digest;
pub mod history;
pub mod json;
pub mod message;
pub mod packing;
pub mod parts;
pub mod path;
pub mod policy;
pub mod strategy;
pub mod view;

pub use audit::{Audit, AuditOutput};
pub use batch::Batch;
pub use body::{Body, Content, Document, Field, Fields, Unit, Version};
pub use catch_up::{CatchUp, CatchUpStep};
pub use config::Config;
pub use context::{Context, ContextError};
pub use doubt::Doubted;
pub use effect::{
    Alarm, AuditStep, BatchRefusal, ClockStatus, Commit, Current, Effect, Effects, LinkStatus, Refusal,
    RemovalsStatus, Replay, RoundReport, Status, Stopped, Written,
};
pub use expiry::{Expiry, Ttl, TtlError, as_of, first_end, is_contested, standing};
pub use frontiers::frontier_digest;
pub use input::{Change, Condition, Input, LinkId, Now, Observed, RequestId, Write};
pub use key::{Key, KeyError, Once};
pub use message::Message;
pub use once::{Extent, Kept, KeptRow, Shown};
pub use policy::{Policy, etag};
pub use quarantine::Held;
pub use replica::{Replica, Start};
pub use statement::{
    Doubt, DoubtReason, Life, Proof, Statement, StatementKind, put_proof, signed_bytes, take_proof,
};
pub use strategy::{Strategy, Visible};
pub use tally::{ConflictTally, Tally};
pub use view::{Counters, Reason, Record, Removal, Summary, Superseded, View, Word};
pub use wall::Place;
