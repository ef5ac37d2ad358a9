//! Conversion of wire types to domain types, with checks of limits.

use std::sync::Arc;

use actors::router::IncomingHeartbeat;
use domain::device::MonitoredApp;
use domain::edit::{DevicePatch, LabelChange};
use domain::enrollment::Registration;
use domain::query::DeviceFilter;
use domain::telemetry::OptIn;
use domain::{DeviceId, Invalid, ServiceError, Timestamp};
use wire::agent::RegisterRequest;
use wire::device_body::UnusableFields;
use wire::heartbeat_body::{self, Refusal, Reported};
use wire::lenient::Int;

use crate::api_error::ApiError;

/// Registration of a device, without what is unusable beside its alias.
///
/// # Errors
/// The alias is out of its limits.
pub(crate) fn registration(request: RegisterRequest, unusable: &mut UnusableFields) -> Result<Registration, Invalid> {
    let mut registration = Registration {
        alias: request.alias,
        hardware_id: request.hardware_id,
        model: request.model,
        manufacturer: request.manufacturer,
        android_version: request.android_version,
        // What does not fit is far outside any limit.
        sdk_int: request.sdk_int.map(|Int(sdk_int)| i32::try_from(sdk_int).unwrap_or(-1)),
        app_version: request.app_version,
        app_version_code: request.app_version_code.map(|Int(code)| code),
        fcm_token: request.fcm_token,
    };
    unusable.note_all(registration.drop_unusable());
    registration.checked()
}

/// A heartbeat of `device_id`, received at `now`, without opt-in readings that are not kept. What is unusable of it is noted in it.
///
/// # Errors
/// It is no JSON object; 403 when it is another device's.
pub(crate) fn heartbeat(device_id: DeviceId, body: &[u8], kept: &OptIn, now: Timestamp) -> Result<IncomingHeartbeat, ApiError> {
    let Reported { heartbeat, fcm_token } = heartbeat_body::heartbeat(device_id, body, kept, now).map_err(|refused| match refused {
        Refusal::Unreadable(unreadable) => ApiError::from(unreadable),
        Refusal::ForeignDevice => ServiceError::ForeignDevice.into(),
    })?;
    Ok(IncomingHeartbeat { status: Arc::new(heartbeat.into()), fcm_token })
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
    use wire::device_body;

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
        heartbeat(id(), json.as_bytes(), &OptIn::default(), now())
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
    fn what_is_unusable_is_noted_and_costs_nothing_else() {
        for (json, field) in [
            (r#""battery":{"pct":101}"#, "battery.pct"),
            (r#""battery":{"pct":NaN}"#, "battery.pct"),
            (r#""network":{"transport":"5g"}"#, "network.transport"),
            (r#""network":{"ssid":"a\u0000b"}"#, "network.ssid"),
            (r#""device_id":"kiosk""#, "device_id"),
            (r#""monitored_foreground_recent_s":-2"#, "monitored_foreground_recent_s"),
        ] {
            let incoming = parse(&format!(r#"{{"timestamp_utc":"2026-11-21T15:36:17Z","seq":7,{json}}}"#)).unwrap();
            let status = &incoming.status;
            assert_eq!((status.telemetry.seq, status.clock_rejected), (Some(7), false), "{json}");
            assert_eq!(status.telemetry.unusable.iter().map(|noted| noted.field.as_str()).collect::<Vec<_>>(), [field], "{json}");
        }
        for refused in ["[]", "null", "7"] {
            assert_eq!(parse(refused).err().unwrap().status().as_u16(), 422, "{refused}");
        }
    }

    #[test]
    fn a_clock_that_cannot_be_read_counts_as_wrong() {
        for clock in [r#""yesterday""#, r#""٢٠٢٦-١١-٢١T15:36:17Z""#, "5", "{}"] {
            let status = parse(&format!(r#"{{"timestamp_utc":{clock},"seq":7}}"#)).unwrap().status;
            assert_eq!((status.clock_rejected, status.device_time, status.telemetry.seq), (true, None, Some(7)), "{clock}");
            assert_eq!(status.bucket_at, domain::heartbeat::bucket_start(now()));
        }
        assert!(!parse(r#"{"seq":7}"#).unwrap().status.clock_rejected);
    }

    #[test]
    fn a_registration_lacks_what_is_unusable() {
        let mut unusable = UnusableFields::default();
        let told =
            br#"{"alias":"kiosk","model":"a\u0000","sdk_int":1e30,"app_version_code":-5,"hardware_id":["x"],"manufacturer":"Orbic"}"#;
        let request = device_body::read(told, &mut unusable).unwrap();
        let registration = registration(request, &mut unusable).unwrap();
        assert_eq!((registration.alias.as_deref(), registration.manufacturer.as_deref()), (Some("kiosk"), Some("Orbic")));
        assert_eq!((registration.model.as_deref(), registration.sdk_int, registration.hardware_id), (Some("a"), None, None));
        assert_eq!(unusable.iter().count(), 4, "{unusable:?}");
    }

    #[test]
    fn another_devices_heartbeat_is_403() {
        let refused = parse(r#"{"device_id":"00000000-0000-0000-0000-000000000008"}"#).err().unwrap();
        assert_eq!(refused.status().as_u16(), 403);
    }
}
