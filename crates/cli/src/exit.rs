//! Exit codes: few, stable, documented.

use std::process::ExitCode;

/// How the process ends. The numbers from 64 on are those of sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Something else went wrong.
    General = 1,
    /// The command line, or a path or value on it, is not acceptable.
    Usage = 2,
    /// There is no value at the path.
    NotFound = 3,
    /// The node refused: a condition, a strategy, a missing right.
    Refused = 4,
    /// No node could be reached, or the connection to it was lost.
    Unreachable = 5,
    /// The store has failed, is damaged or full.
    Storage = 74,
    /// Not now: the node is overloaded, or what is needed is in use.
    TryAgain = 75,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// The table of `rejoin --help`.
pub(crate) const TABLE: &str = "\
Exit codes:
   0  done
   1  something else went wrong
   2  the command line, or a path or value on it, is not acceptable
   3  there is no value at the path
   4  the node refused: a condition, a strategy, or a missing right
   5  no node could be reached, or the connection to it was lost
  74  the store has failed, is damaged or full
  75  not now: overloaded, or what is needed is in use; try again
  78  the configuration is wrong

Standard output carries data only; everything else goes to standard error.";
