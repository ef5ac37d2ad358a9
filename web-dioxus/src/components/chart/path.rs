//! The lines, areas and bands of a plot as SVG paths.

use std::fmt::Write;

use chrono::TimeDelta;
use domain::Timestamp;

use super::scale::Scale;

/// Width of a plot in the units of its paths; the browser stretches it.
pub(crate) const WIDTH: f64 = 1000.0;
/// Height of a plot in the units of its paths.
pub(crate) const HEIGHT: f64 = 200.0;

/// The time that a plot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Left edge.
    pub(crate) from: Timestamp,
    /// Right edge.
    pub(crate) to: Timestamp,
    /// Distance of two samples.
    pub(crate) step: TimeDelta,
    /// Samples further apart than this have something missing between them.
    pub(crate) gap: TimeDelta,
}

impl Window {
    /// How far right a time lies: 0 at the left edge, 1 at the right one.
    pub(crate) fn along(&self, at: Timestamp) -> f64 {
        let span = (self.to - self.from).num_milliseconds().max(1);
        (at - self.from).num_milliseconds() as f64 / span as f64
    }

    /// Whether samples at these times have others missing between them.
    pub(crate) fn is_broken(&self, before: Timestamp, after: Timestamp) -> bool {
        after - before > self.gap
    }
}

/// Values that were measured within one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Start of the step.
    pub(crate) at: Timestamp,
    /// Least value.
    pub(crate) low: f64,
    /// Value to draw.
    pub(crate) value: f64,
    /// Largest value.
    pub(crate) high: f64,
}

impl Sample {
    /// One value, without a spread.
    pub(crate) fn exact(at: Timestamp, value: f64) -> Self {
        Self { at, low: value, value, high: value }
    }
}

/// Shape of a series.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Paths {
    /// The line through the values.
    pub(crate) line: String,
    /// The area between the line and the bottom.
    pub(crate) area: String,
    /// The band between least and largest values; empty without a spread.
    pub(crate) band: String,
}

/// The paths of samples that are in order of time. A gap breaks all three.
pub(crate) fn paths(samples: &[Sample], window: &Window, scale: &Scale) -> Paths {
    let x = |sample: &Sample| window.along(sample.at) * WIDTH;
    let y = |value: f64| (1.0 - scale.up(value)) * HEIGHT;
    let spread = samples.iter().any(|sample| sample.low < sample.high);
    let mut paths = Paths::default();
    for run in samples.chunk_by(|a, b| !window.is_broken(a.at, b.at)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let line = line(run.iter().map(|sample| (x(sample), y(sample.value))));
        // Round ends make a dot of a line without length.
        let dot = if run.len() == 1 { "h0" } else { "" };
        // Writing to a String does not fail.
        let _ = write!(paths.line, "M{line}{dot}");
        let _ = write!(paths.area, "M{line}L{:.1} {HEIGHT}L{:.1} {HEIGHT}Z", x(last), x(first));
        if spread {
            let over = self::line(run.iter().map(|sample| (x(sample), y(sample.high))));
            let under = self::line(run.iter().rev().map(|sample| (x(sample), y(sample.low))));
            let _ = write!(paths.band, "M{over}L{under}Z");
        }
    }
    paths
}

fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + minute * 60, 0).unwrap()
    }

    fn window() -> Window {
        Window { from: at(0), to: at(100), step: TimeDelta::minutes(10), gap: TimeDelta::minutes(15) }
    }

    #[test]
    fn a_line_leads_through_its_values() {
        let samples = [Sample::exact(at(0), 0.0), Sample::exact(at(10), 100.0), Sample::exact(at(20), 50.0)];
        let paths = paths(&samples, &window(), &Scale::percent());
        assert_eq!(paths.line, "M0.0 200.0L100.0 0.0L200.0 100.0");
        assert_eq!(paths.area, "M0.0 200.0L100.0 0.0L200.0 100.0L200.0 200L0.0 200Z");
        assert_eq!(paths.band, "", "nothing varies");
    }

    #[test]
    fn what_is_missing_is_a_gap_and_what_stands_alone_is_a_dot() {
        let samples = [Sample::exact(at(0), 50.0), Sample::exact(at(10), 50.0), Sample::exact(at(90), 50.0)];
        assert_eq!(paths(&samples, &window(), &Scale::percent()).line, "M0.0 100.0L100.0 100.0M900.0 100.0h0");
        assert_eq!(paths(&[], &window(), &Scale::percent()), Paths::default());
    }

    #[test]
    fn a_band_goes_there_and_back() {
        let samples =
            [Sample { at: at(0), low: 25.0, value: 50.0, high: 75.0 }, Sample { at: at(10), low: 25.0, value: 50.0, high: 100.0 }];
        assert_eq!(paths(&samples, &window(), &Scale::percent()).band, "M0.0 50.0L100.0 0.0L100.0 150.0L0.0 150.0Z");
    }

    #[test]
    fn a_window_without_length_divides_by_nothing() {
        let window = Window { from: at(0), to: at(0), step: TimeDelta::minutes(1), gap: TimeDelta::minutes(1) };
        assert!(window.along(at(0)).is_finite());
    }
}
