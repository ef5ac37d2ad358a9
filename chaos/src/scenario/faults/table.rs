//! Table of the faults for documents, from the types that scenario files are read into.

use std::fmt::Write;

use schemars::schema_for;
use serde_json::Value;

use super::ScenarioFault;

/// A row per fault: its kind, what it does, and its parameters.
pub fn fault_table() -> String {
    let schema = schema_for!(ScenarioFault).to_value();
    let mut table = String::new();
    for fault in schema["oneOf"].as_array().into_iter().flatten() {
        let kind = fault["properties"]["kind"]["const"].as_str().unwrap_or_default();
        let about = one_line(fault["description"].as_str().unwrap_or_default());
        // Writing to a text cannot fail.
        let _ = writeln!(table, "| `{kind}` | {about} | {} |", parameters(fault));
    }
    table
}

fn parameters(fault: &Value) -> String {
    let required = |name: &str| fault["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name));
    let all = fault["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "kind");
    let shown: Vec<String> = all
        .map(|(name, parameter)| {
            let about = one_line(parameter["description"].as_str().unwrap_or_default());
            let default = match &parameter["default"] {
                Value::Null if required(name) => " (required)".to_owned(),
                Value::Null => String::new(),
                default => format!(" [default: {}]", default.to_string().replace('"', "")),
            };
            format!("`{name}`: {about}{default}")
        })
        .collect();
    shown.join("<br>")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| Fault | What it does | Parameters |\n|---|---|---|\n";

    /// `NEXMDM_WRITE_DOCS=1` writes it anew.
    #[test]
    fn every_fault_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (before, rest) = document.split_once(HEAD).unwrap();
        let after: String = rest.lines().skip_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
        let table = fault_table();
        assert!(table.lines().count() > 10 && !table.contains("| `` |") && !table.contains("|  |\n|  |"), "{table}");
        let wanted = format!("{before}{HEAD}{table}{after}");
        if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
            std::fs::write(path, wanted).unwrap();
        } else {
            assert!(document == wanted, "docs/faults.md differs from the faults: NEXMDM_WRITE_DOCS=1 cargo test -p chaos --lib documented");
        }
    }
}
