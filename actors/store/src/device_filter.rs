//! The device filter in SQL, and as it is stored.

use domain::Timestamp;
use domain::device::{Connectivity, DevicePolicy};
use domain::name::CanonicalName;
use domain::query::{DeviceFilter, FilterCondition, FilterKey, FilterValue, OpenAlerts};
use serde_json::{Map, Value, json};
use sqlx::{Postgres, QueryBuilder};

/// Thresholds of the status of devices, at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusThresholds {
    online_since: Timestamp,
    ghost_since: Timestamp,
    app_stale_after_s: i32,
}

impl StatusThresholds {
    /// Thresholds at `now`.
    pub fn at(now: Timestamp, policy: &DevicePolicy) -> Self {
        Self {
            online_since: now - policy.offline_after,
            ghost_since: now - policy.ghost_after,
            app_stale_after_s: policy.app_stale_after_s,
        }
    }
}

/// Adds the conditions of a filter on `device d` and its `device_last_status s`.
///
/// The SQL twin of [`DeviceFilter::matches`]; a test compares the two. Its text is not among them: [`crate::device_search`].
pub(crate) fn push_filter(query: &mut QueryBuilder<Postgres>, filter: &DeviceFilter, thresholds: StatusThresholds) {
    for condition in filter.conditions().filter(|condition| !matches!(condition, FilterCondition::Text(_))) {
        query.push(" AND ");
        push_condition(query, condition, thresholds);
    }
}

fn push_condition(query: &mut QueryBuilder<Postgres>, condition: FilterCondition<'_>, thresholds: StatusThresholds) {
    let StatusThresholds { online_since, ghost_since, app_stale_after_s } = thresholds;
    match condition {
        FilterCondition::Connectivity(Connectivity::Online) => drop(query.push("s.last_seen_at > ").push_bind(online_since)),
        FilterCondition::Connectivity(Connectivity::Offline) => drop(query.push("s.last_seen_at <= ").push_bind(online_since)),
        FilterCondition::Connectivity(Connectivity::NeverSeen) => drop(query.push("s.device_id IS NULL")),
        FilterCondition::Tag(tag) => push_label(query, "d.tags", tag),
        FilterCondition::Group(group) => push_label(query, "d.groups", group),
        FilterCondition::BatteryBelow(limit) => drop(query.push("s.battery_pct < ").push_bind(*limit)),
        FilterCondition::StorageBelow(limit) => drop(query.push("s.storage_free_mb < ").push_bind(*limit)),
        FilterCondition::AppVersion(version) => drop(query.push("s.app_version = ").push_bind(version.clone())),
        FilterCondition::Identity(status) => {
            // The SQL twin of `DeviceView::identity_status`.
            query.push(
                "CASE WHEN EXISTS (SELECT FROM device_condition k WHERE k.device_id = d.device_id AND k.conflict_at IS NOT NULL \
                 AND k.conflict_dismissed_at IS NULL AND k.conflict_generation = d.credential_generation) THEN 'conflict' \
                 WHEN s.device_id IS NULL AND d.enrolled_at <= ",
            );
            query.push_bind(ghost_since).push(" THEN 'ghost' ELSE 'single' END = ").push_bind(status.as_str());
        }
        FilterCondition::Alert(wanted) => {
            let (not, rule) = match wanted {
                OpenAlerts::Any => ("", None),
                OpenAlerts::None => ("NOT ", None),
                OpenAlerts::Of(rule) => ("", Some(rule.as_str())),
            };
            query.push(not);
            query.push("EXISTS (SELECT FROM alert a WHERE a.subject_kind = 'device' AND a.subject_id = d.device_id::text AND a.state <> 'resolved'");
            if let Some(rule) = rule {
                query.push(" AND a.rule = ").push_bind(rule);
            }
            query.push(")");
        }
        FilterCondition::Model(model) => drop(query.push("coalesce(s.model, d.model) = ").push_bind(model.clone())),
        FilterCondition::AppStatus(status) => {
            // The SQL twin of `DevicePolicy::app_status`.
            query.push("CASE WHEN s.app_running = false OR s.foreground_recent_s > coalesce(d.monitored_stale_after_s, ");
            query.push_bind(app_stale_after_s);
            query.push(
                ") OR EXISTS (SELECT 1 FROM jsonb_array_elements(s.details->'apps') app \
                 WHERE app->>0 = d.monitored_package AND app->>1 = 'false') THEN 'down' \
                 WHEN s.app_running IS NULL AND s.foreground_recent_s IS NULL THEN 'unknown' ELSE 'up' END = ",
            );
            query.push_bind(status.as_str());
        }
        // Decided about by `device_search`.
        FilterCondition::Text(_) => drop(query.push("true")),
    }
}

/// A tag or group by its canonical form; by itself where an earlier build has stored none.
fn push_label(query: &mut QueryBuilder<Postgres>, column: &str, label: &str) {
    query.push(format_args!("({column}_canonical @> ARRAY[")).push_bind(CanonicalName::of(label).into_string());
    query.push(format_args!("] OR ({column}_canonical IS NULL AND {column} @> ARRAY[")).push_bind(label.to_owned()).push("]))");
}

/// A filter as it is stored.
pub(crate) fn to_json(filter: &DeviceFilter) -> Value {
    let value = |value: FilterValue| match value {
        FilterValue::Text(text) => json!(text),
        FilterValue::Number(number) => json!(number),
    };
    Value::Object(filter.values().map(|(key, one)| (key.spec().name.to_owned(), value(one))).collect::<Map<_, _>>())
}

/// A stored filter. What a later build may have added is left out.
pub(crate) fn from_json(stored: &Value) -> DeviceFilter {
    let mut filter = DeviceFilter::default();
    for key in FilterKey::ALL {
        let value = match &stored[key.spec().name] {
            Value::String(text) => FilterValue::Text(text.clone()),
            Value::Number(number) => FilterValue::Number(number.as_i64().unwrap_or(i64::MAX)),
            _ => continue,
        };
        // One that is not understood filters nothing; the others still do.
        let _ = filter.set(*key, value);
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_read_back_as_they_were() {
        let filter = DeviceFilter {
            connectivity: Some(Connectivity::NeverSeen),
            tag: Some("a".into()),
            text: Some("c".into()),
            battery_below: Some(20),
            ..Default::default()
        };
        assert_eq!(from_json(&to_json(&filter)), filter);
        assert_eq!(to_json(&DeviceFilter::default()), json!({}));
    }

    #[test]
    fn a_filter_that_an_earlier_build_stored_is_read() {
        let stored = json!({
            "status": "never_seen", "tag": "a", "group": "b", "text": "c", "battery_below": 20, "app_version": "1.4", "model": "M",
            "app_status": "down", "colour": "red"
        });
        let read: Vec<_> = from_json(&stored).values().map(|(key, value)| (key.spec().name, value.to_string())).collect();
        let named = |name: &str| read.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!(["status", "tag", "group", "text"].map(named), ["never_seen", "a", "b", "c"].map(Some));
        assert_eq!(["battery_below", "app_version", "model", "app_status"].map(named), ["20", "1.4", "M", "down"].map(Some));
        assert_eq!(read.len(), 8);
        assert_eq!(
            from_json(&json!({"status": "asleep", "battery_below": "20", "tag": "a"})),
            DeviceFilter { tag: Some("a".into()), ..Default::default() }
        );
    }
}
