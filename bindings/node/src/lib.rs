//! The native half of the Node.js package `rejoin`: nodes of the engine behind Node-API.
//!
//! JavaScript validates, keeps promises and calls callbacks (`lib/`); this half owns nodes and threads. Between them
//! travels text, in batches: operations in, messages out. Values cross as the JSON text that is stored, never field by
//! field.
//!
//! Read in this order:
//!
//! 1. `bridge`: the class that JavaScript sees, and which of its methods may be called when.
//! 2. `settings`: what a server is made of. `runtime`: the threads of all servers of a process.
//! 3. `server`: one server's life. `operation`: what it is asked. `shapes`: the texts that it answers with.
//! 4. `outbox`: messages for the event loop, in batches, bounded where their number is not the caller's own doing.
//! 5. `resolver`: custom resolvers, called on the event loop while a thread of the engine waits, for a bounded time.
//!
//! Invariant: nothing that the event loop calls waits for the replica's thread, a disk sync or a resolver.

#![deny(unsafe_code)]

mod bridge;
mod config;
mod operation;
mod outbox;
mod resolver;
mod runtime;
mod server;
mod settings;
mod shapes;
