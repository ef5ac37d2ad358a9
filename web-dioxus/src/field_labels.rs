//! Labels of API fields, for error messages that are not shown beside the field's form control.

use domain::Invalid;

/// API fields whose own name would not make a label.
const LABELS: [(&str, &str); 14] = [
    ("apk", "APK"),
    ("apk_id", "APK"),
    ("body", "File"),
    ("count", "Number of tokens"),
    ("expires_in_s", "Expires after"),
    ("expires_in_seconds", "Expires after"),
    ("ids", "Devices"),
    ("params", "Parameters"),
    ("rate_per_second", "Commands/s"),
    ("sha256", "SHA-256"),
    ("signers_sha256", "Signers"),
    ("size_bytes", "File size"),
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

fn label(field: &str) -> String {
    if let Some((_, label)) = LABELS.iter().find(|(known, _)| *known == field) {
        return (*label).to_owned();
    }
    if let Some(spec) = field.strip_prefix("params.").and_then(domain::action::param) {
        return spec.label.to_owned();
    }
    let words = field.rsplit('.').next().unwrap_or(field).replace('_', " ");
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
        assert_eq!(text("monitored_app.package"), "Package: not signed");
        assert_eq!(text("params.package"), "App: not signed");
        assert_eq!(text("params.duration_s"), "Duration: not signed");
        assert_eq!(text("argv[x]"), "Argv: not signed");
    }

    #[test]
    fn a_field_name_has_no_position() {
        assert_eq!(field_name(&Invalid::new("tags[3]", "")), "tags");
        assert_eq!(field_name(&Invalid::new("alias", "")), "alias");
    }
}
