//! Events of a device: the difference between its live state and its recorded condition.
//!
//! ```text
//! recorded   online, battery fine, boot A          recorded   offline, battery low, boot B
//! live        offline, battery low, boot B   --->   events      went_offline, low_battery_began, rebooted
//! ```
//! Comparing with what is stored, instead of watching changes go by, loses none when the
//! device's owner dies and tells none twice when its shard moves.

use crate::Timestamp;
use crate::device::{AppStatus, Connectivity, DevicePolicy, DeviceState, IdentityConflict, Lifecycle};
use crate::event::EventKind;
use crate::heartbeat::Telemetry;

/// How far above the limit a charge must rise for a low battery to be over, in percent: a charge
/// that hovers around the limit is one event, not hundreds.
pub const BATTERY_RECOVERY_PCT: i16 = 5;

/// The condition of a device up to which its events are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The device is online.
    pub online: bool,
    /// The battery is below the limit, or was and has hardly risen.
    pub low_battery: bool,
    /// The monitored app is down.
    pub app_down: bool,
    /// Boot id.
    pub boot_id: Option<String>,
    /// Version name of its agent.
    pub agent_version: Option<String>,
    /// Version code of its agent.
    pub agent_version_code: Option<i64>,
    /// The monitored app that the version is of.
    pub app_package: Option<String>,
    /// Version of the monitored app.
    pub app_version: Option<String>,
    /// The newest identity conflict.
    pub conflict: Option<IdentityConflict>,
}

/// Event of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Time, as far as known.
    pub at: Timestamp,
    /// Kind.
    pub kind: EventKind,
    /// Value before, if any.
    pub before: Option<String>,
    /// Value after, if any.
    pub after: Option<String>,
}

/// The condition of the device now, if it differs from the stored one, and the events in
/// between. What a device does not tell is taken to be as it was; so is what two devices that report as one tell by turns.
pub fn compare(recorded: &Condition, device: &DeviceState, policy: &DevicePolicy) -> Option<(Condition, Vec<Occurrence>)> {
    if device.lifecycle == Lifecycle::Deleted {
        return None;
    }
    let (Some(last), Some(seen)) = (device.last.as_deref(), device.last_seen_at) else { return None };
    let in_conflict = device.open_conflict().is_some();
    let untold = Telemetry::default();
    let reported = if in_conflict { &untold } else { &last.telemetry };
    let online = device.connectivity == Connectivity::Online;
    let low_battery = match reported.battery_pct {
        Some(pct) if recorded.low_battery => pct < policy.low_battery_pct.saturating_add(BATTERY_RECOVERY_PCT).min(100),
        Some(pct) => pct < policy.low_battery_pct,
        None => recorded.low_battery,
    };
    let app_down = match device.app_status(policy) {
        _ if in_conflict => recorded.app_down,
        AppStatus::Down => true,
        AppStatus::Up => false,
        AppStatus::Unknown => recorded.app_down,
    };
    let app_package = device.monitored.as_ref().map(|app| app.package.as_str());
    let app_version = app_package.and_then(|package| reported.watched(package)?.version_name.as_deref());
    // Of another app than the one that is monitored now, a version says nothing.
    let app_version_before = recorded.app_version.as_deref().filter(|_| recorded.app_package.as_deref() == app_package);

    let mut occurrences = Vec::new();
    let mut happened = |at, kind, before: Option<String>, after: Option<String>| occurrences.push(Occurrence { at, kind, before, after });
    let rebooted_by_id = differs(recorded.boot_id.as_deref(), reported.boot_id.as_deref());
    // Where boots have names, an uptime that steps back is no proof.
    if rebooted_by_id || (device.rebooted && reported.boot_id.is_none() && !in_conflict) {
        happened(last.received_at, EventKind::Rebooted, None, reported.uptime_s.map(|seconds| seconds.to_string()));
    }
    if recorded.online != online {
        match online {
            true => happened(seen, EventKind::CameOnline, None, None),
            false => happened(seen + policy.offline_after, EventKind::WentOffline, None, None),
        }
    }
    if differs(recorded.agent_version.as_deref(), reported.app_version.as_deref())
        || differs(recorded.agent_version_code, reported.agent_version_code)
    {
        let version = |name: Option<&str>, code: Option<i64>| name.map(str::to_owned).or_else(|| code.map(|code| code.to_string()));
        let before = version(recorded.agent_version.as_deref(), recorded.agent_version_code);
        happened(
            last.received_at,
            EventKind::AgentVersionChanged,
            before,
            version(reported.app_version.as_deref(), reported.agent_version_code),
        );
    }
    if differs(app_version_before, app_version) {
        let (before, after) = (app_version_before.map(str::to_owned), app_version.map(str::to_owned));
        happened(last.received_at, EventKind::AppVersionChanged, before, after);
    }
    if recorded.low_battery != low_battery {
        let kind = if low_battery { EventKind::LowBatteryBegan } else { EventKind::LowBatteryEnded };
        happened(last.received_at, kind, None, reported.battery_pct.map(|pct| pct.to_string()));
    }
    if recorded.app_down != app_down {
        happened(last.received_at, if app_down { EventKind::AppDownBegan } else { EventKind::AppDownEnded }, None, None);
    }
    if device.conflict != recorded.conflict
        && let Some(conflict) = device.open_conflict()
    {
        let evidence = device.evidence.as_deref();
        let (one, other) = (evidence.map(|evidence| evidence.one.clone()), evidence.map(|evidence| evidence.other.clone()));
        happened(conflict.noticed_at, EventKind::IdentityConflictBegan, one, other);
    }
    let first_told = takes_over(recorded.boot_id.as_deref(), reported.boot_id.as_deref())
        || takes_over(recorded.agent_version.as_deref(), reported.app_version.as_deref())
        || takes_over(recorded.agent_version_code, reported.agent_version_code)
        || takes_over(app_version_before, app_version);
    if occurrences.is_empty() && !first_told {
        return None;
    }
    let (app_package, app_version) = match app_version {
        Some(version) => (app_package.map(str::to_owned), Some(version.to_owned())),
        None => (recorded.app_package.clone(), recorded.app_version.clone()),
    };
    let next = Condition {
        online,
        low_battery,
        app_down,
        boot_id: reported.boot_id.clone().or_else(|| recorded.boot_id.clone()),
        agent_version: reported.app_version.clone().or_else(|| recorded.agent_version.clone()),
        agent_version_code: reported.agent_version_code.or(recorded.agent_version_code),
        app_package,
        app_version,
        conflict: device.conflict,
    };
    Some((next, occurrences))
}

fn differs<T: PartialEq>(before: Option<T>, after: Option<T>) -> bool {
    before.zip(after).is_some_and(|(before, after)| before != after)
}

fn takes_over<T>(before: Option<T>, after: Option<T>) -> bool {
    before.is_none() && after.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceId;
    use crate::device::{DeviceIdentity, LastStatus, MonitoredApp, PersistedDevice};
    use crate::heartbeat::{Telemetry, WatchedApp};
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::sync::Arc;

    const POLICY: DevicePolicy = DevicePolicy {
        offline_after: TimeDelta::minutes(12),
        low_battery_pct: 15,
        app_stale_after_s: 600,
        ghost_after: TimeDelta::hours(24),
        events_per_hour: 60,
    };

    fn at(second: i64) -> Timestamp {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    /// A device that told this at second 0, seen at `now`.
    fn device(telemetry: Telemetry, now: i64) -> DeviceState {
        let identity = DeviceIdentity {
            id: DeviceId(uuid::Uuid::nil()),
            alias: "a".into(),
            tags: vec![],
            groups: vec![],
            hardware_id: None,
            model: None,
            manufacturer: None,
            enrolled_at: at(0),
        };
        let last = LastStatus { bucket_at: at(0), received_at: at(0), device_time: None, clock_rejected: false, telemetry };
        let known = PersistedDevice {
            identity,
            monitored: Some(MonitoredApp { package: "a.b".into(), stale_after_s: None }),
            credential_generation: 1,
            deleted: false,
            last: Some(Arc::new(last)),
            last_seen_at: Some(at(0)),
            conflict: None,
        };
        DeviceState::restored(known, at(now), &POLICY)
    }

    fn kinds(recorded: &Condition, device: &DeviceState) -> Vec<&'static str> {
        compare(recorded, device, &POLICY).map_or(vec![], |(_, all)| all.iter().map(|one| one.kind.as_str()).collect())
    }

    #[test]
    fn each_difference_is_its_event() {
        let online = Condition { online: true, ..Condition::default() };
        let reported = |telemetry| device(telemetry, 1);
        assert_eq!(kinds(&Condition::default(), &reported(Telemetry::default())), ["came_online"]);
        assert_eq!(kinds(&online, &reported(Telemetry::default())), [""; 0]);
        assert_eq!(kinds(&online, &device(Telemetry::default(), 720)), ["went_offline"]);
        let battery = |pct| reported(Telemetry { battery_pct: Some(pct), ..Default::default() });
        assert_eq!(kinds(&online, &battery(14)), ["low_battery_began"]);
        let low = Condition { low_battery: true, ..online.clone() };
        assert_eq!(kinds(&low, &battery(19)), [""; 0], "hardly risen");
        assert_eq!(kinds(&low, &battery(20)), ["low_battery_ended"]);
        assert_eq!(kinds(&online, &reported(Telemetry { app_running: Some(false), ..Default::default() })), ["app_down_began"]);
        let down = Condition { app_down: true, ..online.clone() };
        assert_eq!(kinds(&down, &reported(Telemetry::default())), [""; 0], "it does not tell");
        assert_eq!(kinds(&down, &reported(Telemetry { app_running: Some(true), ..Default::default() })), ["app_down_ended"]);
        let boot = |id: &str| reported(Telemetry { boot_id: Some(id.into()), ..Default::default() });
        let (first, none) = compare(&online, &boot("a"), &POLICY).unwrap();
        assert_eq!((first.boot_id.as_deref(), none.len()), (Some("a"), 0), "the first boot is no reboot");
        assert_eq!(kinds(&first, &boot("b")), ["rebooted"]);
        assert_eq!(kinds(&online, &DeviceState { rebooted: true, ..reported(Telemetry::default()) }), ["rebooted"]);
        let agent = Condition { agent_version: Some("1.4".into()), ..online.clone() };
        let (_, events) = compare(&agent, &reported(Telemetry { app_version: Some("1.5".into()), ..Default::default() }), &POLICY).unwrap();
        assert_eq!((events[0].before.as_deref(), events[0].after.as_deref()), (Some("1.4"), Some("1.5")));
        let apps = vec![WatchedApp { package: "a.b".into(), installed: None, version_name: Some("2".into()), version_code: None }];
        let app = Condition { app_package: Some("a.b".into()), app_version: Some("1".into()), ..online };
        let told_apps = reported(Telemetry { apps, ..Default::default() });
        assert_eq!(kinds(&app, &told_apps), ["app_version_changed"]);
        let another = Condition { app_package: Some("a.c".into()), ..app.clone() };
        let (next, events) = compare(&another, &told_apps, &POLICY).unwrap();
        assert_eq!((next.app_package.as_deref(), next.app_version.as_deref(), events.len()), (Some("a.b"), Some("2"), 0), "first told");
        assert_eq!(compare(&next, &told_apps, &POLICY), None);
        assert_eq!(kinds(&app, &DeviceState { lifecycle: Lifecycle::Deleted, ..device(Telemetry::default(), 720) }), [""; 0]);
    }

    #[test]
    fn offline_begins_when_the_limit_is_over_whoever_looks_later() {
        let online = Condition { online: true, ..Condition::default() };
        let (_, events) = compare(&online, &device(Telemetry::default(), 100_000), &POLICY).unwrap();
        assert_eq!(events[0].at, at(720));
    }

    /// Two devices that report as one tell nothing but that, and whether anything is heard of them.
    #[test]
    fn an_identity_conflict_is_one_event_and_nothing_else_is_told_until_it_is_over() {
        let telemetry = Telemetry { boot_id: Some("b".into()), battery_pct: Some(3), app_running: Some(false), ..Default::default() };
        let mut device = device(telemetry, 1);
        let recorded = Condition { online: true, boot_id: Some("a".into()), ..Default::default() };
        assert_eq!(kinds(&recorded, &device), ["rebooted", "low_battery_began", "app_down_began"]);
        device.conflict = Some(IdentityConflict { noticed_at: at(1), generation: 1, dismissed: false });
        device.rebooted = true;
        assert_eq!(kinds(&recorded, &device), ["identity_conflict_began"]);
        let (told, _) = compare(&recorded, &device, &POLICY).unwrap();
        assert_eq!(compare(&told, &device, &POLICY), None, "once");
        device.connectivity = Connectivity::Offline;
        assert_eq!(kinds(&told, &device), ["went_offline"]);
        device.connectivity = Connectivity::Online;
        device.conflict = Some(IdentityConflict { dismissed: true, ..device.conflict.unwrap() });
        let dismissed = Condition { conflict: device.conflict, ..told };
        assert_eq!(kinds(&dismissed, &device), ["rebooted", "low_battery_began", "app_down_began"]);
        device.credential_generation = 2;
        device.conflict = Some(IdentityConflict { noticed_at: at(1), generation: 1, dismissed: false });
        let revoked = Condition { conflict: device.conflict, ..dismissed };
        assert_eq!(kinds(&revoked, &device), ["rebooted", "low_battery_began", "app_down_began"]);
    }

    /// Once recorded, the same state amounts to nothing more.
    #[test]
    fn nothing_is_told_twice() {
        let told = Cell::new(0);
        proptest!(|(pct in proptest::option::of(0i16..=100), running in proptest::option::of(any::<bool>()), now in 0i64..2000, boot in proptest::option::of("[ab]"), version in proptest::option::of("[12]"), low: bool, down: bool, online: bool)| {
            let telemetry = Telemetry { battery_pct: pct, app_running: running, boot_id: boot, app_version: version, ..Default::default() };
            let device = device(telemetry, now);
            let recorded = Condition { online, low_battery: low, app_down: down, boot_id: Some("a".into()), ..Default::default() };
            if let Some((next, _)) = compare(&recorded, &device, &POLICY) {
                told.set(told.get() + 1);
                prop_assert_eq!(compare(&next, &device, &POLICY), None);
            }
        });
        assert!(told.get() > 0, "nothing was told once");
    }
}
