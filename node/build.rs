//! Gives every build an id of its own: a digest of the sources it is made of.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;

fn main() {
    let mut digest = DefaultHasher::new();
    for folder in ["../node/src", "../actors", "../web-dioxus", "../migrations"] {
        println!("cargo::rerun-if-changed={folder}");
        add(Path::new(folder), &mut digest);
    }
    println!("cargo::rustc-env=NEXMDM_BUILD_ID={:016x}", digest.finish());
}

fn add(path: &Path, digest: &mut DefaultHasher) {
    let Ok(entries) = fs::read_dir(path) else {
        if let Ok(bytes) = fs::read(path) {
            path.hash(digest);
            bytes.hash(digest);
        }
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().for_each(|path| add(path, digest));
}
