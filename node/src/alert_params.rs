//! Conversions of alerts, their rules, silences and routes between wire and domain.

use std::collections::BTreeMap;

use chrono::Weekday;
use domain::alert::{AlertRecord, AlertState, AlertWindow, Matcher, ResolvedRule, Rule, RuleSetting, Severity, Silence, ThresholdScope};
use domain::notification::{DigestTime, Route};
use domain::{DeviceId, Invalid, Timestamp};
use services::{
    AlertDetails, AlertFilter, Delivery, RouteRequest, RulePreview, RuleRequest, RuleView, SilenceEnd, SilenceRequest, WindowRequest,
};
use wire::alert;

use crate::present::{parse_time, time};

/// Conditions of a list of alerts, as a query has them.
#[derive(Debug, Default)]
pub(crate) struct FilterTexts {
    pub(crate) state: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) min_severity: Option<String>,
    pub(crate) device_id: Option<String>,
    pub(crate) deployment_id: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
}

/// Conditions that are left empty are none, so that a form's address works as it is.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Filter of alerts.
///
/// # Errors
/// Names the condition and the problem.
pub(crate) fn filter(texts: FilterTexts) -> Result<AlertFilter, Invalid> {
    let FilterTexts { state, rule, min_severity, device_id, deployment_id, group, tag, since, until } = texts;
    let states = match given(state).as_deref() {
        None => Vec::new(),
        Some("open") => vec![AlertState::Firing, AlertState::Acknowledged],
        Some(name) => {
            let state = name.parse().map_err(|_| Invalid::new("state", "not one of firing, acknowledged, resolved, open"))?;
            vec![state]
        }
    };
    let (device_id, deployment_id) = (given(device_id), given(deployment_id));
    if device_id.is_some() && deployment_id.is_some() {
        return Err(Invalid::new("deployment_id", "given beside device_id: an alert is about one of them"));
    }
    let filter = AlertFilter {
        states,
        rule: given(rule).map(|name| Rule::parse("rule", &name)).transpose()?,
        min_severity: given(min_severity).map(|name| Severity::parse("min_severity", &name)).transpose()?,
        subject: None,
        group: given(group),
        tag: given(tag),
        since: given(since).map(|text| parse_time("since", &text)).transpose()?,
        until: given(until).map(|text| parse_time("until", &text)).transpose()?,
    };
    Ok(match (device_id, deployment_id) {
        (Some(id), _) => filter.of_device(id.parse().map_err(|_| Invalid::new("device_id", "not an id"))?),
        (None, Some(id)) => filter.of_deployment(id.parse().map_err(|_| Invalid::new("deployment_id", "not an id"))?),
        (None, None) => filter,
    })
}

/// An alert as lists show it.
pub(crate) fn alert(record: AlertRecord, now: Timestamp) -> alert::Alert {
    let lasted_seconds = record.lasted(now).num_seconds();
    let subject = &record.key.subject;
    alert::Alert {
        id: record.id.to_string(),
        rule: record.key.rule.as_str().to_owned(),
        state: record.state.as_str().to_owned(),
        severity: record.severity.as_str().to_owned(),
        device_id: subject.device().map(|id| id.to_string()),
        subject: alert::AlertSubject {
            kind: subject.kind().as_str().to_owned(),
            id: subject.id(),
            name: record.labels.name,
            groups: record.labels.groups,
            tags: record.labels.tags,
        },
        reason: record.reason,
        since: time(record.opened_at),
        acknowledged: record.acknowledged.map(|by| alert::Acknowledgement { by: by.by, note: by.note, at: time(by.at) }),
        resolved_at: record.resolved.map(|(at, _)| time(at)),
        resolve_cause: record.resolved.map(|(_, cause)| cause.as_str().to_owned()),
        lasted_seconds,
    }
}

/// An alert with its history.
pub(crate) fn details(details: AlertDetails, now: Timestamp) -> alert::AlertDetails {
    let step = |step: services::AlertStep| alert::AlertStep {
        revision: step.revision,
        kind: step.kind.as_str().to_owned(),
        at: time(step.at),
        severity: step.severity.as_str().to_owned(),
        actor: step.actor,
        detail: step.detail,
        settled_at: step.settled_at.map(time),
        suppressed_by: step.suppressed_by.map(|cause| cause.as_str().to_owned()),
        notification_id: step.notification.map(|id| id.to_string()),
        further_notification_ids: step.further.iter().map(ToString::to_string).collect(),
    };
    alert::AlertDetails {
        alert: alert(details.alert, now),
        history: details.history.into_iter().map(step).collect(),
        deliveries: details.deliveries.into_iter().map(delivery).collect(),
        notified: details.notified.map(|notified| notified.as_str().to_owned()),
        held_by: details.held.map(|cause| cause.as_str().to_owned()),
    }
}

/// A delivery.
pub(crate) fn delivery(delivery: Delivery) -> alert::AlertDelivery {
    alert::AlertDelivery {
        notification_id: delivery.notification.to_string(),
        channel_id: delivery.channel.to_string(),
        channel: delivery.channel_name,
        headline: delivery.headline,
        state: delivery.state,
        attempts: delivery.attempts,
        queued_at: time(delivery.queued_at),
        next_attempt_at: delivery.next_attempt_at.map(time),
        last_answer: delivery.last_answer,
        ended_at: delivery.ended_at.map(time),
    }
}

/// Scope of a setting.
///
/// # Errors
/// It is none, or its value is missing, or too much.
pub(crate) fn scope(kind: Option<&str>, value: Option<String>) -> Result<ThresholdScope, Invalid> {
    let missing = || Invalid::new("scope.value", "missing: the group, the tag, or the id of the device");
    match kind.unwrap_or("global") {
        "global" if value.as_deref().is_none_or(str::is_empty) => Ok(ThresholdScope::Global),
        "global" => Err(Invalid::new("scope.value", "given, but the scope is all devices; its kind is group, tag or device")),
        "group" => Ok(ThresholdScope::Group(given(value).ok_or_else(missing)?)),
        "tag" => Ok(ThresholdScope::Tag(given(value).ok_or_else(missing)?)),
        "device" => {
            let id: Result<DeviceId, _> = given(value).ok_or_else(missing)?.parse();
            Ok(ThresholdScope::Device(id.map_err(|_| Invalid::new("scope.value", "not an id of a device"))?))
        }
        _ => Err(Invalid::new("scope.kind", "not one of global, group, tag, device")),
    }
}

/// Whether a key of an object may be a name, so that a refusal may repeat it.
pub(crate) fn checked_names<'a>(field: &str, mut names: impl Iterator<Item = &'a String>) -> Result<(), Invalid> {
    let is_name = |name: &String| name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match names.all(is_name) {
        true => Ok(()),
        false => Err(Invalid::new(field, "has a key that is no name: at most 64 letters, digits and underscores")),
    }
}

/// Setting of a rule.
///
/// # Errors
/// The scope or the severity is none.
pub(crate) fn rule_request(setting: alert::AlertRuleSetting) -> Result<RuleRequest, Invalid> {
    let alert::AlertRuleSetting { scope: devices, enabled, severity, thresholds } = setting;
    checked_names("thresholds", thresholds.keys())?;
    Ok(RuleRequest {
        scope: devices.map_or(Ok(ThresholdScope::Global), |devices| scope(Some(&devices.kind), devices.value))?,
        enabled,
        severity: severity.map(|name| Severity::parse("severity", &name)).transpose()?,
        values: thresholds.into_iter().collect(),
    })
}

/// What holds of a rule.
pub(crate) fn effective(rule: Rule, resolved: &ResolvedRule) -> alert::EffectiveRule {
    let threshold = |(spec, from): (&domain::alert::ThresholdSpec, &ThresholdScope)| alert::EffectiveThreshold {
        name: spec.name.to_owned(),
        label: spec.label.to_owned(),
        value: resolved.thresholds.get(spec.name),
        from: from.to_string(),
        default: spec.default,
        min: spec.min,
        max: spec.max,
    };
    alert::EffectiveRule {
        rule: rule.as_str().to_owned(),
        enabled: resolved.enabled,
        enabled_from: resolved.enabled_by.to_string(),
        severity: resolved.severity.as_str().to_owned(),
        severity_from: resolved.severity_by.to_string(),
        thresholds: rule.spec().thresholds.iter().zip(&resolved.thresholds_by).map(threshold).collect(),
    }
}

fn setting(setting: RuleSetting) -> alert::AlertRuleSetting {
    let (kind, value) = setting.scope.parts();
    alert::AlertRuleSetting {
        scope: Some(alert::AlertScope { kind: kind.to_owned(), value: Some(value).filter(|value| !value.is_empty()) }),
        enabled: setting.enabled,
        severity: setting.severity.map(|severity| severity.as_str().to_owned()),
        thresholds: setting.values.into_iter().collect::<BTreeMap<_, _>>(),
    }
}

/// A rule as it is set.
pub(crate) fn rule(view: RuleView) -> alert::AlertRule {
    let spec = view.rule.spec();
    alert::AlertRule {
        effective: effective(view.rule, &view.effective),
        label: spec.label.to_owned(),
        meaning: spec.meaning.to_owned(),
        runbook: format!("docs/runbooks/{}.md", view.rule.as_str()),
        subject: spec.subject.as_str().to_owned(),
        settings: view.settings.into_iter().map(setting).collect(),
        fired_30d: view.fired,
        open: view.open,
    }
}

/// What a setting would mean.
pub(crate) fn preview(preview: RulePreview) -> alert::AlertRulePreview {
    let device = |device: services::PreviewedDevice| alert::PreviewedDevice {
        device_id: device.id.to_string(),
        alias: device.alias,
        reason: device.reason,
    };
    alert::AlertRulePreview {
        firing: preview.firing,
        firing_now: preview.firing_now,
        unknown: preview.unknown,
        judged: preview.judged,
        devices: preview.devices.into_iter().map(device).collect(),
    }
}

fn matcher(given: alert::AlertMatcher) -> Result<Matcher, Invalid> {
    let alert::AlertMatcher { rules, severities, groups, tags, devices, nodes } = given;
    services::alert_matcher(&rules, &severities, groups, tags, &devices, nodes)
}

fn shown_matcher(matcher: Matcher) -> alert::AlertMatcher {
    alert::AlertMatcher {
        rules: matcher.rules.iter().map(|rule| rule.as_str().to_owned()).collect(),
        severities: matcher.severities.iter().map(|severity| severity.as_str().to_owned()).collect(),
        groups: matcher.groups,
        tags: matcher.tags,
        devices: matcher.devices.iter().map(ToString::to_string).collect(),
        nodes: matcher.nodes,
    }
}

/// A silence that is to be made.
///
/// # Errors
/// A criterion or a time does not read, or there is no end, or two of them.
pub(crate) fn silence_request(new: alert::NewSilence) -> Result<SilenceRequest, Invalid> {
    let alert::NewSilence { matcher: criteria, reason, starts_at, ends_at, duration_seconds } = new;
    let end = match (ends_at, duration_seconds) {
        (Some(_), Some(_)) => return Err(Invalid::new("duration_seconds", "given beside ends_at: give one of them")),
        (None, None) => return Err(Invalid::new("ends_at", "missing: give ends_at or duration_seconds")),
        (Some(at), None) => SilenceEnd::At(parse_time("ends_at", &at)?),
        (None, Some(seconds)) => SilenceEnd::AfterSeconds(seconds),
    };
    let starts_at = starts_at.map(|text| parse_time("starts_at", &text)).transpose()?;
    Ok(SilenceRequest { matcher: matcher(criteria)?, reason, starts_at, end })
}

/// A silence.
pub(crate) fn silence(silence: Silence, now: Timestamp) -> alert::Silence {
    alert::Silence {
        active: silence.is_active(now),
        id: silence.id.to_string(),
        matcher: shown_matcher(silence.matcher),
        reason: silence.reason,
        author: silence.author,
        starts_at: time(silence.starts_at),
        ends_at: time(silence.ends_at),
    }
}

/// A maintenance window that is to be made.
///
/// # Errors
/// A criterion or the end does not read.
pub(crate) fn window_request(new: alert::NewAlertWindow) -> Result<WindowRequest, Invalid> {
    let alert::NewAlertWindow { matcher: criteria, reason, weekdays, start, end, tz, ends_at } = new;
    let ends_at = ends_at.map(|text| parse_time("ends_at", &text)).transpose()?;
    Ok(WindowRequest { matcher: matcher(criteria)?, reason, weekdays, start, end, tz, ends_at })
}

/// Names of weekdays, Monday first.
const WEEKDAYS: [Weekday; 7] = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// A maintenance window.
pub(crate) fn window(window: AlertWindow, now: Timestamp) -> alert::AlertWindow {
    let active = window.is_active(now);
    let hours = window.hours.daily();
    let days = WEEKDAYS.iter().zip(window.weekdays).filter(|(_, open)| *open);
    alert::AlertWindow {
        id: window.id.to_string(),
        weekdays: days.map(|(day, _)| day.to_string().to_lowercase()).collect(),
        start: hours.map(|hours| hours.start()).unwrap_or_default(),
        end: hours.map(|hours| hours.end()).unwrap_or_default(),
        tz: hours.map(|hours| hours.tz().to_owned()).unwrap_or_default(),
        matcher: shown_matcher(window.matcher),
        reason: window.reason,
        author: window.author,
        ends_at: window.ends_at.map(time),
        active,
    }
}

/// A route that is to be.
///
/// # Errors
/// An id, name or time does not read.
pub(crate) fn route_request(new: alert::NewAlertRoute) -> Result<RouteRequest, Invalid> {
    let alert::NewAlertRoute { channel_id, min_severity, rules, groups, hours, level, digest } = new;
    let rule = |(at, name): (usize, &String)| Rule::parse(&format!("rules[{at}]"), name);
    let hours = hours.map(|hours| {
        AlertWindow::parse_hours(&hours.start, &hours.end, &hours.tz)
            .map_err(|refused| Invalid::new(format!("hours.{}", refused.field), refused.problem))
    });
    Ok(RouteRequest {
        channel: channel_id.parse().map_err(|_| Invalid::new("channel_id", "not a channel"))?,
        min_severity: min_severity.map_or(Ok(Severity::Info), |name| Severity::parse("min_severity", &name))?,
        rules: rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
        groups,
        hours: hours.transpose()?,
        level,
        digest: digest.map(|digest| DigestTime::parse(&digest.at, &digest.tz)).transpose()?,
    })
}

/// A route.
pub(crate) fn route(route: Route) -> alert::AlertRoute {
    let hours = route.hours.as_ref().and_then(|hours| hours.daily());
    alert::AlertRoute {
        id: route.id.to_string(),
        channel_id: route.channel.to_string(),
        min_severity: route.min_severity.as_str().to_owned(),
        rules: route.rules.iter().map(|rule| rule.as_str().to_owned()).collect(),
        groups: route.groups,
        hours: hours.map(|hours| alert::RouteHours { start: hours.start(), end: hours.end(), tz: hours.tz().to_owned() }),
        level: route.level,
        digest: route.digest.as_ref().map(DigestTime::parts).map(|(at, tz)| alert::DigestTime { at, tz: tz.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of<T: serde::de::DeserializeOwned>(body: serde_json::Value) -> T {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn conditions_of_a_query_are_read_and_empty_ones_are_none() {
        let texts = |name: &str, value: &str| {
            let value = Some(value.to_owned());
            let none = FilterTexts::default;
            match name {
                "state" => FilterTexts { state: value, ..none() },
                "rule" => FilterTexts { rule: value, ..none() },
                "min_severity" => FilterTexts { min_severity: value, ..none() },
                "device_id" => FilterTexts { device_id: value, ..none() },
                "deployment_id" => FilterTexts { deployment_id: value, ..none() },
                _ => FilterTexts { since: value, ..none() },
            }
        };
        for name in ["state", "rule", "min_severity", "device_id", "deployment_id", "since"] {
            assert_eq!(filter(texts(name, "")).unwrap(), AlertFilter::default(), "{name}");
            assert_eq!(filter(texts(name, "nonsense")).unwrap_err().field, name);
        }
        assert_eq!(filter(texts("state", "open")).unwrap().states, [AlertState::Firing, AlertState::Acknowledged]);
        assert_eq!(filter(texts("state", "firing")).unwrap().states, [AlertState::Firing]);
    }

    #[test]
    fn a_scope_has_a_value_unless_it_is_everything() {
        let read = |kind, value: Option<&str>| scope(kind, value.map(str::to_owned));
        assert_eq!(read(None, None), Ok(ThresholdScope::Global));
        assert_eq!(read(Some("group"), Some("north")), Ok(ThresholdScope::Group("north".into())));
        for (kind, value, field) in [
            (Some("group"), None, "scope.value"),
            (Some("device"), Some("kiosk-7"), "scope.value"),
            (Some("global"), Some("north"), "scope.value"),
            (Some("default"), None, "scope.kind"),
        ] {
            assert_eq!(read(kind, value).unwrap_err().field, field, "{kind:?} {value:?}");
        }
    }

    #[test]
    fn a_silence_has_one_end() {
        let request = |body: serde_json::Value| silence_request(of(body));
        let both = json!({"matcher": {}, "reason": "r", "ends_at": "2026-12-01T00:00:00Z", "duration_seconds": 60});
        assert_eq!(request(both).unwrap_err().field, "duration_seconds");
        assert_eq!(request(json!({"matcher": {}, "reason": "r"})).unwrap_err().field, "ends_at");
        assert_eq!(request(json!({"matcher": {}, "reason": "r", "duration_seconds": 60})).unwrap().end, SilenceEnd::AfterSeconds(60));
    }

    #[test]
    fn a_window_and_a_route_read_back_as_they_were_given() {
        let now = "2026-11-30T12:00:00Z".parse().unwrap();
        let given = window_request(of(json!({
            "matcher": {"groups": ["north"]}, "reason": "r", "weekdays": ["sun"], "start": "22:00", "end": "05:00", "tz": "Europe/Berlin"
        })))
        .unwrap();
        let made = AlertWindow {
            id: domain::AlertWindowId(uuid::Uuid::nil()),
            matcher: given.matcher,
            reason: given.reason,
            author: "ada".into(),
            weekdays: AlertWindow::parse_weekdays(&given.weekdays).unwrap(),
            hours: AlertWindow::parse_hours(&given.start, &given.end, &given.tz).unwrap(),
            ends_at: None,
        };
        let shown = serde_json::to_value(window(made, now)).unwrap();
        assert_eq!((&shown["weekdays"], &shown["start"], &shown["tz"]), (&json!(["sun"]), &json!("22:00"), &json!("Europe/Berlin")));

        let id = uuid::Uuid::from_u128(7).to_string();
        let body = json!({
            "channel_id": id, "min_severity": "critical", "rules": ["app_down"], "groups": ["north"],
            "hours": {"start": "08:00", "end": "17:00", "tz": "UTC"}, "level": 1, "digest": null
        });
        let RouteRequest { channel, min_severity, rules, groups, hours, level, digest } = route_request(of(body.clone())).unwrap();
        let made = Route { id: domain::RouteId(uuid::Uuid::nil()), channel, min_severity, rules, groups, hours, level, digest };
        let mut shown = serde_json::to_value(route(made)).unwrap();
        shown.as_object_mut().unwrap().remove("id");
        assert_eq!(shown, body);
        let bad = json!({"channel_id": id, "hours": {"start": "8", "end": "17:00", "tz": "UTC"}});
        assert_eq!(route_request(of(bad)).unwrap_err().field, "hours.start");
    }
}
