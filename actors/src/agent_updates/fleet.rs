//! Agent versions in the fleet, and sizes of cohorts.

use std::collections::BTreeMap;

use domain::DeviceId;
use domain::device::Connectivity;
use domain::rollout::{COHORT_SLOTS, cohort_slot};

use crate::fleet_view::FleetView;

/// Most versions that are told apart; of more, those that most devices run.
const VERSIONS_MAX: usize = 50;
/// Version code of devices that report none.
const UNKNOWN: i64 = 0;

/// A device, as far as updates go.
#[derive(Debug, Clone, Copy)]
pub struct RunningAgent {
    /// The device.
    pub id: DeviceId,
    /// Cohort slot, 0..99.
    pub slot: u8,
    /// Version code of its agent, if it told.
    pub version_code: Option<i64>,
    /// Whether the device is online.
    pub online: bool,
}

/// Devices of a cohort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CohortCounts {
    /// All of them.
    pub devices: u64,
    /// Online devices.
    pub online: u64,
    /// Devices with an older version than the build.
    pub behind: u64,
}

/// Devices at each place, for one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohorts([CohortCounts; COHORT_SLOTS]);

impl Cohorts {
    /// The devices of the cohort of this percentage.
    pub fn within(&self, rollout_percent: u8) -> CohortCounts {
        self.0.iter().take(usize::from(rollout_percent)).fold(CohortCounts::default(), |sum, slot| CohortCounts {
            devices: sum.devices + slot.devices,
            online: sum.online + slot.online,
            behind: sum.behind + slot.behind,
        })
    }
}

/// Every device of the fleet. Takes some 20 ms for 100,000 of them.
pub fn running(view: &FleetView) -> Vec<RunningAgent> {
    let mut devices = Vec::new();
    view.visit(|device| {
        devices.push(RunningAgent {
            id: device.identity.id,
            slot: 0,
            version_code: device.last.as_deref().and_then(|last| last.telemetry.agent_version_code),
            online: device.connectivity == Connectivity::Online,
        });
    });
    // Not while the view is held.
    devices.iter_mut().for_each(|device| device.slot = cohort_slot(device.id));
    devices
}

/// Devices at each place, for a build of this version.
pub fn cohorts(devices: &[RunningAgent], version_code: i64) -> Cohorts {
    let mut slots = [CohortCounts::default(); COHORT_SLOTS];
    for device in devices {
        let Some(slot) = slots.get_mut(usize::from(device.slot)) else { continue };
        slot.devices += 1;
        slot.online += u64::from(device.online);
        slot.behind += u64::from(device.version_code.is_some_and(|running| running < version_code));
    }
    Cohorts(slots)
}

/// Devices by version code; 0 for those that do not tell it.
pub fn versions(devices: &[RunningAgent]) -> Vec<(i64, u64)> {
    let mut counted = BTreeMap::<i64, u64>::new();
    for device in devices {
        *counted.entry(device.version_code.unwrap_or(UNKNOWN)).or_default() += 1;
    }
    let mut counted: Vec<_> = counted.into_iter().collect();
    counted.sort_unstable_by_key(|(version, devices)| (std::cmp::Reverse(*devices), *version));
    counted.truncate(VERSIONS_MAX);
    counted.sort_unstable();
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn device(n: u128, version_code: Option<i64>, online: bool) -> RunningAgent {
        let id = DeviceId(Uuid::from_u128(n));
        RunningAgent { id, slot: cohort_slot(id), version_code, online }
    }

    #[test]
    fn a_cohort_grows_with_its_percentage_and_ends_with_the_fleet() {
        let devices: Vec<_> = (0..500).map(|n| device(n, Some((n % 3) as i64), n % 2 == 0)).collect();
        let cohorts = cohorts(&devices, 2);
        let mut before = CohortCounts::default();
        for percent in 0..=100 {
            let now = cohorts.within(percent);
            assert!(now.devices >= before.devices && now.online >= before.online && now.behind >= before.behind);
            assert_eq!(now.devices, devices.iter().filter(|device| domain::rollout::in_cohort(device.id, percent)).count() as u64);
            before = now;
        }
        assert_eq!(before, CohortCounts { devices: 500, online: 250, behind: 334 });
    }

    #[test]
    fn versions_are_counted_and_an_untold_one_is_not_behind() {
        let devices = [device(1, None, true), device(2, Some(7), true), device(3, Some(7), false)];
        assert_eq!(versions(&devices), [(0, 1), (7, 2)]);
        assert_eq!(cohorts(&devices, 8).within(100).behind, 2);
    }

    #[test]
    fn of_too_many_versions_the_rare_ones_are_left_out() {
        let mut devices: Vec<_> = (0..80).map(|n| device(n, Some(n as i64 + 1), true)).collect();
        devices.extend((100..103).map(|n| device(n, Some(80), true)));
        let counted = versions(&devices);
        assert_eq!(counted.len(), VERSIONS_MAX);
        assert!(counted.contains(&(80, 4)) && counted.is_sorted());
    }
}
