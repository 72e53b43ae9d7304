//! Checks a cluster from the outside: what clients were told must be consistent with what the design promises.
//!
//! Read in this order:
//!
//! 1. [`history`]: the record of a run, one JSON object a line. It is the only thing that the two halves share.
//! 2. [`run`]: starts real servers over links that fail, lets clients work, and writes the record.
//! 3. [`check`]: reads a record and says which lines contradict each other. It was written from the promises in
//!    docs/consistency.md and knows no other crate of this project, so that it cannot repeat a mistake of the merge.

pub mod check;
pub mod history;
pub mod run;
