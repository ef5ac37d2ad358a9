//! Plots of a device: battery, memory, storage and network over time.

use std::rc::Rc;
use std::time::Duration;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use dioxus::prelude::*;
use domain::alert::AlertRecord;
use domain::heartbeat::Transport;
use domain::history::{CHARTS, HistoryRequest, Point, Summary, TransportShares};
use domain::{DeviceId, Timestamp};
use services::{ArchivedDays, DeviceHistory};

use crate::components::alert_widgets::severity_tone;
use crate::components::chart::{LineChart, Mark, Sample, Scale, Series, Strip, TimeSpan, Unit, Window};
use crate::components::{Glyph, Problem, RouteLink, icon};
use crate::context::use_session;
use crate::format;
use crate::polling::{Polling, use_paced_polling};
use crate::route::Route;
use crate::url_state::{DeviceUrl, Range};

/// Poll interval of the plots.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Poll interval of plots that the archive has a part in: its days do not change, and each reading of them is work for its store. Where such
/// plots reach up to now, their points are an hour apart or more.
const ARCHIVE_INTERVAL: Duration = Duration::from_secs(3600);
/// Kinds of network, in the order of their numbers in a strip.
const NETWORKS: [Transport; 5] = [Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::Other, Transport::None];

/// The time that plots show, and how many points they have: one per 5 minutes, hour, or 4 hours.
pub(super) fn span(query: DeviceUrl, now: Timestamp) -> (Timestamp, Timestamp, i64) {
    let last = |length, points| (now - length, now, points);
    match (query.day.filter(|day| *day <= now.date_naive()), query.range) {
        (Some(day), _) => {
            let from = day.and_time(NaiveTime::MIN).and_utc();
            (from, (from + TimeDelta::days(1)).min(now.max(from + TimeDelta::minutes(1))), 289)
        }
        (None, Range::Day) => last(TimeDelta::hours(24), 289),
        (None, Range::Week) => last(TimeDelta::days(7), 169),
        (None, Range::Month) => last(TimeDelta::days(30), 241),
    }
}

/// How soon plots are read again.
fn interval_for(history: &DeviceHistory) -> Duration {
    if history.archived.is_some() { ARCHIVE_INTERVAL } else { POLL_INTERVAL }
}

/// The time that plots show, in words.
pub(super) fn shown_time(query: DeviceUrl) -> String {
    query.day.map_or_else(|| format!("the last {}", title(query.range)), |day| day.to_string())
}

#[component]
pub(super) fn Plots(id: DeviceId, query: DeviceUrl, alerts: Polling<Vec<AlertRecord>>) -> Element {
    let session = use_session();
    let now = session.clock.now();
    let history = use_paced_polling((id, query), interval_for, |system, principal, (id, query)| async move {
        let (from, to, points) = span(query, system.clock.now());
        system.history.device(&principal, id, HistoryRequest { from: Some(from), to: Some(to), points: Some(points) }).await
    });
    let reading = history.read();
    let (from, to, _) = span(query, now);
    let export = format!("/export/heartbeats/{id}.csv?from={}&to={}", format::iso(from), format::iso(to));
    rsx! {
        section { class: "card", aria_labelledby: "history-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "history-title", "History" }
                nav { class: "tabs", aria_label: "Time range",
                    for choice in Range::ALL {
                        RouteLink { key: "{choice.as_str()}", to: at(id, choice, None), current: query.day.is_none() && choice == query.range, testid: "range-{choice.as_str()}",
                            {title(choice)}
                        }
                    }
                }
                OneDay { id, query, today: now.date_naive() }
                a { class: "button small", href: "{export}", download: "heartbeats.csv", "data-testid": "export-heartbeats", {icon(Glyph::Download)} "CSV" }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| history.again() }
            }
            if let Some(days) = reading.value.as_ref().and_then(|history| history.archived) {
                p { class: "muted", role: "status", "data-testid": "from-archive", {from_archive(days)} }
            }
            match &reading.value {
                Some(history) => rsx! { All { history: history.clone(), offline_after: session.policy.offline_after, marks: Rc::new(marks(alerts.read().value.as_deref(), session.clock.now())) } },
                None if reading.problem.is_none() => rsx! {
                    div { class: "plots", role: "status", aria_label: "Loading",
                        for n in 0..4 { div { key: "{n}", class: "chart-loading" } }
                    }
                },
                None => rsx! {},
            }
        }
    }
}

fn at(id: DeviceId, range: Range, day: Option<NaiveDate>) -> Route {
    Route::Device { id: id.to_string(), query: DeviceUrl { range, day } }
}

/// Which days the archive told.
fn from_archive(days: ArchivedDays) -> String {
    match days.first == days.last {
        true => format!("From the archive: {}", days.first),
        false => format!("From the archive: {} to {}", days.first, days.last),
    }
}

/// The choice of one day, however long ago, and the way to the days beside it.
#[component]
fn OneDay(id: DeviceId, query: DeviceUrl, today: NaiveDate) -> Element {
    let navigator = use_navigator();
    let range = query.range;
    let value = query.day.map(|day| day.to_string()).unwrap_or_default();
    rsx! {
        div { class: "one-day",
            if let Some(before) = query.day.and_then(|day| day.pred_opt()) {
                RouteLink { to: at(id, range, Some(before)), class: "button quiet small", testid: "day-before", "Day before" }
            }
            label { class: "visually-hidden", r#for: "history-day", "Day (UTC)" }
            input { key: "{value}", id: "history-day", r#type: "date", max: "{today}", initial_value: "{value}", "data-testid": "history-day",
                onchange: move |event| {
                    // Emptied, or half typed: the range is shown again.
                    navigator.push(at(id, range, event.value().parse().ok()));
                },
            }
            if let Some(after) = query.day.and_then(|day| day.succ_opt()).filter(|day| *day <= today) {
                RouteLink { to: at(id, range, Some(after)), class: "button quiet small", testid: "day-after", "Day after" }
            }
        }
    }
}

pub(super) fn title(range: Range) -> &'static str {
    match range {
        Range::Day => "24 hours",
        Range::Week => "7 days",
        Range::Month => "30 days",
    }
}

/// The alerts as marks on the plots.
fn marks(alerts: Option<&Vec<AlertRecord>>, now: Timestamp) -> Vec<Mark> {
    let mark = |alert: &AlertRecord| Mark {
        from: alert.opened_at,
        to: alert.resolved.map_or(now, |(at, _)| at),
        tone: severity_tone(alert.severity),
        name: alert.key.rule.spec().label.to_owned(),
    };
    alerts.into_iter().flatten().map(mark).collect()
}

#[component]
fn All(history: Rc<DeviceHistory>, offline_after: TimeDelta, marks: Rc<Vec<Mark>>) -> Element {
    let plan = &history.plan;
    let step = TimeDelta::seconds(plan.step_s);
    // A device that is silent for less than this counts as online all the while.
    let window = Window { from: plan.from, to: plan.to, step, gap: (offline_after + step).max(step * 3 / 2) };
    rsx! {
        div { class: "plots",
            for (n, chart) in CHARTS.iter().enumerate() {
                MeasurePlot { key: "{chart.name}", n, history: Rc::clone(&history), window, marks: Rc::clone(&marks) }
            }
            div { class: "plot",
                h3 { "Network" }
                Strip { title: "Network", testid: "plot-network", states: NETWORKS.map(|network| (format::transport(network).to_owned(), format::transport_tone(network))).to_vec(), spans: Rc::new(spans(&history.points)), window }
            }
            div { class: "plot",
                h3 { "Online" }
                Strip { title: "Online", testid: "plot-online", states: vec![("Online".into(), "good"), ("Offline".into(), "faint")], spans: Rc::new(online(&history.points)), window }
            }
        }
    }
}

/// The plot of a measure of the telemetry table.
#[component]
fn MeasurePlot(n: usize, history: Rc<DeviceHistory>, window: Window, marks: Rc<Vec<Mark>>) -> Element {
    let Some(chart) = CHARTS.get(n) else { return rsx! {} };
    let sample = |point: &Point| {
        let Summary { min, avg, max } = (chart.summary)(point)?;
        Some(Sample { at: point.at, low: min, value: avg, high: max })
    };
    let samples: Vec<_> = history.points.iter().filter_map(sample).collect();
    let scale = scale(chart.unit, &samples);
    // A line that does not begin at zero has no area below it.
    let filled = chart.unit != domain::telemetry::Unit::Celsius;
    rsx! {
        One { title: "{chart.label}", testid: "plot-{chart.name}", tone: chart.tone, filled, samples: Rc::new(samples), window, scale, marks }
    }
}

fn scale(unit: domain::telemetry::Unit, samples: &[Sample]) -> Scale {
    use domain::telemetry::Unit as Of;
    let highest = samples.iter().map(|sample| sample.high).fold(0.0, f64::max);
    let lowest = samples.iter().map(|sample| sample.low).fold(f64::INFINITY, f64::min);
    match unit {
        Of::Percent => Scale::percent(),
        Of::Celsius => Scale::around(lowest, highest, Unit::Celsius, 4),
        Of::Mebibytes => Scale::from_zero(highest, Unit::Mebibytes, 4),
        Of::None | Of::Seconds | Of::Degrees | Of::Meters | Of::Count => Scale::from_zero(highest, Unit::Count, 4),
    }
}

/// A plot of one measure; the band shows what it varied between within a step.
#[component]
fn One(
    title: String,
    testid: String,
    tone: &'static str,
    filled: bool,
    samples: Rc<Vec<Sample>>,
    window: Window,
    scale: Scale,
    marks: Rc<Vec<Mark>>,
) -> Element {
    let last = samples.last().map(|sample| scale.format(sample.value));
    rsx! {
        div { class: "plot",
            h3 { "{title}" if let Some(last) = last { span { class: "plot-last", "{last}" } } }
            LineChart { title: title.clone(), nothing: "No data", series: vec![Series { name: title, tone, samples, filled }], window, scale, testid, marks }
        }
    }
}

/// The network that most heartbeats of each step came over.
fn spans(points: &[Point]) -> Vec<TimeSpan> {
    let spell = |point: &Point| {
        let shares = by_network(point.transports.as_ref()?);
        let (state, share) = shares.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(TimeSpan { at: point.at, state, note: (share < 0.995).then(|| format!("{:.0} % of the heartbeats", share * 100.0)) })
    };
    points.iter().filter_map(spell).collect()
}

fn by_network(shares: &TransportShares) -> [f64; NETWORKS.len()] {
    let TransportShares { wifi, cellular, ethernet, none, other } = *shares;
    [wifi, cellular, ethernet, other, none]
}

/// Whether the device counted as online, from the first step on in which it did.
fn online(points: &[Point]) -> Vec<TimeSpan> {
    let seen = points.iter().skip_while(|point| point.online_share <= 0.0);
    seen.map(|point| {
        let share = point.online_share;
        let partly = (0.005..0.995).contains(&share).then(|| format!("{:.0} % of the time", share * 100.0));
        TimeSpan { at: point.at, state: usize::from(share < 0.5), note: partly }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::history::{Measures, Shares};

    fn point(minute: i64, online_share: f64, transports: Option<TransportShares>) -> Point {
        Point {
            at: chrono::DateTime::from_timestamp(1_780_000_000 + minute * 60, 0).unwrap(),
            heartbeats: 1,
            online_share,
            measures: Measures::default(),
            shares: Shares::default(),
            transports,
        }
    }

    #[test]
    fn a_day_is_shown_from_midnight_to_midnight_and_today_up_to_now() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-30T12:00:00Z");
        let of = |day: &str| span(DeviceUrl { range: Range::Week, day: day.parse().ok() }, now);
        assert_eq!(of("2026-08-29"), (at("2026-08-29T00:00:00Z"), at("2026-08-30T00:00:00Z"), 289));
        assert_eq!(of("2026-11-30"), (at("2026-11-30T00:00:00Z"), now, 289));
        assert_eq!(of("2026-12-01"), (now - TimeDelta::days(7), now, 169), "a day that has not come shows the range");
        assert_eq!(of(""), (now - TimeDelta::days(7), now, 169));
    }

    #[test]
    fn the_archive_is_not_read_again_and_again_by_a_page_that_stays_open() {
        let from = chrono::DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let plan = domain::history::HistoryPlan { from, to: from + TimeDelta::days(1), step_s: 300, from_aggregates: false };
        let day = from.date_naive();
        let archived = DeviceHistory { plan, points: Vec::new(), archived: Some(ArchivedDays { first: day, last: day, days: 1 }) };
        assert_eq!(interval_for(&archived), ARCHIVE_INTERVAL);
        assert_eq!(interval_for(&DeviceHistory { archived: None, ..archived }), POLL_INTERVAL);
    }

    #[test]
    fn days_of_the_archive_are_named() {
        let day = |n| NaiveDate::from_ymd_opt(2026, 8, n).unwrap();
        assert_eq!(from_archive(ArchivedDays { first: day(1), last: day(5), days: 5 }), "From the archive: 2026-08-01 to 2026-08-05");
        assert_eq!(from_archive(ArchivedDays { first: day(1), last: day(1), days: 1 }), "From the archive: 2026-08-01");
    }

    #[test]
    fn the_network_of_most_heartbeats_is_shown() {
        let mixed = TransportShares { wifi: 0.25, cellular: 0.75, ethernet: 0.0, none: 0.0, other: 0.0 };
        let found = spans(&[point(0, 1.0, Some(mixed)), point(5, 1.0, None)]);
        assert_eq!(found.len(), 1, "a step without a word about it is left out");
        assert_eq!((NETWORKS[found[0].state], found[0].note.as_deref()), (Transport::Cellular, Some("75 % of the heartbeats")));
    }

    #[test]
    fn a_device_is_not_offline_before_it_was_ever_online() {
        let found = online(&[point(0, 0.0, None), point(5, 0.8, None), point(10, 0.1, None), point(15, 0.0, None)]);
        assert_eq!(found.iter().map(|spell| spell.state).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(found[0].note.as_deref(), Some("80 % of the time"));
        assert_eq!(found[2].note, None);
    }
}
