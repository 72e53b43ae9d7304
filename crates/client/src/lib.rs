//! A typed client of the rejoin HTTP API, for Rust programs and for the `rejoin` command.
//!
//! ```no_run
//! # async fn example() -> Result<(), rejoin_client::Error> {
//! use rejoin_client::Client;
//!
//! let client = Client::new("http://127.0.0.1:3000", None)?;
//! client.put("users/alice", &["any", "Serialize"]).await?;
//! let names: Option<Vec<String>> = client.get("users/alice").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Values cross this crate as the text the server holds: numbers and member order stay as they were written until a
//! program asks for a type. Every failure is an [`Error`] with a code, one sentence and what to do; a failure that the
//! server answered carries its [`Problem`] unchanged.
//!
//! A write whose answer was lost with its connection is sent again for some 2 s: each has an [`IdempotencyKey`], by which it
//! is done once. What could not be sent at all, was refused, or was not answered in time is the caller's to send again; with
//! the same key ([`WriteOptions::key`], [`Batch::once`]) it is still done once. A feed can be followed ([`Watch::follow`]).

mod answer;
mod batch;
mod client;
mod config;
mod conflicts;
mod data;
mod error;
mod follow;
mod key;
mod nodes;
mod options;
mod path;
mod quarantine;
mod removals;
mod scan;
mod session;
mod watch;

pub use batch::{Batch, Imported};
pub use client::Client;
pub use config::{
    ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT, EVENT_BYTES_MAX, FOLLOW_WAIT_LEAST, FOLLOW_WAIT_MAX,
    HEARTBEAT, RETRY_WAITS, ROUND_TIMEOUT, WATCH_SILENCE_MAX,
};
pub use conflicts::{Conflict, ConflictPage, Conflicts, LiveVersion, Resolution, Resolved};
pub use data::{Condition, Entry, HistoryPage, PastVersion, Written};
pub use error::{Error, Problem};
pub use follow::Following;
pub use key::{IdempotencyKey, KeyError};
pub use nodes::{Alarm, Doubt, Peer, Round, Status};
pub use options::{Ack, Place, Places, Receipt, WriteOptions};
pub use quarantine::{Held, Quarantine, Released};
pub use removals::{Left, RemovalFilter, Removals, Removed, Undone};
pub use scan::{Item, Meta, Page, Scan};
pub use serde_json::value::RawValue;
pub use session::Session;
pub use watch::{Changed, Changes, Event, Watch};
