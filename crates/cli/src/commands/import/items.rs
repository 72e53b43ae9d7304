//! The operations of an input, each with its line: one a line, or the elements of one JSON array.
//!
//! An array is cut at its top level only, and one element is in memory at a time; whether an element is JSON is the
//! server's to say.

use std::io::{self, BufRead, Chain, Cursor, Read as _};

use serde::Deserialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// Greatest size of one operation, in bytes: the largest value that a node can be told to take (16 MiB), escaped.
const ITEM_BYTES_MAX: usize = 32 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    /// On one line, without its end.
    pub(super) text: Vec<u8>,
}

/// The operations of an input.
#[derive(Debug)]
pub(super) struct Items<R> {
    input: Chain<Cursor<Vec<u8>>, R>,
    /// The line that is read.
    line: u64,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing was read yet.
    Unknown,
    Lines,
    /// An array, and whether an element was read of it.
    Array {
        begun: bool,
    },
    Over,
}

/// The last line of a scan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndOfScan {
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

impl<R: BufRead> Items<R> {
    /// Looks at how the input begins.
    pub(super) fn new(mut input: R) -> Result<Items<R>, Failure> {
        let mut start =
            read_start(&mut input, BYTE_ORDER_MARK.len()).map_err(|error| unreadable(1, &error))?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(wrong(1, "the input is in UTF-16").hint("Convert it: iconv -f UTF-16 -t UTF-8"));
        }
        if start == BYTE_ORDER_MARK {
            start.clear();
        }
        Ok(Items { input: Cursor::new(start).chain(input), line: 1, form: Form::Unknown })
    }

    /// The next operation.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Failure> {
        if self.form == Form::Unknown {
            self.form = self.form()?;
        }
        match self.form {
            Form::Array { begun } => self.element(begun),
            Form::Lines => self.one_line(),
            Form::Unknown | Form::Over => Ok(None),
        }
    }

    fn form(&mut self) -> Result<Form, Failure> {
        match self.skip_space()? {
            Some(b'[') => {
                self.input.consume(1);
                Ok(Form::Array { begun: false })
            }
            Some(_) => Ok(Form::Lines),
            None => Ok(Form::Over),
        }
    }

    fn one_line(&mut self) -> Result<Option<Item>, Failure> {
        loop {
            let (line, mut text) = (self.line, Vec::new());
            let most = ITEM_BYTES_MAX as u64 + 1;
            let read = (&mut self.input).take(most).read_until(b'\n', &mut text);
            if read.map_err(|error| unreadable(self.line, &error))? == 0 {
                self.form = Form::Over;
                return Ok(None);
            }
            if text.len() > ITEM_BYTES_MAX {
                return Err(self.too_long());
            }
            self.line += u64::from(text.ends_with(b"\n"));
            let text = text.trim_ascii();
            let is_end =
                text.starts_with(b"{\"cursor\"") && serde_json::from_slice::<EndOfScan>(text).is_ok();
            if !text.is_empty() && !is_end {
                return Ok(Some(Item { line, text: text.to_vec() }));
            }
        }
    }

    fn element(&mut self, begun: bool) -> Result<Option<Item>, Failure> {
        let mut next = self.skip_space()?;
        if begun && next == Some(b',') {
            self.input.consume(1);
            next = self.skip_space()?;
            if matches!(next, Some(b']')) {
                return Err(self.wrong("nothing follows the comma in the array"));
            }
        } else if begun && !matches!(next, Some(b']') | None) {
            return Err(self.wrong("there is no comma between two elements of the array"));
        }
        match next {
            None => Err(self.cut_off()),
            Some(b',') => Err(self.wrong("nothing is in front of the comma in the array")),
            Some(b']') => {
                self.input.consume(1);
                self.form = Form::Over;
                match self.skip_space()? {
                    None => Ok(None),
                    Some(_) => Err(self.wrong("something follows the end of the array")),
                }
            }
            Some(_) => {
                self.form = Form::Array { begun: true };
                let line = self.line;
                Ok(Some(Item { line, text: self.text_of_element()? }))
            }
        }
    }

    /// Reads up to the comma or bracket that ends an element.
    fn text_of_element(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let piece = self.input.fill_buf().map_err(|error| unreadable(self.line, &error))?;
            if piece.is_empty() {
                return Err(self.cut_off());
            }
            let mut ended = None;
            for (at, byte) in piece.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    b'{' | b'[' if !in_string => depth += 1,
                    b',' | b']' if !in_string && depth == 0 => {
                        ended = Some(at);
                        break;
                    }
                    b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                    _ => {}
                }
                self.line += u64::from(*byte == b'\n');
            }
            let taken = ended.unwrap_or(piece.len());
            // Line ends are white space between the tokens of JSON, and the end of an operation to the server.
            text.extend(
                piece[..taken].iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
            );
            self.input.consume(taken);
            if text.len() > ITEM_BYTES_MAX {
                return Err(self.too_long());
            }
            if ended.is_some() {
                return Ok(text.trim_ascii().to_vec());
            }
        }
    }

    /// The next byte that is no white space, which stays.
    fn skip_space(&mut self) -> Result<Option<u8>, Failure> {
        loop {
            let piece = self.input.fill_buf().map_err(|error| unreadable(self.line, &error))?;
            if piece.is_empty() {
                return Ok(None);
            }
            let space = piece.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += piece[..space].iter().filter(|byte| **byte == b'\n').count() as u64;
            let next = piece.get(space).copied();
            self.input.consume(space);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    fn wrong(&self, what: &str) -> Failure {
        wrong(self.line, what)
    }

    fn cut_off(&self) -> Failure {
        self.wrong("the array does not end").hint("The file seems to be cut off; get it again.")
    }

    fn too_long(&self) -> Failure {
        self.wrong(&format!("one operation has more than {} MiB", ITEM_BYTES_MAX >> 20))
            .hint("Each operation is a line of its own, or an element of one array.")
    }
}

/// As many bytes as that, or as there are.
pub(super) fn read_start(input: &mut impl io::Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(bytes);
    input.take(bytes as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn wrong(line: u64, what: &str) -> Failure {
    Failure::new(Exit::Usage, "invalid_input", format!("Line {line}: {what}."))
}

fn unreadable(line: u64, error: &io::Error) -> Failure {
    Failure::new(Exit::General, "broken_input", format!("Line {line}: the input cannot be read: {error}."))
        .hint("The file seems to be damaged; get it again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<(u64, String)>, String> {
        // Pieces of one byte: nothing may depend on where a buffer ends.
        let mut items =
            Items::new(io::BufReader::with_capacity(1, text)).map_err(|failure| failure.text())?;
        let mut found = Vec::new();
        while let Some(Item { line, text }) = items.next().map_err(|failure| failure.text())? {
            found.push((line, String::from_utf8(text).unwrap()));
        }
        Ok(found)
    }

    #[test]
    fn the_start_is_read_whole_however_little_comes_at_a_time() {
        struct Trickle<'a>(&'a [u8]);
        impl io::Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let bytes = buffer.len().min(1);
                io::Read::read(&mut self.0, &mut buffer[..bytes])
            }
        }
        assert_eq!(read_start(&mut Trickle(b"abcd"), 3).unwrap(), b"abc");
        assert_eq!(read_start(&mut Trickle(b"ab"), 3).unwrap(), b"ab");
    }

    fn shown(text: &str) -> Vec<(u64, String)> {
        all(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_counted_and_empty_ones_and_the_end_of_a_scan_are_none() {
        let found = shown("\n{\"path\":\"a\"}\r\n\n{\"cursor\":null}\n  {\"path\":\"b\"}");
        assert_eq!(found, [(2, "{\"path\":\"a\"}".to_owned()), (5, "{\"path\":\"b\"}".to_owned())]);
        assert_eq!(shown(""), []);
        assert_eq!(shown("\u{feff}1\n"), [(1, "1".to_owned())]);
        // Whether a line is one is the server's to say.
        assert_eq!(
            shown("nonsense\n{\"cursor\":1}"),
            [(1, "nonsense".to_owned()), (2, "{\"cursor\":1}".to_owned())]
        );
    }

    #[test]
    fn arrays_are_cut_at_their_top_level() {
        let text = "\u{feff} [\n {\"a\":\"],\\\"\\\\\",\n\"b\":[1,{\"c\":[]}]} ,\n2\n]\n";
        let first = "{\"a\":\"],\\\"\\\\\", \"b\":[1,{\"c\":[]}]}".to_owned();
        assert_eq!(shown(text), [(2, first), (4, "2".to_owned())]);
        assert_eq!(shown("[]"), []);
        assert_eq!(shown("[ [1] , \"x\"]"), [(1, "[1]".to_owned()), (1, "\"x\"".to_owned())]);
    }

    #[test]
    fn what_is_no_array_is_said_with_its_line() {
        for (text, said) in [
            ("[1,\n2", "Line 2: the array does not end"),
            ("[", "Line 1: the array does not end"),
            ("[1,\n]", "Line 2: nothing follows the comma"),
            ("[\n,1]", "Line 2: nothing is in front of the comma"),
            ("[1]\n\n2", "Line 3: something follows the end"),
            ("[{\"a\":\"", "Line 1: the array does not end"),
        ] {
            let failure = all(text.as_bytes()).unwrap_err();
            assert!(failure.starts_with(said), "{text}: {failure}");
        }
        assert!(all(b"\xff\xfe[\0").unwrap_err().contains("UTF-16"));
    }
}
