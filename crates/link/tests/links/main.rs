//! Stories about links, through the public surface, over TCP on 127.0.0.1.

// Clippy knows test functions, not the helpers they call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod frames;
mod http;
mod liveness;
mod places;
mod refusals;
mod rig;
