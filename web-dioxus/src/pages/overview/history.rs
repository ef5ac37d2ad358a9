//! The fleet over the last day.

use std::rc::Rc;
use std::time::Duration;

use chrono::TimeDelta;
use dioxus::prelude::*;
use domain::history::{FleetSample, SAMPLE_S};

use crate::components::Problem;
use crate::components::chart::{LineChart, Sample, Scale, Series, Unit, Window};
use crate::polling::use_polling;

/// A sample is taken every five minutes; a new one is seen soon after.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
const HOURS: i64 = 24;

#[component]
pub(super) fn OnlineHistory() -> Element {
    let samples = use_polling((), POLL_INTERVAL, |system, principal, ()| async move {
        Ok((system.history.fleet(&principal, HOURS).await?, system.clock.now()))
    });
    let reading = samples.read();
    rsx! {
        section { class: "card", aria_labelledby: "online-title",
            h2 { id: "online-title", "Online, last 24 hours" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| samples.again() }
            }
            match reading.value.as_deref() {
                Some((samples, now)) => {
                    let step = TimeDelta::seconds(SAMPLE_S);
                    // One sample may be late, when the node that takes them changes.
                    let window = Window { from: *now - TimeDelta::hours(HOURS), to: *now, step, gap: step * 5 / 2 };
                    let most = samples.iter().map(|sample| sample.devices).max().unwrap_or_default();
                    rsx! {
                        LineChart {
                            title: "Online devices", series: series(samples), window, scale: Scale::from_zero(most as f64, Unit::Count, 4),
                            testid: "online-history", tall: true, nothing: "No data yet: the first sample is taken within five minutes",
                        }
                    }
                }
                None if reading.problem.is_none() => rsx! { div { class: "chart-loading", role: "status", aria_label: "Loading" } },
                None => rsx! {},
            }
        }
    }
}

fn series(samples: &[FleetSample]) -> Vec<Series> {
    let line = |name: &str, tone, filled, value: fn(&FleetSample) -> i64| Series {
        name: name.into(),
        tone,
        samples: Rc::new(samples.iter().map(|sample| Sample::exact(sample.at, value(sample) as f64)).collect()),
        filled,
    };
    vec![
        line("Online", "good", true, |sample| sample.online),
        line("Enrolled", "idle", false, |sample| sample.devices),
        line("App down", "bad", false, |sample| sample.app_down),
    ]
}
