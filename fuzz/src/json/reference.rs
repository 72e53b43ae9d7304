//! A slow reader of RFC 8259, written from its grammar.

/// Why is not compared.
#[derive(Debug)]
pub(super) struct Refused;

/// A value, with the text of its scalars.
#[derive(Debug)]
pub(super) enum Reference {
    Word(&'static str),
    Number(String),
    Text(Text),
    Array(Vec<Reference>),
    Object(Vec<(Text, Reference)>),
}

/// A string as written and as meant.
#[derive(Debug, Clone)]
pub(super) struct Text {
    written: String,
    meant: String,
}

/// Reads one value of at most that depth.
pub(super) fn read(text: &[u8], depth_max: usize) -> Result<Reference, Refused> {
    let text = std::str::from_utf8(text).map_err(|_| Refused)?;
    let mut reader = Reader { text: text.chars().collect(), at: 0 };
    reader.skip();
    let value = reader.value(depth_max)?;
    reader.skip();
    if reader.at == reader.text.len() { Ok(value) } else { Err(Refused) }
}

impl Reference {
    /// The value without white space.
    pub(super) fn text(&self) -> String {
        match self {
            Reference::Word(word) => (*word).to_owned(),
            Reference::Number(number) => number.clone(),
            Reference::Text(text) => text.written.clone(),
            Reference::Array(values) => {
                format!("[{}]", values.iter().map(Reference::text).collect::<Vec<_>>().join(","))
            }
            Reference::Object(members) => {
                let member = |(name, value): &(Text, Reference)| format!("{}:{}", name.written, value.text());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    pub(super) fn members(&self) -> Vec<(String, String)> {
        match self {
            Reference::Object(members) => {
                members.iter().map(|(name, value)| (name.meant.clone(), value.text())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether `serde_json::Value` takes an object in here for one of its own tricks, and reads something else.
    pub(super) fn has_private_name(&self) -> bool {
        match self {
            Reference::Array(values) => values.iter().any(Reference::has_private_name),
            Reference::Object(members) => members.iter().any(|(name, value)| {
                name.meant.starts_with("$serde_json::private::") || value.has_private_name()
            }),
            _ => false,
        }
    }

    /// Whether some number is near the end of doubles, or beyond.
    pub(super) fn has_huge_number(&self) -> bool {
        match self {
            Reference::Number(number) => number.parse::<f64>().is_ok_and(|double| double.abs() > 1e307),
            Reference::Array(values) => values.iter().any(Reference::has_huge_number),
            Reference::Object(members) => members.iter().any(|(_, value)| value.has_huge_number()),
            _ => false,
        }
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<char, Refused> {
        let next = self.peek().ok_or(Refused)?;
        self.at += 1;
        Ok(next)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    fn skip(&mut self) {
        while matches!(self.peek(), Some('\u{20}' | '\u{9}' | '\u{A}' | '\u{D}')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth_left: usize) -> Result<Reference, Refused> {
        match self.peek().ok_or(Refused)? {
            '"' => self.text().map(Reference::Text),
            '[' => self.array(depth_left.checked_sub(1).ok_or(Refused)?),
            '{' => self.object(depth_left.checked_sub(1).ok_or(Refused)?),
            '-' | '0'..='9' => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Reference, Refused> {
        for word in ["null", "true", "false"] {
            let end = self.at + word.len();
            if self.text.get(self.at..end).is_some_and(|found| found.iter().copied().eq(word.chars())) {
                self.at = end;
                return Ok(Reference::Word(word));
            }
        }
        Err(Refused)
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let from = self.at;
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(Refused) }
    }

    fn number(&mut self) -> Result<Reference, Refused> {
        let from = self.at;
        self.eat('-');
        if !self.eat('0') {
            self.digits()?;
        }
        if self.eat('.') {
            self.digits()?;
        }
        if self.eat('e') || self.eat('E') {
            if !self.eat('+') {
                self.eat('-');
            }
            self.digits()?;
        }
        Ok(Reference::Number(self.text[from..self.at].iter().collect()))
    }

    fn text(&mut self) -> Result<Text, Refused> {
        let from = self.at;
        self.at += 1;
        let mut meant = String::new();
        loop {
            match self.next()? {
                '"' => break,
                '\\' => match self.next()? {
                    escaped @ ('"' | '\\' | '/') => meant.push(escaped),
                    'b' => meant.push('\u{8}'),
                    'f' => meant.push('\u{C}'),
                    'n' => meant.push('\n'),
                    'r' => meant.push('\r'),
                    't' => meant.push('\t'),
                    'u' => {
                        let unit = self.unit()?;
                        let mut units = vec![unit];
                        if (0xD800..0xDC00).contains(&unit) {
                            if self.next()? != '\\' || self.next()? != 'u' {
                                return Err(Refused);
                            }
                            units.push(self.unit()?);
                        }
                        meant.push_str(&String::from_utf16(&units).map_err(|_| Refused)?);
                    }
                    _ => return Err(Refused),
                },
                control if control < ' ' => return Err(Refused),
                plain => meant.push(plain),
            }
        }
        Ok(Text { written: self.text[from..self.at].iter().collect(), meant })
    }

    fn unit(&mut self) -> Result<u16, Refused> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.next()?.to_digit(16).ok_or(Refused)?;
            unit = unit * 16 + u16::try_from(digit).map_err(|_| Refused)?;
        }
        Ok(unit)
    }

    fn array(&mut self, depth_left: usize) -> Result<Reference, Refused> {
        self.at += 1;
        let mut values = Vec::new();
        self.skip();
        if self.eat(']') {
            return Ok(Reference::Array(values));
        }
        loop {
            self.skip();
            values.push(self.value(depth_left)?);
            self.skip();
            match self.next()? {
                ',' => {}
                ']' => return Ok(Reference::Array(values)),
                _ => return Err(Refused),
            }
        }
    }

    fn object(&mut self, depth_left: usize) -> Result<Reference, Refused> {
        self.at += 1;
        let mut members: Vec<(Text, Reference)> = Vec::new();
        self.skip();
        if self.eat('}') {
            return Ok(Reference::Object(members));
        }
        loop {
            self.skip();
            if self.peek() != Some('"') {
                return Err(Refused);
            }
            let name = self.text()?;
            if members.iter().any(|(known, _)| known.meant == name.meant) {
                return Err(Refused);
            }
            self.skip();
            if !self.eat(':') {
                return Err(Refused);
            }
            self.skip();
            members.push((name, self.value(depth_left)?));
            self.skip();
            match self.next()? {
                ',' => {}
                '}' => return Ok(Reference::Object(members)),
                _ => return Err(Refused),
            }
        }
    }
}
