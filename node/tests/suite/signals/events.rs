//! docs/events.md lists the warnings and errors of the log, as the sources write them.

use std::collections::BTreeMap;

use super::sources::sources;
use super::{at, text};

const DOCUMENT: &str = "docs/events.md";
const BEGIN: &str = "<!-- events -->\n";
const END: &str = "<!-- /events -->";

/// Arguments of a macro's call that begins here, split at the commas between them.
fn arguments(call: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut all = vec![String::new()];
    for c in call.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                '"' => quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    all.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        all.last_mut().unwrap().push(c);
    }
    all.into_iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}

/// Name of the field that an argument is.
fn field(argument: &str) -> Option<String> {
    let name = argument.split(" = ").next().unwrap_or_default().trim_start_matches(['%', '?', '&']);
    let name = if argument.contains(" = ") { name } else { name.rsplit('.').next().unwrap_or_default() };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    is_name.then(|| name.to_owned())
}

/// Level, fields and places of every event.
fn events() -> BTreeMap<String, (&'static str, Vec<String>, Vec<String>)> {
    let mut events: BTreeMap<String, (&'static str, Vec<String>, Vec<String>)> = BTreeMap::new();
    let mut nameless = Vec::new();
    for source in sources() {
        for level in ["warn", "error"] {
            for call in source.text.split(&format!("tracing::{level}!(")).skip(1) {
                let arguments = arguments(call);
                let named = arguments.iter().find_map(|argument| argument.strip_prefix("event = ")).map(|name| name.trim_matches('"'));
                let Some(name) = named.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c))) else {
                    nameless.push((source.path.clone(), arguments));
                    continue;
                };
                let of = events.entry(name.to_owned()).or_insert_with(|| (level, vec![], vec![]));
                if level == "error" {
                    of.0 = level;
                }
                let fields = arguments.iter().filter_map(|argument| field(argument)).filter(|name| name != "event" && name != "target");
                of.1.extend(fields);
                of.2.push(source.path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned());
            }
        }
    }
    assert!(nameless.is_empty(), "warnings and errors without the name of an event: {nameless:#?}");
    for (_, fields, places) in events.values_mut() {
        fields.sort();
        fields.dedup();
        places.sort();
        places.dedup();
    }
    assert!(events.len() > 80, "{}", events.len());
    events
}

fn table() -> String {
    let mut table = "| Event | Level | Fields | Written in |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, (level, fields, places)) in events() {
        let list = |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        table.push_str(&format!("| `{name}` | {level} | {} | {} |\n", list(&fields), list(&places)));
    }
    table
}

#[test]
fn the_document_lists_every_warning_and_error() {
    let document = text(DOCUMENT);
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
        return std::fs::write(at(DOCUMENT), format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    }
    let command = "NEXMDM_WRITE_DOCS=1 cargo test -p node --test suite signals::events";
    assert!(listed == table, "{DOCUMENT} differs from what the sources log: {command}");
    // What begins the names is told of in words.
    for prefix in events().keys().filter_map(|name| name.split('.').next().map(str::to_owned)) {
        assert!(before.contains(&format!("`{prefix}.`")), "{DOCUMENT} says nothing of {prefix}.");
    }
}

#[test]
fn a_call_is_read_as_the_compiler_does() {
    let call = "event = \"a.b\", %cause, node = self.name, ?kind, row.id, n = f(1, 2), \"words, too (\\\"x\\\")\"); more(";
    let read = arguments(call);
    assert_eq!(read.len(), 7, "{read:?}");
    assert_eq!(read.iter().filter_map(|argument| field(argument)).collect::<Vec<_>>(), ["event", "cause", "node", "kind", "id", "n"]);
}
