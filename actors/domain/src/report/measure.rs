//! Measures that a report shows: each declared once, with its words.

use super::Figures;
use crate::quantity;

/// Unit of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// Percent.
    Percent,
    /// Hours.
    Hours,
    /// Minutes.
    Minutes,
}

/// Direction in which a measure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
    /// Neither.
    Neither,
}

macro_rules! measures {
    ($({ $measure:ident $unit:ident $direction:ident $label:literal $meaning:literal $value:expr })*) => {
        /// Measure of a report.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
        #[strum(serialize_all = "snake_case")]
        pub enum Measure {
            $(#[doc = $meaning] $measure,)*
        }

        named!(pub Measure);

        impl Measure {
            /// Label on pages and in messages.
            pub fn label(self) -> &'static str {
                match self { $(Self::$measure => $label,)* }
            }

            /// Meaning, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$measure => $meaning,)* }
            }

            /// Unit.
            pub fn unit(self) -> Unit {
                match self { $(Self::$measure => Unit::$unit,)* }
            }

            /// Direction in which it is better.
            pub fn direction(self) -> Direction {
                match self { $(Self::$measure => Direction::$direction,)* }
            }

            /// Value of figures; `None`: nothing is known of it.
            pub fn of(self, figures: &Figures) -> Option<f64> {
                if figures.days == 0 {
                    return None;
                }
                match self { $(Self::$measure => { let value: fn(&Figures) -> Option<f64> = $value; value(figures) })* }
            }
        }
    };
}

fn ratio(part: u64, whole: u64, factor: f64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * factor / whole as f64)
}

fn total(value: u64) -> Option<f64> {
    Some(value as f64)
}

//  measure  unit  better  label  meaning  value
measures! {
    { Devices Count Neither "Devices" "Devices, on average of the days." |f| ratio(f.device_days, f.days, 1.0) }
    { NeverReported Count Down "Never reported" "Devices that have never sent a heartbeat, on average of the days." |f| ratio(f.never_reported, f.days, 1.0) }
    { OnlinePct Percent Up "Online" "Part of the time in which devices that were expected to report were online." |f| ratio(f.online_s, f.expected_s, 100.0) }
    { WentOffline Count Down "Went offline" "Times that a device went offline." |f| total(f.went_offline) }
    { GapHours Hours Down "Data gaps" "Whole hours without a heartbeat of a device that was expected to report." |f| total(f.gap_hours) }
    { BatteryLowPct Percent Down "Low battery" "Part of the hours of devices in which the battery was low on average." |f| ratio(f.battery_low_hours, f.battery_hours, 100.0) }
    { NotFullyChargedPct Percent Down "Not fully charged" "Part of the devices whose battery stayed below 95 % all day." |f| ratio(f.not_fully_charged, f.battery_devices, 100.0) }
    { DrainedFastPct Percent Down "Drained fast" "Part of the devices that lost 15 % of the battery or more in an hour without charging." |f| ratio(f.drained_fast, f.battery_devices, 100.0) }
    { Reboots Count Down "Restarts" "Restarts of devices." |f| total(f.reboots) }
    { AppDowns Count Down "App went down" "Times that the monitored app went down." |f| total(f.app_downs) }
    { AppDownMinutes Minutes Down "App down" "Minutes in which the monitored app of a device that was online was down." |f| ratio(f.app_down_s, 1, 1.0 / 60.0) }
    { AlertsRaised Count Down "Alerts raised" "Alerts that were raised." |f| total(f.alerts_raised) }
    { AlertsResolved Count Neither "Alerts resolved" "Alerts that were resolved." |f| total(f.alerts_resolved) }
}

impl Measure {
    /// Whether its value is a sum over the days, which is the larger the more days there are.
    pub fn is_sum(self) -> bool {
        match self {
            Self::Devices
            | Self::NeverReported
            | Self::OnlinePct
            | Self::BatteryLowPct
            | Self::NotFullyChargedPct
            | Self::DrainedFastPct => false,
            Self::WentOffline
            | Self::GapHours
            | Self::Reboots
            | Self::AppDowns
            | Self::AppDownMinutes
            | Self::AlertsRaised
            | Self::AlertsResolved => true,
        }
    }

    /// Value in words: "98.4 %", "1,204", "12.5 h"; "–" where nothing is known.
    pub fn text(self, value: Option<f64>) -> String {
        let Some(value) = value else { return "–".into() };
        match self.unit() {
            Unit::Percent if value > 99.95 && value < 100.0 => ">99.9 %".into(),
            Unit::Percent if value > 0.0 && value < 0.05 => "<0.1 %".into(),
            Unit::Percent => format!("{} %", rounded(value)),
            Unit::Count => rounded(value),
            Unit::Hours => format!("{} h", rounded(value)),
            Unit::Minutes => format!("{} min", rounded(value)),
        }
    }

    /// Difference to the period before in words: "+1.5 points", "-20", "no change"; `None`: one of them is not known.
    pub fn change(self, now: Option<f64>, before: Option<f64>) -> Option<String> {
        let difference = now? - before?;
        if difference.abs() < 0.05 {
            return Some("no change".into());
        }
        let sign = if difference > 0.0 { '+' } else { '-' };
        let unit = match self.unit() {
            Unit::Percent => " points",
            Unit::Count => "",
            Unit::Hours => " h",
            Unit::Minutes => " min",
        };
        Some(format!("{sign}{}{unit}", rounded(difference.abs())))
    }

    /// Whether it became better (`true`) or worse; `None`: neither, or not known.
    pub fn is_better(self, now: Option<f64>, before: Option<f64>) -> Option<bool> {
        let difference = now? - before?;
        if difference.abs() < 0.05 {
            return None;
        }
        match self.direction() {
            Direction::Up => Some(difference > 0.0),
            Direction::Down => Some(difference < 0.0),
            Direction::Neither => None,
        }
    }
}

/// At most one place after the point, and thousands separators.
fn rounded(value: f64) -> String {
    let tenths = (value * 10.0).round().max(0.0) as u64;
    match tenths % 10 {
        0 => quantity::number(tenths / 10),
        tenth => format!("{}.{tenth}", quantity::number(tenths / 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::figures;

    #[test]
    fn values_are_written_with_their_unit() {
        for (measure, value, text) in [
            (Measure::OnlinePct, Some(98.44), "98.4 %"),
            (Measure::OnlinePct, Some(99.99), ">99.9 %"),
            (Measure::OnlinePct, Some(100.0), "100 %"),
            (Measure::BatteryLowPct, Some(0.01), "<0.1 %"),
            (Measure::BatteryLowPct, None, "–"),
            (Measure::Reboots, Some(12_345.0), "12,345"),
            (Measure::Devices, Some(9.5), "9.5"),
            (Measure::GapHours, Some(3.0), "3 h"),
            (Measure::AppDownMinutes, Some(0.5), "0.5 min"),
        ] {
            assert_eq!(measure.text(value), text);
        }
    }

    #[test]
    fn changes_say_how_much_and_whether_that_is_better() {
        for (measure, now, before, text, better) in [
            (Measure::OnlinePct, Some(99.0), Some(97.5), Some("+1.5 points"), Some(true)),
            (Measure::OnlinePct, Some(97.0), Some(97.5), Some("-0.5 points"), Some(false)),
            (Measure::Reboots, Some(3.0), Some(23.0), Some("-20"), Some(true)),
            (Measure::AppDownMinutes, Some(3.0), Some(2.0), Some("+1 min"), Some(false)),
            (Measure::Reboots, Some(3.0), Some(3.0), Some("no change"), None),
            (Measure::Devices, Some(3.0), Some(2.0), Some("+1"), None),
            (Measure::Reboots, Some(3.0), None, None, None),
        ] {
            assert_eq!(measure.change(now, before).as_deref(), text);
            assert_eq!(measure.is_better(now, before), better, "{text:?}");
        }
    }

    #[test]
    fn nothing_is_known_of_no_days_and_parts_of_nothing() {
        for measure in Measure::ALL {
            assert_eq!(measure.of(&Figures::default()), None, "{}", measure.as_str());
            assert!(!measure.label().is_empty() && measure.meaning().ends_with('.'));
        }
        assert_eq!(Measure::BatteryLowPct.of(&figures(10)), None);
        assert_eq!(Measure::OnlinePct.of(&figures(990)), Some(99.0));
        assert_eq!(Measure::AppDownMinutes.of(&Figures { app_down_s: 90, ..figures(1) }), Some(1.5));
    }
}
