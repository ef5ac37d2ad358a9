//! Tables of a report: measures, alerts, versions, groups.

use dioxus::prelude::*;
use domain::alert::Rule;
use domain::report::{Figures, Measure, Report, VersionCount, versions};

use crate::components::Glyph;
use crate::components::{RouteLink, icon};
use crate::format;
use crate::reports_url::ReportsUrl;
use crate::route::Route;

/// Measures of the table of groups.
const OF_GROUPS: [Measure; 7] = [
    Measure::Devices,
    Measure::OnlinePct,
    Measure::GapHours,
    Measure::BatteryLowPct,
    Measure::Reboots,
    Measure::AppDownMinutes,
    Measure::AlertsRaised,
];

/// A difference with its sign, and whether it is an improvement, in words for those who see no colours.
fn change(measure: Measure, now: Option<f64>, before: Option<f64>) -> Element {
    let Some(text) = measure.change(now, before) else { return rsx! { span { class: "muted", "–" } } };
    let (class, glyph, words) = match measure.is_better(now, before) {
        Some(true) => ("report-change better", Some(Glyph::Check), "better"),
        Some(false) => ("report-change worse", Some(Glyph::Alert), "worse"),
        None => ("report-change", None, ""),
    };
    rsx! {
        span { class,
            if let Some(glyph) = glyph {
                {icon(glyph)}
            }
            "{text}"
            if !words.is_empty() {
                span { class: "visually-hidden", ", {words}" }
            }
        }
    }
}

#[component]
pub(super) fn MeasuresTable(report: Report) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "measures-title",
            h2 { id: "measures-title", "Measures" }
            div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Measures",
                table { class: "plain report-table", "data-testid": "report-measures",
                    thead { tr {
                        th { scope: "col", "Measure" } th { scope: "col", class: "number", "Value" } th { scope: "col", class: "number", "Before" }
                        th { scope: "col", class: "number", "Change" }
                    } }
                    tbody {
                        for measure in Measure::ALL {
                            tr { key: "{measure.as_str()}", "data-testid": "measure-{measure.as_str()}",
                                th { scope: "row", {measure.label()} span { class: "report-meaning", {measure.meaning()} } }
                                td { class: "number", strong { {measure.text(measure.of(&report.total))} } }
                                td { class: "number", {measure.text(measure.of(&report.before))} }
                                td { class: "number", {change(measure, measure.of(&report.total), report.compared(measure))} }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
pub(super) fn AlertsTable(report: Report) -> Element {
    let alerts = report.alerts();
    rsx! {
        section { class: "card", aria_labelledby: "report-alerts-title",
            h2 { id: "report-alerts-title", "Alerts by rule" }
            if alerts.is_empty() {
                p { class: "muted", "No alerts in this period, nor in the one before." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Alerts by rule",
                    table { class: "plain report-table", "data-testid": "report-alerts",
                        thead { tr {
                            th { scope: "col", "Rule" } th { scope: "col", class: "number", "Raised" } th { scope: "col", class: "number", "Resolved" }
                            th { scope: "col", class: "number", "Raised before" } th { scope: "col", class: "number", "Change" }
                        } }
                        tbody {
                            for (rule, now, before) in alerts {
                                tr { key: "{rule}",
                                    th { scope: "row", {rule.parse::<Rule>().map_or_else(|_| rule.to_owned(), |rule| rule.spec().label.to_owned())} }
                                    td { class: "number", strong { {format::number(now.raised)} } }
                                    td { class: "number", {format::number(now.resolved)} }
                                    td { class: "number", if report.before.days > 0 { {format::number(before.raised)} } else { "–" } }
                                    td { class: "number", {change(Measure::AlertsRaised, Some(now.raised as f64), report.has_equal_days().then_some(before.raised as f64))} }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
pub(super) fn VersionsTable(title: String, id: String, now: Vec<VersionCount>, before: Vec<VersionCount>) -> Element {
    let is_known = !before.is_empty();
    rsx! {
        section { class: "card", aria_labelledby: "{id}-title",
            h2 { id: "{id}-title", "{title}" }
            if now.is_empty() && before.is_empty() {
                p { class: "muted", "Not known of this period." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "{title}",
                    table { class: "plain report-table narrow", "data-testid": "report-{id}",
                        thead { tr { th { scope: "col", "Version" } th { scope: "col", class: "number", "Devices" } th { scope: "col", class: "number", "Before" } } }
                        tbody {
                            for (version, devices, before) in versions(&now, &before) {
                                tr { key: "{version}",
                                    th { scope: "row", "{version}" }
                                    td { class: "number", strong { {format::number(devices)} } }
                                    td { class: "number", if is_known { {format::number(before)} } else { "–" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[component]
pub(super) fn GroupsTable(report: Report) -> Element {
    let of_group = |group: &str| Route::Reports {
        query: ReportsUrl { kind: report.period.kind, date: Some(report.period.first), group: Some(group.to_owned()) },
    };
    let cells = |figures: &Figures| OF_GROUPS.map(|measure| measure.text(measure.of(figures)));
    rsx! {
        section { class: "card", aria_labelledby: "report-groups-title",
            h2 { id: "report-groups-title", "Groups" }
            if report.groups.is_empty() {
                p { class: "muted", "No device is in a group." }
            } else {
                div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Groups",
                    table { class: "plain report-table wide", "data-testid": "report-groups",
                        thead { tr {
                            th { scope: "col", "Group" }
                            for measure in OF_GROUPS {
                                th { key: "{measure.as_str()}", scope: "col", class: "number", {measure.label()} }
                            }
                        } }
                        tbody {
                            for (group, figures) in report.groups.iter() {
                                tr { key: "{group}",
                                    th { scope: "row", RouteLink { to: of_group(group), class: "truncate", "{group}" } }
                                    for (measure, text) in OF_GROUPS.iter().zip(cells(figures)) {
                                        td { key: "{measure.as_str()}", class: "number", "{text}" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
