//! Conflict resolvers in JavaScript.
//!
//! A resolver is a file with one function, `(path, localData, remoteData) => result`, that the administrator of a node
//! installs. It is run in an embedded engine (QuickJS-ng) and must be a pure function: the engine has no clock, no
//! randomness, no input or output, no functions of `Math` whose last digit depends on the platform, and every call gets
//! a fresh engine, so that nothing is remembered from one call to the next. Steps, memory and time are bounded.
//!
//! Read in this order:
//!
//! 1. [`Script`]: a file that is a resolver, and the name of its code, which goes into the policy hash.
//! 2. [`JavaScript`]: the script as a [`rejoin::Resolver`], by way of [`Remembered`]: results are kept, so that a read of a
//!    conflicted path starts no engine once it has been read.
//! 3. `engine`: one call in a fresh engine. `worker`: the threads that engines run on. `exchange`: what goes in and out.
//! 4. [`trial`]: whether a resolver is one on which nodes can agree.
//!
//! Without the feature `engine` there is only what any JavaScript needs: [`Run`] is the engine that a program brings.
//!
//! A fault (an exception, a bound, a result that is none) is an error of the call. The node then shows the
//! last-write-wins view, flagged. Every bound: [`limits`].

mod cache;
#[cfg(feature = "engine")]
mod engine;
mod exchange;
mod fault;
#[cfg(feature = "engine")]
mod javascript;
pub mod limits;
mod remembered;
#[cfg(feature = "engine")]
mod script;
#[cfg(feature = "engine")]
pub mod trial;
#[cfg(feature = "engine")]
mod worker;

pub use fault::Fault;
#[cfg(feature = "engine")]
pub use javascript::JavaScript;
pub use remembered::{Remembered, Run};
#[cfg(feature = "engine")]
pub use script::{Script, ScriptError};
