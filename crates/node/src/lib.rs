//! A peer-to-peer JSON data synchronization node to embed in a program.
//!
//! A node keeps its own durable copy of path-addressed JSON, works alone, and syncs with its peers over any partially
//! connected network, at the cost of the difference.
//!
//! ```
//! use rejoin::{Node, Strategy};
//!
//! # #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
//! # struct User { name: String, age: u32 }
//! # #[tokio::main]
//! # async fn main() -> Result<(), rejoin::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! use futures_util::StreamExt as _;
//!
//! let a = Node::builder()
//!     .data_dir(dir.path().join("a"))
//!     .listen("127.0.0.1:0")
//!     .strategy("users", Strategy::MergeFields)
//!     .open()
//!     .await?;
//! let b = Node::builder()
//!     .data_dir(dir.path().join("b"))
//!     .peer(format!("http://{}", a.local_addr().unwrap()))
//!     .strategy("users", Strategy::MergeFields)
//!     .open()
//!     .await?;
//!
//! let mut changes = b.subscribe("users")?;
//! a.put("users/alice", &User { name: "Alice".into(), age: 41 }).await?;
//!
//! // The write arrives at b, and b's subscriber is told.
//! let change = changes.next().await.unwrap()?;
//! assert!(matches!(change, rejoin::Event::Change { .. }));
//! let alice: Option<User> = b.get("users/alice").await?;
//! assert_eq!(alice, Some(User { name: "Alice".into(), age: 41 }));
//!
//! a.close().await?;
//! b.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Read on: [`Builder`] for settings, [`Node`] for what can be done, [`Subscription`] for what a subscriber is
//! promised, [`Strategy`] for how concurrent writes become one value, [`Durability`] for what an answered write
//! survives.

const _: () = assert!(
    !rejoin_causal::plant::PLANTED,
    "a node must not be built with the feature `plant` of the simulation"
);

mod alarms;
mod attest;
mod batch;
mod board;
mod builder;
mod clock;
mod config;
mod conflicts;
mod contexts;
mod engine;
mod entry;
mod error;
mod feed;
mod filter;
mod introduction;
mod links;
mod listing;
mod machine;
mod member;
mod metrics;
mod node;
mod pins;
mod projection;
mod queue;
mod receipts;
mod receiving;
mod removals;
mod room;
mod scan;
mod serving;
mod shared;
mod statements;
mod status;
mod subscribe;
mod token;
mod writer;

pub use alarms::StandingAlarm;
pub use batch::{BATCH_WRITES_MAX, BatchError};
pub use builder::Builder;
pub use config::{Durability, Limits};
pub use conflicts::{Conflict, ConflictPage, ConflictState, Conflicts, Settled, Settlement};
pub use entry::{Entry, HistoryEntry, HistoryPage, Outcome, Sibling};
pub use error::{Error, HeldBack};
pub use feed::hub::FeedStatus;
pub use feed::token::FeedToken;
pub use filter::Filter;
pub use listing::{Listed, Listing, ListingPage};
pub use member::SyntaxError;
pub use metrics::{Histogram, Metrics, WriteCounts};
pub use node::{Node, NodeInfo};
pub use projection::Projection;
pub use receipts::{NodeAt, RECEIPT_WAIT_MAX, Receipt, Whereabouts};
pub use removals::{RemovalFilter, Removed, Undone};
pub use scan::{Entries, Page, Scan};
pub use status::{Direction, DoubtStatus, NodeStatus, PeerState, PeerStatus};
pub use subscribe::{Event, From, ResyncReason, Subscription};
pub use token::{Token, Written};

pub use rejoin_causal::{Dot, Epoch, Frontier, Hlc, NodeId, VersionVector};
pub use rejoin_replica::json::{Json, JsonError, JsonLimits};
pub use rejoin_replica::path::{Path, PathError, Prefix, Scope};
pub use rejoin_replica::strategy::{Candidate, Custom, Resolver, ResolverError};
pub use rejoin_replica::{
    Change, Condition, ConflictTally, Context, ContextError, Current, Held, Key, KeyError, Observed, Once,
    Policy, Replay, RoundReport, Strategy, Tally, Ttl, TtlError, Visible, Write,
};
pub use rejoin_replica::{RemovalsStatus, Stopped, Word};
