//! Open alerts by rule: how many, how severe, and the way to each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::alert::{AlertState, Rule, Severity};

use super::silence::{SilenceAlert, SilencedAlert};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::severity_badge;
use crate::components::{EmptyState, Glyph, Problem, RouteLink, Skeleton};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;
use services::AlertCount;

/// How often the groups are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Open alerts of a rule in a state.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    rule: Rule,
    severity: Severity,
    count: u64,
}

/// Groups that the page shows, the most severe first and the largest of those.
fn groups(counts: &[AlertCount], query: &AlertsUrl) -> Vec<Group> {
    let mut by_rule = BTreeMap::<Rule, Group>::new();
    let least = query.severity.unwrap_or(Severity::Info);
    let wanted =
        counts.iter().filter(|one| one.state == query.state && one.severity >= least && query.rule.is_none_or(|rule| rule == one.rule));
    for one in wanted {
        let group = by_rule.entry(one.rule).or_insert(Group { rule: one.rule, severity: one.severity, count: 0 });
        group.severity = group.severity.max(one.severity);
        group.count += one.alerts;
    }
    let mut groups: Vec<_> = by_rule.into_values().collect();
    groups.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.count.cmp(&a.count)).then(a.rule.cmp(&b.rule)));
    groups
}

#[component]
pub(super) fn Groups(query: AlertsUrl) -> Element {
    let session = use_session();
    let mut silencing = use_signal(|| None::<SilencedAlert>);
    let counts = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.alerts.counts(&principal).await });
    let reading = counts.read();
    let may = session.may(Permission::ManageAlerts);
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| counts.again() }
        }
        match reading.value.as_deref().map(|counts| groups(counts, &query)) {
            Some(groups) if groups.is_empty() => rsx! {
                EmptyState { glyph: Glyph::Check, title: if query.state == AlertState::Firing { "No open alerts" } else { "Nothing acknowledged" }, text: if query.is_filtered() { "None matches the filter." } else { "Nothing is listed here right now." } }
            },
            Some(groups) => rsx! {
                ul { class: "rows alert-rows", aria_label: "Alerts by rule",
                    for group in groups {
                        GroupRow { key: "{group.rule.as_str()}", group, state: query.state, may, onsilence: move |alert| silencing.set(Some(alert)) }
                    }
                }
            },
            None if reading.problem.is_none() => rsx! { Skeleton {} },
            None => rsx! {},
        }
        if let Some(alert) = silencing() {
            SilenceAlert { alert, ondone: move |()| silencing.set(None), onclose: move |()| silencing.set(None) }
        }
    }
}

#[component]
fn GroupRow(group: Group, state: AlertState, may: bool, onsilence: EventHandler<SilencedAlert>) -> Element {
    let spec = group.rule.spec();
    let to = Route::Alerts { query: AlertsUrl { rule: Some(group.rule), ..AlertsUrl::of(state) } };
    let silenced = SilencedAlert { rule: group.rule, subject: None, name: String::new(), groups: vec![] };
    rsx! {
        li { class: "row-item alert-row severity-{group.severity.as_str()}", "data-testid": "alert-group", "data-rule": group.rule.as_str(), "data-count": "{group.count}",
            div { class: "row-main",
                div { class: "row-title alert-title",
                    {severity_badge(group.severity)}
                    RouteLink { to, testid: "open-group", "{format::number(group.count)} {noun(spec.plural, spec.label, group.count)}" }
                }
                p { class: "alert-reason", {spec.meaning} }
            }
            if may {
                div { class: "row-actions",
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "Silence {spec.label}", "data-testid": "silence", onclick: move |_| onsilence.call(silenced.clone()), "Silence" }
                }
            }
        }
    }
}

/// Noun after a number: the title of the rule for one, the plural for several.
fn noun(plural: &str, one: &str, count: u64) -> String {
    if count == 1 { format!("× {one}") } else { plural.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_severe_group_stands_first_and_counts_what_the_filter_lets_through() {
        let one = |rule, severity, state, alerts| AlertCount { rule, severity, state, alerts };
        let counts = [
            one(Rule::DeviceOffline, Severity::Warning, AlertState::Firing, 140),
            one(Rule::DeviceOffline, Severity::Critical, AlertState::Firing, 3),
            one(Rule::DeviceOffline, Severity::Warning, AlertState::Acknowledged, 9),
            one(Rule::LowBattery, Severity::Warning, AlertState::Firing, 500),
            one(Rule::AppDown, Severity::Critical, AlertState::Firing, 1),
        ];
        let found = |query: AlertsUrl| groups(&counts, &query).into_iter().map(|group| (group.rule, group.count)).collect::<Vec<_>>();
        assert_eq!(found(AlertsUrl::default()), [(Rule::DeviceOffline, 143), (Rule::AppDown, 1), (Rule::LowBattery, 500)]);
        assert_eq!(found(AlertsUrl::of(AlertState::Acknowledged)), [(Rule::DeviceOffline, 9)]);
        let critical = AlertsUrl { severity: Some(Severity::Critical), ..AlertsUrl::default() };
        assert_eq!(found(critical), [(Rule::DeviceOffline, 3), (Rule::AppDown, 1)]);
        assert_eq!(found(AlertsUrl { rule: Some(Rule::LowBattery), ..AlertsUrl::default() }), [(Rule::LowBattery, 500)]);
        assert_eq!(noun("devices offline", "Device offline", 1), "× Device offline");
    }
}
