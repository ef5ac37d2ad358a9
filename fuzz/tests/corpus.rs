//! The corpus of each fuzz target, run once, and what chance makes of it: what broke something before does so no more.
//!
//! `FUZZ_ROUNDS=20000 cargo test -p fuzz` tries more, without coverage and without a C++ compiler.

use std::path::Path;

use fuzz::Target;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Changed inputs for each file, unless `FUZZ_ROUNDS` says otherwise.
const ROUNDS: u64 = 30;
/// What trips the careless, in the formats of all targets.
const PARTS: [&[u8]; 22] = [
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"\"",
    b"\\",
    b"{",
    b"[",
    b"]",
    b",",
    b"NaN",
    b"1e400",
    b"-1",
    b"99999999999999999999",
    b"\r\n",
    b"\xff\xff\xff\xff",
    b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"\xcc\x81",
    b"%00",
    b"null",
    b"",
];

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = target.seeds.iter().map(|seeds| here.join("..").join(seeds)).chain([here.join("corpus").join(target.name)]);
    let files = folders.flat_map(|folder| std::fs::read_dir(&folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display())));
    let mut inputs: Vec<_> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    inputs.sort();
    inputs
}

/// An input with some of it replaced, removed, repeated or taken from another.
fn changed(input: &[u8], others: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..12)).min(bytes.len());
        match rng.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let other = others.choose(rng).map_or(&[][..], Vec::as_slice);
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => drop(bytes.splice(at..end, PARTS.choose(rng).copied().unwrap_or_default().iter().copied())),
        }
    }
    bytes
}

/// Runs a target, and prints the input that it does not take.
fn take(target: &Target, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| (target.run)(input)) {
        println!("{} does not take this, to go into corpus/{0}:\n{}", target.name, input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_target_takes_its_corpus() {
    for target in fuzz::TARGETS {
        let inputs = corpus(target);
        for bytes in &inputs {
            take(target, bytes);
            // And cut off anywhere near its ends.
            for length in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                take(target, &bytes[..length.min(bytes.len())]);
            }
        }
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    }
}

#[test]
fn every_target_takes_what_chance_makes_of_its_corpus() {
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let only = std::env::var("FUZZ_TARGET").ok();
    for target in fuzz::TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| target.name == only)) {
        let inputs = corpus(target);
        // The files of an APK are read from a disk: fewer do.
        let rounds = if target.name == "apk" { rounds.div_ceil(10) } else { rounds };
        for (n, input) in inputs.iter().enumerate() {
            let mut rng = SmallRng::seed_from_u64(n as u64);
            for _ in 0..rounds {
                take(target, &changed(input, &inputs, &mut rng));
            }
        }
    }
}
