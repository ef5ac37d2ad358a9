//! Words for a device filter that is kept as JSON: of the target of a batch or a deployment.

use domain::query::{FilterKey, FilterKind};
use serde_json::Value;

use crate::format;

/// The devices that a stored filter matches.
pub(crate) fn matching_text(filter: &Value) -> String {
    let conditions: Vec<_> = filter.as_object().into_iter().flatten().map(|(name, value)| condition_text(name, value)).collect();
    if conditions.is_empty() { "all devices".into() } else { format!("all devices with {}", conditions.join(", ")) }
}

fn condition_text(name: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // A later build may have filters that this one does not know.
    let Some(spec) = FilterKey::named(name).map(FilterKey::spec) else { return format!("{} {value}", name.replace('_', " ")) };
    let label = spec.label.to_lowercase();
    match &spec.kind {
        FilterKind::Search => format!("text {value}"),
        FilterKind::Exact { .. } => format!("{label} {value}"),
        FilterKind::Choice { choices } => {
            let title = choices().into_iter().find(|(name, _)| *name == value).map(|(_, title)| title.to_lowercase());
            format!("{label} {}", title.unwrap_or(value))
        }
        FilterKind::Below { unit, .. } => {
            format!("{label} below {} {unit}", value.parse().map_or_else(|_| value.clone(), format::number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stored_filter_reads_as_words() {
        assert_eq!(matching_text(&json!({})), "all devices");
        let stored = json!({"status": "never_seen", "battery_below": "20", "tag": "till", "text": "kiosk"});
        assert_eq!(matching_text(&stored), "all devices with battery below 20 %, status never seen, tag till, text kiosk");
        assert_eq!(matching_text(&json!({"sim_count": 2})), "all devices with sim count 2");
    }
}
