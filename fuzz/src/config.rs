//! The configuration of `rejoin serve`: any file and environment give settings or an error, and settings that are
//! printed are read back as they were.
//!
//! The CLI is a binary, so its sources are compiled in here.

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/cli/src/config/mod.rs"]
mod cli;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cli::{ConfigError, Environment, Given, Key, Origin, Raw, Settings, print, print_json};
use serde_json::Value;

use crate::bytes::Bytes;
use crate::exit::Exit;
use crate::failure::Failure;

/// Never to be seen in an error. No legal token, for its spaces.
const SECRET: &str = "do not tell";

/// Files, environments and flags.
pub fn config(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let flags = bytes.below(8);
    let mut environment: Vec<(OsString, OsString)> = Vec::new();
    for _ in 0..bytes.below(4) {
        let name = match bytes.one_in(4) {
            true => format!("REJOIN_{}", String::from_utf8_lossy(bytes.run())),
            false => bytes.pick(&Key::ALL).variable(),
        };
        if name == "REJOIN_CONFIG" || name.contains(['\0', '=']) {
            continue;
        }
        environment.push((name.into(), String::from_utf8_lossy(bytes.run()).into_owned().into()));
    }
    if flags == 7 {
        environment.push(("REJOIN_AUTH_TOKEN".into(), SECRET.into()));
    }
    let environment = Environment::of(environment);
    let flag = |(key, text): (Key, &[u8])| Given {
        key,
        raw: Raw::Text(String::from_utf8_lossy(text).into_owned()),
        origin: Origin::Flag("--flag"),
    };
    let given = (0..flags.min(2)).map(|_| flag((*bytes.pick(&Key::ALL), bytes.run()))).collect();
    let file = scratch();
    let text = bytes.rest();
    std::fs::write(&file, text).expect("a scratch file");
    match Settings::load(Some(&file), &environment, given) {
        Ok(settings) => printed(&settings, &file),
        Err(error) => told(error, text, &file),
    }
}

/// What is printed is a configuration file that says the same.
fn printed(settings: &Settings, file: &Path) {
    let values = |settings: &Settings| {
        let Value::Object(options) = print_json(settings) else { panic!("no object") };
        options.into_iter().map(|(name, option)| (name, option["value"].clone())).collect::<Vec<_>>()
    };
    let text = print(settings);
    std::fs::write(file, &text).expect("a scratch file");
    let again = Settings::load(Some(file), &Environment::default(), Vec::new());
    let again = again.unwrap_or_else(|error| panic!("what is printed is refused: {error:?}\n{text}"));
    assert_eq!(values(&again), values(settings), "what is printed says something else:\n{text}");
}

/// An error says where, and never a secret.
fn told(error: ConfigError, text: &[u8], file: &Path) {
    let lines = text.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let (ConfigError::Syntax { line, .. }
    | ConfigError::Unknown { origin: Origin::File { line, .. }, .. }
    | ConfigError::Wrong { origin: Origin::File { line, .. }, .. }) = &error
    else {
        return sentence(error.into());
    };
    assert!((1..=lines).contains(line), "line {line} of {lines} in {}", file.display());
    sentence(error.into());
}

fn sentence(failure: Failure) {
    assert_eq!(failure.exit(), Exit::Config);
    let text = failure.text();
    assert!(!text.contains(SECRET), "{text}");
}

/// A file of this thread.
fn scratch() -> PathBuf {
    thread_local! {
        static FILE: PathBuf = {
            let memory = Path::new("/dev/shm");
            let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            directory.join(format!("rejoin-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id()))
        };
    }
    FILE.with(Clone::clone)
}
