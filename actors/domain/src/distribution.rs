//! Distributions of a fleet: devices by battery level, version, network and model.

use std::collections::HashMap;

use crate::device::DeviceView;
use crate::heartbeat::Transport;

/// Most values of one kind that are told apart; the rest is counted together.
pub const VALUES_MAX: usize = 50;
/// Lower ends of the bands of charge, percent; each band ends where the next begins.
pub const BATTERY_BANDS_PCT: [i16; 5] = [0, 20, 40, 60, 80];

/// Number of devices with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The value; `None` for devices that did not tell one.
    pub value: Option<String>,
    /// Number of devices.
    pub devices: u64,
}

/// Devices by one value, most first; devices that did not tell one come last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The values.
    pub shares: Vec<Share>,
    /// Devices with values that are too many to be told apart.
    pub other: u64,
}

/// Distributions of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distributions {
    /// Devices.
    pub devices: u64,
    /// Devices by band of charge, in the order of [`BATTERY_BANDS_PCT`].
    pub battery: [u64; BATTERY_BANDS_PCT.len()],
    /// Devices without a battery level.
    pub battery_unknown: u64,
    /// By version of the agent.
    pub agent_versions: Distribution,
    /// By version of the first watched package that tells one, as `package version`.
    pub app_versions: Distribution,
    /// By Android release.
    pub android_versions: Distribution,
    /// By kind of network.
    pub transports: Distribution,
    /// By model.
    pub models: Distribution,
}

/// Counts devices, one after the other.
#[derive(Default)]
pub struct Counter {
    devices: u64,
    battery: [u64; BATTERY_BANDS_PCT.len()],
    battery_unknown: u64,
    agent_versions: HashMap<Option<String>, u64>,
    app_versions: HashMap<Option<String>, u64>,
    android_versions: HashMap<Option<String>, u64>,
    transports: HashMap<Option<String>, u64>,
    models: HashMap<Option<String>, u64>,
}

impl Counter {
    /// Counts a device.
    pub fn add(&mut self, view: &DeviceView) {
        let reported = view.last.as_deref().map(|last| &last.telemetry);
        self.devices += 1;
        match view.battery_pct() {
            Some(pct) => self.battery[BATTERY_BANDS_PCT.iter().rposition(|from| pct >= *from).unwrap_or(0)] += 1,
            None => self.battery_unknown += 1,
        }
        count(&mut self.agent_versions, view.app_version());
        // `package version`: versions of different apps have nothing in common.
        let app = reported
            .and_then(|reported| reported.apps.iter().find_map(|app| Some(format!("{} {}", app.package, app.version_name.as_ref()?))));
        count(&mut self.app_versions, app.as_deref());
        count(&mut self.android_versions, reported.and_then(|reported| reported.android_version.as_deref()));
        count(&mut self.transports, reported.and_then(|reported| reported.transport).map(Transport::as_str));
        count(&mut self.models, view.model());
    }

    /// Returns the counts.
    pub fn finish(self) -> Distributions {
        Distributions {
            devices: self.devices,
            battery: self.battery,
            battery_unknown: self.battery_unknown,
            agent_versions: ranked(self.agent_versions),
            app_versions: ranked(self.app_versions),
            android_versions: ranked(self.android_versions),
            transports: ranked(self.transports),
            models: ranked(self.models),
        }
    }
}

fn count(counts: &mut HashMap<Option<String>, u64>, value: Option<&str>) {
    *counts.entry(value.map(str::to_owned)).or_default() += 1;
}

fn ranked(counts: HashMap<Option<String>, u64>) -> Distribution {
    let mut shares: Vec<Share> = counts.into_iter().map(|(value, devices)| Share { value, devices }).collect();
    shares.sort_unstable_by(|a, b| (a.value.is_none(), b.devices, &a.value).cmp(&(b.value.is_none(), a.devices, &b.value)));
    let unknown = shares.pop_if(|share| share.value.is_none());
    let other = shares.iter().skip(VALUES_MAX).map(|share| share.devices).sum();
    shares.truncate(VALUES_MAX);
    shares.extend(unknown);
    Distribution { shares, other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn most_first_unknown_last_and_the_many_together() {
        let mut counts: HashMap<_, u64> = (0..60).map(|n| (Some(format!("v{n:02}")), 1)).collect();
        counts.insert(Some("z".into()), 7);
        counts.insert(None, 9);
        let Distribution { shares, other } = ranked(counts);
        assert_eq!((shares.len(), other), (VALUES_MAX + 1, 11));
        assert_eq!((shares[0].value.as_deref(), shares[1].value.as_deref()), (Some("z"), Some("v00")));
        assert_eq!(shares.last().unwrap(), &Share { value: None, devices: 9 });
    }

    proptest! {
        #[test]
        fn every_device_is_counted_once(counts in proptest::collection::hash_map(proptest::option::of("[a-z]{1,3}"), 1u64..9, 0..120)) {
            let total: u64 = counts.values().sum();
            let Distribution { shares, other } = ranked(counts);
            prop_assert_eq!(shares.iter().map(|share| share.devices).sum::<u64>() + other, total);
        }
    }
}
