//! `FUZZ_TARGET=NAME fuzz CORPUS...`: a target under libFuzzer.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let target = fuzz::TARGETS.iter().find(|target| target.name == name);
    let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
    target.unwrap_or_else(|| panic!("FUZZ_TARGET is one of: {}", names.join(" "))).run
});

fuzz_target!(|data: &[u8]| TARGET(data));
