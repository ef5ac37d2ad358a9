//! Difference that an action made, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most fields that are shown of an entry.
const FIELDS_MAX: usize = 200;

/// A field, as it was and as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// The fields in which two states differ, and how many more there are than are shown.
pub(super) fn difference(before: Option<&str>, after: Option<&str>) -> (Vec<Changed>, usize) {
    let (mut before, mut after) = (fields(before), fields(after));
    let names: std::collections::BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let mut changed: Vec<Changed> = names
        .into_iter()
        .map(|field| Changed { before: before.remove(&field), after: after.remove(&field), field })
        .filter(|changed| changed.before != changed.after)
        .collect();
    let more = changed.len().saturating_sub(FIELDS_MAX);
    changed.truncate(FIELDS_MAX);
    (changed, more)
}

/// The fields of a state by their names; one that is no JSON is a field without a name.
fn fields(state: Option<&str>) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    if let Some(state) = state {
        let value = serde_json::from_str(state).unwrap_or_else(|_| Value::String(state.to_owned()));
        flatten(String::new(), &value, &mut flat);
    }
    flat
}

fn flatten(name: String, value: &Value, into: &mut BTreeMap<String, String>) {
    let within = |part: &str| if name.is_empty() { part.replace('_', " ") } else { format!("{name}: {}", part.replace('_', " ")) };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields.iter().filter(|(field, _)| *field != "device") {
                flatten(within(field), value, into);
            }
        }
        Value::Array(entries) if entries.iter().any(Value::is_object) => {
            for (place, entry) in entries.iter().enumerate() {
                // Devices are told by their names.
                let known = entry.get("device").or_else(|| entry.get("alias")).and_then(Value::as_str);
                flatten(known.map_or_else(|| within(&(place + 1).to_string()), str::to_owned), entry, into);
            }
        }
        other => drop(into.insert(name, plain(other))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(entries) if entries.is_empty() => "none".into(),
        Value::Array(entries) => entries.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(_) => "none".into(),
        Value::Number(number) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(before: &str, after: &str) -> Vec<String> {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (changed, _) = difference(some(before).as_deref(), some(after).as_deref());
        let line = |changed: Changed| {
            format!("{}: {} -> {}", changed.field, changed.before.as_deref().unwrap_or("-"), changed.after.as_deref().unwrap_or("-"))
        };
        changed.into_iter().map(line).collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = r#"{"role":"viewer","disabled":false,"monitored_app":{"package":"a.b"}}"#;
        let after = r#"{"role":"admin","disabled":false,"monitored_app":null}"#;
        assert_eq!(reported(before, after), ["monitored app: - -> none", "monitored app: package: a.b -> -", "role: viewer -> admin"]);
        assert_eq!(reported("", r#"{"tags":[],"shared":true}"#), ["shared: - -> yes", "tags: - -> none"]);
        assert_eq!(reported("", ""), [] as [&str; 0]);
    }

    #[test]
    fn devices_of_a_bulk_call_are_told_by_their_names() {
        let before = r#"{"devices":[{"id":"1","device":"kiosk","tags":["a"]}]}"#;
        let after = r#"{"count":1,"devices":[{"id":"1","device":"kiosk","tags":["a","b"]}]}"#;
        assert_eq!(reported(before, after), ["count: - -> 1", "kiosk: tags: a -> a, b"]);
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is_and_what_is_long_is_bounded() {
        assert_eq!(reported("torn", ""), [": torn -> -"]);
        let many: serde_json::Map<_, _> = (0..500).map(|n| (format!("f{n:03}"), Value::from(n))).collect();
        let (shown, more) = difference(None, Some(&Value::Object(many).to_string()));
        assert_eq!((shown.len(), more), (FIELDS_MAX, 300));
    }
}
