//! Why a resolver gave no result.

use std::fmt;

use crate::limits::{HUNG_MAX, MEMORY_BYTES_MAX, MESSAGE_CHARS_MAX, TICKS_MAX, TIME_MAX};

/// Why a resolver gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It threw.
    Threw(String),
    /// What it returned is no result.
    Nonsense(String),
    /// It took too many steps.
    Steps,
    /// It took too much memory.
    Memory,
    /// It took too long without taking steps, or the machine stood still.
    Time,
    /// Earlier calls have not returned: it is switched off until one does.
    SwitchedOff,
}

impl Fault {
    /// A short name, for metrics and JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Threw(_) => "threw",
            Fault::Nonsense(_) => "nonsense",
            Fault::Steps => "steps",
            Fault::Memory => "memory",
            Fault::Time => "time",
            Fault::SwitchedOff => "switched_off",
        }
    }

    /// Whether the same call may end otherwise later, or on another machine.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Fault::Time | Fault::SwitchedOff)
    }

    /// An exception with this message, cut when it is long.
    pub fn threw(message: &str) -> Fault {
        Fault::Threw(excerpt(message))
    }

    /// A result that is none, for this reason, cut when it is long.
    pub fn nonsense(message: &str) -> Fault {
        Fault::Nonsense(excerpt(message))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Threw(message) => write!(f, "it threw: {message}"),
            Fault::Nonsense(message) => write!(f, "its result is none: {message}"),
            Fault::Steps => {
                write!(f, "it made more than {} calls and turns of loops", u64::from(TICKS_MAX) * 10_000)
            }
            Fault::Memory => write!(f, "it needs more than {} MiB of memory", MEMORY_BYTES_MAX >> 20),
            Fault::Time => write!(f, "it took longer than {} s", TIME_MAX.as_secs()),
            Fault::SwitchedOff => write!(f, "{HUNG_MAX} earlier calls have not returned: it is switched off"),
        }
    }
}

impl std::error::Error for Fault {}

fn excerpt(message: &str) -> String {
    let mut text: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    if text.len() < message.len() {
        text.push('…');
    }
    text
}
