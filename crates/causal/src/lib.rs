//! The mathematics of causality: dots, interval sets, frontiers, dotted version vector documents, hybrid clocks.
//!
//! Everything here is a value and a pure function of values: no clock, socket, thread or randomness can be named
//! (`no_std`), and nothing iterates in an order that depends on a hash. Read in this order:
//!
//! 1. [`NodeId`], [`Epoch`], [`Dot`]: the name of one write event.
//! 2. [`IntervalSet`] and [`Frontier`]: every dot a replica has applied, at the cost of a few ranges.
//! 3. [`VersionVector`] and [`Document`]: the state of one path and [`Document::merge`], the only rule by which
//!    states meet.
//! 4. [`Hlc`]: hybrid logical time, which orders concurrent siblings and nothing else.
//! 5. [`Token`]: a frontier as opaque text; [`codec`]: the bytes of all of these.
//!
//! [`plant`] is for tests of the tests, and empty in every build of the node.
//!
//! Papers: dotted version vectors (Preguiça, Baquero, Almeida, Fonte, Gonçalves 2010/2012), hybrid logical clocks
//! (Kulkarni, Demirbas, Madappa, Avva, Leone 2014). The frontier rule that lets tombstones be collected is this
//! project's own; docs/consistency.md explains it.
#![no_std]

extern crate alloc;

mod document;
mod dot;
mod frontier;
mod hex;
mod hlc;
mod interval_set;
mod version_vector;

pub mod codec;
pub mod plant;
pub mod token;

pub use document::{Document, Lost, Merged, Removed, Version};
pub use dot::{Dot, Epoch, NodeId, ParseDotError, ParseNodeIdError};
pub use frontier::{Floor, Frontier};
pub use hex::Hex;
pub use hlc::{Hlc, HlcClock};
pub use interval_set::IntervalSet;
pub use token::Token;
pub use version_vector::VersionVector;
