//! Which versions of the agent the fleet ran over the last days.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use chrono::TimeDelta;
use dioxus::prelude::*;
use domain::Timestamp;
use domain::rollout::VersionSample;
use services::{BuildDetails, STATS_HOURS_DEFAULT};

use super::{PageData, name_of};
use crate::components::chart::{LineChart, Sample, Scale, Series, Unit, Window};

/// The colours of versions, the most frequent first; what is left is counted together.
const TONES: [&str; 5] = ["accent", "good", "second", "warn", "third"];

#[component]
pub(super) fn Adoption(shown: PageData) -> Element {
    let step = TimeDelta::hours(1);
    // One sample may be missing, when the node that takes them changes.
    let window = Window { from: shown.at - TimeDelta::hours(STATS_HOURS_DEFAULT), to: shown.at, step, gap: step * 5 / 2 };
    let series = series(&shown.versions, &shown.builds);
    let highest = series.iter().flat_map(|series| series.samples.iter()).map(|sample| sample.value).fold(0.0, f64::max);
    rsx! {
        section { class: "card", aria_labelledby: "adoption-title",
            h2 { id: "adoption-title", "Versions on devices, last 7 days" }
            LineChart { title: "Devices by agent version", series, window, scale: Scale::from_zero(highest, Unit::Count, 4), testid: "adoption", tall: true, nothing: "No device has reported its version yet" }
        }
    }
}

/// A line for each of the versions that most devices run now or ran before, and one for the others together.
fn series(samples: &[VersionSample], builds: &[BuildDetails]) -> Vec<Series> {
    let hours: BTreeSet<Timestamp> = samples.iter().map(|sample| sample.hour).collect();
    let last = hours.last().copied();
    let mut weights = BTreeMap::<i64, (i64, i64)>::new();
    for sample in samples {
        let (now, most) = weights.entry(sample.version_code).or_default();
        *now += if Some(sample.hour) == last { sample.devices } else { 0 };
        *most = (*most).max(sample.devices);
    }
    let mut versions: Vec<i64> = weights.keys().copied().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(weights.get(version).copied()));
    let named = |version: i64| match builds.iter().find(|details| details.build.version_code == version) {
        Some(details) => name_of(details),
        None if version == 0 => "Unknown".to_owned(),
        None => format!("Version code {version}"),
    };
    let line = |name: String, tone, wanted: &dyn Fn(i64) -> bool| {
        let devices = |hour: &Timestamp| {
            samples.iter().filter(|sample| sample.hour == *hour && wanted(sample.version_code)).map(|sample| sample.devices).sum::<i64>()
        };
        let samples = hours.iter().map(|hour| Sample::exact(*hour, devices(hour) as f64)).collect();
        Series { name, tone, samples: Rc::new(samples), filled: false }
    };
    let mut lines: Vec<_> =
        versions.iter().zip(TONES).map(|(version, tone)| line(named(*version), tone, &|other| other == *version)).collect();
    let others: Vec<i64> = versions.into_iter().skip(TONES.len()).collect();
    if !others.is_empty() {
        lines.push(line("Other versions".to_owned(), "idle", &|version| others.contains(&version)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(hour: i64, version_code: i64, devices: i64) -> VersionSample {
        VersionSample { hour: chrono::DateTime::from_timestamp(hour * 3600, 0).unwrap(), version_code, devices }
    }

    #[test]
    fn each_version_has_a_line_and_is_zero_where_it_is_missing() {
        let lines = series(&[sample(1, 0, 2), sample(1, 140, 8), sample(2, 150, 10)], &[]);
        let told: Vec<_> =
            lines.iter().map(|line| (line.name.as_str(), line.samples.iter().map(|sample| sample.value).collect::<Vec<_>>())).collect();
        assert_eq!(told, [("Version code 150", vec![0.0, 10.0]), ("Version code 140", vec![8.0, 0.0]), ("Unknown", vec![2.0, 0.0])]);
    }

    #[test]
    fn many_versions_are_counted_together() {
        let samples: Vec<_> = (1..=8).map(|version| sample(1, version, version)).collect();
        let lines = series(&samples, &[]);
        assert_eq!(lines.len(), TONES.len() + 1);
        assert_eq!((lines[5].name.as_str(), lines[5].samples[0].value), ("Other versions", 6.0));
    }
}
