//! Lines over time, with what they varied between, a cursor, and a table that says the same.

use std::rc::Rc;

use dioxus::prelude::*;

use super::mark::{Mark, drawn_marks};
use super::path::{HEIGHT, Sample, WIDTH, Window, paths};
use super::scale::Scale;
use super::summary::{CursorSeries, cursor_data, rows, words};
use crate::components::widgets::{LocalTime, local_time};

/// Text of an empty plot.
pub(super) const NOTHING: &str = "No heartbeats in this period";

/// One line.
#[derive(Clone, PartialEq)]
pub(crate) struct Series {
    /// Name in legend and cursor.
    pub(crate) name: String,
    /// Colour, a role of the style sheet: `accent`, `good`, `warn`, `bad`, `idle`.
    pub(crate) tone: &'static str,
    /// In order of time.
    pub(crate) samples: Rc<Vec<Sample>>,
    /// Whether the area below it is filled.
    pub(crate) filled: bool,
}

/// Series over the same time. With one series the plot needs no legend.
#[component]
pub(crate) fn LineChart(
    title: String,
    series: Vec<Series>,
    window: Window,
    scale: Scale,
    testid: String,
    #[props(default)] marks: Rc<Vec<Mark>>,
    #[props(default)] tall: bool,
    #[props(default = NOTHING.to_owned())] nothing: String,
) -> Element {
    let reads: Vec<_> = series.iter().map(|series| CursorSeries { name: &series.name, samples: &series.samples }).collect();
    let data = cursor_data(&reads, &window, &scale);
    let is_empty = series.iter().all(|series| series.samples.is_empty());
    let drawn: Vec<_> = series.iter().map(|series| (series.tone, series.filled, paths(&series.samples, &window, &scale))).collect();
    let ticks = scale.ticks();
    rsx! {
        figure { class: if tall { "chart tall" } else { "chart" }, "data-testid": testid, "data-points": series.iter().map(|series| series.samples.len()).sum::<usize>().to_string(),
            if series.len() > 1 {
                ul { class: "chart-legend", aria_label: "Legend",
                    for series in series.iter() {
                        li { key: "{series.name}", span { class: "chart-key tone-{series.tone}", aria_hidden: "true" } "{series.name}" }
                    }
                }
            }
            div { class: "chart-frame",
                div { class: "chart-y", aria_hidden: "true",
                    for (up, name) in ticks.iter() {
                        span { key: "{name}", style: "bottom:{up * 100.0:.2}%", "{name}" }
                    }
                }
                Plot { title: title.clone(), data, tones: series.iter().map(|series| series.tone).collect::<Vec<_>>(),
                    svg { view_box: "0 0 {WIDTH} {HEIGHT}", preserve_aspect_ratio: "none", "aria-hidden": "true",
                        for (up, name) in ticks.iter() {
                            line { key: "{name}", class: "chart-grid", x1: "0", x2: "{WIDTH}", y1: "{(1.0 - up) * HEIGHT:.1}", y2: "{(1.0 - up) * HEIGHT:.1}", "vector-effect": "non-scaling-stroke" }
                        }
                        {drawn_marks(&marks, &window)}
                        for (at, (tone, filled, paths)) in drawn.into_iter().enumerate() {
                            g { key: "{at}", class: "tone-{tone}",
                                if filled {
                                    path { class: "chart-area", d: paths.area }
                                }
                                path { class: "chart-band", d: paths.band }
                                path { class: "chart-line", d: paths.line, "vector-effect": "non-scaling-stroke" }
                            }
                        }
                    }
                    if is_empty {
                        p { class: "chart-nothing", "{nothing}" }
                    }
                }
                TimeAxis { window }
            }
            div { class: "visually-hidden",
                for series in series.iter() {
                    table { key: "{series.name}",
                        caption { "{title}: {series.name}" }
                        thead { tr { th { scope: "col", "Time" } th { scope: "col", "Value" } } }
                        tbody {
                            for row in rows(&series.samples, &window) {
                                tr { key: "{row.at}", td { {local_time(row.at, LocalTime::Minute)} } td { {words(&row, &scale)} } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The part of a chart that has a cursor. Its data is read by `chart.js`, which fills the two empty elements.
#[component]
pub(super) fn Plot(title: String, data: String, tones: Vec<&'static str>, children: Element) -> Element {
    rsx! {
        div {
            class: "chart-plot", tabindex: "0", role: "application", "aria-roledescription": "chart",
            aria_label: "{title}. Left and right arrow keys read its values.",
            "data-chart": data, "data-tones": tones.join(" "),
            {children}
            div { class: "chart-cursor", "data-chart-cursor": "1", aria_hidden: "true" }
            div { class: "visually-hidden", aria_live: "polite", "data-chart-said": "1" }
        }
    }
}

/// The times below a plot; `chart.js` chooses round ones in the viewer's zone.
#[component]
pub(super) fn TimeAxis(window: Window) -> Element {
    rsx! { div { class: "chart-x", aria_hidden: "true", "data-times": "{window.from.timestamp()} {window.to.timestamp()}" } }
}
