//! The log of a node: lines on standard error, for people or as JSON.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

const VARIABLE: &str = "REJOIN_LOG";

impl Level {
    /// The level of the flag, else of `REJOIN_LOG`, else info.
    pub(crate) fn choose(flag: Option<Level>) -> Result<Level, Failure> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        match (flag, variable) {
            (Some(level), _) => Ok(level),
            (None, None) => Ok(Level::Info),
            (None, Some(text)) => Level::from_str(&text, true).map_err(|_| {
                Failure::new(Exit::Config, "invalid_option", format!("`{VARIABLE}` cannot be {text:?}."))
                    .hint("It must be one of off, error, warn, info, debug and trace.")
            }),
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Level::Off => LevelFilter::OFF,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// Starts logging for the whole process.
pub(crate) fn start(level: Level, json: bool) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level.filter())
        .with_writer(std::io::stderr)
        .with_ansi(output::wanted(&std::io::stderr()));
    // Only a second start could fail, and there is none.
    let _ = match json {
        true => log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        false => log.compact().with_target(false).try_init(),
    };
}
