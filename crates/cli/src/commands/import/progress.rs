//! How far an import is: a bar for a person, plain lines for a log.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Counts;
use crate::output;

/// Time between two plain lines.
const PLAIN: Duration = Duration::from_secs(1);

/// With a total the bar shows bytes of the file, since nobody knows how many lines it has.
const BAR: &str = "{bar:32} {percent:>3} %  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}";

const SPINNER: &str = "{spinner} {bytes}  {bytes_per_sec}  {wide_msg}";

/// Tells how far it is.
#[derive(Debug)]
pub(super) struct Progress {
    /// For a terminal.
    bar: Option<ProgressBar>,
    total: Option<u64>,
    begun: Instant,
    told: Instant,
}

impl Progress {
    /// Begins now, with that many bytes to read.
    pub(super) fn new(total: Option<u64>) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = ProgressStyle::with_template(if total.is_some() { BAR } else { SPINNER });
            bar.with_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        let now = Instant::now();
        Progress { bar, total, begun: now, told: now }
    }

    /// So many bytes are read, and this is done.
    pub(super) fn tell(&mut self, read: u64, counts: &Counts, line: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(read);
            return bar.set_message(format!("line {line}, {counts}"));
        }
        if self.told.elapsed() >= PLAIN {
            self.told = Instant::now();
            output::say(plain(read, self.total, counts, line, self.begun.elapsed()));
        }
    }

    /// Says a line beside it.
    pub(super) fn say(&self, text: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::say(text)),
            None => output::say(text),
        }
    }

    /// Nothing more is told.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn plain(read: u64, total: Option<u64>, counts: &Counts, line: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = counts.operations.saturating_mul(1000) / millis;
    let so_far = format!("line {line}: {counts}; {rate} operations/s");
    match total.filter(|total| *total > 0) {
        None => so_far,
        Some(total) => {
            let left = total.saturating_sub(read).saturating_mul(millis) / read.max(1) / 1000;
            format!(
                "{so_far}; {} % of {}, {left} s left",
                read.min(total) * 100 / total,
                output::bytes(total)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_tell_place_rate_share_and_time() {
        let counts = Counts { operations: 5_000, applied: 4_998, refused: 2 };
        let (read, took) = (1 << 20, Duration::from_secs(2));
        assert_eq!(
            plain(read, Some(4 << 20), &counts, 5_000, took),
            "line 5000: 4998 written, 2 refused; 2500 operations/s; 25 % of 4.0 MiB, 6 s left"
        );
        assert_eq!(
            plain(read, None, &counts, 5_000, took),
            "line 5000: 4998 written, 2 refused; 2500 operations/s"
        );
    }
}
