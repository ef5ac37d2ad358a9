//! A device, a moment and a caller, the same in every run.

use std::sync::Arc;

use domain::access::{Origin, Principal, Role};
use domain::device::{AppStatus, Connectivity, DeviceIdentity, DeviceView, LastStatus};
use domain::heartbeat::{Telemetry, Transport};
use domain::{DeviceId, SessionId, Timestamp, UserId};
use uuid::Uuid;

pub(super) const DEVICE: DeviceId = DeviceId(Uuid::from_u128(7));

pub(super) fn now() -> Timestamp {
    chrono::DateTime::from_timestamp(1_795_275_380, 0).unwrap_or_default()
}

pub(super) fn admin() -> Principal {
    Principal::User {
        user_id: UserId(Uuid::from_u128(1)),
        username: "ann".into(),
        role: Role::Admin,
        session_id: SessionId(Uuid::from_u128(2)),
        origin: Origin::default(),
    }
}

pub(super) fn view() -> DeviceView {
    let telemetry = Telemetry {
        battery_pct: Some(50),
        transport: Some(Transport::Wifi),
        ssid: Some("Käfig".into()),
        model: Some("Orbic Joy 2".into()),
        storage_free_mb: Some(5120),
        app_version: Some("1.2.0".into()),
        ..Telemetry::default()
    };
    DeviceView {
        identity: Arc::new(DeviceIdentity {
            id: DEVICE,
            alias: "Kiosk-ß 1".into(),
            tags: vec!["till".into()],
            groups: vec!["berlin".into()],
            hardware_id: Some("HW".into()),
            model: None,
            manufacturer: Some("Orbic".into()),
            enrolled_at: now(),
        }),
        channels: domain::command::Channels::default(),
        app_status: AppStatus::Unknown,
        last_seen_at: Some(now()),
        last: Some(Arc::new(LastStatus { bucket_at: now(), received_at: now(), device_time: None, clock_rejected: false, telemetry })),
        connectivity: Connectivity::Online,
        conflict_at: None,
        ghost: false,
        open_alerts: Default::default(),
    }
}
