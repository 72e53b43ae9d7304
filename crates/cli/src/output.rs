//! Data to standard output, talk to standard error, colours only where a person sees them.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use rejoin_client::RawValue;
use serde::Serialize;

use crate::failure::Failure;

/// Writes one line of data. A program gets the bytes as they are; a terminal, nothing that it would obey.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.is_terminal() {
        true => Ok(writeln!(out, "{}", harmless(&text.to_string()))?),
        false => Ok(writeln!(out, "{text}")?),
    }
}

/// Writes a value as one line of JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(io::Error::other)?)
}

/// Writes JSON that the server sent, as one line.
pub(crate) fn raw(value: &RawValue) -> Result<(), Failure> {
    line(value.get().trim_end())
}

/// Says one line to the person. A closed standard error is nobody's problem.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", harmless(&text.to_string()));
}

/// What our own colours are made of; see [`Style`].
const OURS: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[1;31m", "\u{1b}[32m", "\u{1b}[36m"];

/// The text with everything escaped that a terminal obeys and a reader does not see: controls of both sets, and marks
/// that turn the direction of what follows. In JSON these escapes mean the same characters.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len() + 32), text);
    while let Some(next) = rest.chars().next() {
        let ours = OURS.into_iter().find(|ours| rest.starts_with(ours));
        let taken = ours.map_or(next.len_utf8(), str::len);
        match ours.is_none() && is_obeyed(next) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(next))),
            false => shown.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    Cow::Owned(shown)
}

fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    pub(crate) fn of_stdout() -> Style {
        Style { colours: wanted(&io::stdout()) }
    }

    pub(crate) fn of_stderr() -> Style {
        Style { colours: wanted(&io::stderr()) }
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: impl Display) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn green(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    pub(crate) fn cyan(self, text: impl Display) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        match self.colours {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_string(),
        }
    }
}

/// Colours are for terminals whose owner has not asked for none: see <https://no-color.org>.
pub(crate) fn wanted(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// Bytes for a person.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut whole = bytes;
    let mut tenths = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = next;
    }
    match unit {
        "B" => format!("{whole} B"),
        _ => format!("{whole}.{tenths} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Style, bytes, harmless};

    #[test]
    fn a_terminal_is_told_nothing_that_it_would_obey() {
        for (text, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("données 日本 \u{1f980}", "données 日本 \u{1f980}"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
            ("\u{1b}]0;title\u{7}\r", "\\u001b]0;title\\u0007\\u000d"),
            ("a\u{202e}b\u{2066}c\u{200f}\u{61c}", "a\\u202eb\\u2066c\\u200f\\u061c"),
            ("\u{1b}[5m", "\\u001b[5m"),
        ] {
            assert_eq!(harmless(text), shown);
        }
        let coloured = Style { colours: true }.red("a\u{9b}b");
        assert_eq!(harmless(&coloured), "\u{1b}[1;31ma\\u009bb\u{1b}[0m");
    }

    #[test]
    fn bytes_read_well() {
        for (count, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
