//! Source files of what runs in a node, without their tests.

use std::fs;
use std::path::Path;

use super::at;

/// A source file: its path in the repository, and its text.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// Every source file.
pub(super) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["actors", "node/src", "web-dioxus/src"] {
        walk(&at(folder), folder, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 300, "{}", found.len());
    found
}

fn walk(folder: &Path, path: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{path}/{name}");
        if entry.file_type().unwrap().is_dir() {
            // What runs in tests alone is no node's.
            if !matches!(name.as_str(), "tests" | "target" | "fixtures" | "test-database" | "simulation") {
                walk(&entry.path(), &path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "build.rs" {
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
            found.push(Source { path, text });
        }
    }
}
