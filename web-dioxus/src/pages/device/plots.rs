//! Plots of a device: battery, memory, storage and network over time.

use std::rc::Rc;
use std::time::Duration;

use chrono::TimeDelta;
use dioxus::prelude::*;
use domain::alert::AlertRecord;
use domain::heartbeat::Transport;
use domain::history::{CHARTS, HistoryRequest, Point, Summary, TransportShares};
use domain::{DeviceId, Timestamp};
use services::DeviceHistory;

use crate::components::alert_widgets::severity_tone;
use crate::components::chart::{LineChart, Mark, Sample, Scale, Series, Strip, TimeSpan, Unit, Window};
use crate::components::{Problem, RouteLink};
use crate::context::use_session;
use crate::format;
use crate::polling::{Polling, use_polling};
use crate::route::Route;
use crate::url_state::{DeviceUrl, Range};

/// Poll interval of the plots.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Kinds of network, in the order of their numbers in a strip.
const NETWORKS: [Transport; 5] = [Transport::Wifi, Transport::Cellular, Transport::Ethernet, Transport::Other, Transport::None];

/// How far back a range reaches, and how many points it has: one per 5 minutes, hour, or 4 hours.
pub(super) fn span(range: Range) -> (TimeDelta, i64) {
    match range {
        Range::Day => (TimeDelta::hours(24), 289),
        Range::Week => (TimeDelta::days(7), 169),
        Range::Month => (TimeDelta::days(30), 241),
    }
}

#[component]
pub(super) fn Plots(id: DeviceId, range: Range, alerts: Polling<Vec<AlertRecord>>) -> Element {
    let session = use_session();
    let history = use_polling((id, range), POLL_INTERVAL, |system, principal, (id, range)| async move {
        let (length, points) = span(range);
        let now = system.clock.now();
        system.history.device(&principal, id, HistoryRequest { from: Some(now - length), to: Some(now), points: Some(points) }).await
    });
    let reading = history.read();
    rsx! {
        section { class: "card", aria_labelledby: "history-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "history-title", "History" }
                nav { class: "tabs", aria_label: "Time range",
                    for choice in Range::ALL {
                        RouteLink { key: "{choice.as_str()}", to: Route::Device { id: id.to_string(), query: DeviceUrl { range: choice } }, current: choice == range, testid: "range-{choice.as_str()}",
                            {title(choice)}
                        }
                    }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| history.again() }
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
