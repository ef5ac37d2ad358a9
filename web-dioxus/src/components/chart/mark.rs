//! Marks on a plot: times during which something else was the case.

use dioxus::prelude::*;
use domain::Timestamp;

use super::path::{HEIGHT, WIDTH, Window};

/// Height of the bar at the top of the plot, in the units of its paths.
const BAR: f64 = 8.0;

/// Time that is marked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// Beginning.
    pub(crate) from: Timestamp,
    /// End.
    pub(crate) to: Timestamp,
    /// Colour, a role of the style sheet.
    pub(crate) tone: &'static str,
    /// What was the case.
    pub(crate) name: String,
}

/// Left edge and width of the marks that lie in the window.
fn placed<'a>(marks: &'a [Mark], window: &'a Window) -> impl Iterator<Item = (&'a Mark, f64, f64)> + 'a {
    marks.iter().filter(|mark| mark.to >= window.from && mark.from <= window.to).map(|mark| {
        let (from, to) = (window.along(mark.from).clamp(0.0, 1.0) * WIDTH, window.along(mark.to).clamp(0.0, 1.0) * WIDTH);
        (mark, from, (to - from).max(2.0))
    })
}

/// The marks as shapes; readers have the list of alerts for them.
pub(super) fn drawn_marks(marks: &[Mark], window: &Window) -> Element {
    let placed: Vec<_> = placed(marks, window).collect();
    rsx! {
        for (at, (mark, from, width)) in placed.into_iter().enumerate() {
            g { key: "mark-{at}", class: "chart-mark tone-{mark.tone}",
                rect { class: "chart-mark-ground", x: "{from:.1}", width: "{width:.1}", y: "0", height: "{HEIGHT}" }
                rect { class: "chart-mark-bar", x: "{from:.1}", width: "{width:.1}", y: "0", height: "{BAR}",
                    title { "{mark.name}" }
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
    fn a_mark_is_cut_to_the_window_and_never_too_thin_to_be_seen() {
        let at = |minute: i64| chrono::DateTime::from_timestamp(1_780_000_000 + minute * 60, 0).unwrap();
        let window = Window { from: at(0), to: at(100), step: TimeDelta::minutes(5), gap: TimeDelta::minutes(10) };
        let mark = |from, to| Mark { from: at(from), to: at(to), tone: "bad", name: "Device offline".into() };
        let marks = [mark(-50, 10), mark(20, 20), mark(90, 500), mark(-9, -1), mark(101, 102)];
        let found: Vec<_> = placed(&marks, &window).map(|(_, from, width)| (from, width)).collect();
        assert_eq!(found, [(0.0, 100.0), (200.0, 2.0), (900.0, 100.0)]);
    }
}
