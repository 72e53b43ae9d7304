//! The rules of paths, read slowly and one by one.

/// How a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Invalid,
    /// Legal but for its first segment.
    Reserved,
}

impl Verdict {
    pub(super) fn code(self) -> &'static str {
        match self {
            Verdict::Invalid => "invalid_path",
            Verdict::Reserved => "reserved_path",
        }
    }
}

/// Decoded text.
pub(super) fn text(text: &str) -> Result<Vec<String>, Verdict> {
    segments(text.split('/').map(|segment| Some(segment.as_bytes().to_vec())).collect())
}

/// A raw request target.
pub(super) fn encoded(raw: &[u8]) -> Result<Vec<String>, Verdict> {
    segments(raw.split(|byte| *byte == b'/').map(unescape).collect())
}

/// A storage key.
pub(super) fn key(key: &[u8]) -> Result<Vec<String>, Verdict> {
    segments(key.split(|byte| *byte == 0).map(|segment| Some(segment.to_vec())).collect())
}

/// Whether a path, or more of one, could follow or complete this text; reserved names are no matter here.
pub(super) fn is_prefix(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('/').collect();
    let open = parts.pop().unwrap_or_default();
    let number = parts.len() + usize::from(!open.is_empty());
    text.len() <= 2_048
        && number <= 64
        && parts.iter().all(|part| is_segment(part.as_bytes()))
        && (open.is_empty() || open == "." || open == ".." || is_segment(open.as_bytes()))
}

fn unescape(segment: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        if segment[at] == b'%' {
            let digits = segment.get(at + 1..at + 3)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            plain.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            at += 3;
        } else {
            plain.push(segment[at]);
            at += 1;
        }
    }
    Some(plain)
}

fn segments(segments: Vec<Option<Vec<u8>>>) -> Result<Vec<String>, Verdict> {
    let mut told = Vec::new();
    for segment in segments {
        let segment = segment.ok_or(Verdict::Invalid)?;
        if !is_segment(&segment) {
            return Err(Verdict::Invalid);
        }
        told.push(String::from_utf8(segment).map_err(|_| Verdict::Invalid)?);
    }
    if told.len() > 64 || told.join("/").len() > 2_048 {
        return Err(Verdict::Invalid);
    }
    let first = told.first().ok_or(Verdict::Invalid)?;
    if first.starts_with('_') || first == "scan" || first == "history" || first == "status" {
        return Err(Verdict::Reserved);
    }
    Ok(told)
}

fn is_segment(segment: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(segment) else { return false };
    let control = |character: char| {
        let code = u32::from(character);
        code <= 0x1F || (0x7F..=0x9F).contains(&code)
    };
    (1..=512).contains(&segment.len())
        && segment != b"."
        && segment != b".."
        && !segment.contains(&b'/')
        && !text.chars().any(control)
}
