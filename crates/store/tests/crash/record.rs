//! What `strace` wrote, as events.

use std::collections::HashMap;

/// The calls that change files or sync them, and those that say which file a descriptor means.
pub(crate) const CALLS: &str = "open,openat,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fallocate,rename,renameat,\
    renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,fsync,fdatasync,sync_file_range,close,lseek,\
    copy_file_range,sendfile";

/// One call that returned, in the order of returns.
#[derive(Debug)]
pub(crate) struct Event {
    /// The line at which it began; calls of other threads may lie between.
    pub(crate) began: usize,
    /// The line at which it returned.
    pub(crate) line: usize,
    pub(crate) call: Call,
    /// The file that its descriptor means, as strace shows it.
    pub(crate) on: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Call {
    Open {
        path: String,
        create: bool,
        truncate: bool,
        append: bool,
        descriptor: u64,
    },
    Close {
        descriptor: u64,
    },
    Seek {
        descriptor: u64,
        to: u64,
    },
    Write {
        descriptor: u64,
        at: Option<u64>,
        data: Vec<u8>,
    },
    Truncate {
        descriptor: u64,
        bytes: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    Sync {
        descriptor: u64,
    },
    /// A line on standard error.
    Said(String),
}

/// Reads what strace wrote with `-f -y -xx`.
pub(crate) fn parse(log: &[u8]) -> Vec<Event> {
    let mut unfinished: HashMap<Vec<u8>, (usize, Vec<u8>)> = HashMap::new();
    let mut events = Vec::new();
    for (line, text) in log.split(|byte| *byte == b'\n').enumerate() {
        let Some(space) = text.iter().position(|byte| *byte == b' ') else { continue };
        let (process, rest) = text.split_at(space);
        let rest = rest.trim_ascii_start();
        if let Some(begun) = rest.strip_suffix(b"<unfinished ...>") {
            unfinished.insert(process.to_vec(), (line, begun.trim_ascii_end().to_vec()));
            continue;
        }
        let resumed = rest.strip_prefix(b"<... ").and_then(|rest| {
            let end = rest.windows(8).position(|window| window == b"resumed>")?;
            Some(&rest[end + 8..])
        });
        let (began, whole) = match resumed {
            Some(rest) => {
                let (began, mut whole) = unfinished.remove(process).expect("a call that began");
                whole.extend_from_slice(rest);
                (began, whole)
            }
            None => (line, rest.to_vec()),
        };
        if let Some((call, on)) = call(&whole) {
            events.push(Event { began, line, call, on });
        }
    }
    events
}

/// A call that succeeded and matters.
fn call(text: &[u8]) -> Option<(Call, Option<String>)> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let name = std::str::from_utf8(&text[..open]).ok()?;
    let equals = text.windows(3).rposition(|window| window == b" = ")?;
    let result = number(&text[equals + 3..])?;
    let arguments = arguments(&text[open + 1..equals]);
    let path = |at: usize| String::from_utf8(arguments[at].string.clone().unwrap()).unwrap();
    let descriptor = || number(&arguments[0].plain);
    let on = shown(&arguments[0].plain);
    let call = match name {
        "open" | "openat" | "creat" => {
            let at = usize::from(name == "openat");
            let flags = String::from_utf8(arguments[at + 1].plain.clone()).unwrap();
            let has = |flag| flags.split('|').any(|known| known == flag);
            let (create, truncate, append) = (has("O_CREAT"), has("O_TRUNC"), has("O_APPEND"));
            Call::Open { path: path(at), create, truncate, append, descriptor: result }
        }
        "close" => Call::Close { descriptor: descriptor()? },
        "lseek" => Call::Seek { descriptor: descriptor()?, to: result },
        "write" | "pwrite64" => {
            let mut data = arguments[1].string.clone()?;
            data.truncate(result as usize);
            if arguments[0].plain.starts_with(b"2<") || &arguments[0].plain == b"2" {
                return Some((Call::Said(String::from_utf8_lossy(&data).into_owned()), None));
            }
            let at = (name == "pwrite64").then(|| number(&arguments[3].plain)).flatten();
            Call::Write { descriptor: descriptor()?, at, data }
        }
        "ftruncate" => Call::Truncate { descriptor: descriptor()?, bytes: number(&arguments[1].plain)? },
        "rename" => Call::Rename { from: path(0), to: path(1) },
        "renameat" | "renameat2" => Call::Rename { from: path(1), to: path(3) },
        "unlink" | "rmdir" => Call::Remove { path: path(0) },
        "unlinkat" => Call::Remove { path: inside(&arguments[0].plain, path(1)) },
        "mkdir" => Call::MakeDirectory { path: path(0) },
        "mkdirat" => Call::MakeDirectory { path: path(1) },
        "fsync" | "fdatasync" => Call::Sync { descriptor: descriptor()? },
        // Nothing here uses them; should that change, the record would be wrong.
        "writev" | "pwritev" | "truncate" | "fallocate" | "link" | "linkat" | "copy_file_range"
        | "sendfile" => {
            panic!("a call that is not replayed: {name}")
        }
        _ => return None,
    };
    Some((call, on))
}

/// The file behind a descriptor: `3</a/file>`.
fn shown(descriptor: &[u8]) -> Option<String> {
    let begin = descriptor.iter().position(|byte| *byte == b'<')? + 1;
    let end = descriptor.iter().rposition(|byte| *byte == b'>')?;
    String::from_utf8(unescaped(&descriptor[begin..end])).ok()
}

/// A name relative to an open directory, in full.
fn inside(directory: &[u8], path: String) -> String {
    if path.starts_with('/') {
        return path;
    }
    let above = shown(directory).expect("-y shows where");
    format!("{above}/{path}")
}

#[derive(Debug, Default)]
struct Argument {
    /// As it was printed, unless it is a string.
    plain: Vec<u8>,
    string: Option<Vec<u8>>,
}

fn arguments(text: &[u8]) -> Vec<Argument> {
    let mut arguments = vec![Argument::default()];
    let mut at = 0;
    let mut angle = false;
    while at < text.len() {
        match text[at] {
            b'"' if !angle => {
                let end = at + 1 + text[at + 1..].iter().position(|byte| *byte == b'"').unwrap();
                assert!(!text[end..].starts_with(b"\"..."), "strace cut a string short");
                arguments.last_mut().unwrap().string = Some(unescaped(&text[at + 1..end]));
                at = end;
            }
            b',' if !angle => arguments.push(Argument::default()),
            b' ' if !angle => {}
            byte => {
                angle = (angle || byte == b'<') && byte != b'>';
                arguments.last_mut().unwrap().plain.push(byte);
            }
        }
        at += 1;
    }
    arguments
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' && text.get(at + 1) == Some(&b'x') {
            let digit = |at: usize| char::from(text[at]).to_digit(16).unwrap() as u8;
            bytes.push(digit(at + 2) * 16 + digit(at + 3));
            at += 4;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}

/// The number at the beginning; none when the call failed.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
