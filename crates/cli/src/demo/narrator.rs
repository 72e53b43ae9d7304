//! Tells the story: lines and colours for a person, one JSON object a step for a program.

use std::fmt::Display;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Ended;
use crate::output::{self, Style};

#[derive(Debug)]
pub(crate) struct Narrator {
    json: bool,
    style: Style,
    started: Instant,
    step: u32,
}

impl Narrator {
    pub(crate) fn new(json: bool) -> Narrator {
        Narrator { json, style: Style::of_stdout(), started: Instant::now(), step: 0 }
    }

    /// What there is to see.
    pub(crate) fn title(&self, text: &str) -> Ended {
        match self.json {
            true => Ok(()),
            false => output::line(self.style.bold(text)),
        }
    }

    /// Begins the next step.
    pub(crate) fn step(&mut self, title: &str) -> Ended {
        self.step += 1;
        match self.json {
            true => Ok(()),
            false => {
                output::line(format_args!("\n{}  {}", self.style.cyan(self.step), self.style.bold(title)))
            }
        }
    }

    /// One line within a step.
    pub(crate) fn tell(&self, text: impl Display) -> Ended {
        match self.json {
            true => Ok(()),
            false => output::line(format_args!("   {text}")),
        }
    }

    /// Room between lines.
    pub(crate) fn blank(&self) -> Ended {
        match self.json {
            true => Ok(()),
            false => output::line(""),
        }
    }

    /// One line that says what has been achieved, and how long it took.
    pub(crate) fn done(&self, text: impl Display, took: Duration) -> Ended {
        self.tell(format_args!("{} {text} {}", self.style.green("✓"), self.style.bold(ms(took))))
    }

    /// What a program should know of this step.
    pub(crate) fn facts(&self, name: &str, mut facts: Value) -> Ended {
        if !self.json {
            return Ok(());
        }
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("step".into(), json!(self.step));
            facts.insert("name".into(), json!(name));
            facts.insert("atMs".into(), json!(rounded(self.started.elapsed())));
        }
        output::json(&facts)
    }

    /// The nodes stay: says until when.
    pub(crate) fn wait_for_reader(&self) -> Ended {
        self.blank()?;
        self.tell("The nodes keep running. Press Ctrl-C to stop them and remove their data.")
    }

    /// Words that matter less.
    pub(crate) fn dim(&self, text: impl Display) -> String {
        self.style.dim(text)
    }
}

/// A duration for a person.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

/// Milliseconds with one decimal, for a program.
pub(crate) fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
