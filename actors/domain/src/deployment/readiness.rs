//! Eligibility of a device: whether its last heartbeat meets the device requirements.
//!
//! An unknown battery level or network counts as met, because the device checks both again before it installs. Free storage and
//! exemption from Doze are not checked again, so the heartbeat has to report them.

use chrono::TimeDelta;

use super::{ErrorCode, Options, Reason, TaskReason};
use crate::Timestamp;
use crate::abi::AbiSet;
use crate::heartbeat::{Telemetry, Transport};

/// State of a device, as far as a plan depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceSnapshot {
    /// Whether the device is deleted.
    pub deleted: bool,
    /// Whether two devices report as this one.
    pub identity_conflict: bool,
    /// Whether the device is online.
    pub online: bool,
    /// When its last heartbeat was received.
    pub received_at: Option<Timestamp>,
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
    /// Version code of the package that is installed.
    pub version_code: Option<i64>,
}

impl DeviceSnapshot {
    /// State of a device from its last heartbeat.
    pub fn of(telemetry: &Telemetry, package: &str, received_at: Timestamp, online: bool) -> Self {
        let watched = telemetry.watched(package).filter(|app| app.installed != Some(false));
        Self {
            deleted: false,
            identity_conflict: false,
            online,
            received_at: Some(received_at),
            battery_pct: telemetry.battery_pct,
            charging: telemetry.charging,
            transport: telemetry.transport,
            metered: telemetry.metered,
            storage_free_mb: telemetry.storage_free_mb,
            doze_exempt: telemetry.doze_whitelisted,
            in_call: telemetry.in_call,
            sdk_int: telemetry.sdk_int,
            abis: telemetry.supported_abis.as_deref().and_then(AbiSet::reported),
            version_code: watched.and_then(|app| app.version_code),
        }
    }
}

/// Reason why a device is not eligible now; `None`: it is.
pub fn ineligibility(options: &Options, snapshot: &DeviceSnapshot, now: Timestamp) -> Option<Reason> {
    if snapshot.identity_conflict {
        return Some(TaskReason::IdentityConflict.into());
    }
    let age_max = TimeDelta::seconds(options.heartbeat_max_age_s.into());
    if !snapshot.online {
        return Some(TaskReason::Offline.into());
    }
    if snapshot.received_at.is_none_or(|at| now - at > age_max) {
        return Some(TaskReason::StaleHeartbeat.into());
    }
    if snapshot.in_call == Some(true) {
        return Some(ErrorCode::InCall.into());
    }
    if options.wifi_only {
        if snapshot.transport.is_some_and(|transport| !matches!(transport, Transport::Wifi | Transport::Ethernet)) {
            return Some(ErrorCode::NoWifi.into());
        }
        if snapshot.metered == Some(true) {
            return Some(ErrorCode::Metered.into());
        }
    }
    if snapshot.battery_pct.is_some_and(|pct| pct < i16::from(options.min_battery_pct)) {
        return Some(ErrorCode::LowBattery.into());
    }
    if options.charging_only && snapshot.charging == Some(false) {
        return Some(ErrorCode::NotCharging.into());
    }
    if options.min_storage_free_mb > 0 && snapshot.storage_free_mb.is_none_or(|free| free < i64::from(options.min_storage_free_mb)) {
        return Some(ErrorCode::LowStorage.into());
    }
    if options.doze_exempt_only && snapshot.doze_exempt != Some(true) {
        return Some(TaskReason::NotDozeExempt.into());
    }
    None
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
}
