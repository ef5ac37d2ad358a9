//! Figures of a report: sums over devices and days.

use std::collections::BTreeMap;

/// Versions that are counted one by one; devices of the others are counted as [`OTHER_VERSIONS`].
pub const VERSIONS_MAX: usize = 20;
/// Name under which the devices of rare versions are counted.
pub(super) const OTHER_VERSIONS: &str = "(other)";

macro_rules! figures {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Figures of devices over days. All but the versions are sums.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Figures {
            $($(#[$doc])* pub $field: u64,)*
            /// Alerts by rule.
            pub alerts: BTreeMap<String, AlertTally>,
            /// Devices by version of the agent at the end of the last day that it is known of, the most first.
            pub agent_versions: Vec<VersionCount>,
            /// Devices by version of the monitored app, likewise.
            pub app_versions: Vec<VersionCount>,
        }

        impl Figures {
            /// Names of the sums, in the order of [`Self::numbers`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// The sums, in one order.
            pub fn numbers(&self) -> Vec<u64> {
                vec![$(self.$field),*]
            }

            /// Figures of these sums, in the same order; those that are missing are 0.
            pub fn of_numbers(numbers: &[u64]) -> Self {
                let mut numbers = numbers.iter().copied();
                Self { $($field: numbers.next().unwrap_or_default(),)* ..Self::default() }
            }

            fn add_numbers(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }
        }
    };
}

figures! {
    /// Days.
    days,
    /// Devices, on each day.
    device_days,
    /// Of these, devices that never sent a heartbeat.
    never_reported,
    /// Seconds in which devices were expected to report.
    expected_s,
    /// Seconds of these in which they were online.
    online_s,
    /// Times that a device went offline.
    went_offline,
    /// Whole hours without a heartbeat of a device that was expected to report.
    gap_hours,
    /// Hours of devices in which they reported their battery.
    battery_hours,
    /// Of these, hours with a low battery on average.
    battery_low_hours,
    /// Devices whose battery is known for enough of a day to judge it.
    battery_devices,
    /// Of these, devices that were not fully charged on a day.
    not_fully_charged,
    /// Of these, devices that drained fast.
    drained_fast,
    /// Restarts of devices.
    reboots,
    /// Times that the monitored app went down.
    app_downs,
    /// Seconds in which it was down.
    app_down_s,
    /// Alerts that were raised.
    alerts_raised,
    /// Alerts that were resolved.
    alerts_resolved,
}

/// Number of alerts of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlertTally {
    /// Alerts that were raised.
    pub raised: u64,
    /// Alerts that were resolved.
    pub resolved: u64,
}

/// Number of devices of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCount {
    /// Version.
    pub version: String,
    /// Devices.
    pub devices: u64,
}

impl Figures {
    /// Adds the figures of a later day, or of another.
    pub fn add(&mut self, later: &Self) {
        self.add_numbers(later);
        for (rule, tally) in &later.alerts {
            let sum = self.alerts.entry(rule.clone()).or_default();
            sum.raised += tally.raised;
            sum.resolved += tally.resolved;
        }
        if !later.agent_versions.is_empty() {
            self.agent_versions.clone_from(&later.agent_versions);
        }
        if !later.app_versions.is_empty() {
            self.app_versions.clone_from(&later.app_versions);
        }
    }
}

/// Versions by their number of devices, the most first; at most [`VERSIONS_MAX`] and the others together.
pub(super) fn ranked(counts: BTreeMap<String, u64>) -> Vec<VersionCount> {
    let mut ranked: Vec<_> = counts.into_iter().map(|(version, devices)| VersionCount { version, devices }).collect();
    ranked.sort_by(|a, b| b.devices.cmp(&a.devices).then_with(|| a.version.cmp(&b.version)));
    let others: u64 = ranked.iter().skip(VERSIONS_MAX).map(|one| one.devices).sum();
    ranked.truncate(VERSIONS_MAX);
    if others > 0 {
        ranked.push(VersionCount { version: OTHER_VERSIONS.to_owned(), devices: others });
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_in_their_order() {
        let numbers: Vec<u64> = (1..=Figures::NAMES.len() as u64).collect();
        let figures = Figures::of_numbers(&numbers);
        assert_eq!(figures.numbers(), numbers);
        assert_eq!((figures.days, figures.device_days, figures.alerts_resolved), (1, 2, Figures::NAMES.len() as u64));
        // A row of an earlier build has fewer.
        assert_eq!(Figures::of_numbers(&numbers[..2]).alerts_resolved, 0);
    }

    #[test]
    fn sums_add_up_and_versions_are_those_of_the_last_day_that_knows_them() {
        let versions = |version: &str| vec![VersionCount { version: version.into(), devices: 1 }];
        let mut sum = Figures { days: 1, reboots: 2, agent_versions: versions("1"), ..Figures::default() };
        sum.add(&Figures { days: 1, reboots: 3, agent_versions: versions("2"), ..Figures::default() });
        sum.add(&Figures { days: 1, ..Figures::default() });
        assert_eq!((sum.days, sum.reboots, sum.agent_versions), (3, 5, versions("2")));
    }

    #[test]
    fn rare_versions_are_counted_together() {
        let counts = (0..30_u64).map(|number| (format!("{number:02}"), 100 - number)).collect();
        let ranked = ranked(counts);
        assert_eq!((ranked.len(), ranked[0].version.as_str(), ranked[0].devices), (VERSIONS_MAX + 1, "00", 100));
        assert_eq!(ranked[VERSIONS_MAX].devices, (20..30).map(|number| 100 - number).sum::<u64>());
    }
}
