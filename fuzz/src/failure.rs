//! What the CLI's configuration needs of the CLI's failures.

use std::io;

use crate::exit::Exit;

/// A failed command, as much of it as errors of the configuration have.
pub(crate) struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
    hint: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { exit, code, message: message.into(), hint: String::new() }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: hint.into(), ..self }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// All that is said of it.
    pub(crate) fn text(&self) -> String {
        format!("{}: {}\n{}", self.code, self.message, self.hint)
    }
}

pub(crate) fn words(error: &io::Error) -> String {
    error.to_string()
}
