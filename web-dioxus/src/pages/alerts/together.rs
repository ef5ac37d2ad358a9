//! Open alerts by the group, tag or subject that they are about: how many, how severe, and the way to each of them.

use std::time::Duration;

use dioxus::prelude::*;
use domain::alert::{AlertGrouping, AlertState, Severity, Subject};
use services::{ALERT_GROUPS_MAX, AlertsTogether, Together};

use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{SubjectLink, severity_badge};
use crate::components::{EmptyState, Glyph, Problem, RouteLink, Skeleton};
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;

/// How often the rows are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The list that has the alerts of a row. `None`: no filter of the list is about it.
fn list_of(row: &AlertsTogether, query: &AlertsUrl, by: AlertGrouping) -> Option<AlertsUrl> {
    let list = AlertsUrl { by: None, ..query.clone() };
    match &row.what {
        Together::Label(label) => {
            let label = Some(label.clone()?);
            Some(if by == AlertGrouping::Tag { AlertsUrl { tag: label, ..list } } else { AlertsUrl { group: label, ..list } })
        }
        Together::Subject(Subject::Device(id), _) => Some(AlertsUrl { device: Some(*id), ..list }),
        Together::Subject(..) => None,
    }
}

/// Title of the alerts without a label.
fn without(by: AlertGrouping) -> &'static str {
    if by == AlertGrouping::Tag { "Without a tag" } else { "Without a group" }
}

#[component]
pub(super) fn TogetherRows(query: AlertsUrl, by: AlertGrouping) -> Element {
    let asked = (by, query.state, query.severity.unwrap_or(Severity::Info), query.rule);
    let rows = use_polling(asked, POLL_INTERVAL, |system, principal, (by, state, severity, rule)| async move {
        system.alerts.together(&principal, by, state, severity, rule).await
    });
    let reading = rows.read();
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| rows.again() }
        }
        match reading.value.as_deref().map(Vec::as_slice) {
            Some([]) => rsx! {
                EmptyState { glyph: Glyph::Check, title: if query.state == AlertState::Firing { "No open alerts" } else { "Nothing acknowledged" }, text: if query.is_filtered() { "None matches the filter." } else { "Nothing is listed here right now." } }
            },
            Some(all) => rsx! {
                ul { class: "rows alert-rows", aria_label: "Alerts by {by.as_str()}",
                    for (n, row) in all.iter().enumerate() {
                        TogetherRow { key: "{n}", row: row.clone(), query: query.clone(), by }
                    }
                }
                if all.len() >= ALERT_GROUPS_MAX {
                    p { class: "muted", "The first {format::number(ALERT_GROUPS_MAX as u64)} are shown: filter by rule or severity for others." }
                }
            },
            None if reading.problem.is_none() => rsx! { Skeleton {} },
            None => rsx! {},
        }
    }
}

#[component]
fn TogetherRow(row: AlertsTogether, query: AlertsUrl, by: AlertGrouping) -> Element {
    let count = format::count(row.alerts as usize, "alert", "alerts");
    let to = list_of(&row, &query, by).map(|query| Route::Alerts { query });
    rsx! {
        li { class: "row-item alert-row severity-{row.severity.as_str()}", "data-testid": "alert-together", "data-count": "{row.alerts}",
            div { class: "row-main",
                div { class: "row-title alert-title",
                    {severity_badge(row.severity)}
                    match row.what.clone() {
                        Together::Label(label) => rsx! { span { class: "truncate", {label.unwrap_or_else(|| without(by).to_owned())} } },
                        Together::Subject(Subject::System(name), _) if name.is_empty() => rsx! { span { "The cluster" } },
                        Together::Subject(subject, name) => rsx! { SubjectLink { subject, name } },
                    }
                }
                p { class: "alert-reason",
                    match to {
                        Some(to) => rsx! { RouteLink { to, testid: "open-together", "{count}" } },
                        None => rsx! { "{count}" },
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::DeviceId;

    use super::*;

    #[test]
    fn a_row_leads_to_its_alerts_with_the_filter_that_holds() {
        let row = |what| AlertsTogether { what, severity: Severity::Info, alerts: 1 };
        let query = AlertsUrl { severity: Some(Severity::Critical), by: Some(AlertGrouping::Tag), ..AlertsUrl::default() };
        let list = |what, by| list_of(&row(what), &query, by).map(|url| url.to_string());
        let label = |name: &str| Together::Label(Some(name.into()));
        assert_eq!(list(label("till"), AlertGrouping::Tag).as_deref(), Some("severity=critical&tag=till"));
        assert_eq!(list(label("north"), AlertGrouping::Group).as_deref(), Some("severity=critical&group=north"));
        assert_eq!(list(Together::Label(None), AlertGrouping::Group), None);
        let device = DeviceId(uuid::Uuid::from_u128(7));
        let found = list(Together::Subject(Subject::Device(device), "a".into()), AlertGrouping::Subject);
        assert_eq!(found, Some(format!("severity=critical&device={device}")));
        assert_eq!(list(Together::Subject(Subject::Node("a".into()), "a".into()), AlertGrouping::Subject), None);
    }
}
