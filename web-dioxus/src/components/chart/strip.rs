//! State timeline: a strip of colours.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::Timestamp;
use serde_json::json;

use super::line::{NOTHING, Plot, TimeAxis};
use super::path::{WIDTH, Window};
use super::summary::frame_data;
use crate::components::widgets::{LocalTime, local_time};

/// State during one step of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeSpan {
    /// Start of the step.
    pub(crate) at: Timestamp,
    /// Index of the state among those of the strip.
    pub(crate) state: usize,
    /// Detail for the cursor.
    pub(crate) note: Option<String>,
}

/// Runs of equal states: state, start and end.
fn runs<'a>(spans: &'a [TimeSpan], window: &'a Window) -> impl Iterator<Item = (usize, Timestamp, Timestamp)> + 'a {
    spans.chunk_by(|a, b| a.state == b.state && !window.is_broken(a.at, b.at)).filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        Some((first.state, first.at, (last.at + window.step).min(window.to)))
    })
}

/// States over time. `states` are names and tones; the numbers in `spans` are places among them.
#[component]
pub(crate) fn Strip(
    title: String,
    states: Vec<(String, &'static str)>,
    spans: Rc<Vec<TimeSpan>>,
    window: Window,
    testid: String,
) -> Element {
    let points = spans
        .iter()
        .map(|spell| {
            let name = states.get(spell.state).map_or("", |(name, _)| name);
            let words = spell.note.as_ref().map_or_else(|| name.to_owned(), |note| format!("{name}, {note}"));
            json!([spell.at.timestamp(), [null], [words]])
        })
        .collect();
    let data = frame_data(&window, vec![&title], points);
    let seen: Vec<_> =
        states.iter().enumerate().filter(|(at, _)| spans.iter().any(|spell| spell.state == *at)).map(|(_, state)| state).collect();
    let bars: Vec<_> = runs(&spans, &window).collect();
    rsx! {
        figure { class: "chart strip", "data-testid": testid, "data-points": "{spans.len()}",
            ul { class: "chart-legend", aria_label: "Legend",
                for (name, tone) in seen {
                    li { key: "{name}", span { class: "chart-key tone-{tone}", aria_hidden: "true" } "{name}" }
                }
            }
            div { class: "chart-frame",
                Plot { title: title.clone(), data, tones: vec!["idle"],
                    svg { view_box: "0 0 {WIDTH} 10", preserve_aspect_ratio: "none", "aria-hidden": "true",
                        for (state, from, to) in bars.iter() {
                            rect {
                                key: "{from}", class: "chart-spell tone-{states.get(*state).map_or(\"idle\", |(_, tone)| tone)}",
                                x: "{window.along(*from) * WIDTH:.1}", width: "{(window.along(*to) - window.along(*from)) * WIDTH:.1}", y: "0", height: "10",
                            }
                        }
                    }
                    if spans.is_empty() {
                        p { class: "chart-nothing", "{NOTHING}" }
                    }
                }
                TimeAxis { window }
            }
            div { class: "visually-hidden",
                table {
                    caption { "{title}" }
                    thead { tr { th { scope: "col", "From" } th { scope: "col", "To" } th { scope: "col", "State" } } }
                    tbody {
                        // Only the newest runs, as a flapping device has very many.
                        for (state, from, to) in bars.iter().rev().take(24) {
                            tr { key: "{from}",
                                td { {local_time(*from, LocalTime::Minute)} } td { {local_time(*to, LocalTime::Minute)} }
                                td { {states.get(*state).map_or("", |(name, _)| name.as_str())} }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn equal_neighbours_are_one_run_unless_something_is_missing() {
        let at = |minute: i64| chrono::DateTime::from_timestamp(1_780_000_000 + minute * 60, 0).unwrap();
        let window = Window { from: at(0), to: at(100), step: TimeDelta::minutes(10), gap: TimeDelta::minutes(15) };
        let spell = |minute, state| TimeSpan { at: at(minute), state, note: None };
        let spans = [spell(0, 0), spell(10, 0), spell(20, 1), spell(60, 1), spell(95, 0)];
        let found: Vec<_> = runs(&spans, &window).collect();
        assert_eq!(found, [(0, at(0), at(20)), (1, at(20), at(30)), (1, at(60), at(70)), (0, at(95), at(100))]);
    }
}
