//! The rules: what each means, what it goes by, and how often it fired.

use std::time::Duration;

use dioxus::prelude::*;
use domain::alert::{AlertState, SubjectKind};
use services::{FIRED_DAYS, RuleView};

use super::{Frame, Tab};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{severity_badge, threshold_text};
use crate::components::{Problem, RouteLink, Skeleton};
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;

/// How often the rules are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Kinds of subjects, in the order of the page, with the title of their rules.
const KINDS: [(SubjectKind, &str); 4] = [
    (SubjectKind::Device, "Devices"),
    (SubjectKind::Deployment, "Deployments"),
    (SubjectKind::Node, "Nodes"),
    (SubjectKind::System, "Server"),
];

#[component]
pub(crate) fn AlertRules() -> Element {
    rsx! { Frame { tab: Tab::Rules, List {} } }
}

#[component]
fn List() -> Element {
    let rules = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.alerts.rules(&principal).await });
    let reading = rules.read();
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| rules.again() }
        }
        match reading.value.as_deref() {
            Some(rules) => rsx! {
                for (kind, title) in KINDS {
                    section { key: "{title}", class: "card", aria_labelledby: "rules-{kind.as_str()}",
                        h2 { id: "rules-{kind.as_str()}", "{title}" }
                        ul { class: "rows",
                            for view in rules.iter().filter(|view| view.rule.spec().subject == kind) {
                                RuleRow { key: "{view.rule.as_str()}", view: view.clone() }
                            }
                        }
                    }
                }
            },
            None if reading.problem.is_none() => rsx! { section { class: "card", Skeleton {} } },
            None => rsx! {},
        }
    }
}

/// Thresholds that hold for all: "Raise below 15 %, clear at 20 %".
pub(super) fn thresholds_text(view: &RuleView) -> String {
    let each = view.rule.spec().thresholds.iter();
    let texts = each.map(|threshold| {
        format!("{} {}", threshold.label.to_lowercase(), threshold_text(view.effective.thresholds.get(threshold.name), threshold.unit))
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[component]
fn RuleRow(view: RuleView) -> Element {
    let spec = view.rule.spec();
    let (on, open) = (view.effective.enabled, view.open);
    let thresholds = thresholds_text(&view);
    let firing = AlertsUrl { rule: Some(view.rule), ..AlertsUrl::of(AlertState::Firing) };
    let others = view.settings.iter().filter(|setting| setting.scope != domain::alert::ThresholdScope::Global).count();
    rsx! {
        li { class: if on { "row-item" } else { "row-item off" }, "data-testid": "rule-row", "data-rule": view.rule.as_str(),
            div { class: "row-main",
                div { class: "row-title",
                    RouteLink { to: Route::alert_rule(view.rule), class: "truncate", testid: "open-rule", {spec.label} }
                    if on { {severity_badge(view.effective.severity)} } else { span { class: "badge", "Off" } }
                }
                p { class: "alert-reason", {spec.meaning} }
                div { class: "row-meta",
                    if !thresholds.is_empty() { span { "data-testid": "rule-thresholds", "{thresholds}" } }
                    if others > 0 { span { {format::count(others, "exception", "exceptions")} } }
                    span { "{fired_text(view.fired)} in {FIRED_DAYS} days" }
                }
            }
            if open > 0 {
                RouteLink { to: Route::Alerts { query: firing }, class: "button small", "{format::number(open)} open" }
            }
        }
    }
}

/// "Fired 12 times".
pub(super) fn fired_text(count: u64) -> String {
    match count {
        0 => "Did not fire".into(),
        1 => "Fired once".into(),
        count => format!("Fired {} times", format::number(count)),
    }
}
