//! Conversion of wire types to domain types, with checks of limits.

use std::sync::Arc;

use actors::router::IncomingHeartbeat;
use chrono::DateTime;
use domain::device::MonitoredApp;
use domain::edit::{DevicePatch, LabelChange};
use domain::enrollment::Registration;
use domain::heartbeat::Heartbeat;
use domain::query::DeviceFilter;
use domain::telemetry::OptIn;
use domain::{DeviceId, Invalid, ServiceError, Timestamp, text};
use wire::agent::RegisterRequest;
use wire::lenient::Int;

use crate::api_error::ApiError;

/// Narrows a number.
///
/// # Errors
/// It does not fit, so it is far outside any limit.
fn narrow<T: TryFrom<i64>>(field: &str, value: Option<Int>) -> Result<Option<T>, Invalid> {
    value.map(|Int(number)| T::try_from(number).map_err(|_| Invalid::new(field, format!("{number} is out of range")))).transpose()
}

/// Registration of a device.
///
/// # Errors
/// Names the field that is out of its limits.
pub(crate) fn registration(request: RegisterRequest) -> Result<Registration, Invalid> {
    Registration {
        alias: request.alias,
        hardware_id: request.hardware_id,
        model: request.model,
        manufacturer: request.manufacturer,
        android_version: request.android_version,
        sdk_int: narrow("sdk_int", request.sdk_int)?,
        app_version: request.app_version,
        app_version_code: request.app_version_code.map(|Int(code)| code),
        fcm_token: request.fcm_token,
    }
    .checked()
}

/// A heartbeat of `device_id`, received at `now`, without opt-in readings that are not kept.
///
/// # Errors
/// Names the field that is out of its limits; 403 when it is another device's.
pub(crate) fn heartbeat(
    device_id: DeviceId,
    mut reported: wire::agent::Heartbeat,
    kept: &OptIn,
    now: Timestamp,
) -> Result<IncomingHeartbeat, ApiError> {
    if let Some(claimed) = reported.device_id.as_deref().filter(|claimed| !claimed.is_empty()) {
        let claimed: DeviceId = claimed.parse().map_err(|_| Invalid::new("device_id", "not a UUID"))?;
        if claimed != device_id {
            return Err(ServiceError::ForeignDevice.into());
        }
    }
    let device_time = reported.timestamp_utc.as_deref().map(time).transpose()?;
    let fcm_token = text::optional("fcm_token", reported.fcm_token.take(), text::FCM_TOKEN_MAX_CHARS)?;
    let telemetry = reported.telemetry(kept)?;
    Ok(IncomingHeartbeat { status: Arc::new(Heartbeat::new(device_id, device_time, telemetry, now).into()), fcm_token })
}

fn time(text: &str) -> Result<Timestamp, Invalid> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| Invalid::new("timestamp_utc", "not a time as in 2026-11-21T15:36:17Z"))
}

/// Filter of devices.
///
/// # Errors
/// Names the filter whose value is of another kind or out of its limits.
pub(crate) fn filter(filter: wire::device_filter::Filter) -> Result<DeviceFilter, Invalid> {
    DeviceFilter::of(filter.0)
}

/// The app that a device is there to run.
pub(crate) fn monitored_app(app: wire::devices::MonitoredApp) -> MonitoredApp {
    MonitoredApp { package: app.package, stale_after_s: app.stale_after_s }
}

/// A change of a device.
///
/// # Errors
/// It clears the alias; other limits are the service's.
pub(crate) fn device_patch(patch: wire::devices::DevicePatch) -> Result<DevicePatch, Invalid> {
    let labels = |given: Option<Option<Vec<String>>>| given.map(|labels| LabelChange::Set(labels.unwrap_or_default()));
    Ok(DevicePatch {
        alias: match patch.alias {
            Some(None) => return Err(Invalid::new("alias", "cannot be cleared")),
            given => given.flatten(),
        },
        tags: labels(patch.tags),
        groups: labels(patch.groups),
        monitored: patch.monitored_app.map(|app| app.map(monitored_app)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::heartbeat::Transport;

    /// The example of the agent API, word for word.
    const EXAMPLE: &str = include_str!("../../actors/wire/fixtures/heartbeat.json");
    /// Heartbeat of an agent of the earlier server.
    const LEGACY: &str = include_str!("../../actors/wire/fixtures/heartbeat-legacy.json");

    fn now() -> Timestamp {
        "2026-11-21T15:36:20Z".parse().unwrap()
    }
    fn id() -> DeviceId {
        DeviceId(uuid::Uuid::from_u128(7))
    }
    fn parse(json: &str) -> Result<IncomingHeartbeat, ApiError> {
        heartbeat(id(), serde_json::from_str(json).unwrap(), &OptIn::default(), now())
    }

    #[test]
    fn every_field_of_the_example_arrives() {
        let reported = parse(EXAMPLE).unwrap();
        assert_eq!(reported.status.bucket_at, "2026-11-21T15:36:10Z".parse::<Timestamp>().unwrap());
        assert_eq!(reported.fcm_token.as_deref(), Some("fcm-1"));
        let telemetry = &reported.status.telemetry;
        assert_eq!((telemetry.battery_pct, telemetry.charging, telemetry.battery_temperature_c), (Some(83), Some(true), Some(31.5)));
        assert_eq!((telemetry.ram_total_mb, telemetry.ram_available_mb, telemetry.ram_pressure_pct), (Some(3891), Some(1210), Some(69)));
        assert_eq!((telemetry.transport, telemetry.ssid.as_deref()), (Some(Transport::Wifi), Some("shop")));
        assert_eq!((telemetry.foreground_recent_s, telemetry.app_running), (Some(12), Some(true)));
        assert_eq!((telemetry.storage_free_mb, telemetry.agent_version_code, telemetry.seq), (Some(5120), Some(140), Some(4711)));
        assert_eq!(telemetry.apps[0].version_code, Some(321));
        assert_eq!(telemetry.model.as_deref(), Some("Orbic Joy 2"));
    }

    #[test]
    fn an_agent_of_the_earlier_server_is_understood() {
        let telemetry = parse(LEGACY).unwrap().status.telemetry.clone();
        assert_eq!((telemetry.battery_pct, telemetry.uptime_s), (Some(87), Some(12_345_678)));
        assert_eq!((telemetry.ram_total_mb, telemetry.foreground_recent_s), (Some(3891), None));
        assert!(telemetry.apps.is_empty());
    }

    #[test]
    fn what_is_out_of_limits_is_422_with_its_field() {
        for (json, field) in [
            (r#"{"battery":{"pct":101}}"#, "battery.pct"),
            (r#"{"battery":{"pct":100000}}"#, "battery.pct"),
            (r#"{"network":{"transport":"5g"}}"#, "network.transport"),
            (r#"{"network":{"ssid":"a\u0000b"}}"#, "network.ssid"),
            (r#"{"timestamp_utc":"yesterday"}"#, "timestamp_utc"),
            (r#"{"device_id":"kiosk"}"#, "device_id"),
            (r#"{"monitored_foreground_recent_s":-2}"#, "monitored_foreground_recent_s"),
        ] {
            let refused = parse(json).err().unwrap();
            assert_eq!(refused.status().as_u16(), 422, "{json}");
            assert!(refused.detail().starts_with(field), "{json}: {}", refused.detail());
        }
    }

    #[test]
    fn another_devices_heartbeat_is_403() {
        let refused = parse(r#"{"device_id":"00000000-0000-0000-0000-000000000008"}"#).err().unwrap();
        assert_eq!(refused.status().as_u16(), 403);
    }
}
