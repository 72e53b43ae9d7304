//! The change feed behind subscriptions: who is told, from where on, and under which name a position goes on.
//!
//! The store keeps one row per path at its newest change, numbered by a sequence of its own. A subscription is a
//! position in it ([`crate::Subscription`]); nothing is queued by value. Here are the parts that make many of them
//! cheap and each of them resumable:
//!
//! - `token`: a position as text, which names the feed it belongs to;
//! - `lineage`: the starts of this store, by which a foreign position is told from one of our own;
//! - `scopes`: what one subscription listens to, and where that is in the store;
//! - `index`: all subscriptions by path segment, so that a change costs its matches;
//! - `hub`: the one thread that reads what was committed and tells those whom it concerns.
//!
//! Invariant: the replica's thread never waits for any of this. It publishes one number per commit.

pub(crate) mod hub;
pub(crate) mod index;
pub(crate) mod lineage;
pub(crate) mod scopes;
pub(crate) mod token;
