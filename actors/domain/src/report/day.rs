//! Figures of a day: devices are added one by one, to the fleet and to each of their groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};

use super::figures::ranked;
use super::{AlertTally, Figures};
use crate::Timestamp;
use crate::name::CanonicalName;

/// Hours with a known battery from which it is judged whether a device was charged on a day.
const JUDGED_HOURS: u64 = 6;
/// Level from which a battery counts as fully charged, percent: devices that are kept plugged in often stop short of 100.
const FULL_PCT: f64 = 95.0;
/// Hours without charging from which it is judged how fast a device drains.
const DISCHARGING_HOURS: u64 = 2;
/// Loss from which a device drains fast, percent of the battery in an hour.
const FAST_PCT_PER_HOUR: f64 = 15.0;

/// What a day holds of one device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceDay {
    /// Groups.
    pub groups: Vec<String>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// Whether it has ever sent a heartbeat.
    pub has_reported: bool,
    /// Version of the agent that it reported last.
    pub agent_version: Option<String>,
    /// Version of the monitored app that it reported last.
    pub app_version: Option<String>,
    /// Hours with heartbeats.
    pub hours: u64,
    /// Seconds in which it was online.
    pub online_s: u64,
    /// Hours in which it reported its battery.
    pub battery_hours: u64,
    /// Of these, hours with a low battery on average.
    pub battery_low_hours: u64,
    /// Highest level of the battery, percent.
    pub battery_max_pct: Option<f64>,
    /// Hours with several readings of the battery in which it was never charging.
    pub discharging_hours: u64,
    /// Loss in these hours, percent of the battery.
    pub discharged_pct: f64,
    /// Times that it went offline.
    pub went_offline: u64,
    /// Restarts.
    pub reboots: u64,
    /// When the monitored app went down (`true`) and came up again, from the beginning of the day until now, in order.
    pub app_changes: Vec<(Timestamp, bool)>,
    /// Whether the monitored app is down now.
    pub is_app_down: bool,
}

/// Alerts of a rule whose subjects are in these groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsOfGroups {
    /// Rule, by its name.
    pub rule: String,
    /// Groups; empty: none, or what is no device.
    pub groups: Vec<String>,
    /// Number.
    pub tally: AlertTally,
}

/// Figures of a group on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDay {
    /// Canonical name; empty: the fleet.
    pub canonical: String,
    /// Name as people write it.
    pub name: String,
    /// Figures.
    pub figures: Figures,
}

#[derive(Default)]
struct Tally {
    name: String,
    figures: Figures,
    agent_versions: BTreeMap<String, u64>,
    app_versions: BTreeMap<String, u64>,
}

/// Sums of a day while devices are added.
pub struct DayTally {
    from: Timestamp,
    to: Timestamp,
    knows_versions: bool,
    /// By canonical name; empty: the fleet.
    tallies: BTreeMap<String, Tally>,
    canonical: HashMap<String, String>,
}

impl DayTally {
    /// A day without devices. With `knows_versions`, the versions that devices reported last are those of the day's end.
    pub fn new(day: NaiveDate, knows_versions: bool) -> Self {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let to = day.checked_add_days(Days::new(1)).unwrap_or(day);
        let mut tallies = BTreeMap::new();
        tallies.insert(String::new(), Tally { figures: Figures { days: 1, ..Figures::default() }, ..Tally::default() });
        Self { from: midnight(day), to: midnight(to), knows_versions, tallies, canonical: HashMap::new() }
    }

    /// Adds a device.
    pub fn add(&mut self, device: &DeviceDay) {
        let figures = self.figures_of(device);
        for group in self.groups_of(&device.groups) {
            let Some(tally) = self.tallies.get_mut(&group) else { continue };
            tally.figures.add(&figures);
            if self.knows_versions && device.has_reported {
                for (counts, version) in
                    [(&mut tally.agent_versions, &device.agent_version), (&mut tally.app_versions, &device.app_version)]
                {
                    if let Some(version) = version {
                        *counts.entry(version.clone()).or_default() += 1;
                    }
                }
            }
        }
    }

    /// Adds alerts to the fleet and to their groups, if those have devices.
    pub fn add_alerts(&mut self, alerts: &AlertsOfGroups) {
        let mut of: BTreeSet<String> = alerts.groups.iter().map(|group| CanonicalName::of(group).into_string()).collect();
        of.insert(String::new());
        for group in of {
            let Some(Tally { figures, .. }) = self.tallies.get_mut(&group) else { continue };
            figures.alerts_raised += alerts.tally.raised;
            figures.alerts_resolved += alerts.tally.resolved;
            let sum = figures.alerts.entry(alerts.rule.clone()).or_default();
            sum.raised += alerts.tally.raised;
            sum.resolved += alerts.tally.resolved;
        }
    }

    /// The fleet, and its groups: at most `groups_max`, those with the most devices.
    pub fn finish(self, groups_max: usize) -> Vec<GroupDay> {
        let group = |(canonical, tally): (String, Tally)| GroupDay {
            canonical,
            name: tally.name,
            figures: Figures { agent_versions: ranked(tally.agent_versions), app_versions: ranked(tally.app_versions), ..tally.figures },
        };
        let mut groups: Vec<_> = self.tallies.into_iter().map(group).collect();
        // The fleet first, whatever its size.
        groups.sort_by_key(|group| (!group.canonical.is_empty(), std::cmp::Reverse(group.figures.device_days)));
        groups.truncate(groups_max + 1);
        groups
    }

    /// Canonical names of groups, and of the fleet; each has a tally.
    fn groups_of(&mut self, groups: &[String]) -> BTreeSet<String> {
        let mut of = BTreeSet::from([String::new()]);
        for group in groups {
            let canonical = match self.canonical.get(group) {
                Some(canonical) => canonical.clone(),
                None => {
                    let canonical = CanonicalName::of(group).into_string();
                    self.canonical.insert(group.clone(), canonical.clone());
                    canonical
                }
            };
            if !self.tallies.contains_key(&canonical) {
                let figures = Figures { days: 1, ..Figures::default() };
                self.tallies.insert(canonical.clone(), Tally { name: group.clone(), figures, ..Tally::default() });
            }
            of.insert(canonical);
        }
        of
    }

    fn figures_of(&self, device: &DeviceDay) -> Figures {
        let mut figures = Figures {
            device_days: 1,
            went_offline: device.went_offline,
            battery_hours: device.battery_hours,
            battery_low_hours: device.battery_low_hours.min(device.battery_hours),
            reboots: device.reboots,
            ..Figures::default()
        };
        if !device.has_reported {
            figures.never_reported = 1;
            return figures;
        }
        let begins = device.enrolled_at.max(self.from).min(self.to);
        let expected_s = (self.to - begins).num_seconds().max(0).unsigned_abs();
        figures.expected_s = expected_s;
        figures.online_s = device.online_s.min(expected_s);
        // Of an hour in which it enrolled, nothing is expected.
        figures.gap_hours = (expected_s / 3_600).saturating_sub(device.hours);
        if let Some(most) = device.battery_max_pct.filter(|_| device.battery_hours >= JUDGED_HOURS) {
            figures.battery_devices = 1;
            figures.not_fully_charged = u64::from(most < FULL_PCT);
            let per_hour = device.discharged_pct / device.discharging_hours.max(1) as f64;
            figures.drained_fast = u64::from(device.discharging_hours >= DISCHARGING_HOURS && per_hour >= FAST_PCT_PER_HOUR);
        }
        figures.app_downs = device.app_changes.iter().filter(|(at, down)| *down && *at < self.to).count() as u64;
        // Of a device that is away nobody knows how its app is.
        figures.app_down_s = self.app_down(device).num_seconds().max(0).unsigned_abs().min(figures.online_s);
        figures
    }

    /// How long the monitored app was down on the day.
    fn app_down(&self, device: &DeviceDay) -> TimeDelta {
        // What follows tells what was before: an app that comes up was down until then.
        let mut is_down = device.app_changes.first().map_or(device.is_app_down, |(_, goes_down)| !goes_down);
        let (mut since, mut down) = (self.from, TimeDelta::zero());
        for (at, goes_down) in device.app_changes.iter().take_while(|(at, _)| *at < self.to) {
            if is_down {
                down += (*at - since).max(TimeDelta::zero());
            }
            (since, is_down) = ((*at).max(self.from), *goes_down);
        }
        if is_down { down + (self.to - since) } else { down }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS_MAX: usize = 500;

    fn at(hour: i64, minute: i64) -> Timestamp {
        "2026-11-29T00:00:00Z".parse::<Timestamp>().unwrap() + TimeDelta::minutes(hour * 60 + minute)
    }

    fn device() -> DeviceDay {
        DeviceDay { has_reported: true, enrolled_at: at(-100, 0), hours: 24, online_s: 86_400, ..DeviceDay::default() }
    }

    fn fleet(devices: &[DeviceDay]) -> Figures {
        let mut tally = DayTally::new(at(0, 0).date_naive(), true);
        devices.iter().for_each(|device| tally.add(device));
        tally.finish(GROUPS_MAX).remove(0).figures
    }

    #[test]
    fn hours_without_heartbeats_are_gaps_of_those_who_were_expected() {
        for (enrolled, hours, has_reported, expected_s, gaps) in [
            (at(-100, 0), 24, true, 86_400, 0),
            (at(-100, 0), 20, true, 86_400, 4),
            (at(-100, 0), 0, true, 86_400, 24),
            (at(12, 30), 11, true, 41_400, 0),
            (at(12, 30), 9, true, 41_400, 2),
            (at(12, 30), 12, true, 41_400, 0),
            (at(-100, 0), 0, false, 0, 0),
        ] {
            let figures = fleet(&[DeviceDay { enrolled_at: enrolled, hours, has_reported, ..device() }]);
            assert_eq!((figures.expected_s, figures.gap_hours), (expected_s, gaps), "{enrolled} {hours}");
            assert_eq!(figures.never_reported, u64::from(!has_reported));
            assert!(figures.online_s <= figures.expected_s);
        }
    }

    #[test]
    fn batteries_are_judged_where_enough_is_known() {
        let of = |battery_hours, most, discharging_hours, discharged_pct| {
            let battery_max_pct = Some(most);
            let figures = fleet(&[DeviceDay { battery_hours, battery_max_pct, discharging_hours, discharged_pct, ..device() }]);
            (figures.battery_devices, figures.not_fully_charged, figures.drained_fast)
        };
        assert_eq!(of(24, 100.0, 10, 50.0), (1, 0, 0));
        assert_eq!(of(24, 94.0, 10, 50.0), (1, 1, 0));
        assert_eq!(of(24, 95.0, 2, 30.0), (1, 0, 1), "15 % an hour");
        assert_eq!(of(24, 95.0, 1, 30.0), (1, 0, 0), "one hour says little");
        assert_eq!(of(5, 40.0, 5, 90.0), (0, 0, 0));
    }

    #[test]
    fn an_app_is_down_between_its_changes_as_far_as_the_device_was_online() {
        for (changes, is_down_now, downs, minutes) in [
            (vec![], false, 0, 0),
            (vec![], true, 0, 1_440),
            (vec![(at(1, 0), true), (at(1, 30), false)], false, 1, 30),
            (vec![(at(2, 0), false), (at(23, 0), true), (at(30, 0), false)], false, 1, 180),
            // It went down after the day.
            (vec![(at(25, 0), true)], true, 0, 0),
            // It was down all day and came up the day after.
            (vec![(at(30, 0), false)], false, 0, 1_440),
            (vec![(at(3, 0), true), (at(4, 0), true)], true, 2, 1_260),
        ] {
            let figures = fleet(&[DeviceDay { app_changes: changes.clone(), is_app_down: is_down_now, ..device() }]);
            assert_eq!((figures.app_downs, figures.app_down_s / 60), (downs, minutes), "{changes:?}");
        }
        let away = DeviceDay { is_app_down: true, online_s: 600, ..device() };
        assert_eq!(fleet(&[away]).app_down_s, 600);
    }

    #[test]
    fn a_device_counts_once_in_the_fleet_and_in_each_of_its_groups() {
        let mut tally = DayTally::new(at(0, 0).date_naive(), true);
        let of = |groups: &[&str], version: &str| DeviceDay {
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            agent_version: Some(version.to_owned()),
            ..device()
        };
        tally.add(&of(&["North", "tills"], "1"));
        tally.add(&of(&["north", "NORTH"], "2"));
        tally.add(&of(&[], "2"));
        tally.add_alerts(&AlertsOfGroups {
            rule: "app_down".into(),
            groups: vec!["north".into(), "closed".into()],
            tally: AlertTally { raised: 2, resolved: 1 },
        });
        tally.add_alerts(&AlertsOfGroups { rule: "node_lost".into(), groups: vec![], tally: AlertTally { raised: 1, resolved: 0 } });
        let groups = tally.finish(GROUPS_MAX);
        let shown: Vec<_> =
            groups.iter().map(|group| (group.canonical.as_str(), group.figures.device_days, group.figures.alerts_raised)).collect();
        assert_eq!(shown, [("", 3, 3), ("north", 2, 2), ("tills", 1, 0)]);
        assert_eq!(groups[1].name, "North");
        let versions: Vec<_> = groups[0].figures.agent_versions.iter().map(|one| (one.version.as_str(), one.devices)).collect();
        assert_eq!(versions, [("2", 2), ("1", 1)]);
        assert!(groups.iter().all(|group| group.figures.days == 1), "a day is one, however many devices it has");
    }

    #[test]
    fn the_smallest_groups_are_left_out_and_the_fleet_never() {
        let mut tally = DayTally::new(at(0, 0).date_naive(), false);
        for number in 0..4 {
            for group in 0..=number {
                tally.add(&DeviceDay { groups: vec![format!("group-{group}")], agent_version: Some("1".into()), ..device() });
            }
        }
        let groups = tally.finish(2);
        assert_eq!(groups.iter().map(|group| group.canonical.as_str()).collect::<Vec<_>>(), ["", "group-0", "group-1"]);
        assert!(groups[0].figures.agent_versions.is_empty(), "not known of a day that is long gone");
    }
}
