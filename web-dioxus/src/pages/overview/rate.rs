//! Heartbeats per second, now and over the last two minutes.

use dioxus::prelude::*;

use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::fleet_watch::RATES_KEPT;
use crate::format;
use crate::sampling::{CALM, use_fleet};

#[component]
pub(super) fn Rate() -> Element {
    let session = use_session();
    let rates = use_fleet(CALM, move |_, _| session.watch.rates());
    let rates = rates();
    let now = rates.last().copied().unwrap_or_default();
    let peak = rates.iter().copied().fold(0.0, f64::max);
    rsx! {
        section { class: "card rate", aria_label: "Heartbeats per second",
            div { class: "rate-now",
                span { class: "stat-label", {icon(Glyph::Chart)} "Heartbeats per second" }
                span { class: "stat-value", "data-testid": "heartbeats-per-second", {format::rate(now)} }
                span { class: "stat-hint", "peak {format::rate(peak)} in the last 2 minutes" }
            }
            Sparkline { values: rates, peak }
        }
    }
}

#[component]
fn Sparkline(values: Vec<f64>, peak: f64) -> Element {
    let (line, area) = sparkline(&values, peak);
    rsx! {
        svg { class: "spark", view_box: "0 0 480 64", preserve_aspect_ratio: "none", role: "img", "aria-label": "Heartbeats per second over the last two minutes",
            path { class: "spark-area", d: area }
            path { class: "spark-line", d: line, vector_effect: "non-scaling-stroke" }
        }
    }
}

/// The line through the values and the area below it, newest at the right edge.
fn sparkline(values: &[f64], peak: f64) -> (String, String) {
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 64.0;
    let step = WIDTH / (RATES_KEPT - 1) as f64;
    let first = RATES_KEPT.saturating_sub(values.len()) as f64 * step;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let y = if peak > 0.0 { HEIGHT - 2.0 - value / peak * (HEIGHT - 6.0) } else { HEIGHT - 2.0 };
            format!("{:.1} {y:.1}", first + at as f64 * step)
        })
        .collect();
    if points.len() < 2 {
        return (String::new(), String::new());
    }
    let line = format!("M{}", points.join("L"));
    let area = format!("{line}L{WIDTH} {HEIGHT}L{first:.1} {HEIGHT}Z");
    (line, area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_rate_is_at_the_right_edge_and_the_peak_at_the_top() {
        let (line, area) = sparkline(&[0.0, 10.0], 10.0);
        assert_eq!(line, "M476.0 62.0L480.0 4.0");
        assert!(area.ends_with("L480 64L476.0 64Z"));
        assert_eq!(sparkline(&[1.0], 1.0).0, "", "one point is no line");
        assert!(!sparkline(&[0.0, 0.0], 0.0).0.contains("NaN"));
    }
}
