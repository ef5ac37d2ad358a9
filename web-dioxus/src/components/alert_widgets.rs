//! Widgets of alerts: severity, state, subject, and the words for what happened to one.

use chrono::{TimeDelta, Weekday};
use dioxus::prelude::*;
use domain::Timestamp;
use domain::alert::{AlertState, Matcher, ResolveCause, Rule, RuleSet, Severity, Subject, ThresholdUnit, TransitionKind};
use domain::notification::Suppression;

use crate::components::{Glyph, RouteLink, icon};
use crate::format;
use crate::route::Route;

/// Severity as a badge.
pub(crate) fn severity_badge(severity: Severity) -> Element {
    let tone = match severity {
        Severity::Info => "info",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    };
    rsx! { span { class: "badge {tone}", "data-testid": "severity", {severity.title()} } }
}

/// Colour of a severity, a role of the style sheet.
pub(crate) fn severity_tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "accent",
        Severity::Warning => "warn",
        Severity::Critical => "bad",
    }
}

/// Title of a state.
pub(crate) fn state_text(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "Firing",
        AlertState::Acknowledged => "Acknowledged",
        AlertState::Resolved => "Resolved",
    }
}

/// State as a badge.
pub(crate) fn state_badge(state: AlertState) -> Element {
    let tone = match state {
        AlertState::Firing => "bad",
        AlertState::Acknowledged => "info",
        AlertState::Resolved => "good",
    };
    rsx! { span { class: "badge {tone}", "data-testid": "alert-state", {state_text(state)} } }
}

/// Title of a rule as a link to its page.
pub(crate) fn rule_link(rule: Rule) -> Element {
    rsx! { RouteLink { to: Route::alert_rule(rule), {rule.spec().label} } }
}

/// Name of a subject, linked to its page if it has one.
#[component]
pub(crate) fn SubjectLink(subject: Subject, name: String) -> Element {
    let name = if name.is_empty() { subject.id() } else { name };
    let to = match &subject {
        Subject::Device(id) => Some(Route::device(*id)),
        Subject::Deployment(id) => Some(Route::deployment(*id)),
        Subject::Node(_) => Some(Route::Cluster {}),
        Subject::System(_) => None,
    };
    match to {
        Some(to) => rsx! { RouteLink { to, class: "truncate", "{name}" } },
        None => rsx! { span { class: "truncate", "{name}" } },
    }
}

/// What happened to an alert, as a sentence.
pub(crate) fn transition_text(kind: TransitionKind) -> &'static str {
    match kind {
        TransitionKind::Raised => "Raised",
        TransitionKind::SeverityChanged => "Severity changed",
        TransitionKind::Acknowledged => "Acknowledged",
        TransitionKind::Resolved => "Resolved",
        TransitionKind::Remediated => "Remediation",
    }
}

/// Icon and colour of a change.
pub(crate) fn transition_mark(kind: TransitionKind) -> (Glyph, &'static str) {
    match kind {
        TransitionKind::Raised => (Glyph::Alert, "bad"),
        TransitionKind::SeverityChanged => (Glyph::Alert, "warn"),
        TransitionKind::Acknowledged => (Glyph::User, ""),
        TransitionKind::Resolved => (Glyph::Check, "good"),
        TransitionKind::Remediated => (Glyph::Send, ""),
    }
}

/// Cause of a resolve.
pub(crate) fn resolve_text(cause: ResolveCause) -> &'static str {
    match cause {
        ResolveCause::Cleared => "the condition does not hold any more",
        ResolveCause::RuleOff => "the rule was turned off",
        ResolveCause::SubjectGone => "what it was about is deleted or finished",
    }
}

/// Cause for which a change was not notified.
pub(crate) fn suppression_text(cause: Suppression) -> &'static str {
    match cause {
        Suppression::Inhibited => "another alert says the same",
        Suppression::MaintenanceWindow => "a maintenance window was open",
        Suppression::Silenced => "a silence matched",
        Suppression::Flapping => "it opens and clears all the time",
        Suppression::Cooldown => "the same was notified a short while before",
        Suppression::NoRoute => "no route leads to a channel",
        Suppression::Superseded => "the opposite happened before it was notified",
    }
}

/// A threshold with its unit: "12 min", "15 %", "500 MB".
pub(crate) fn threshold_text(value: i64, unit: ThresholdUnit) -> String {
    match unit {
        ThresholdUnit::Seconds => format::duration(value),
        ThresholdUnit::Minutes => format::duration(value.saturating_mul(60)),
        ThresholdUnit::Hours => format::duration(value.saturating_mul(3_600)),
        ThresholdUnit::Days => format::duration(value.saturating_mul(86_400)),
        ThresholdUnit::Percent => format!("{value} %"),
        ThresholdUnit::Mebibytes => format::mebibytes(value),
        ThresholdUnit::Milliseconds => format!("{} ms", format::number(value.unsigned_abs())),
        ThresholdUnit::Count => format::number(value.unsigned_abs()),
    }
}

/// Unit of a threshold behind its label on a form.
pub(crate) fn unit_text(unit: ThresholdUnit) -> &'static str {
    match unit {
        ThresholdUnit::Seconds => "s",
        ThresholdUnit::Minutes => "min",
        ThresholdUnit::Hours => "h",
        ThresholdUnit::Days => "d",
        ThresholdUnit::Percent => "%",
        ThresholdUnit::Mebibytes => "MiB",
        ThresholdUnit::Milliseconds => "ms",
        ThresholdUnit::Count => "",
    }
}

/// How long an alert has been open, or was.
pub(crate) fn lasted_text(opened_at: Timestamp, resolved_at: Option<Timestamp>, now: Timestamp) -> String {
    format::duration((resolved_at.unwrap_or(now) - opened_at).max(TimeDelta::zero()).num_seconds())
}

/// A matcher in words, its devices by name.
pub(crate) fn matcher_text(matcher: &Matcher, name_of: impl Fn(domain::DeviceId) -> String) -> String {
    let list = |what: &str, values: Vec<String>| (!values.is_empty()).then(|| format!("{what} {}", values.join(" or ")));
    let parts = [
        list("", matcher.rules.iter().map(|rule| rule.spec().label.to_owned()).collect()).map(|text| text.trim_start().to_owned()),
        list("severity", matcher.severities.iter().map(|severity| severity.title().to_lowercase()).collect()),
        list("group", matcher.groups.clone()),
        list("tag", matcher.tags.clone()),
        list("device", matcher.devices.iter().map(|id| name_of(*id)).collect()),
        list("node", matcher.nodes.clone()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Weekdays in words: "Mon, Tue", "every day".
pub(crate) fn weekdays_text(days: &[bool; 7]) -> String {
    if days.iter().all(|on| *on) {
        return "every day".into();
    }
    days.iter().zip(WEEKDAYS).filter(|(on, _)| **on).map(|(_, day)| day.to_string()).collect::<Vec<_>>().join(", ")
}

/// Weekdays, in the order of a window's.
pub(crate) const WEEKDAYS: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// Mark of open alerts at a device.
pub(crate) fn alert_mark(rules: RuleSet) -> Element {
    if rules.is_empty() {
        return rsx! {};
    }
    let names = rules.iter().map(|rule| rule.spec().label).collect::<Vec<_>>().join(", ");
    let count = (rules.len() > 1).then(|| rules.len().to_string());
    rsx! {
        span { class: "alert-mark", title: "Alerts: {names}", "data-testid": "alert-mark",
            {icon(Glyph::Bell)}
            if let Some(count) = count { span { aria_hidden: "true", "{count}" } }
            span { class: "visually-hidden", "Alerts: {names}" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_read_with_their_unit() {
        let text = |rule: Rule| {
            rule.spec().thresholds.iter().map(|threshold| threshold_text(threshold.default, threshold.unit)).collect::<Vec<_>>()
        };
        assert_eq!(text(Rule::DeviceOffline), ["12 min"]);
        assert_eq!(text(Rule::LowBattery), ["15 %", "20 %"]);
        assert_eq!(text(Rule::CommandFailures), ["3"]);
        assert_eq!(text(Rule::DatabaseSlow), ["500 ms", "250 ms"]);
    }

    #[test]
    fn a_matcher_names_rules_by_their_title_and_devices_by_their_alias() {
        let matcher = Matcher {
            rules: vec![Rule::DeviceOffline, Rule::LowBattery],
            groups: vec!["north".into()],
            devices: vec![domain::DeviceId(uuid::Uuid::nil())],
            ..Matcher::default()
        };
        assert_eq!(matcher_text(&matcher, |_| "kiosk-1".into()), "Device offline or Low battery, group north, device kiosk-1");
    }

    #[test]
    fn weekdays_read_short() {
        assert_eq!(weekdays_text(&[true; 7]), "every day");
        assert_eq!(weekdays_text(&[true, false, false, false, true, false, false]), "Mon, Fri");
    }

    #[test]
    fn an_alert_that_is_resolved_lasts_no_longer() {
        let at = |seconds: i64| Timestamp::from_timestamp(1_780_000_000 + seconds, 0).unwrap();
        assert_eq!(lasted_text(at(0), Some(at(720)), at(9_999)), "12 min");
        assert_eq!(lasted_text(at(0), None, at(60)), "1 min");
        assert_eq!(lasted_text(at(60), None, at(0)), "0 s", "a clock that is behind");
    }
}
