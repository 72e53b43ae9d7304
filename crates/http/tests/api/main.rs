//! The HTTP API over real sockets and real nodes, held against docs/http-api.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod alarms;
mod batch;
mod changes;
mod client;
mod conditions;
mod disagreements;
mod expiry;
mod guard;
mod limits;
mod metrics;
mod objects;
mod openapi;
mod paths;
mod peers;
mod queries;
mod receipts;
mod retries;
mod scan;
mod socket;
mod system;
mod tickets;
mod values;
