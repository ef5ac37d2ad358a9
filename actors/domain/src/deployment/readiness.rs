//! Eligibility of a device: whether its last heartbeat meets the device requirements.
//!
//! An unknown battery level or network counts as met, because the device checks both again before it installs. Free storage and
//! exemption from Doze are not checked again, so the heartbeat has to report them.

use std::fmt;

use chrono::{SecondsFormat, TimeDelta};

use super::{ErrorCode, Options, Reason, Run, TaskReason};
use crate::Timestamp;
use crate::abi::AbiSet;
use crate::device::{ClockLag, LastStatus};
use crate::heartbeat::Transport;

/// Version of the package that the last heartbeat shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InstalledVersion {
    /// The heartbeat does not name it.
    #[default]
    Unknown,
    /// The package is not installed.
    Absent,
    /// Version code.
    Code(i64),
}

impl InstalledVersion {
    /// Version code, if one is installed.
    pub fn code(self) -> Option<i64> {
        if let Self::Code(code) = self { Some(code) } else { None }
    }
}

/// State of a device, as far as a plan depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceSnapshot {
    /// Whether the device is deleted.
    pub deleted: bool,
    /// Whether two devices report as this one.
    pub identity_conflict: bool,
    /// Whether the device is online.
    pub online: bool,
    /// When the device was last heard of by a heartbeat.
    pub received_at: Option<Timestamp>,
    /// When the heartbeat that the readings are from was received.
    pub heartbeat_at: Option<Timestamp>,
    /// When that heartbeat was composed: by the device's clock where it is usable.
    pub composed_at: Option<Timestamp>,
    /// Lag of that clock.
    pub clock_lag: Option<ClockLag>,
    /// Charge, percent.
    pub battery_pct: Option<i16>,
    /// Whether the device is charging.
    pub charging: Option<bool>,
    /// Kind of network.
    pub transport: Option<Transport>,
    /// Whether the network is metered.
    pub metered: Option<bool>,
    /// Free storage, MiB.
    pub storage_free_mb: Option<i64>,
    /// Whether the agent is exempt from Doze.
    pub doze_exempt: Option<bool>,
    /// Whether a phone call is in progress.
    pub in_call: Option<bool>,
    /// Android API level.
    pub sdk_int: Option<i32>,
    /// ABIs of native code that it runs.
    pub abis: Option<AbiSet>,
    /// Version of the package that is installed.
    pub installed: InstalledVersion,
}

impl DeviceSnapshot {
    /// When the heartbeat was composed, by the server's clock as far as heartbeats from before `reported_at` show the lag of the device's: one that
    /// came later may have waited on the device for that long.
    pub fn composed_at(&self, reported_at: Timestamp) -> Option<Timestamp> {
        let lag = self.clock_lag.filter(|lag| lag.since < reported_at).map(|lag| lag.least);
        Some(self.composed_at? + lag.unwrap_or_default())
    }

    /// State of a device from its last heartbeat; `seen_at` is when it was last heard of.
    pub fn of(last: &LastStatus, package: &str, seen_at: Timestamp, online: bool) -> Self {
        let telemetry = &last.telemetry;
        let installed = match telemetry.watched(package) {
            Some(app) if app.installed == Some(false) => InstalledVersion::Absent,
            app => app.and_then(|app| app.version_code).map_or(InstalledVersion::Unknown, InstalledVersion::Code),
        };
        Self {
            deleted: false,
            identity_conflict: false,
            online,
            received_at: Some(seen_at),
            heartbeat_at: Some(last.received_at),
            composed_at: last.device_time.filter(|_| !last.clock_rejected).or(Some(last.received_at)),
            clock_lag: None,
            battery_pct: telemetry.battery_pct,
            charging: telemetry.charging,
            transport: telemetry.transport,
            metered: telemetry.metered,
            storage_free_mb: telemetry.storage_free_mb,
            doze_exempt: telemetry.doze_whitelisted,
            in_call: telemetry.in_call,
            sdk_int: telemetry.sdk_int,
            abis: telemetry.supported_abis.as_deref().and_then(AbiSet::reported),
            installed,
        }
    }
}

/// Requirement that a device does not meet now, with the required value and the reported one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// Two devices report as this one.
    IdentityConflict,
    /// The device is offline, since its last heartbeat.
    Offline(Option<Timestamp>),
    /// The last heartbeat is older than this many seconds.
    StaleHeartbeat(Option<Timestamp>, u32),
    /// A phone call is in progress.
    InCall,
    /// The network is none of those that are required.
    Network(Transport),
    /// The network is metered.
    Metered,
    /// The charge is below the minimum, both in percent.
    Battery(i16, u8),
    /// The device is not charging.
    NotCharging,
    /// Less storage is free than required, both in MiB.
    Storage(Option<i64>, u32),
    /// The agent is not exempt from Doze, or does not say so.
    NotDozeExempt(Option<bool>),
}

impl Unmet {
    /// Reason of a task that waits for it, or is skipped for it.
    pub fn reason(self) -> Reason {
        match self {
            Self::IdentityConflict => TaskReason::IdentityConflict.into(),
            Self::Offline(_) => TaskReason::Offline.into(),
            Self::StaleHeartbeat(..) => TaskReason::StaleHeartbeat.into(),
            Self::InCall => ErrorCode::InCall.into(),
            Self::Network(_) => ErrorCode::NoWifi.into(),
            Self::Metered => ErrorCode::Metered.into(),
            Self::Battery(..) => ErrorCode::LowBattery.into(),
            Self::NotCharging => ErrorCode::NotCharging.into(),
            Self::Storage(..) => ErrorCode::LowStorage.into(),
            Self::NotDozeExempt(_) => TaskReason::NotDozeExempt.into(),
        }
    }

    /// Whether the device has not been heard of lately.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Offline(_) | Self::StaleHeartbeat(..))
    }

    /// Whether it is a requirement of the options, and not that the device is away, in a call or in doubt.
    pub fn is_requirement(self) -> bool {
        !self.is_away() && !matches!(self, Self::InCall | Self::IdentityConflict)
    }
}

/// Name of the constraint with both values. It depends on the heartbeat alone, so that it changes no more often.
impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: Timestamp| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        match *self {
            Self::IdentityConflict => write!(f, "two devices report as one, until somebody decides"),
            Self::Offline(None) | Self::StaleHeartbeat(None, _) => write!(f, "no heartbeat yet"),
            Self::Offline(Some(at)) => write!(f, "last heartbeat {}", time(at)),
            Self::StaleHeartbeat(Some(at), max_s) => write!(f, "last heartbeat {}, at most {max_s} s ago required", time(at)),
            Self::InCall => write!(f, "call in progress, none required"),
            Self::Network(transport) => write!(f, "network {}, wifi or ethernet required", transport.as_str()),
            Self::Metered => write!(f, "network metered, unmetered required"),
            Self::Battery(pct, min_pct) => write!(f, "battery {pct} % < {min_pct} %"),
            Self::NotCharging => write!(f, "not charging, charging required"),
            Self::Storage(Some(free_mb), min_mb) => write!(f, "free storage {free_mb} MB < {min_mb} MB"),
            Self::Storage(None, min_mb) => write!(f, "free storage unknown, {min_mb} MB required"),
            Self::NotDozeExempt(Some(_)) => write!(f, "not exempt from Doze, exemption required"),
            Self::NotDozeExempt(None) => write!(f, "exemption from Doze unknown, exemption required"),
        }
    }
}

/// Every requirement that a device does not meet now, the most fundamental first.
pub fn unmet(options: &Options, snapshot: &DeviceSnapshot, now: Timestamp) -> impl Iterator<Item = Unmet> {
    let age_max = TimeDelta::seconds(options.heartbeat_max_age_s.into());
    let stale = snapshot.received_at.is_none_or(|at| now - at > age_max);
    let other_network = snapshot.transport.filter(|transport| !matches!(transport, Transport::Wifi | Transport::Ethernet));
    let low = snapshot.battery_pct.filter(|pct| *pct < i16::from(options.min_battery_pct));
    let min_mb = options.min_storage_free_mb;
    let little_storage = min_mb > 0 && snapshot.storage_free_mb.is_none_or(|free| free < i64::from(min_mb));
    let found = [
        snapshot.identity_conflict.then_some(Unmet::IdentityConflict),
        (!snapshot.online).then_some(Unmet::Offline(snapshot.received_at)),
        (snapshot.online && stale).then_some(Unmet::StaleHeartbeat(snapshot.received_at, options.heartbeat_max_age_s)),
        (snapshot.in_call == Some(true)).then_some(Unmet::InCall),
        other_network.filter(|_| options.wifi_only).map(Unmet::Network),
        (options.wifi_only && snapshot.metered == Some(true)).then_some(Unmet::Metered),
        low.map(|pct| Unmet::Battery(pct, options.min_battery_pct)),
        (options.charging_only && snapshot.charging == Some(false)).then_some(Unmet::NotCharging),
        little_storage.then_some(Unmet::Storage(snapshot.storage_free_mb, min_mb)),
        (options.doze_exempt_only && snapshot.doze_exempt != Some(true)).then_some(Unmet::NotDozeExempt(snapshot.doze_exempt)),
    ];
    found.into_iter().flatten()
}

/// Reason why a device is not eligible now; `None`: it is.
pub fn ineligibility(options: &Options, snapshot: &DeviceSnapshot, now: Timestamp) -> Option<Reason> {
    unmet(options, snapshot, now).next().map(Unmet::reason)
}

/// Reason of a device's own for not getting a deployment now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// The reason.
    pub reason: Reason,
    /// Values behind it, for display.
    pub detail: Option<String>,
}

/// Every reason of a device's own for not getting a deployment now, whether or not it is in the canary; none: it qualifies. A device
/// for which it can never be right has that reason alone.
pub fn exclusions(options: &Options, run: &Run, snapshot: &DeviceSnapshot, now: Timestamp) -> Vec<Exclusion> {
    let for_good = |reason: TaskReason, detail| vec![Exclusion { reason: reason.into(), detail }];
    if snapshot.deleted {
        return for_good(TaskReason::DeviceDeleted, None);
    }
    if let Some(code) = snapshot.installed.code().filter(|code| *code >= run.version_code) {
        return for_good(TaskReason::AlreadyInstalled, Some(format!("version code {code}, {} to install", run.version_code)));
    }
    if let Some(reason) = run.refusal(snapshot.sdk_int, snapshot.abis) {
        let levels = snapshot.sdk_int.zip(run.min_sdk).filter(|_| reason == TaskReason::SdkTooOld);
        return for_good(reason, levels.map(|(sdk, least)| format!("API level {sdk} < {least}")));
    }
    unmet(options, snapshot, now).map(|unmet| Exclusion { reason: unmet.reason(), detail: Some(unmet.to_string()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn fit() -> DeviceSnapshot {
        DeviceSnapshot {
            online: true,
            received_at: Some(at(0)),
            battery_pct: Some(80),
            charging: Some(true),
            transport: Some(Transport::Wifi),
            metered: Some(false),
            storage_free_mb: Some(5_000),
            doze_exempt: Some(true),
            ..DeviceSnapshot::default()
        }
    }

    #[test]
    fn each_condition_has_its_reason() {
        let strict = Options { charging_only: true, min_storage_free_mb: 100, doze_exempt_only: true, ..Options::conservative(10) };
        let with = |change: fn(&mut DeviceSnapshot)| {
            let mut snapshot = fit();
            change(&mut snapshot);
            ineligibility(&strict, &snapshot, at(10)).map(Reason::as_str)
        };
        type Change = fn(&mut DeviceSnapshot);
        let table: [(Option<&str>, Change); 17] = [
            (None, |_| {}),
            (Some("identity_conflict"), |snapshot| (snapshot.identity_conflict, snapshot.online) = (true, false)),
            (Some("offline"), |snapshot| snapshot.online = false),
            (Some("stale_heartbeat"), |snapshot| snapshot.received_at = Some(at(-891))),
            (None, |snapshot| snapshot.received_at = Some(at(-890))),
            (Some("no_wifi"), |snapshot| snapshot.transport = Some(Transport::Cellular)),
            (None, |snapshot| snapshot.transport = Some(Transport::Ethernet)),
            (None, |snapshot| snapshot.transport = None),
            (Some("metered"), |snapshot| snapshot.metered = Some(true)),
            (Some("low_battery"), |snapshot| snapshot.battery_pct = Some(39)),
            (None, |snapshot| snapshot.battery_pct = Some(40)),
            (None, |snapshot| snapshot.battery_pct = None),
            (Some("not_charging"), |snapshot| snapshot.charging = Some(false)),
            (Some("low_storage"), |snapshot| snapshot.storage_free_mb = Some(99)),
            (Some("low_storage"), |snapshot| snapshot.storage_free_mb = None),
            (Some("not_doze_exempt"), |snapshot| snapshot.doze_exempt = None),
            (Some("in_call"), |snapshot| snapshot.in_call = Some(true)),
        ];
        for (n, (want, change)) in table.into_iter().enumerate() {
            assert_eq!(with(change), want, "row {n}");
        }
        let free = Options { wifi_only: false, min_battery_pct: 0, ..Options::conservative(10) };
        let poor = DeviceSnapshot { transport: Some(Transport::Cellular), metered: Some(true), battery_pct: Some(1), ..fit() };
        assert_eq!(ineligibility(&free, &poor, at(10)), None);
    }

    #[test]
    fn every_device_has_its_own_reasons() {
        let run = Run {
            state: crate::deployment::DeploymentState::Running,
            phase: crate::deployment::Phase::Canary,
            canary_ran: TimeDelta::zero(),
            judged_since: at(0),
            expires_at: at(1_000),
            version_code: 7,
            min_sdk: Some(26),
            target_sdk: None,
            native_abis: AbiSet::default(),
        };
        let found = |snapshot: DeviceSnapshot| {
            let found = exclusions(&Options::conservative(10), &run, &snapshot, at(10));
            found.into_iter().map(|found| format!("{}: {}", found.reason.as_str(), found.detail.unwrap_or_default())).collect::<Vec<_>>()
        };
        assert_eq!(found(DeviceSnapshot { installed: InstalledVersion::Code(6), ..fit() }), [""; 0]);
        let poor = DeviceSnapshot { battery_pct: Some(10), transport: Some(Transport::Cellular), ..fit() };
        assert_eq!(found(poor), ["no_wifi: network cellular, wifi or ethernet required", "low_battery: battery 10 % < 40 %"]);
        let done = DeviceSnapshot { installed: InstalledVersion::Code(8), ..poor };
        assert_eq!(found(done), ["already_installed: version code 8, 7 to install"]);
        assert_eq!(found(DeviceSnapshot { sdk_int: Some(25), ..poor }), ["sdk_too_old: API level 25 < 26"]);
        assert_eq!(found(DeviceSnapshot { deleted: true, ..poor }), ["device_deleted: "]);
        assert_eq!(found(DeviceSnapshot::default()), ["offline: no heartbeat yet"]);
    }

    #[test]
    fn every_unmet_requirement_is_named_with_both_values() {
        let strict = Options { charging_only: true, min_storage_free_mb: 100, doze_exempt_only: true, ..Options::conservative(10) };
        let poor = DeviceSnapshot {
            battery_pct: Some(10),
            charging: Some(false),
            transport: Some(Transport::Cellular),
            metered: Some(true),
            storage_free_mb: Some(99),
            doze_exempt: None,
            in_call: Some(true),
            ..fit()
        };
        let texts = |snapshot: &DeviceSnapshot, now| unmet(&strict, snapshot, now).map(|unmet| unmet.to_string()).collect::<Vec<_>>();
        assert_eq!(
            texts(&poor, at(10)),
            [
                "call in progress, none required",
                "network cellular, wifi or ethernet required",
                "network metered, unmetered required",
                "battery 10 % < 40 %",
                "not charging, charging required",
                "free storage 99 MB < 100 MB",
                "exemption from Doze unknown, exemption required",
            ]
        );
        assert_eq!(texts(&fit(), at(1_000)), ["last heartbeat 2026-11-18T11:06:40Z, at most 900 s ago required"]);
        let away = DeviceSnapshot { online: false, ..fit() };
        assert_eq!(texts(&away, at(1_000)), ["last heartbeat 2026-11-18T11:06:40Z"], "said once, and not also as old");
        let never = DeviceSnapshot { received_at: None, online: false, storage_free_mb: None, doze_exempt: Some(false), ..fit() };
        let want = ["no heartbeat yet", "free storage unknown, 100 MB required", "not exempt from Doze, exemption required"];
        assert_eq!(texts(&never, at(10)), want);
    }
}
