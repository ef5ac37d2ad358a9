//! Reports: how the fleet or a group did on a day or in a week, and who is sent that.

mod schedules;
mod tables;

use std::rc::Rc;
use std::time::Duration;

use chrono::{NaiveTime, TimeDelta};
use dioxus::prelude::*;
use domain::access::Permission;
use domain::report::{Measure, Period, PeriodKind, Report};
use services::ReportView;

use crate::components::chart::{LineChart, Sample, Scale, Series, Window};
use crate::components::{EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon};
use crate::context::use_session;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::reports_url::ReportsUrl;
use crate::route::Route;

use schedules::Schedules;
use tables::{AlertsTable, GroupsTable, MeasuresTable, VersionsTable};

/// How often the report is read again: its figures change once, when late heartbeats were added.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

#[component]
pub(crate) fn Reports(query: ReportsUrl) -> Element {
    use_title("Reports");
    let session = use_session();
    let manages = session.may(Permission::ManageAlertChannels);
    let export = Route::Reports { query: query.clone() }.to_string().replacen("/reports", "/export/report.csv", 1);
    rsx! {
        PageHeader { title: "Reports", lead: "How the fleet did on a day or in a week (UTC), compared with the one before.",
            a { class: "button", href: export, download: "report.csv", "data-testid": "export-report", {icon(Glyph::Download)} "Download CSV" }
        }
        // Keyed, so that another report begins without the one before.
        for (key, query) in [(query.to_string(), query)] {
            Shown { key: "{key}", query: query.clone() }
        }
        if manages {
            Schedules {}
        }
    }
}

#[component]
fn Shown(query: ReportsUrl) -> Element {
    let read = use_polling(query.clone(), POLL_INTERVAL, |system, principal, query: ReportsUrl| async move {
        Ok((system.reports.report(&principal, query.request()).await?, system.clock.now().date_naive()))
    });
    let reading = read.read();
    rsx! {
        match reading.value.as_deref() {
            Some((view, today)) => rsx! {
                if let Some(problem) = &reading.problem {
                    Problem { text: problem.clone(), onretry: move |()| read.again() }
                }
                Controls { query: query.clone(), view: view.clone(), today: *today }
                if view.report.days.is_empty() {
                    Nothing { query: query.clone(), view: view.clone() }
                } else {
                    Body { view: view.clone() }
                }
            },
            None => rsx! {
                section { class: "card", aria_label: "Report", aria_busy: reading.loading.to_string(),
                    match &reading.problem {
                        Some(problem) => rsx! {
                            Problem { text: problem.clone(), onretry: move |()| read.again() }
                            if query.date.is_some() {
                                RouteLink { to: Route::Reports { query: ReportsUrl { date: None, ..query.clone() } }, class: "button", testid: "newest-report", "The newest report" }
                            }
                        },
                        None => rsx! { Skeleton {} },
                    }
                }
            },
        }
    }
}

/// Kind of the period, the ones before and after, and the group.
#[component]
fn Controls(query: ReportsUrl, view: ReportView, today: chrono::NaiveDate) -> Element {
    let navigator = use_navigator();
    let period = view.report.period;
    let at = |period: Period| Route::Reports { query: ReportsUrl { date: Some(period.first), ..query.clone() } };
    let has_next = period.after().first <= today;
    let chosen = view.report.group.clone();
    let other = chosen.clone().filter(|group| !view.groups.iter().any(|one| one == group));
    let of_group = query.clone();
    rsx! {
        div { class: "report-controls",
            nav { class: "tabs", aria_label: "Period",
                for kind in PeriodKind::ALL {
                    RouteLink { key: "{kind.as_str()}", to: Route::Reports { query: ReportsUrl { kind, ..query.clone() } }, current: kind == query.kind, testid: "period-{kind.as_str()}", {kind.title()} }
                }
            }
            div { class: "report-steps",
                RouteLink { to: at(period.before()), class: "button small", testid: "earlier", "Earlier" }
                strong { "data-testid": "report-period", {title(period)} }
                if has_next {
                    RouteLink { to: at(period.after()), class: "button small", testid: "later", "Later" }
                }
            }
            div { class: "field report-group",
                label { r#for: "report-group", "Group" }
                select { id: "report-group", "data-testid": "report-group",
                    onchange: move |event| {
                        let group = Some(event.value()).filter(|group| !group.is_empty());
                        navigator.push(Route::Reports { query: ReportsUrl { group, ..of_group.clone() } });
                    },
                    option { value: "", selected: chosen.is_none(), "All devices" }
                    if let Some(other) = other {
                        option { value: "{other}", selected: true, "{other}" }
                    }
                    for group in view.groups.iter() {
                        option { key: "{group}", value: "{group}", selected: chosen.as_ref() == Some(group), "{group}" }
                    }
                }
            }
        }
    }
}

/// Days of a period in words.
fn title(period: Period) -> String {
    let day = |day: chrono::NaiveDate| day.format("%-d %b %Y").to_string();
    match period.kind {
        PeriodKind::Daily => format!("{}, {}", period.first.format("%a"), day(period.first)),
        PeriodKind::Weekly => format!("{} to {}", day(period.first), day(period.last())),
    }
}

#[component]
fn Nothing(query: ReportsUrl, view: ReportView) -> Element {
    let group = view.report.group.as_ref().map(|group| format!(" of the group {group}")).unwrap_or_default();
    rsx! {
        section { class: "card",
            match view.newest {
                None => rsx! {
                    EmptyState { glyph: Glyph::Chart, title: "No figures yet", text: "The figures of a day are made once it is over, about two hours after midnight (UTC)." }
                },
                Some(newest) => rsx! {
                    EmptyState { glyph: Glyph::Chart, title: "No figures", text: "There are no figures{group} for this period. The newest are of {newest}.",
                        RouteLink { to: Route::Reports { query: ReportsUrl { date: Some(newest), ..query.clone() } }, class: "button primary", "Show those" }
                        if query.group.is_some() {
                            RouteLink { to: Route::Reports { query: ReportsUrl { group: None, ..query.clone() } }, class: "button", "All devices" }
                        }
                    }
                },
            }
        }
    }
}

#[component]
fn Body(view: ReportView) -> Element {
    let report = &view.report;
    let missing = report.period.days().saturating_sub(report.days.len());
    rsx! {
        div { class: "report", "data-testid": "report",
            if missing > 0 {
                p { class: "muted", role: "note", "data-testid": "report-incomplete",
                    "Of {missing} of the {report.period.days()} days there are no figures, or not yet."
                }
            }
            if report.before.days > 0 && !report.has_equal_days() {
                p { class: "muted", role: "note", "data-testid": "report-uneven",
                    "The period before has figures of {report.before.days} of {report.period.days()} days, this one of {report.total.days}: sums are not compared."
                }
            }
            MeasuresTable { report: report.clone() }
            if report.period.kind == PeriodKind::Weekly {
                section { class: "card", aria_labelledby: "report-days-title",
                    h2 { id: "report-days-title", "By day" }
                    div { class: "report-plots",
                        Plot { report: report.clone(), measure: Measure::OnlinePct, tone: "good" }
                        Plot { report: report.clone(), measure: Measure::AlertsRaised, tone: "warn" }
                    }
                }
            }
            AlertsTable { report: report.clone() }
            div { class: "report-pair",
                VersionsTable { title: "Agent versions", id: "agent-versions", now: report.total.agent_versions.clone(), before: report.before.agent_versions.clone() }
                VersionsTable { title: "App versions", id: "app-versions", now: report.total.app_versions.clone(), before: report.before.app_versions.clone() }
            }
            if report.group.is_none() {
                GroupsTable { report: report.clone() }
            }
        }
    }
}

/// A measure by day.
#[component]
fn Plot(report: Report, measure: Measure, tone: &'static str) -> Element {
    use crate::components::chart::Unit;
    let noon = |day: chrono::NaiveDate| day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::hours(12);
    let values = report.days.iter().filter_map(|(day, figures)| Some((noon(*day), measure.of(figures)?)));
    let samples: Vec<_> = values.map(|(at, value)| Sample::exact(at, value)).collect();
    let most = samples.iter().map(|sample| sample.value).fold(1.0, f64::max);
    let scale = match measure.unit() {
        domain::report::Unit::Percent => Scale::percent(),
        _ => Scale::from_zero(most, Unit::Count, 4),
    };
    let begin = report.period.first.and_time(NaiveTime::MIN).and_utc();
    let step = TimeDelta::days(1);
    let window = Window { from: begin, to: begin + step * report.period.days() as i32, step, gap: step * 3 / 2 };
    rsx! {
        div {
            h3 { {measure.label()} }
            LineChart {
                title: "{measure.label()} by day", series: vec![Series { name: measure.label().to_owned(), tone, samples: Rc::new(samples), filled: true }],
                window, scale, testid: "report-plot-{measure.as_str()}", nothing: "No figures in this period",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_named_by_its_days() {
        let day = "2026-11-29".parse().unwrap();
        assert_eq!(title(Period::of(PeriodKind::Daily, day)), "Sun, 29 Nov 2026");
        assert_eq!(title(Period::of(PeriodKind::Weekly, day)), "23 Nov 2026 to 29 Nov 2026");
    }
}
