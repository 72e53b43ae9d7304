//! The checker itself, on small histories made by hand: it names what is wrong with the bad ones, and nothing else,
//! and accepts the good ones, however strange they look.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use rejoin_blackbox::check::check;
use rejoin_blackbox::history::{Line, read};

fn histories(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories").join(folder);
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn good_histories_are_accepted() {
    let files = histories("good");
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let found = check(&read(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

#[test]
fn bad_histories_are_rejected_for_the_stated_reason_and_no_other() {
    let files = histories("bad");
    assert!(files.len() >= 15, "{files:?}");
    let mut wrong = Vec::new();
    for file in files {
        let mut lines = read(&file).unwrap();
        let Some(Line::Expect { violation, lines: expected }) = lines.pop() else {
            panic!("{}: its last line does not say what is wrong with it", file.display());
        };
        let found = check(&lines);
        let told = |kind: &str, at: &[usize]| kind == violation && at == expected;
        let named = found.iter().any(|found| told(found.kind, &found.lines));
        if !named || found.iter().any(|found| found.kind != violation) {
            wrong.push(format!(
                "{}: expected {violation} in lines {expected:?}, found {found:#?}",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
