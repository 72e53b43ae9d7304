//! The fuzz bodies as plain tests: over the committed corpus, and over a fixed sequence of mutations of it.
//!
//! `REJOIN_FUZZ_FACTOR` runs that many times as many mutations, `REJOIN_FIGURES` names a directory that gets the figures
//! as JSON.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rejoin_fuzz::{Body, TARGETS};

#[test]
fn every_input_of_the_corpus_holds() {
    for (target, body) in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for (file, input) in inputs {
            run(target, body, &file.display().to_string(), &input);
        }
    }
}

#[test]
fn mutations_of_the_corpus_hold() {
    let factor =
        std::env::var("REJOIN_FUZZ_FACTOR").map_or(1, |factor| factor.parse::<u64>().expect("a number"));
    let mut figures = Vec::new();
    // Enough for about ten seconds in all, on a machine that does other things as well.
    for (target, runs) in [
        ("frame", 10_000),
        ("session", 1_000),
        ("path", 15_000),
        ("json", 15_000),
        ("token", 10_000),
        ("cursor", 4_000),
        ("record", 2_000),
        ("config", 4_000),
        ("handshake", 2_000),
    ] {
        let body = TARGETS.iter().find(|(name, _)| *name == target).expect("a target").1;
        let seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
        let mut rng = Rng(0x5eed);
        for number in 0..runs * factor {
            let input = mutated(&mut rng, &seeds);
            run(target, body, &format!("mutation {number}"), &input);
        }
        figures.push(format!(r#""{target}":{}"#, runs * factor));
    }
    if let Some(directory) = std::env::var_os("REJOIN_FIGURES") {
        let text = format!("{{{}}}", figures.join(","));
        fs::write(Path::new(&directory).join("fuzz.json"), text).expect("the figures are written");
    }
}

fn run(target: &str, body: Body, name: &str, input: &[u8]) {
    if catch_unwind(|| body(input)).is_err() {
        let file = std::env::temp_dir().join(format!("rejoin-fuzz-{target}"));
        let kept = fs::write(&file, input);
        panic!("{target} fails on {name}; the input is in {} ({kept:?})", file.display());
    }
}

/// The committed inputs of a target, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).expect("a readable file"))).collect()
}

/// A seed with a few changes of the kinds that fuzzers make.
fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[rng.below(seeds.len())].clone();
    for _ in 0..=rng.below(6) {
        let at = rng.below(input.len() + 1);
        let end = (at + rng.below(16)).min(input.len());
        match rng.below(7) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next() as u8,
            2 => input.insert(at, rng.next() as u8),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            5 => {
                let other = &seeds[rng.below(seeds.len())];
                let from = rng.below(other.len() + 1);
                let to = (from + rng.below(64)).min(other.len());
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            _ => {
                const TELLING: [&[u8]; 6] =
                    [&[0xFF; 9], &[0x80; 9], &[0; 8], &[0x7F], &[0xFF; 8], &[1, 0, 0, 0]];
                drop(input.splice(at..end, TELLING[rng.below(TELLING.len())].iter().copied()));
            }
        }
    }
    input
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
