//! The table of docs/conformance.md: every row names tests that exist, or says in words what is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of the functions that are tests, by `crate folder::name`; of the agent, names of its test classes.
fn tests_of_sources() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["actors", "node", "web-dioxus", "chaos", "fuzz", "android-agent"] {
        collect(&root().join(folder), folder, &mut names);
    }
    names
}

fn collect(folder: &Path, of: &str, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            // Build outputs and what is no source of ours.
            if !["target", "assets", "build", "corpus", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
                collect(&path, of, names);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.contains("test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                    // Those of proptest have no attribute of their own.
                    if is_test || text.contains("proptest!") {
                        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        names.insert(format!("{of}::{name}"));
                    }
                    is_test = false;
                }
            }
        } else if let Some(class) = name.strip_suffix("Test.kt") {
            names.insert(format!("{of}::{class}Test"));
        }
    }
}

/// The rows of the tables: sentence, and what shows it.
fn rows(document: &str) -> Vec<(String, String)> {
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        (cells.len() == 2).then(|| (cells[0].clone(), cells[1].clone()))
    };
    let lines = document.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| Demanded |"));
    lines.map(|line| cells(line).unwrap_or_else(|| panic!("not two cells: {line}"))).collect()
}

/// What of a row is wrong.
fn problems(rows: &[(String, String)], tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (demanded, shown) in rows {
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && !shown.starts_with("Not yet: ") {
            found.push(format!("{demanded}: names no test or command, and does not say what is missing"));
        }
        for name in named.iter().filter(|name| !name.contains(' ')) {
            let short = name.split("::").next().unwrap_or_default().to_owned() + "::" + name.rsplit("::").next().unwrap_or_default();
            if !tests.contains(&short) {
                found.push(format!("{demanded}: there is no test {name}"));
            }
        }
    }
    found
}

#[test]
fn every_row_names_what_exists() {
    let rows = rows(&std::fs::read_to_string(root().join("docs/conformance.md")).unwrap());
    assert!(rows.len() > 100, "only {} rows", rows.len());
    assert_eq!(problems(&rows, &tests_of_sources()), [""; 0]);
}

#[test]
fn a_row_without_its_test_is_found() {
    let tests = BTreeSet::from(["node::one".to_owned()]);
    let row = |shown: &str| vec![("It works.".to_owned(), shown.to_owned())];
    for (shown, wrong) in [
        ("`node::suite::one`", 0),
        ("`node::suite::two`", 1),
        ("`actors::suite::one`", 1),
        ("`node::suite::one`, `node::suite::two`", 1),
        ("`make bench`", 0),
        ("Not yet: nobody sends mail.", 0),
        ("It does.", 1),
    ] {
        assert_eq!(problems(&row(shown), &tests).len(), wrong, "{shown}");
    }
}
