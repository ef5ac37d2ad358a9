//! A heartbeat: what a device may claim, and which 10-second bucket it belongs to.

use chrono::{DateTime, TimeDelta};

use crate::invalid::{Invalid, in_range};
use crate::text::{bounded, optional};
use crate::{DeviceId, Timestamp};

/// Length of a bucket; one heartbeat is stored per device and bucket.
pub const BUCKET_SECONDS: i64 = 10;
/// Largest lag of a device's clock that is accepted.
pub const CLOCK_LAG_MAX: TimeDelta = TimeDelta::days(7);
/// Largest lead of a device's clock that is accepted.
pub const CLOCK_LEAD_MAX: TimeDelta = TimeDelta::minutes(5);
/// Most heartbeats in one list.
pub const LIST_MAX: usize = 100;
/// Most watched packages in one heartbeat.
pub const APPS_MAX: usize = 64;

/// The kind of network a device is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Transport {
    /// Wi-Fi.
    Wifi,
    /// Mobile data.
    Cellular,
    /// Cable.
    Ethernet,
    /// No network.
    None,
    /// Something else.
    Other,
}

named!(pub Transport, parse -> Result);

/// Package that the agent watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedApp {
    /// Package name.
    pub package: String,
    /// Whether it is installed.
    pub installed: Option<bool>,
    /// Version name.
    pub version_name: Option<String>,
    /// Version code.
    pub version_code: Option<i64>,
}

/// Telemetry of a heartbeat. `None`: not reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// Charge, 0..100.
    pub battery_pct: Option<i16>,
    /// Whether the battery is charging.
    pub charging: Option<bool>,
    /// Battery temperature in degrees Celsius.
    pub battery_temperature_c: Option<f32>,
    /// Agent version name.
    pub app_version: Option<String>,
    /// Agent version code.
    pub agent_version_code: Option<i64>,
    /// Android release.
    pub android_version: Option<String>,
    /// Android API level.
    pub sdk_int: Option<i32>,
    /// Security patch level.
    pub patch_level: Option<String>,
    /// Build id.
    pub build_id: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Seconds since boot.
    pub uptime_s: Option<i64>,
    /// Total memory, MiB.
    pub ram_total_mb: Option<i32>,
    /// Available memory, MiB.
    pub ram_available_mb: Option<i32>,
    /// Memory pressure, 0..100.
    pub ram_pressure_pct: Option<i16>,
    /// Free storage, MiB.
    pub storage_free_mb: Option<i64>,
    /// Kind of network.
    pub transport: Option<Transport>,
    /// Name of the Wi-Fi.
    pub ssid: Option<String>,
    /// Mobile carrier.
    pub carrier: Option<String>,
    /// Address of the device, as it sees it.
    pub ip: Option<String>,
    /// Whether Android validated the network.
    pub net_validated: Option<bool>,
    /// Whether the network is metered.
    pub metered: Option<bool>,
    /// Seconds since the monitored app was in the foreground; unknown is `None`.
    pub foreground_recent_s: Option<i32>,
    /// Whether the monitored process runs.
    pub app_running: Option<bool>,
    /// Whether the speed test app shows its service notification.
    pub speedtest_service_running: Option<bool>,
    /// Seconds since the speed test app was in the foreground.
    pub speedtest_foreground_recent_s: Option<i32>,
    /// Whether battery optimization is off for the agent.
    pub power_ok: Option<bool>,
    /// Whether the agent is exempt from Doze.
    pub doze_whitelisted: Option<bool>,
    /// Whether the agent is device owner.
    pub is_device_owner: Option<bool>,
    /// Whether a phone call is in progress.
    pub in_call: Option<bool>,
    /// Heartbeats queued on the device.
    pub queue_depth: Option<i32>,
    /// Changes with every boot.
    pub boot_id: Option<String>,
    /// Counts heartbeats within a boot.
    pub seq: Option<i64>,
    /// Opaque hints of the agent's self-repair, JSON text as sent.
    pub self_heal_hints: Option<String>,
    /// Watched packages.
    pub apps: Vec<WatchedApp>,
}

/// Longest `self_heal_hints`, in bytes.
pub const HINTS_MAX_BYTES: usize = 4096;

impl Telemetry {
    /// Telemetry of a watched package.
    pub fn watched(&self, package: &str) -> Option<&WatchedApp> {
        self.apps.iter().find(|app| app.package == package)
    }

    /// Checks every value against its limits.
    ///
    /// # Errors
    /// Names the first field that breaks its limit, and the limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        fn number<T: PartialOrd + std::fmt::Display + Copy>(field: &str, value: Option<T>, min: T, max: T) -> Result<(), Invalid> {
            value.map_or(Ok(()), |v| in_range(field, v, min, max).map(drop))
        }
        number("battery.pct", self.battery_pct, 0, 100)?;
        number("battery.temperature_c", self.battery_temperature_c, -100.0, 200.0)?;
        number("system.uptime_seconds", self.uptime_s, 0, 10_000_000_000)?;
        number("system.sdk_int", self.sdk_int, 1, 10_000)?;
        number("memory.total_ram_mb", self.ram_total_mb, 0, 16_777_216)?;
        number("memory.avail_ram_mb", self.ram_available_mb, 0, 16_777_216)?;
        number("memory.pressure_pct", self.ram_pressure_pct, 0, 100)?;
        number("storage_free_mb", self.storage_free_mb, 0, 1_099_511_627_776)?;
        number("agent_version_code", self.agent_version_code, 0, i64::MAX)?;
        number("monitored_foreground_recent_s", self.foreground_recent_s, 0, i32::MAX)?;
        number("speedtest_running_signals.foreground_recent_seconds", self.speedtest_foreground_recent_s, 0, i32::MAX)?;
        number("queue_depth", self.queue_depth, 0, i32::MAX)?;
        number("seq", self.seq, 0, i64::MAX)?;
        if self.self_heal_hints.as_ref().is_some_and(|hints| hints.len() > HINTS_MAX_BYTES) {
            return Err(Invalid::new("self_heal_hints", format!("more than {HINTS_MAX_BYTES} bytes")));
        }
        if self.apps.len() > APPS_MAX {
            return Err(Invalid::new("app_versions", format!("{} packages are more than the {APPS_MAX} allowed", self.apps.len())));
        }
        for app in &self.apps {
            bounded("app_versions", &app.package, 255)?;
            if let Some(name) = &app.version_name {
                bounded("app_versions.version_name", name, 128)?;
            }
            number("app_versions.version_code", app.version_code, 0, i64::MAX)?;
        }
        Ok(Self {
            app_version: optional("app_version", self.app_version, 128)?,
            android_version: optional("system.android_version", self.android_version, 64)?,
            patch_level: optional("system.patch_level", self.patch_level, 64)?,
            build_id: optional("system.build_id", self.build_id, 128)?,
            model: optional("system.model", self.model, 128)?,
            manufacturer: optional("system.manufacturer", self.manufacturer, 128)?,
            ssid: optional("network.ssid", self.ssid, 64)?,
            carrier: optional("network.carrier", self.carrier, 128)?,
            ip: optional("network.ip", self.ip, 64)?,
            boot_id: optional("boot_id", self.boot_id, 64)?,
            ..self
        })
    }
}

/// Checked heartbeat in its bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// Device that sent the heartbeat.
    pub device_id: DeviceId,
    /// Start of its 10-second bucket.
    pub bucket_at: Timestamp,
    /// When the server received it.
    pub received_at: Timestamp,
    /// Time by the clock of the device, if reported.
    pub device_time: Option<Timestamp>,
    /// Whether the clock of the device was too wrong to be used.
    pub clock_rejected: bool,
    /// Telemetry of the heartbeat.
    pub telemetry: Telemetry,
}

impl Heartbeat {
    /// Places telemetry in its bucket.
    pub fn new(device_id: DeviceId, device_time: Option<Timestamp>, telemetry: Telemetry, received_at: Timestamp) -> Self {
        let believed = device_time.filter(|told| is_believable(*told, received_at));
        Self {
            device_id,
            bucket_at: bucket_start(believed.unwrap_or(received_at)),
            received_at,
            device_time,
            clock_rejected: device_time.is_some() && believed.is_none(),
            telemetry,
        }
    }
}

/// Whether a device's clock lies within [now - 7 days, now + 5 min].
pub fn is_believable(told: Timestamp, now: Timestamp) -> bool {
    told >= now - CLOCK_LAG_MAX && told <= now + CLOCK_LEAD_MAX
}

/// Start of the 10-second bucket that `at` lies in.
pub fn bucket_start(at: Timestamp) -> Timestamp {
    let second = at.timestamp();
    DateTime::from_timestamp(second - second.rem_euclid(BUCKET_SECONDS), 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        DateTime::from_timestamp_millis(ms).unwrap()
    }
    fn id() -> DeviceId {
        DeviceId(uuid::Uuid::nil())
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_time_and_starts_on_ten_seconds(ms in -1_000_000_000_000i64..4_000_000_000_000) {
            let start = bucket_start(at(ms));
            prop_assert_eq!(start.timestamp_millis().rem_euclid(10_000), 0);
            prop_assert!(start <= at(ms) && at(ms) < start + TimeDelta::seconds(10));
        }

        #[test]
        fn whatever_the_device_clock_the_bucket_is_within_the_believable_range(told_ms in any::<i32>(), scale in 0i64..100_000) {
            let now = at(1_780_000_000_000);
            let told = now + TimeDelta::milliseconds(i64::from(told_ms) * scale / 100);
            let heartbeat = Heartbeat::new(id(), Some(told), Telemetry::default(), now);
            prop_assert!(heartbeat.bucket_at >= bucket_start(now - CLOCK_LAG_MAX) && heartbeat.bucket_at <= now + CLOCK_LEAD_MAX);
            prop_assert_eq!(heartbeat.clock_rejected, !is_believable(told, now));
        }
    }

    #[test]
    fn the_edges_of_the_believable_range() {
        let now = at(1_780_000_000_000);
        for (told, rejected) in [
            (now - CLOCK_LAG_MAX, false),
            (now - CLOCK_LAG_MAX - TimeDelta::milliseconds(1), true),
            (now + CLOCK_LEAD_MAX, false),
            (now + CLOCK_LEAD_MAX + TimeDelta::milliseconds(1), true),
        ] {
            let heartbeat = Heartbeat::new(id(), Some(told), Telemetry::default(), now);
            assert_eq!(heartbeat.clock_rejected, rejected, "{told}");
            assert_eq!(heartbeat.bucket_at, bucket_start(if rejected { now } else { told }));
        }
        assert!(!Heartbeat::new(id(), None, Telemetry::default(), now).clock_rejected);
    }

    #[test]
    fn out_of_range_values_name_their_field() {
        let cases: Vec<(&str, Telemetry)> = vec![
            ("battery.pct", Telemetry { battery_pct: Some(101), ..Default::default() }),
            ("battery.pct", Telemetry { battery_pct: Some(-1), ..Default::default() }),
            ("memory.pressure_pct", Telemetry { ram_pressure_pct: Some(101), ..Default::default() }),
            ("storage_free_mb", Telemetry { storage_free_mb: Some(-1), ..Default::default() }),
            ("battery.temperature_c", Telemetry { battery_temperature_c: Some(1e9), ..Default::default() }),
            ("network.ssid", Telemetry { ssid: Some("a\0b".into()), ..Default::default() }),
            ("network.ssid", Telemetry { ssid: Some("x".repeat(65)), ..Default::default() }),
            ("self_heal_hints", Telemetry { self_heal_hints: Some("x".repeat(5000)), ..Default::default() }),
        ];
        for (field, telemetry) in cases {
            assert_eq!(telemetry.checked().unwrap_err().field, field);
        }
        assert!(Telemetry { battery_pct: Some(100), ..Default::default() }.checked().is_ok());
    }

    #[test]
    fn transports_read_by_name_only() {
        assert_eq!(Transport::parse("network.transport", "wifi").unwrap(), Transport::Wifi);
        assert_eq!(Transport::parse("network.transport", "5g").unwrap_err().field, "network.transport");
    }
}
