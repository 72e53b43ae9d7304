//! The HTTP API of one node, on one port: REST, change streams, peer links and probes.
//!
//! The contract is docs/http-api.md. Read in this order:
//!
//! 1. [`serve`] with [`ServeOptions`]; [`refuse_open_bind`]; every bound: [`config`].
//! 2. `server` accepts connections and guards them in time (`wire`, `linger`, `refusal`); `api` takes one request through `guard` (who may
//!    ask), `route` (what is asked), `catch_up` (`Rejoin-Token`) and one handler.
//! 3. One file per handler: `data`, `batch`, `import`, `scan`, `history`, `conflicts`, `explain`, `receipts`, `status`,
//!    `changes`, `ticket`, `socket`, `peers`, `link`, `probe`.
//! 4. What they share: `query`, `condition` and `once` (reading requests), `body` and
//!    `incoming` (reading bodies within bounds), `object` (reading shapes), `answer` and
//!    `shapes` (answering), `problem` (the one error shape).
//!
//! This crate parses, asks the node and words the answer. It never decides about data, and never parses a stored
//! value: values go out as the text that is stored.

mod answer;
mod api;
mod batch;
mod body;
mod catch_up;
mod changes;
mod condition;
pub mod config;
mod conflicts;
mod context;
mod data;
mod endpoint;
mod explain;
mod guard;
mod history;
mod import;
mod incoming;
mod lines;
mod linger;
mod link;
mod metrics;
mod object;
mod once;
pub mod openapi;
mod peers;
mod probe;
mod problem;
mod quarantine;
mod query;
mod quiet;
mod receipts;
mod refusal;
mod removals;
mod route;
mod scan;
mod server;
mod shapes;
mod socket;
mod status;
mod ticket;
mod ttl;
mod upgrade;
mod wire;

pub use config::ServeLimits;
pub use guard::{OpenBindError, refuse_open_bind};
pub use server::{ServeError, ServeOptions, serve};
