//! Labels of form fields by their name in the API: forms show them beside the field, errors name the field by them.

use domain::Invalid;
use domain::deployment::option_specs;
use domain::query::FilterKey;

/// Fields whose own name would not make a label. Those of actions, deployment options and filters are declared in their tables.
const LABELS: &[(&str, &str)] = &[
    ("apk", "APK"),
    ("apk_id", "App and version"),
    ("argv", "Program and arguments"),
    ("body", "File"),
    ("count", "Number of tokens"),
    ("expires_in_s", "Expires after"),
    ("expires_in_seconds", "Expires after"),
    ("ids", "Devices"),
    ("min_battery", "Minimum battery (%)"),
    ("monitored_app.package", "Monitored app"),
    ("monitored_app.stale_after_s", "Down after (s)"),
    ("params", "Parameters"),
    ("rate_per_second", "Commands/s"),
    ("repeated", "Repeat new password"),
    ("rollback_of", "Rollback build of"),
    ("rollout_percent", "Percentage of devices"),
    ("sha256", "SHA-256"),
    ("signers_sha256", "Signers"),
    ("size_bytes", "File size"),
    ("start_number", "First number"),
    ("target.ids", "Devices"),
    ("wifi.password", "Wi-Fi password"),
    ("wifi.ssid", "Wi-Fi network"),
];

/// The field without the position within a list: `tags` for `tags[3]`.
pub(crate) fn field_name(invalid: &Invalid) -> &str {
    invalid.field.split('[').next().unwrap_or_default()
}

/// The error with the label of its field: "Tokens, entry 4: not usable".
pub(crate) fn labeled(invalid: &Invalid) -> String {
    let label = label(field_name(invalid));
    let position = invalid.field.split_once('[').and_then(|(_, rest)| rest.split(']').next()?.parse::<usize>().ok());
    match position {
        Some(position) => format!("{label}, entry {}: {}", position + 1, invalid.problem),
        None => format!("{label}: {}", invalid.problem),
    }
}

/// Label of a field.
pub(crate) fn label(field: &str) -> String {
    if let Some((_, label)) = LABELS.iter().find(|(known, _)| *known == field) {
        return (*label).to_owned();
    }
    if let Some(spec) = field.strip_prefix("params.").and_then(domain::action::param) {
        return spec.label.to_owned();
    }
    if let Some(spec) = option_specs().find(|spec| spec.param.field == field) {
        return spec.param.label.to_owned();
    }
    let filter = field.strip_prefix("filter.").unwrap_or(field);
    if let Some(key) = FilterKey::ALL.iter().find(|key| key.spec().name == filter && filter.contains('_')) {
        return key.spec().label.to_owned();
    }
    words(field.rsplit('.').next().unwrap_or(field))
}

/// A name of the API as words: "Rate per second".
pub(crate) fn words(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_label_and_the_entry() {
        let text = |field: &str| labeled(&Invalid::new(field, "not signed"));
        assert_eq!(text("apk"), "APK: not signed");
        assert_eq!(text("tags[0]"), "Tags, entry 1: not signed");
        assert_eq!(text("monitored_app.package"), "Monitored app: not signed");
        assert_eq!(text("params.package"), "App: not signed");
        assert_eq!(text("params.duration_s"), "Duration: not signed");
        assert_eq!(text("argv[x]"), "Program and arguments: not signed");
        assert_eq!(text("alias_pattern"), "Alias pattern: not signed");
        assert_eq!(text("options.min_battery_pct"), "Minimum battery: not signed");
        assert_eq!(
            text("filter.app_status"),
            format!("{}: not signed", FilterKey::ALL.iter().find(|key| key.spec().name == "app_status").unwrap().spec().label)
        );
    }

    #[test]
    fn a_field_name_has_no_position() {
        assert_eq!(field_name(&Invalid::new("tags[3]", "")), "tags");
        assert_eq!(field_name(&Invalid::new("alias", "")), "alias");
    }
}
