//! Failures: one sentence, a hint, and an exit code.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use rejoin_client::{Problem, RawValue};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{self, Style};

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Boxed: failures are rare, and results are handed around.
    said: Box<Said>,
    exit: Exit,
    /// The server's own words, when it answered the error.
    body: Option<Box<RawValue>>,
}

/// The one error shape.
#[derive(Debug, Serialize)]
struct Said {
    error: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    retryable: bool,
}

impl Failure {
    /// A failure with a stable code and one sentence.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Failure {
        let said = Said {
            error: code.into(),
            message: message.into(),
            hint: None,
            path: None,
            retryable: exit == Exit::TryAgain,
        };
        Failure { said: Box::new(said), exit, body: None }
    }

    /// What to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.said.hint = Some(hint.into());
        self
    }

    /// Another sentence behind the first. The server's own words alone would not tell it.
    pub(crate) fn adding(mut self, sentence: impl AsRef<str>) -> Failure {
        self.said.message = format!("{} {}", self.said.message, sentence.as_ref());
        self.body = None;
        self
    }

    /// Another hint behind the one that there is.
    pub(crate) fn hint_more(mut self, hint: impl AsRef<str>) -> Failure {
        self.said.hint = Some(match self.said.hint.take() {
            Some(first) if !first.is_empty() => format!("{first} {}", hint.as_ref()),
            _ => hint.as_ref().to_owned(),
        });
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Sentence and hint, for tests.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        format!("{}|{}", self.said.message, self.said.hint.as_deref().unwrap_or_default())
    }

    /// Tells it on standard error; nothing when the reader of our output has gone away, as `head` does.
    pub(crate) fn report(&self, json: bool) {
        if self.exit == Exit::Ok {
            return;
        }
        if json {
            let body = self.body.as_deref().map(|body| body.get().to_owned());
            output::say(body.or_else(|| serde_json::to_string(&self.said).ok()).unwrap_or_default());
            return;
        }
        let style = Style::of_stderr();
        let message = &self.said.message;
        match self.said.path.as_deref().filter(|path| !path.is_empty() && !message.contains(path)) {
            Some(path) => output::say(format_args!("{} {path}: {message}", style.red("error:"))),
            None => output::say(format_args!("{} {message}", style.red("error:"))),
        }
        if let Some(hint) = self.said.hint.as_deref().filter(|hint| !hint.is_empty()) {
            output::say(format_args!("{} {hint}", style.cyan("hint:")));
        }
    }
}

impl From<rejoin_client::Error> for Failure {
    fn from(error: rejoin_client::Error) -> Failure {
        use rejoin_client::Error;
        let exit = match &error {
            Error::Url { .. } | Error::Token | Error::Encode(_) => Exit::Usage,
            Error::Unreachable { .. } | Error::TimedOut { .. } | Error::Broken { .. } => Exit::Unreachable,
            Error::Refused(problem) => match (problem.status, problem.code.as_str()) {
                (_, "storage_failed" | "disk_full") => Exit::Storage,
                (404, "not_found") => Exit::NotFound,
                (401 | 403 | 409 | 412 | 421, _) => Exit::Refused,
                (400 | 413 | 415, _) => Exit::Usage,
                (429 | 502..=504, _) => Exit::TryAgain,
                (507, _) => Exit::Storage,
                _ => Exit::General,
            },
            _ => Exit::General,
        };
        let problem = error.problem();
        let said = Said {
            error: error.code().to_owned(),
            message: error.to_string(),
            hint: problem.and_then(hint_for_commands).or_else(|| error.hint()),
            path: problem.and_then(|problem| problem.path.clone()),
            retryable: error.retryable(),
        };
        Failure { said: Box::new(said), exit, body: problem.and_then(|problem| problem.body.clone()) }
    }
}

/// Where a command says better what to do than an HTTP request.
fn hint_for_commands(problem: &Problem) -> Option<String> {
    let path = problem.path.as_deref().unwrap_or_default();
    match (problem.status, problem.reason.as_deref()) {
        (404, Some("deleted")) => Some(format!("`rejoin history {path}` shows what it was.")),
        (404, Some("missing")) => Some("`rejoin scan` lists what there is.".to_owned()),
        (401, _) => Some("Give the node's token with --token or REJOIN_TOKEN.".to_owned()),
        _ => None,
    }
}

impl From<rejoin::Error> for Failure {
    fn from(error: rejoin::Error) -> Failure {
        use rejoin::Error;
        let exit = match &error {
            Error::Storage(_) | Error::Corrupt(_) | Error::DiskFull(_) => Exit::Storage,
            Error::Locked(_) | Error::Overloaded | Error::TimedOut => Exit::TryAgain,
            Error::Format(_) | Error::Config(_) | Error::Listen(_) | Error::BadPeer(_) => Exit::Config,
            _ => Exit::General,
        };
        Failure::new(exit, error.code(), sentence(&error.to_string())).hint(sentence(&error.hint()))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, "reader_gone", "Nobody reads the output."),
            _ => Failure::new(
                Exit::General,
                "io_failed",
                format!("Reading or writing failed: {}.", words(&error)),
            ),
        }
    }
}

/// Tells what is wrong with the command line, or prints the help or version that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os().any(|argument| argument == "--json");
    if asked_for || !json {
        // Nothing can be said when the terminal is gone.
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::new(Exit::Usage, "usage", sentence(first.trim_start_matches("error: ")))
            .hint("See `rejoin --help`.")
            .report(true);
    }
    match asked_for {
        true => Exit::Ok.into(),
        false => Exit::Usage.into(),
    }
}

/// What the system says, without the number that helps nobody.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// Text as a sentence: capital first, period last.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let ending = if text.ends_with(['.', '!', '?', ':']) || text.is_empty() { "" } else { "." };
    format!("{first}{}{ending}", characters.as_str())
}
