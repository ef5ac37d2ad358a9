//! Scales: position of values on an axis, and the round numbers at its ticks.

use crate::format;

/// Unit of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Parts of a hundred.
    Percent,
    /// Things; whole numbers.
    Count,
    /// Sizes in MiB.
    Mebibytes,
    /// Degrees Celsius.
    Celsius,
}

impl Unit {
    /// A value with its unit.
    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{value:.0} %"),
            Self::Count => format::number(value.round().max(0.0) as u64),
            Self::Mebibytes => format::mebibytes(value.round() as i64),
            Self::Celsius => format!("{value:.1} °C"),
        }
    }

    /// A value as the axis names it; `step` is the distance between two names.
    fn tick(self, value: f64, step: f64) -> String {
        match self {
            Self::Mebibytes if value >= 1024.0 && step >= 1024.0 => format!("{:.0} GB", value / 1024.0),
            Self::Celsius => format!("{value:.0} °C"),
            _ => self.format(value),
        }
    }

    /// Round numbers are round in this many of the unit: gigabytes, not thousands of megabytes.
    fn round_in(self, span: f64) -> f64 {
        match self {
            Self::Mebibytes if span >= 2.0 * 1024.0 * 1024.0 => 1024.0 * 1024.0,
            Self::Mebibytes if span >= 2.0 * 1024.0 => 1024.0,
            Self::Mebibytes if span >= 512.0 => 256.0,
            _ => 1.0,
        }
    }

    fn least_step(self) -> f64 {
        match self {
            Self::Count | Self::Percent | Self::Celsius => 1.0,
            Self::Mebibytes => 16.0,
        }
    }
}

/// A vertical axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    step: f64,
    unit: Unit,
}

impl Scale {
    /// An axis from zero that has room for values up to `highest`, with `lines` steps or fewer.
    pub(crate) fn from_zero(highest: f64, unit: Unit, lines: u32) -> Self {
        Self::around(0.0, highest, unit, lines)
    }

    /// Nothing but 0 to 100 %.
    pub(crate) fn percent() -> Self {
        Self { low: 0.0, high: 100.0, step: 25.0, unit: Unit::Percent }
    }

    /// An axis with room for `lowest` to `highest` that begins and ends at round numbers.
    pub(crate) fn around(lowest: f64, highest: f64, unit: Unit, lines: u32) -> Self {
        let (lowest, highest) = if lowest.is_finite() && highest.is_finite() { (lowest, highest) } else { (0.0, 1.0) };
        let span = (highest - lowest).max(unit.least_step());
        let round_in = unit.round_in(span);
        let step = (round_step(span / round_in / f64::from(lines.max(1))) * round_in).max(unit.least_step());
        let low = (lowest / step).floor() * step;
        let high = ((highest / step).ceil() * step).max(low + step);
        Self { low, high, step, unit }
    }

    /// How far up a value lies: 0 at the bottom, 1 at the top.
    pub(crate) fn up(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The values that the axis names, from the bottom, and where they lie.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        let steps = ((self.high - self.low) / self.step).round() as u32;
        let values = (0..=steps).map(|n| self.low + f64::from(n) * self.step);
        values.map(|value| (self.up(value), self.unit.tick(value, self.step))).collect()
    }

    /// A value with its unit.
    pub(crate) fn format(&self, value: f64) -> String {
        self.unit.format(value)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    // A hair of tolerance, so that 0.30000000000000004 is no reason for the next step.
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(names(&Scale::percent()), ["0 %", "25 %", "50 %", "75 %", "100 %"]);
        assert_eq!(names(&Scale::from_zero(9_800.0, Unit::Count, 4)), ["0", "5,000", "10,000"]);
        assert_eq!(names(&Scale::from_zero(3.0, Unit::Count, 4)), ["0", "1", "2", "3"]);
        assert_eq!(names(&Scale::from_zero(0.0, Unit::Count, 4)), ["0", "1"]);
        assert_eq!(names(&Scale::from_zero(3891.0, Unit::Mebibytes, 4)), ["0 MB", "1 GB", "2 GB", "3 GB", "4 GB"]);
        assert_eq!(names(&Scale::from_zero(640.0, Unit::Mebibytes, 4)), ["0 MB", "256 MB", "512 MB", "768 MB"]);
        assert_eq!(names(&Scale::around(28.4, 33.1, Unit::Celsius, 4)), ["28 °C", "30 °C", "32 °C", "34 °C"]);
    }

    #[test]
    fn every_value_has_room_and_a_place() {
        for unit in [Unit::Count, Unit::Percent, Unit::Mebibytes, Unit::Celsius] {
            for highest in [0.0, 0.4, 1.0, 7.0, 99.0, 101.0, 2048.0, 5_000_000.0] {
                let scale = Scale::from_zero(highest, unit, 4);
                assert!(scale.high >= highest && scale.up(0.0) == 0.0, "{unit:?} {highest}");
                assert!((2..=7).contains(&scale.ticks().len()), "{unit:?} {highest}: {:?}", names(&scale));
                assert_eq!(scale.ticks().last().map(|(up, _)| *up), Some(1.0));
            }
        }
        let scale = Scale::percent();
        assert_eq!([scale.up(-5.0), scale.up(50.0), scale.up(500.0)], [0.0, 0.5, 1.0]);
        assert!(Scale::around(f64::NAN, f64::INFINITY, Unit::Count, 4).up(0.5).is_finite());
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([round_step(0.9), round_step(1.1), round_step(2.1), round_step(5.1), round_step(0.3)], [1.0, 2.0, 5.0, 10.0, 0.5]);
    }
}
