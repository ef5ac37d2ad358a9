//! Whether a device is fit for an installation right now, as its last heartbeat tells.
//!
//! What it does not tell of its battery or network is left to the device itself, which checks again; what the device is
//! not told to check - free storage, Doze - it has to have told.

use chrono::TimeDelta;

use super::{ErrorCode, Options, Reason, Wait};
use crate::Timestamp;
use crate::heartbeat::{Telemetry, Transport};

/// What is known of a device, as far as a deployment needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceFacts {
    /// It was deleted.
    pub deleted: bool,
    /// It is heard from.
    pub online: bool,
    /// When its last heartbeat was received.
    pub received_at: Option<Timestamp>,
    /// Charge, percent.
    pub battery_pct: Option<i16>,
    /// Whether it charges.
    pub charging: Option<bool>,
    /// Kind of network.
    pub transport: Option<Transport>,
    /// Whether the network is metered.
    pub metered: Option<bool>,
    /// Free storage, MiB.
    pub storage_free_mb: Option<i64>,
    /// Whether Doze leaves it alone.
    pub doze_exempt: Option<bool>,
    /// Whether a call is going on.
    pub in_call: Option<bool>,
    /// Android API level.
    pub sdk_int: Option<i32>,
    /// Version of the package that is installed.
    pub version_code: Option<i64>,
}

impl DeviceFacts {
    /// What a heartbeat tells.
    pub fn told(telemetry: &Telemetry, package: &str, received_at: Timestamp, online: bool) -> Self {
        let watched = telemetry.watched(package).filter(|app| app.installed != Some(false));
        Self {
            deleted: false,
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
            version_code: watched.and_then(|app| app.version_code),
        }
    }
}

/// Why a device is not fit now; `None`: it is.
pub fn unready(options: &Options, facts: &DeviceFacts, now: Timestamp) -> Option<Reason> {
    let age_max = TimeDelta::seconds(options.heartbeat_max_age_s.into());
    if !facts.online {
        return Some(Wait::Offline.into());
    }
    if facts.received_at.is_none_or(|at| now - at > age_max) {
        return Some(Wait::StaleHeartbeat.into());
    }
    if facts.in_call == Some(true) {
        return Some(ErrorCode::InCall.into());
    }
    if options.wifi_only {
        if facts.transport.is_some_and(|transport| !matches!(transport, Transport::Wifi | Transport::Ethernet)) {
            return Some(ErrorCode::NoWifi.into());
        }
        if facts.metered == Some(true) {
            return Some(ErrorCode::Metered.into());
        }
    }
    if facts.battery_pct.is_some_and(|pct| pct < i16::from(options.min_battery_pct)) {
        return Some(ErrorCode::LowBattery.into());
    }
    if options.charging_only && facts.charging == Some(false) {
        return Some(ErrorCode::NotCharging.into());
    }
    if options.min_storage_free_mb > 0 && facts.storage_free_mb.is_none_or(|free| free < i64::from(options.min_storage_free_mb)) {
        return Some(ErrorCode::LowStorage.into());
    }
    if options.doze_exempt_only && facts.doze_exempt != Some(true) {
        return Some(Wait::NotDozeExempt.into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn fit() -> DeviceFacts {
        DeviceFacts {
            online: true,
            received_at: Some(at(0)),
            battery_pct: Some(80),
            charging: Some(true),
            transport: Some(Transport::Wifi),
            metered: Some(false),
            storage_free_mb: Some(5_000),
            doze_exempt: Some(true),
            ..DeviceFacts::default()
        }
    }

    #[test]
    fn each_condition_has_its_reason() {
        let strict = Options { charging_only: true, min_storage_free_mb: 100, doze_exempt_only: true, ..Options::careful(10) };
        let with = |change: fn(&mut DeviceFacts)| {
            let mut facts = fit();
            change(&mut facts);
            unready(&strict, &facts, at(10)).map(Reason::as_str)
        };
        type Change = fn(&mut DeviceFacts);
        let table: [(Option<&str>, Change); 16] = [
            (None, |_| {}),
            (Some("offline"), |facts| facts.online = false),
            (Some("stale_heartbeat"), |facts| facts.received_at = Some(at(-891))),
            (None, |facts| facts.received_at = Some(at(-890))),
            (Some("no_wifi"), |facts| facts.transport = Some(Transport::Cellular)),
            (None, |facts| facts.transport = Some(Transport::Ethernet)),
            (None, |facts| facts.transport = None),
            (Some("metered"), |facts| facts.metered = Some(true)),
            (Some("low_battery"), |facts| facts.battery_pct = Some(39)),
            (None, |facts| facts.battery_pct = Some(40)),
            (None, |facts| facts.battery_pct = None),
            (Some("not_charging"), |facts| facts.charging = Some(false)),
            (Some("low_storage"), |facts| facts.storage_free_mb = Some(99)),
            (Some("low_storage"), |facts| facts.storage_free_mb = None),
            (Some("not_doze_exempt"), |facts| facts.doze_exempt = None),
            (Some("in_call"), |facts| facts.in_call = Some(true)),
        ];
        for (n, (want, change)) in table.into_iter().enumerate() {
            assert_eq!(with(change), want, "row {n}");
        }
        let free = Options { wifi_only: false, min_battery_pct: 0, ..Options::careful(10) };
        let poor = DeviceFacts { transport: Some(Transport::Cellular), metered: Some(true), battery_pct: Some(1), ..fit() };
        assert_eq!(unready(&free, &poor, at(10)), None);
    }
}
